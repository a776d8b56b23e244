//! Whether what was won still holds.
//!
//! ```text
//!   Held ──disconnected──▶ Suspect ──same session, own znode seen on the new connection──▶ Held
//!     │                       │
//!     └───────────┬───────────┘
//!                 ▼
//!               Lost         for good, told once
//! ```

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::select_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zk_client::{
    ConnEvents, ConnState, Error, ErrorKind, Pending, Session, SessionHold, Stat, Version, Watch,
    WatchEnd, host, op,
};

use super::claim::delete_all;
use super::clock::now;
use super::retry::settled;
use super::token::FencingToken;
use crate::error::Lost;

/// When what was won counts as lost.
///
/// No local rule notices that the whole process stood still for longer than the session timeout, or that
/// the machine slept, during which its clock stands: what must not be touched by two holders needs
/// [`FencingToken`]s. Only that clock counts, not the time of day, which may jump as it likes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum LossPolicy {
    /// With the first lost connection, even if the session goes on.
    Strict,
    /// Two thirds of the session timeout after the sending of the newest request that a server has
    /// answered, when a server says that the session has expired, or when the own znode is gone.
    ///
    /// The third that is left covers clocks that run at different rates, the delay with which
    /// followers tell the leader of a session's life, and late timers.
    #[default]
    Deadline,
    /// Only when a server says so. **Not for mutual exclusion**: behind a dead network another holder
    /// may have been let in long before.
    Server,
}

/// Why something that was won is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LossReason {
    /// A server said that the session has expired.
    SessionExpired,
    /// No server was heard of for so long that the session may have expired; by
    /// [`LossPolicy::Strict`] also a lost connection.
    PresumedExpired,
    /// Somebody deleted the own znode.
    NodeDeleted,
    /// The client is closed, or being closed.
    ClientClosed,
    /// It was given back.
    Released,
}

/// Whether something that was won still holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HoldState {
    /// It does.
    Held,
    /// The connection is lost: it does until then, unless a server is found before.
    Suspect {
        /// When the loss was noticed.
        since: Instant,
        /// When it counts as lost; `None` by [`LossPolicy::Server`].
        safe_until: Option<Instant>,
    },
    /// It does not any more.
    Lost(LossReason),
}

/// Share of the session timeout for which a hold is trusted, as a fraction.
const SAFE_SHARE: (u32, u32) = (2, 3);

/// Share of the session timeout for which a proof of the session is new enough to begin a hold with: it is as
/// old as that while something is held.
const FRESH_SHARE: u32 = 6;

/// Has the leader show that the session lives, unless it has just done so. For whoever is about to win
/// something after a wait: one who waits only reads and pings, and a hold is trusted from the last proof on.
pub(crate) async fn prove(session: &Session, path: &str) -> Result<(), Error> {
    let fresh = session.timeout() / FRESH_SHARE;
    let is_fresh = |confirmed| now() < confirmed + fresh;
    if session.confirmed().is_some_and(is_fresh) {
        return Ok(());
    }
    settled(|| session.sync(path)).await
}

/// What was won, while it lasts: a lock, a lease, a leadership.
///
/// It watches the own znodes and the session by itself, and tells when it is lost at most once, no
/// later than [`Hold::safe_until`].
#[derive(Debug)]
pub struct Hold {
    inner: Arc<Inner>,
    monitor: JoinHandle<()>,
    /// Has the client look after the session more closely.
    _attention: SessionHold,
}

#[derive(Debug)]
struct Inner {
    session: Session,
    /// Own znodes. Invariant: not empty.
    paths: Vec<String>,
    token: FencingToken,
    policy: LossPolicy,
    state: watch::Sender<HoldState>,
    cancellation: CancellationToken,
    /// Whether the own znodes are to go when the loss is presumed only, so that others can go on.
    deletes: bool,
    runtime: Handle,
}

/// What a hold is made of.
pub(crate) struct Won {
    pub(crate) session: Session,
    pub(crate) paths: Vec<String>,
    pub(crate) token: FencingToken,
    pub(crate) policy: LossPolicy,
    pub(crate) deletes: bool,
    /// Subscribed before the look that it was won by.
    pub(crate) events: ConnEvents,
    /// Of the own znodes, as far as they can be watched.
    pub(crate) watches: Vec<Watch>,
    /// For watches of the own znodes, if they are not watched yet.
    pub(crate) asked: Vec<Pending<(Option<Stat>, Watch)>>,
}

