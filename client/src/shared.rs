//! What handles and the driver share: the inbox, the session's number, the published state.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::core::{
    AttemptError, AttemptErrorKind, Cause, CloseReason, Event, Failure, Granted, Load, Reply,
    Request, Waiter, WatchId,
};
use crate::state::{ConnEvents, ConnState, EventCell};
use crate::stats::Counters;
use crate::watch::WatchCell;
use zk_proto::{SessionId, Zxid};

/// The side of a request that waits.
pub(crate) type ReplySlot = oneshot::Sender<Result<Reply, Failure>>;

/// The core as the driver runs it.
pub(crate) type DriverEvent = Event<ReplySlot, Arc<WatchCell>>;
pub(crate) type DriverRequest = Request<ReplySlot, Arc<WatchCell>>;

impl Waiter for ReplySlot {
    fn is_abandoned(&self) -> bool {
        self.is_closed()
    }
}

/// Shared by all handles of a client and its driver.
#[derive(Debug)]
pub(crate) struct Shared {
    inbox: Mutex<Inbox>,
    /// Number of the session that is or will be next.
    epoch: AtomicU64,
    next_watch: AtomicU64,
    last_zxid: AtomicI64,
    /// Whether a server has said that it does not know the request for several reads.
    lacks_multi_read: AtomicBool,
    /// When the driver began, and the nanoseconds from there to the sending of the newest request that
    /// was answered.
    start: OnceLock<Instant>,
    confirmed_ns: AtomicU64,
    pub(crate) state: watch::Sender<ConnState>,
    /// What was last seen to go wrong with connecting, for error messages.
    pub(crate) trouble: Mutex<Option<Trouble>>,
    followers: Mutex<Vec<Weak<EventCell>>>,
    /// The session as the last handshake left it.
    pub(crate) granted: Mutex<Option<Granted>>,
    pub(crate) counters: Counters,
}

/// The last attempt that failed.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    pub(crate) server: String,
    pub(crate) error: AttemptError,
    /// Whether every server has failed since one last succeeded.
    pub(crate) passed: bool,
    /// Servers whose last failure was of a kind that may go away by itself.
    pub(crate) hopeful: Vec<String>,
}

impl Trouble {
    /// Whether every server was found to be none that could ever do.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.passed && self.hopeful.is_empty()
    }
}

#[derive(Debug, Default)]
struct Inbox {
    events: Vec<DriverEvent>,
    /// What was submitted and is not resolved, as far as the driver has told.
    load: Load,
    /// Whether the driver is about to hear that there was no room.
    is_crowded: bool,
    /// The driver's, while it waits for something to do.
    driver: Option<Waker>,
    /// Set when the driver has gone: nothing is accepted any more.
    closed: Option<CloseReason>,
}

