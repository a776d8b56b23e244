//! How much of what a leader sent is on its way through this server, and when that is too much.
//!
//! A leader may send faster than this server's disk syncs. What it sent is counted from the moment it is
//! read until it is durable, and while too much is on its way nothing more is read: the sockets fill up,
//! and it waits with the leader, which gives up a learner that is too far behind.
//!
//! ```text
//!  leader_link ── count ──► core ──── passed ───► log ── done ──► durable
//!       ▲ room                └ keeps packets while it waits for the disk
//! ```

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// Bytes of transactions that may be on their way; one that is longer passes alone.
///
/// As much as a leader lets wait for a learner. A disk that needs longer for it than the leader waits for
/// an acknowledgement (`syncLimit`) could not follow anyway.
pub(crate) const BYTES_MAX: usize = 64 << 20;

/// The count, shared by who reads, the core and the log.
#[derive(Debug)]
pub(crate) struct Intake {
    bytes: AtomicUsize,
    bytes_max: usize,
    /// Rung when there is room again.
    bell: Notify,
    /// Readers that wait for room.
    waiting: AtomicUsize,
}

impl Intake {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
            bell: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Counts what was read, until it is handed on or dropped.
    pub(crate) fn count(&self, bytes: usize) -> Counted<'_> {
        self.add(bytes);
        Counted {
            intake: self,
            bytes,
        }
    }

    /// Something more is on its way.
    pub(crate) fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// So much has arrived where it goes, or goes nowhere.
    pub(crate) fn done(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let before = self.bytes.fetch_sub(bytes, Ordering::SeqCst);
        assert!(bytes <= before, "only what was counted is done");
        if before > self.bytes_max && before - bytes <= self.bytes_max {
            self.bell.notify_waiters();
        }
    }

    /// Waits until more may be read.
    ///
    /// # Cancel safety
    ///
    /// Safe: nothing is taken.
    pub(crate) async fn room(&self) {
        if self.has_room() {
            return;
        }
        let _waits = Waits::new(&self.waiting);
        loop {
            let mut rung = std::pin::pin!(self.bell.notified());
            // Before the look: what is rung in between counts.
            rung.as_mut().enable();
            if self.has_room() {
                return;
            }
            rung.await;
        }
    }

    fn has_room(&self) -> bool {
        self.bytes() <= self.bytes_max
    }

    /// Bytes on their way.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::SeqCst)
    }

    /// Whether a reader waits.
    #[cfg(test)]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }
}

/// Something that was counted.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    intake: &'a Intake,
    bytes: usize,
}

impl Counted<'_> {
    /// Somebody else sees to it from now on.
    pub(crate) fn hand_on(self) {
        std::mem::forget(self);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.intake.done(self.bytes);
    }
}

/// A reader that waits.
#[derive(Debug)]
struct Waits<'a>(&'a AtomicUsize);

impl<'a> Waits<'a> {
    fn new(waiting: &'a AtomicUsize) -> Self {
        waiting.fetch_add(1, Ordering::SeqCst);
        Self(waiting)
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn who_reads_too_much_waits_until_enough_is_done() {
        let intake = Arc::new(Intake::new(10));
        intake.count(10).hand_on();
        intake.room().await;
        intake.count(5).hand_on();
        let waiting = Arc::clone(&intake);
        let room = tokio::spawn(async move { waiting.room().await });
        while !intake.is_waited_for() {
            tokio::task::yield_now().await;
        }
        intake.done(4);
        assert!(!room.is_finished());
        intake.done(1);
        room.await.expect("no panic");
        assert!(!intake.is_waited_for());
        assert_eq!(intake.bytes(), 10);
    }

    #[test]
    fn what_is_dropped_before_it_is_handed_on_is_done() {
        let intake = Intake::new(10);
        drop(intake.count(7));
        assert_eq!(intake.bytes(), 0);
    }
}
