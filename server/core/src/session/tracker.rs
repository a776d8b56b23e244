//! Which sessions there are, when they expire, and who may speak for them.

use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::HashTable;
use zk_proto::SessionId;

use crate::mutation::mutated;
use crate::time::Time;

use super::timeout::SessionTimeout;

/// Through whom the requests of a session come: a link to a learner, or this server itself.
///
/// The driver gives each link a number of its own, also when the same learner comes back: the clients
/// of a learner that lost its leader reconnect, and then claim their sessions anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Owner(u64);

impl Owner {
    /// This server, for the clients connected to it.
    pub const SELF: Self = Self(0);

    /// The link with this number, which is not 0.
    pub const fn link(number: u64) -> Self {
        Self(number)
    }
}

/// Why a request of a session is not to be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SessionFault {
    /// There is no such session. A standalone server answers `UNKNOWNSESSION`, an ensemble
    /// `SESSIONEXPIRED`.
    #[error("session is not known")]
    Unknown,
    /// It is being closed: `SESSIONEXPIRED`.
    #[error("session is being closed")]
    Closing,
    /// Its client has connected elsewhere since: the connection that sent this is closed without a
    /// reply.
    #[error("session has moved to another server")]
    Moved,
}

/// The sessions of an ensemble at its leader, or of a standalone server, or the local ones of any.
///
/// Time is cut into ticks. A session expires at the end of the tick in which its timeout runs out:
/// between one timeout and one timeout and a tick after it was last touched.
///
/// Touching writes a deadline and no more: a session stays in the bucket where it is and moves on
/// when that bucket falls due, so that the cost of moving is paid once per timeout.
///
/// # Invariants
/// - A session that is not closing is listed in the bucket `Session::bucket`, and that is not after
///   its deadline. It may also be listed in later ones, where it is passed over.
/// - Closing sessions never expire again; they stay until [`Self::remove`].
///
/// # Source
/// Apache `ZooKeeper` 3.9, `SessionTrackerImpl`, `ExpiryQueue#roundToNextInterval`.
#[derive(Debug, Clone)]
pub struct SessionTracker {
    /// Width of a bucket in microseconds, not 0.
    tick: u64,
    sessions: HashTable<Session>,
    /// Sessions to look at, by the number of the tick at whose start they fall due.
    buckets: BTreeMap<u64, Vec<SessionId>>,
}

#[derive(Debug, Clone)]
struct Session {
    id: SessionId,
    /// The timeout of its createSession.
    timeout: SessionTimeout,
    /// Number of the tick at whose start it expires.
    deadline: u64,
    /// The earliest bucket that lists it.
    bucket: u64,
    owner: Option<Owner>,
    is_closing: bool,
}

/// Spreads ids, which count upwards, over the table. They come from servers, not from clients.
fn hash(id: SessionId) -> u64 {
    let mixed = id.get().cast_unsigned().wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 32)
}

impl SessionTracker {
    /// A tracker without sessions.
    ///
    /// # Panics
    /// If `tick` is below a microsecond.
    pub fn new(tick: Duration) -> Self {
        let tick = u64::try_from(tick.as_micros()).unwrap_or(u64::MAX);
        assert!(tick > 0, "a tick takes time");
        Self {
            tick,
            sessions: HashTable::new(),
            buckets: BTreeMap::new(),
        }
    }

    /// Begins to track a session, with its full timeout from `now` on: when it is created, and for
    /// each session that a new leader finds. One that is tracked already is touched, unless it is
    /// closing. Says whether it is new.
    pub fn track(&mut self, now: Time, id: SessionId, timeout: SessionTimeout) -> bool {
        if self.session(id).is_some() {
            self.touch(now, id, timeout);
            return false;
        }
        let deadline = self.deadline(now, timeout);
        let session = Session {
            id,
            timeout,
            deadline,
            bucket: deadline,
            owner: None,
            is_closing: false,
        };
        self.sessions
            .insert_unique(hash(id), session, |session| hash(session.id));
        self.buckets.entry(deadline).or_default().push(id);
        true
    }