impl Shared {
    pub(crate) fn new() -> Self {
        Self {
            inbox: Mutex::new(Inbox::default()),
            epoch: AtomicU64::new(1),
            next_watch: AtomicU64::new(1),
            last_zxid: AtomicI64::new(0),
            lacks_multi_read: AtomicBool::new(false),
            start: OnceLock::new(),
            confirmed_ns: AtomicU64::new(0),
            state: watch::Sender::new(ConnState::Connecting),
            trouble: Mutex::new(None),
            followers: Mutex::default(),
            granted: Mutex::new(None),
            counters: Counters::new(),
        }
    }

    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        // Nothing in the critical sections can panic half-way.
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something before the driver. Its place in the order is fixed when this returns.
    ///
    /// # Errors
    /// Gives the event back, with the reason, if the client is closed.
    pub(crate) fn send(&self, event: DriverEvent) -> Result<(), (DriverEvent, CloseReason)> {
        let mut inbox = self.inbox();
        if let Some(reason) = inbox.closed {
            return Err((event, reason));
        }
        inbox.events.push(event);
        let driver = inbox.driver.take();
        drop(inbox);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// Submits a request; if the client is closed, whoever waits is told at once.
    ///
    /// # Errors
    /// Gives the request back if that would be more than `limit`.
    pub(crate) fn submit(
        &self,
        request: DriverRequest,
        limit: Option<Load>,
    ) -> Result<(), DriverRequest> {
        let len = request.frame.len();
        let mut inbox = self.inbox();
        if let Some(reason) = inbox.closed {
            drop(inbox);
            if let Some(waiter) = request.waiter {
                let cause = Cause::Closed(reason);
                let (session, frame) = (SessionId::NONE, Some(request.frame));
                // Whoever waited may have gone: then nobody wants to know.
                let _gone = waiter.send(Err(Failure {
                    cause,
                    unknown: false,
                    session,
                    frame,
                }));
            }
            return Ok(());
        }
        // One request alone may be longer than all together: it would be refused for ever.
        if let Some(limit) = limit
            && inbox.load.requests > 0
            && (inbox.load.requests >= limit.requests || inbox.load.bytes + len > limit.bytes)
        {
            // Some of it may be what nobody waits for any more.
            let driver = if mem::replace(&mut inbox.is_crowded, true) {
                None
            } else {
                inbox.events.push(Event::Crowded);
                inbox.driver.take()
            };
            drop(inbox);
            if let Some(driver) = driver {
                driver.wake();
            }
            return Err(request);
        }
        inbox.load.requests += 1;
        inbox.load.bytes += len;
        inbox.events.push(Event::Submit(request));
        let driver = inbox.driver.take();
        drop(inbox);
        if let Some(driver) = driver {
            driver.wake();
        }
        Ok(())
    }

    /// An attempt to connect failed.
    pub(crate) fn attempt_failed(&self, server: String, error: AttemptError, passed: bool) {
        let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let mut hopeful = last.take().map_or_else(Vec::new, |last| last.hopeful);
        hopeful.retain(|known| *known != server);
        if !matches!(
            error.kind,
            AttemptErrorKind::Tls | AttemptErrorKind::Protocol | AttemptErrorKind::TooLong
        ) {
            hopeful.push(server.clone());
        }
        *last = Some(Trouble {
            server,
            error,
            passed,
            hopeful,
        });
        drop(last);
        // Those who wait for a connection look at the trouble too.
        self.state.send_modify(|_| {});
    }

    /// Publishes where the client stands.
    pub(crate) fn set_state(&self, state: ConnState) {
        let mut followers = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        followers.retain(|follower| {
            follower
                .upgrade()
                .inspect(|cell| cell.push(state.clone()))
                .is_some()
        });
        // Still locked: whoever begins to follow now has either been told or sees the new state.
        self.state.send_replace(state);
        drop(followers);
    }

    /// Follows every change from now on.
    pub(crate) fn follow(&self) -> ConnEvents {
        let cell = Arc::new(EventCell::default());
        let mut followers = self
            .followers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The state may stay the same for ever, so those who left are forgotten here too: when the list
        // would grow, and not again before as many have come as are there.
        if followers.len() == followers.capacity() {
            followers.retain(|follower| follower.strong_count() > 0);
            let live = followers.len();
            followers.reserve(live + 1);
        }
        followers.push(Arc::downgrade(&cell));
        let state = self.state.borrow().clone();
        drop(followers);
        if state.is_closed() {
            cell.push(state);
        }
        ConnEvents::new(cell)
    }

    /// Nobody holds the watch any more.
    pub(crate) fn unsubscribe(&self, id: WatchId) {
        // A closed client has no watches.
        let _closed = self.send(Event::Unsubscribe(id));
    }

    /// A number for a new watch.
    pub(crate) fn next_watch(&self) -> WatchId {
        WatchId(self.next_watch.fetch_add(1, Ordering::Relaxed))
    }

    /// Number of the session that is or will be next.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    pub(crate) fn set_epoch(&self, epoch: u64) {
        self.epoch.store(epoch, Ordering::Release);
    }