impl Hold {
    pub(crate) fn new(won: Won) -> Self {
        let inner = Arc::new(Inner {
            session: won.session,
            paths: won.paths,
            token: won.token,
            policy: won.policy,
            state: watch::Sender::new(HoldState::Held),
            cancellation: CancellationToken::new(),
            deletes: won.deletes,
            runtime: Handle::current(),
        });
        let attention = inner.session.hold();
        let monitor = Monitor {
            inner: Arc::clone(&inner),
            events: won.events,
            watches: won.watches,
            asked: won.asked,
        };
        Self {
            monitor: host::spawn(monitor.run()),
            inner,
            _attention: attention,
        }
    }

    /// The session that this is held in.
    pub fn session(&self) -> &Session {
        &self.inner.session
    }

    /// Path of the own znode.
    pub fn node_path(&self) -> &str {
        self.inner.path()
    }

    /// Tells this hold from others of the same path; see [`FencingToken`].
    pub fn token(&self) -> FencingToken {
        self.inner.token
    }

    /// Whether it may be relied on now. Exact at any time, even if tasks are late.
    pub fn is_held(&self) -> bool {
        self.inner.settled().is_none()
    }

    /// Where it stands.
    pub fn state(&self) -> HoldState {
        match self.inner.settled() {
            Some(reason) => HoldState::Lost(reason),
            None => *self.inner.state.borrow(),
        }
    }

    /// Changes of where it stands.
    pub fn states(&self) -> watch::Receiver<HoldState> {
        self.inner.state.subscribe()
    }

    /// Until when it may be relied on if no server is heard of any more; moves on with every answer.
    /// `None` by [`LossPolicy::Server`], and once the session is over. The clock may stand still while
    /// the machine is suspended, as [`zk_client::Session::confirmed`] says.
    pub fn safe_until(&self) -> Option<Instant> {
        self.inner.safe_until()
    }

    /// Waits until it is lost, or released.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect. Any number may wait.
    pub fn lost(&self) -> impl Future<Output = LossReason> + Send + 'static {
        let mut state = self.inner.state.subscribe();
        async move {
            let is_lost = |state: &HoldState| matches!(state, HoldState::Lost(_));
            match state.wait_for(is_lost).await.as_deref() {
                Ok(HoldState::Lost(reason)) => *reason,
                // The hold is gone with its sender.
                _ => LossReason::Released,
            }
        }
    }

    /// A token that is cancelled when it is lost or released.
    pub fn cancellation(&self) -> CancellationToken {
        self.inner.cancellation.child_token()
    }

    /// Runs a future, and drops it when this is lost.
    ///
    /// # Errors
    /// [`Lost`] if it was lost before the future was done.
    ///
    /// # Cancel safety
    /// Dropping it drops the future.
    pub async fn run<F: Future>(&self, future: F) -> Result<F::Output, Lost> {
        tokio::select! {
            biased;
            reason = self.lost() => Err(self.inner.lost(reason)),
            output = future => match self.inner.settled() {
                Some(reason) => Err(self.inner.lost(reason)),
                None => Ok(output),
            },
        }
    }

    /// Checks that it is held: a cheap point to stop at in long work.
    ///
    /// # Errors
    /// [`Lost`] if it is not.
    pub fn check(&self) -> Result<(), Lost> {
        match self.inner.settled() {
            Some(reason) => Err(self.inner.lost(reason)),
            None => Ok(()),
        }
    }

    /// Begins a transaction that takes effect only if the own znode is still there: the strongest
    /// fence for what is kept in the ensemble itself.
    ///
    /// When it fails with [`ErrorKind::NoNode`] at index 0, or with [`ErrorKind::SessionExpired`], the
    /// hold is lost; see [`Hold::is_loss`].
    pub fn transaction(&self) -> op::Transaction<'_> {
        let session = &self.inner.session;
        session.transaction().check(self.inner.path(), Version::ANY)
    }

    /// Whether the error of a [`Hold::transaction`] says that the hold is lost.
    pub fn is_loss(error: &Error) -> bool {
        error.is_session_fatal()
            || error.kind() == ErrorKind::NoNode && error.transaction_index() == Some(0)
    }

    /// Ends it: nothing is lost any more.
    pub(crate) fn end(&self) {
        self.inner.end(LossReason::Released);
    }

    /// Why it was lost, if it was.
    pub(crate) fn loss(&self) -> Option<Lost> {
        let reason = self.inner.settled()?;
        Some(self.inner.lost(reason))
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.inner.end(LossReason::Released);
        self.monitor.abort();
    }
}