    /// Re-arms the timer of a session with the timeout that its connection negotiated. `false` if
    /// there is no such session or it is closing: then the request is dropped without a reply.
    pub fn touch(&mut self, now: Time, id: SessionId, timeout: SessionTimeout) -> bool {
        let deadline = self.deadline(now, timeout);
        let Some(session) = self.sessions.find_mut(hash(id), |s| s.id == id) else {
            return false;
        };
        if session.is_closing {
            return false;
        }
        if !mutated!(SessionsAlwaysExpire) {
            session.deadline = deadline;
        }
        // A shorter timeout, or a clock that stands still: the deadline may also come nearer.
        if deadline < session.bucket {
            session.bucket = deadline;
            self.buckets.entry(deadline).or_default().push(id);
        }
        true
    }

    /// Marks the sessions that have run out as closing and appends their ids, by tick and then by
    /// id. Each is to be closed by a transaction.
    pub fn expire(&mut self, now: Time, expired: &mut Vec<SessionId>) {
        let tick = now.as_micros() / self.tick;
        if mutated!(SessionsNeverExpire) {
            self.buckets.retain(|due, _| *due > tick);
        }
        while let Some(entry) = self.buckets.first_entry() {
            let due = *entry.key();
            if due > tick {
                break;
            }
            let start = expired.len();
            for id in entry.remove() {
                let session = self.sessions.find_mut(hash(id), |s| s.id == id);
                let Some(session) = session.filter(|s| s.bucket == due && !s.is_closing) else {
                    continue;
                };
                if session.deadline == due {
                    session.is_closing = true;
                    expired.push(id);
                } else {
                    session.bucket = session.deadline;
                    self.buckets.entry(session.bucket).or_default().push(id);
                }
            }
            if let Some(new) = expired.get_mut(start..) {
                new.sort_unstable();
            }
        }
    }

    /// When [`Self::expire`] has something to do next. It may find that all were touched.
    pub fn next_deadline(&self) -> Option<Time> {
        let (&tick, _) = self.buckets.first_key_value()?;
        Some(Time::from_micros(tick.saturating_mul(self.tick)))
    }

    /// Marks a session whose end has been asked for: from here on its requests are refused.
    pub fn set_closing(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.find_mut(hash(id), |s| s.id == id) {
            session.is_closing = true;
        }
    }

    /// Forgets a session whose end has been applied.
    pub fn remove(&mut self, id: SessionId) {
        if let Ok(entry) = self.sessions.find_entry(hash(id), |s| s.id == id) {
            entry.remove();
        }
    }

    /// Makes `owner` the one through whom a session speaks: when it is created or resumed.
    ///
    /// # Errors
    /// [`SessionFault::Unknown`] and [`SessionFault::Closing`]: then it cannot be resumed.
    pub fn set_owner(&mut self, id: SessionId, owner: Owner) -> Result<(), SessionFault> {
        self.live(id)?.owner = Some(owner);
        Ok(())
    }

    /// Checks that a request of a session may be executed and came through its owner. The first to
    /// ask owns a session that nobody owns.
    ///
    /// # Errors
    /// In this order: [`SessionFault::Unknown`], [`SessionFault::Closing`], [`SessionFault::Moved`].
    pub fn check(&mut self, id: SessionId, owner: Owner) -> Result<(), SessionFault> {
        let session = self.live(id)?;
        if *session.owner.get_or_insert(owner) == owner {
            Ok(())
        } else {
            Err(SessionFault::Moved)
        }
    }

    /// Whether a session can be resumed: known and not closing.
    pub fn is_alive(&self, id: SessionId) -> bool {
        self.session(id).is_some_and(|session| !session.is_closing)
    }

    /// The timeout that a session was created with.
    pub fn timeout(&self, id: SessionId) -> Option<SessionTimeout> {
        self.session(id).map(|session| session.timeout)
    }