    /// Whether servers are asked for several reads at once.
    pub(crate) fn knows_multi_read(&self) -> bool {
        !self.lacks_multi_read.load(Ordering::Relaxed)
    }

    /// They are not any more.
    pub(crate) fn forget_multi_read(&self) {
        self.lacks_multi_read.store(true, Ordering::Relaxed);
    }

    /// Highest zxid seen.
    pub(crate) fn last_zxid(&self) -> Zxid {
        Zxid::new(self.last_zxid.load(Ordering::Acquire))
    }

    pub(crate) fn set_last_zxid(&self, zxid: Zxid) {
        self.last_zxid.store(zxid.get(), Ordering::Release);
    }

    /// When the newest request that was answered had been sent.
    pub(crate) fn confirmed(&self) -> Option<Instant> {
        let confirmed = Duration::from_nanos(self.confirmed_ns.load(Ordering::Acquire));
        self.start.get()?.checked_add(confirmed)
    }

    pub(crate) fn set_confirmed(&self, start: Instant, confirmed: Duration) {
        self.start.get_or_init(|| start);
        let nanos = u64::try_from(confirmed.as_nanos()).unwrap_or(u64::MAX);
        self.confirmed_ns.store(nanos, Ordering::Release);
    }

    /// Takes what came in, and has the driver woken when something does from then on. `load` is what
    /// the driver has not resolved of what it took before. Returns what handles see in its place: what
    /// came in is part of it.
    pub(crate) fn take(
        &self,
        events: &mut Vec<DriverEvent>,
        mut load: Load,
        cx: &Context<'_>,
    ) -> Load {
        let mut inbox = self.inbox();
        for event in &inbox.events {
            if let Event::Submit(request) = event {
                load.requests += 1;
                load.bytes += request.frame.len();
            }
        }
        inbox.load = load;
        inbox.is_crowded = false;
        mem::swap(&mut inbox.events, events);
        if !inbox
            .driver
            .as_ref()
            .is_some_and(|driver| driver.will_wake(cx.waker()))
        {
            inbox.driver = Some(cx.waker().clone());
        }
        load
    }

    /// What was submitted and is not resolved.
    pub(crate) fn load(&self) -> Load {
        self.inbox().load
    }

    /// The core is closed: all that it was given is resolved.
    pub(crate) fn settle(&self) {
        self.inbox().load = Load::default();
    }

    /// Nothing is accepted any more. Returns what came in meanwhile.
    pub(crate) fn close(&self, reason: CloseReason) -> Vec<DriverEvent> {
        let mut inbox = self.inbox();
        inbox.load = Load::default();
        inbox.closed.get_or_insert(reason);
        inbox.driver = None;
        mem::take(&mut inbox.events)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn followers_that_left_are_forgotten_while_the_state_stays_the_same() {
        let shared = Shared::new();
        let stays = shared.follow();
        for _ in 0..10_000 {
            shared.follow();
        }
        let followers = shared.followers.lock().unwrap();
        assert!(followers.capacity() <= 16, "{}", followers.capacity());
        drop((followers, stays));
    }

    /// One begins over and over while it closes: at times between the one step of closing and the other.
    #[test]
    fn whoever_begins_to_follow_while_the_client_closes_is_told_so() {
        for round in 0..500 {
            let shared = Shared::new();
            let has_begun = AtomicBool::new(false);
            thread::scope(|scope| {
                scope.spawn(|| {
                    // Only the last can have come too late.
                    let mut last = [shared.follow(), shared.follow()];
                    has_begun.store(true, Ordering::Release);
                    while !shared.state.borrow().is_closed() {
                        last.rotate_left(1);
                        last[1] = shared.follow();
                    }
                    for mut events in last {
                        let told = events.next().now_or_never();
                        assert!(told.is_some(), "round {round}");
                    }
                });
                while !has_begun.load(Ordering::Acquire) {
                    thread::yield_now();
                }
                shared.set_state(ConnState::Closed(CloseReason::Requested));
            });
        }
    }
}
