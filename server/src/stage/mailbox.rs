//! What is asked of an owner thread, until it takes all of it at once.

use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::faults::Faults;

/// A queue with many senders and one thread that takes.
#[derive(Debug)]
pub(crate) struct Mailbox<T> {
    inner: Mutex<Inner<T>>,
    ready: Condvar,
    /// Most that [`Mailbox::offer`] lets wait.
    max: usize,
    /// May hold the owner up before it acts.
    faults: Faults,
}

#[derive(Debug)]
struct Inner<T> {
    items: Vec<T>,
    is_closed: bool,
}

/// Why something was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The owner is gone or going.
    Closed,
    /// The bound is reached.
    Full,
}

/// What [`Mailbox::take`] came back with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Something was asked.
    Items,
    /// Nothing until the deadline.
    Deadline,
    /// Nothing, and nothing any more.
    Closed,
}

impl<T> Mailbox<T> {
    #[cfg(test)]
    pub(crate) fn new(max: usize) -> Self {
        Self::with_faults(max, Faults::default())
    }

    pub(crate) fn with_faults(max: usize, faults: Faults) -> Self {
        Self {
            inner: Mutex::new(Inner {
                items: Vec::new(),
                is_closed: false,
            }),
            ready: Condvar::new(),
            max,
            faults,
        }
    }

    /// Asks for something, on behalf of a client: refused when too much waits already.
    pub(crate) fn offer(&self, item: T) -> Result<(), Refused> {
        self.try_offer(item).map_err(|(refused, _)| refused)
    }

    /// The same, for who asks again later: what is refused is handed back.
    pub(crate) fn try_offer(&self, item: T) -> Result<(), (Refused, T)> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err((Refused::Closed, item));
        }
        if inner.items.len() >= self.max {
            return Err((Refused::Full, item));
        }
        inner.items.push(item);
        drop(inner);
        self.ready.notify_one();
        Ok(())
    }

    /// Asks for something as another owner thread does, which must not wait and whose requests are
    /// bounded by what was let into the server. Dropped once the owner is going.
    pub(crate) fn send(&self, items: impl IntoIterator<Item = T>) {
        let mut inner = self.inner.lock();
        if !inner.is_closed {
            inner.items.extend(items);
            drop(inner);
            self.ready.notify_one();
        }
    }

    /// Takes all that was asked, into an empty `out`; waits for it if need be.
    pub(crate) fn take(&self, deadline: Option<Instant>, out: &mut Vec<T>) -> Taken {
        let taken = self.wait(deadline, out);
        self.faults.wait_while_paused();
        taken
    }

    fn wait(&self, deadline: Option<Instant>, out: &mut Vec<T>) -> Taken {
        let mut inner = self.inner.lock();
        loop {
            if !inner.items.is_empty() {
                std::mem::swap(&mut inner.items, out);
                return Taken::Items;
            }
            if inner.is_closed {
                return Taken::Closed;
            }
            match deadline {
                None => self.ready.wait(&mut inner),
                Some(at) => {
                    if self.ready.wait_until(&mut inner, at).timed_out()
                        && inner.items.is_empty()
                        && !inner.is_closed
                    {
                        return Taken::Deadline;
                    }
                }
            }
        }
    }

    /// Takes nothing in any more; what is there will still be taken.
    pub(crate) fn close(&self) {
        self.inner.lock().is_closed = true;
        self.ready.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_was_asked_is_taken_at_once() {
        let mailbox = Mailbox::new(2);
        assert_eq!(mailbox.offer(1), Ok(()));
        assert_eq!(mailbox.offer(2), Ok(()));
        assert_eq!(mailbox.offer(3), Err(Refused::Full));
        mailbox.send([4, 5]);
        let mut out = Vec::new();
        assert_eq!(mailbox.take(None, &mut out), Taken::Items);
        assert_eq!(out, [1, 2, 4, 5]);
        out.clear();
        assert_eq!(
            mailbox.take(Some(Instant::now()), &mut out),
            Taken::Deadline
        );
        mailbox.send([6]);
        mailbox.close();
        assert_eq!(mailbox.offer(7), Err(Refused::Closed));
        assert_eq!(mailbox.take(None, &mut out), Taken::Items);
        out.clear();
        assert_eq!(mailbox.take(None, &mut out), Taken::Closed);
    }
}