impl Inner {
    fn path(&self) -> &str {
        self.paths.first().map_or("", String::as_str)
    }

    fn lost(&self, reason: LossReason) -> Lost {
        Lost {
            path: self.path().to_owned(),
            reason,
        }
    }

    fn safe_until(&self) -> Option<Instant> {
        match self.policy {
            LossPolicy::Server => None,
            LossPolicy::Strict | LossPolicy::Deadline => {
                let (share, of) = SAFE_SHARE;
                Some(self.session.confirmed()? + self.session.timeout() * share / of)
            }
        }
    }

    /// Why it is lost, if it is at this moment: then it is for good, and everybody is told.
    fn settled(&self) -> Option<LossReason> {
        let reason = self.loss(now())?;
        self.end(reason);
        Some(reason)
    }

    /// Why it is lost at this moment, whatever the monitor has noticed of it.
    fn loss(&self, now: Instant) -> Option<LossReason> {
        if let HoldState::Lost(reason) = *self.state.borrow() {
            return Some(reason);
        }
        let safe_until = self.safe_until();
        if self.session.is_over() {
            return Some(if self.session.is_closed() {
                LossReason::ClientClosed
            } else {
                LossReason::SessionExpired
            });
        }
        let is_late = self.policy != LossPolicy::Server && safe_until.is_none_or(|at| at <= now);
        is_late.then_some(LossReason::PresumedExpired)
    }

    /// Ends it for good, once.
    fn end(&self, reason: LossReason) -> bool {
        let is_first = self.state.send_if_modified(|state| {
            let is_first = !matches!(state, HoldState::Lost(_));
            if is_first {
                *state = HoldState::Lost(reason);
            }
            is_first
        });
        self.cancellation.cancel();
        if is_first && reason != LossReason::Released {
            tracing::warn!(path = %self.path(), ?reason, token = %self.token, "hold lost");
        }
        let may_be_left = match reason {
            // The session may go on after all.
            LossReason::PresumedExpired => true,
            // One of several is gone.
            LossReason::NodeDeleted => self.paths.len() > 1,
            LossReason::SessionExpired | LossReason::ClientClosed | LossReason::Released => false,
        };
        if is_first && may_be_left && self.deletes {
            // The own znodes are in others' way.
            let (session, paths) = (self.session.clone(), self.paths.clone());
            host::spawn_on(&self.runtime, async move {
                if let Err(error) = delete_all(&session, &paths).await
                    && !error.is_session_fatal()
                {
                    tracing::warn!(err = %error, "znodes of a lost hold cannot be deleted");
                }
            });
        }
        is_first
    }

    fn suspect(&self, since: Instant) {
        let safe_until = self.safe_until();
        self.state.send_if_modified(|state| {
            let is_held = *state == HoldState::Held;
            if is_held {
                *state = HoldState::Suspect { since, safe_until };
            }
            is_held
        });
    }

    fn trust(&self) {
        self.state.send_if_modified(|state| {
            let is_suspect = matches!(state, HoldState::Suspect { .. });
            if is_suspect {
                *state = HoldState::Held;
            }
            is_suspect
        });
    }
}

/// What the look at the own znodes found.
enum Seen {
    /// All there, and watched as far as that is allowed.
    There(Vec<Watch>),
    Gone,
    /// There is nobody to ask any more.
    Over,
}

/// Looks after a hold until it is lost.
struct Monitor {
    inner: Arc<Inner>,
    events: ConnEvents,
    watches: Vec<Watch>,
    asked: Vec<Pending<(Option<Stat>, Watch)>>,
}

