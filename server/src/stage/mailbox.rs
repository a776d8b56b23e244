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
    /// Until when the owner's thread sleeps at most.
    deadline: Option<Instant>,
    /// As many items are waited for.
    wanted: usize,
    is_sleeping: bool,
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
                deadline: None,
                wanted: 1,
                is_sleeping: false,
            }),
            ready: Condvar::new(),
            max,
            faults,
        }
    }

    /// Leaves something on behalf of clients, all of it or, when too much waits already, nothing.
    /// Wakes nobody: the caller goes on to help the owner.
    pub(crate) fn offer(&self, items: &mut Vec<T>) -> Result<(), Refused> {
        let mut inner = self.inner.lock();
        if inner.is_closed {
            return Err(Refused::Closed);
        }
        if inner.items.len() + items.len() > self.max {
            return Err(Refused::Full);
        }
        inner.items.append(items);
        Ok(())
    }

    /// As [`Mailbox::send`], but wakes nobody: the caller goes on to help the owner.
    pub(crate) fn leave(&self, items: impl IntoIterator<Item = T>) {
        let mut inner = self.inner.lock();
        if !inner.is_closed {
            inner.items.extend(items);
        }
    }

    /// Asks for something, for who asks again later: what is refused is handed back.
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
            let is_enough = inner.items.len() >= inner.wanted;
            drop(inner);
            if is_enough {
                self.ready.notify_one();
            }
        }
    }

    /// Takes all that was asked, into an empty `out`; waits for it if need be.
    pub(crate) fn take(&self, deadline: Option<Instant>, out: &mut Vec<T>) -> Taken {
        self.arm(deadline);
        let taken = self.sleep(|inner| std::mem::swap(&mut inner.items, out));
        self.faults.wait_while_paused();
        taken
    }

    /// Waits until so much was asked, or the deadline, and leaves it there; says whether it was. For
    /// the one thread that takes.
    pub(crate) fn wait_for(&self, count: usize, deadline: Instant) -> bool {
        let mut inner = self.inner.lock();
        inner.wanted = count;
        while inner.items.len() < count && !inner.is_closed {
            if self.ready.wait_until(&mut inner, deadline).timed_out() {
                break;
            }
        }
        inner.wanted = 1;
        inner.items.len() >= count
    }

    /// How much was asked and not taken.
    pub(crate) fn len(&self) -> usize {
        self.inner.lock().items.len()
    }

    /// Waits until something was asked, and leaves it there, or until the deadline that was set last.
    pub(crate) fn wait(&self) -> Taken {
        let taken = self.sleep(|_| ());
        self.faults.wait_while_paused();
        taken
    }

    fn sleep(&self, items: impl FnOnce(&mut Inner<T>)) -> Taken {
        let mut inner = self.inner.lock();
        let taken = loop {
            if !inner.items.is_empty() {
                items(&mut inner);
                break Taken::Items;
            }
            if inner.is_closed {
                break Taken::Closed;
            }
            inner.is_sleeping = true;
            match inner.deadline {
                None => self.ready.wait(&mut inner),
                Some(at) if at <= Instant::now() => break Taken::Deadline,
                Some(at) => {
                    self.ready.wait_until(&mut inner, at);
                }
            }
        };
        inner.is_sleeping = false;
        taken
    }

    /// Sets the deadline of who waits, also if it waits already.
    pub(crate) fn arm(&self, deadline: Option<Instant>) {
        let mut inner = self.inner.lock();
        let before = std::mem::replace(&mut inner.deadline, deadline);
        let is_earlier = deadline.is_some_and(|at| before.is_none_or(|before| at < before));
        if inner.is_sleeping && is_earlier {
            self.ready.notify_one();
        }
    }

    /// Takes all that was asked, into an empty `out`; false if that is nothing.
    pub(crate) fn take_now(&self, out: &mut Vec<T>) -> bool {
        std::mem::swap(&mut self.inner.lock().items, out);
        !out.is_empty()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.inner.lock().items.is_empty()
    }

    /// Whether somebody else may act in the place of the owner's thread.
    pub(crate) fn may_be_helped(&self) -> bool {
        !self.faults.is_paused()
    }

    /// Wakes the owner's thread if something waits for it.
    pub(crate) fn wake(&self) {
        if !self.inner.lock().items.is_empty() {
            self.ready.notify_one();
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
    use std::time::Duration;

    use super::*;

    #[test]
    fn who_waits_for_several_is_woken_by_the_last() {
        let mailbox = Mailbox::new(usize::MAX);
        assert!(!mailbox.wait_for(1, Instant::now()));
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|item| mailbox.send([item])));
            assert!(mailbox.wait_for(3, Instant::now() + Duration::from_mins(1)));
        });
        assert_eq!(mailbox.len(), 3);
        mailbox.close();
        assert!(!mailbox.wait_for(4, Instant::now() + Duration::from_mins(1)));
    }

    #[test]
    fn all_that_was_asked_is_taken_at_once() {
        let mailbox = Mailbox::new(2);
        assert_eq!(mailbox.offer(&mut vec![1]), Ok(()));
        assert_eq!(mailbox.offer(&mut vec![2]), Ok(()));
        assert_eq!(mailbox.offer(&mut vec![3]), Err(Refused::Full));
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
        assert_eq!(mailbox.offer(&mut vec![7]), Err(Refused::Closed));
        assert_eq!(mailbox.take(None, &mut out), Taken::Items);
        out.clear();
        assert_eq!(mailbox.take(None, &mut out), Taken::Closed);
    }
}