    /// Number of sessions, closing ones included.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// All sessions with the time of their expiry, by id; closing ones have none.
    pub fn sessions(&self) -> BTreeMap<SessionId, Option<Time>> {
        let due = |session: &Session| {
            let at = Time::from_micros(session.deadline.saturating_mul(self.tick));
            (!session.is_closing).then_some(at)
        };
        #[expect(clippy::disallowed_methods, reason = "the result is in order")]
        let sessions = self.sessions.iter();
        sessions.map(|session| (session.id, due(session))).collect()
    }

    /// The tick at whose start a timeout that begins now has run out for certain.
    fn deadline(&self, now: Time, timeout: SessionTimeout) -> u64 {
        (now + timeout.as_duration()).as_micros() / self.tick + 1
    }

    fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.find(hash(id), |session| session.id == id)
    }

    fn live(&mut self, id: SessionId) -> Result<&mut Session, SessionFault> {
        let session = self.sessions.find_mut(hash(id), |s| s.id == id);
        let session = session.ok_or(SessionFault::Unknown)?;
        if session.is_closing {
            Err(SessionFault::Closing)
        } else {
            Ok(session)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const A: SessionId = SessionId::new(1);

    fn tracker() -> SessionTracker {
        SessionTracker::new(Duration::from_millis(500))
    }

    fn millis(millis: i32) -> SessionTimeout {
        SessionTimeout::from_millis(millis)
    }

    fn at(millis: u64) -> Time {
        Time::from_millis(millis)
    }

    fn expire(tracker: &mut SessionTracker, now: u64) -> Vec<SessionId> {
        let mut expired = Vec::new();
        tracker.expire(at(now), &mut expired);
        expired
    }

    #[test]
    fn session_expires_within_a_tick_after_its_timeout() {
        let mut tracker = tracker();
        tracker.track(at(190), A, millis(1000));
        assert_eq!(tracker.next_deadline(), Some(at(1500)));
        assert_eq!(expire(&mut tracker, 1499), []);
        assert_eq!(expire(&mut tracker, 1500), [A]);
        assert_eq!(expire(&mut tracker, 9000), []);
        assert!(!tracker.is_alive(A) && tracker.len() == 1);
        tracker.remove(A);
        assert!(tracker.is_empty());
    }

    #[test]
    fn touched_session_lives_on() {
        let mut tracker = tracker();
        tracker.track(at(0), A, millis(1000));
        for now in 1..100 {
            assert!(tracker.touch(at(now * 900), A, millis(1000)));
            assert_eq!(expire(&mut tracker, now * 900), []);
        }
    }

    #[test]
    fn shorter_timeout_of_a_new_connection_counts() {
        let mut tracker = tracker();
        tracker.track(at(0), A, millis(40_000));
        tracker.touch(at(10), A, millis(1000));
        assert_eq!(expire(&mut tracker, 1500), [A]);
    }

    #[test]
    fn closing_session_is_neither_touched_nor_expired_nor_resumed() {
        let mut tracker = tracker();
        tracker.track(at(0), A, millis(1000));
        tracker.set_closing(A);
        assert!(!tracker.touch(at(1), A, millis(1000)));
        assert!(!tracker.track(at(1), A, millis(1000)));
        assert_eq!(tracker.check(A, Owner::SELF), Err(SessionFault::Closing));
        assert_eq!(
            tracker.set_owner(A, Owner::SELF),
            Err(SessionFault::Closing)
        );
        assert_eq!(expire(&mut tracker, 99_000), []);
    }

    #[test]
    fn moved_session_answers_its_last_owner_only() {
        let mut tracker = tracker();
        let (old, new) = (Owner::link(1), Owner::link(2));
        assert_eq!(tracker.check(A, old), Err(SessionFault::Unknown));
        tracker.track(at(0), A, millis(1000));
        assert_eq!(tracker.check(A, old), Ok(()));
        assert_eq!(tracker.check(A, new), Err(SessionFault::Moved));
        assert_eq!(tracker.set_owner(A, new), Ok(()));
        assert_eq!(tracker.check(A, old), Err(SessionFault::Moved));
        assert_eq!(tracker.check(A, new), Ok(()));
    }

    #[test]
    fn late_look_finds_all_in_order_of_ticks_then_ids() {
        let mut tracker = tracker();
        for (id, timeout) in [(5, 3000), (9, 1000), (2, 3000), (7, 1000), (1, 2000)] {
            tracker.track(at(0), SessionId::new(id), millis(timeout));
        }
        let ids: Vec<_> = expire(&mut tracker, 50_000)
            .iter()
            .map(|id| id.get())
            .collect();
        assert_eq!(ids, [7, 9, 1, 2, 5]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Track(i64, i32),
        Touch(i64, i32),
        Close(i64),
        Remove(i64),
        Sleep(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            2 => (0i64..6, 0i32..5000).prop_map(|(id, t)| Step::Track(id, t)),
            6 => (0i64..6, 0i32..5000).prop_map(|(id, t)| Step::Touch(id, t)),
            1 => (0i64..6).prop_map(Step::Close),
            1 => (0i64..6).prop_map(Step::Remove),
            4 => (0u64..3000).prop_map(Step::Sleep),
        ]
    }

    proptest! {
        #[test]
        fn tracker_expires_what_a_list_of_deadlines_would(
            steps in proptest::collection::vec(step(), 0..150),
        ) {
            let mut tracker = tracker();
            // Deadline in milliseconds; none for closing sessions.
            let mut model: BTreeMap<i64, Option<u64>> = BTreeMap::new();
            let deadline = |now: u64, timeout: i32| (now + u64::from(timeout.cast_unsigned())) / 500 * 500 + 500;
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Track(id, timeout) => {
                        let new = tracker.track(at(now), SessionId::new(id), millis(timeout));
                        prop_assert_eq!(new, !model.contains_key(&id));
                        let due = model.entry(id).or_insert(Some(0));
                        *due = due.map(|_| deadline(now, timeout));
                    }
                    Step::Touch(id, timeout) => {
                        let touched = tracker.touch(at(now), SessionId::new(id), millis(timeout));
                        let due = model.get_mut(&id);
                        prop_assert_eq!(touched, due.as_ref().is_some_and(|due| due.is_some()));
                        if let Some(due) = due {
                            *due = due.map(|_| deadline(now, timeout));
                        }
                    }
                    Step::Close(id) => {
                        tracker.set_closing(SessionId::new(id));
                        model.entry(id).and_modify(|due| *due = None);
                        if !tracker.sessions().contains_key(&SessionId::new(id)) {
                            model.remove(&id);
                        }
                    }
                    Step::Remove(id) => {
                        tracker.remove(SessionId::new(id));
                        model.remove(&id);
                    }
                    Step::Sleep(millis) => {
                        now += millis;
                        let mut due: Vec<_> = model
                            .iter()
                            .filter_map(|(&id, &due)| due.filter(|&due| due <= now).map(|due| (due, id)))
                            .collect();
                        due.sort_unstable();
                        for (_, id) in &due {
                            model.insert(*id, None);
                        }
                        let due: Vec<_> = due.into_iter().map(|(_, id)| SessionId::new(id)).collect();
                        prop_assert_eq!(expire(&mut tracker, now), due);
                    }
                }
                let sessions: BTreeMap<_, _> = model
                    .iter()
                    .map(|(&id, &due)| (SessionId::new(id), due.map(at)))
                    .collect();
                prop_assert_eq!(tracker.sessions(), sessions);
                let first = model.values().filter_map(|due| *due).min();
                if let Some(first) = first {
                    prop_assert!(tracker.next_deadline().unwrap() <= at(first));
                }
            }
        }
    }
}