impl Monitor {
    async fn run(self) {
        let Self {
            inner,
            mut events,
            watches,
            asked,
        } = self;
        let mut watches: FuturesUnordered<Watch> = watches.into_iter().collect();
        // A look at the own znodes that is under way.
        let mut looks = FuturesUnordered::new();
        if !asked.is_empty() {
            looks.push(look(Arc::clone(&inner), asked));
        }
        loop {
            let deadline = inner.safe_until();
            let reason = tokio::select! {
                biased;
                () = wait_until(deadline) => match inner.loss(now()) {
                    Some(reason) => reason,
                    // A server was heard of meanwhile.
                    None => continue,
                },
                event = events.next() => match event {
                    None => LossReason::ClientClosed,
                    Some(event) => match inner.take(&event) {
                        Err(reason) => reason,
                        Ok(false) => continue,
                        Ok(true) => {
                            looks.clear();
                            looks.push(look(Arc::clone(&inner), Vec::new()));
                            continue;
                        }
                    },
                },
                Some(end) = watches.next(), if !watches.is_empty() => match end {
                    WatchEnd::Event(_) => {
                        if matches!(*inner.state.borrow(), HoldState::Lost(_)) {
                            // Our own doing.
                            return;
                        }
                        looks.clear();
                        looks.push(look(Arc::clone(&inner), Vec::new()));
                        continue;
                    }
                    WatchEnd::SessionEnded(_) => LossReason::SessionExpired,
                    WatchEnd::Closed(_) | _ => LossReason::ClientClosed,
                },
                Some(seen) = looks.next(), if !looks.is_empty() => match seen {
                    Seen::There(fresh) => {
                        watches = fresh.into_iter().collect();
                        // Unless the connection was lost again: then another look follows.
                        if inner.session.state().borrow().is_connected() {
                            inner.trust();
                        }
                        continue;
                    }
                    Seen::Gone => LossReason::NodeDeleted,
                    Seen::Over => {
                        if inner.session.is_closed() {
                            LossReason::ClientClosed
                        } else {
                            LossReason::SessionExpired
                        }
                    }
                },
            };
            inner.end(reason);
            // Keeps what the watches of own znodes tell coming while these are being deleted, so
            // that the server need not be told to forget them.
            if !watches.is_empty() {
                let _gone = select_all(std::mem::take(&mut watches)).await;
            }
            return;
        }
    }
}

impl Inner {
    /// Takes in what became of the connection. Tells whether the own znodes are to be looked at.
    fn take(&self, event: &ConnState) -> Result<bool, LossReason> {
        let session = self.session.id();
        match event {
            ConnState::Suspended {
                session: id, since, ..
            } if *id == session => {
                if self.policy == LossPolicy::Strict {
                    return Err(LossReason::PresumedExpired);
                }
                self.suspect(*since);
                Ok(false)
            }
            ConnState::Connected { session: id, .. } if *id == session => {
                Ok(matches!(*self.state.borrow(), HoldState::Suspect { .. }))
            }
            ConnState::Expired { session: id } if *id == session => Err(LossReason::SessionExpired),
            ConnState::Closing | ConnState::Closed(_) => Err(LossReason::ClientClosed),
            // What is left is about sessions before this one.
            ConnState::Connecting
            | ConnState::Connected { .. }
            | ConnState::Suspended { .. }
            | ConnState::Expired { .. }
            | _ => Ok(false),
        }
    }
}

/// Looks whether the own znodes are still there, and watches them: by what was asked already, or else anew
/// behind a sync.
async fn look(inner: Arc<Inner>, asked: Vec<Pending<(Option<Stat>, Watch)>>) -> Seen {
    let session = &inner.session;
    if let Some(seen) = answered(session, asked).await {
        return seen;
    }
    if let Err(error) = settled(|| session.sync(inner.path())).await
        && error.is_session_fatal()
    {
        return Seen::Over;
    }
    let mut watches = Vec::new();
    for path in &inner.paths {
        match settled(|| session.exists(path).watch()).await {
            Ok((Some(stat), watch)) if stat.ephemeral_owner == session.id() => watches.push(watch),
            Ok(_) => return Seen::Gone,
            Err(error) if error.is_session_fatal() => return Seen::Over,
            Err(error) => {
                tracing::debug!(%path, err = %error, "own znode cannot be watched");
            }
        }
    }
    Seen::There(watches)
}

/// What the answers say; `None` if there are none to go by.
async fn answered(session: &Session, asked: Vec<Pending<(Option<Stat>, Watch)>>) -> Option<Seen> {
    if asked.is_empty() {
        return None;
    }
    let mut watches = Vec::new();
    for answer in asked {
        match answer.await {
            Ok((Some(stat), watch)) if stat.ephemeral_owner == session.id() => watches.push(watch),
            Ok(_) => return Some(Seen::Gone),
            Err(error) if error.kind() == ErrorKind::NoAuth => {}
            Err(_) => return None,
        }
    }
    Some(Seen::There(watches))
}

/// Waits until then; for ever without a moment.
async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
