use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_client::{Client, CreateMode, host};

use super::{LATCH, Leadership};
use crate::error::AcquireError;
use crate::kernel::attempt::{Attempt, Rules, Turn};
use crate::kernel::chance::unique;
use crate::kernel::claim::{Stake, protected};
use crate::kernel::hold::{HoldState, LossReason};
use crate::kernel::options::{Options, options};
use crate::kernel::retry::{Backoff, is_session_over, settled};
use crate::kernel::token::FencingToken;
use crate::lock::{Contender, contenders};

/// Stands for leadership among all participants at a path, for as long as it runs.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) {
/// let latch = zk_recipes::LeaderLatch::new(&zk, "/leader").identity("node-1").join();
/// let Some(leadership) = latch.wait_leader().await else { return };
/// leadership.spawn(async { /* what only the leader does */ });
/// leadership.lost().await; // another one follows when it is our turn again: wait_leader
/// latch.leave().await;
/// # }
/// ```
///
/// # Guarantees
/// - At most one participant believes in its leadership at any time, as far as it stops at
///   [`Leadership::lost`](crate::Hold::lost); tokens of successive leaders increase.
/// - Connections that come and go within a session cost nothing: same znode, same place, same token.
/// - A session that expires is the end of a leadership and of the place in line; the latch joins again by
///   itself, at the end.
/// - The end of a leader wakes one participant.
///
/// # Layout
/// Below the path one ephemeral sequential znode per participant, `_c_<uuid>-latch-<number>`, with its
/// identity as data.
///
/// # Source
/// Apache Curator 5, `LeaderLatch`.
#[derive(Debug, Clone)]
pub struct LeaderLatch {
    path: String,
    options: Options,
}

/// Where a participant stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaderState {
    /// In line, or getting there.
    Follower,
    /// Leads.
    Leader(FencingToken),
    /// Leads, but the connection is lost: until then, unless a server is found before.
    Suspended {
        /// When the loss was noticed.
        since: Instant,
        /// When the leadership counts as lost; `None` by [`crate::LossPolicy::Server`].
        safe_until: Option<Instant>,
    },
    /// Left, or the client is closed.
    Left,
}

/// A participant: see [`LeaderLatch::join`]. Dropped, it leaves in the background.
#[derive(Debug)]
#[must_use = "a participant leaves when it is dropped"]
pub struct Latch {
    shared: Arc<Shared>,
    leave: CancellationToken,
    task: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    path: String,
    options: Options,
    state: watch::Sender<LeaderState>,
    leadership: watch::Sender<Option<Leadership>>,
    trouble: Mutex<Option<AcquireError>>,
    /// Places in line that are being given back.
    leaving: TaskTracker,
}

impl LeaderLatch {
    /// A latch at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
        }
    }

    options!(options);

    /// Joins, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn join(&self) -> Latch {
        let shared = Arc::new(Shared {
            path: self.path.clone(),
            options: self.options.clone(),
            state: watch::Sender::new(LeaderState::Follower),
            leadership: watch::Sender::new(None),
            trouble: Mutex::default(),
            leaving: TaskTracker::new(),
        });
        let leave = CancellationToken::new();
        let task = host::spawn(participate(Arc::clone(&shared), leave.clone()));
        Latch {
            shared,
            leave,
            task: Some(task),
        }
    }

    /// All participants, the leader first, without taking part.
    ///
    /// # Errors
    /// [`AcquireError::Client`] without permission, or once the client is closed.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn participants(&self) -> Result<Vec<Contender>, AcquireError> {
        contenders(&self.options.client, &self.path, &[LATCH.to_owned()]).await
    }
}

impl Latch {
    /// Where it stands: the latest value, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<LeaderState> {
        self.shared.state.subscribe()
    }

    /// Whether it leads now. Exact at any time, even if tasks are late.
    pub fn has_leadership(&self) -> bool {
        self.leadership().is_some()
    }

    /// The leadership, if it leads now.
    pub fn leadership(&self) -> Option<Leadership> {
        let leadership = self.shared.leadership.borrow().clone();
        leadership.filter(|leadership| leadership.is_held())
    }

    /// Waits until it leads; `None` if it never will, because the client is closed.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_leader(&self) -> Option<Leadership> {
        let mut leadership = self.shared.leadership.subscribe();
        let mut state = self.shared.state.subscribe();
        loop {
            let now = leadership.borrow_and_update().clone();
            if let Some(held) = now.filter(|held| held.is_held()) {
                return Some(held);
            }
            if *state.borrow_and_update() == LeaderState::Left {
                return None;
            }
            tokio::select! {
                biased;
                changed = leadership.changed() => changed.ok()?,
                changed = state.changed() => changed.ok()?,
            }
        }
    }

    /// All participants, the leader first.
    ///
    /// # Errors
    /// [`AcquireError::Client`] without permission, or once the client is closed.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn participants(&self) -> Result<Vec<Contender>, AcquireError> {
        let shared = &self.shared;
        contenders(&shared.options.client, &shared.path, &[LATCH.to_owned()]).await
    }

    /// Who leads, as far as this client's server knows; `None` if nobody takes part.
    ///
    /// # Errors
    /// As [`Latch::participants`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn leader(&self) -> Result<Option<Contender>, AcquireError> {
        Ok(self.participants().await?.into_iter().next())
    }

    /// What keeps it from taking part, if something does: no permission, an illegal path. It goes on
    /// trying.
    pub fn trouble(&self) -> Option<AcquireError> {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Leaves, and waits until others can lead.
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn leave(mut self) {
        self.leave.cancel();
        if let Some(task) = self.task.take() {
            // It does not panic, and if the runtime is going down so does the session.
            task.await.ok();
        }
    }
}

impl Drop for Latch {
    fn drop(&mut self) {
        // The task ends by itself, with its znode.
        self.leave.cancel();
    }
}

/// How a time in line ended.
enum End {
    /// With its session, or its znode: join again.
    Again,
    /// For good.
    Closed,
}

async fn participate(shared: Arc<Shared>, leave: CancellationToken) {
    let mut attempt = None;
    tokio::select! {
        biased;
        () = leave.cancelled() => {}
        () = shared.participate(&mut attempt) => {}
    }
    if let Some(leadership) = shared.leadership.send_replace(None) {
        leadership.end();
    }
    shared.state.send_replace(LeaderState::Left);
    if let Some(attempt) = attempt {
        // What went wrong was told where it did.
        attempt.claim.release().await.ok();
    }
    // One whose creation was under way is not in the slot.
    shared.leaving.close();
    shared.leaving.wait().await;
}

impl Shared {
    /// Takes part until the client is closed. What is in line is kept with the caller.
    async fn participate(&self, slot: &mut Option<Attempt>) {
        let mut backoff = Backoff::new();
        loop {
            let error = match self.join(slot).await {
                Ok(()) => match self.stand(slot).await {
                    End::Again => {
                        *slot = None;
                        backoff = Backoff::new();
                        continue;
                    }
                    End::Closed => return,
                },
                Err(error) => error,
            };
            if self.options.client.is_closed() {
                return;
            }
            if !error.client_error().is_some_and(is_session_over) {
                self.troubled(Some(error));
                backoff.pause().await;
            }
        }
    }

    async fn join(&self, slot: &mut Option<Attempt>) -> Result<(), AcquireError> {
        let client = |error| AcquireError::client(&self.path, error);
        let session = self.options.client.session().await.map_err(client)?;
        let stake = Stake {
            parent: &self.path,
            names: vec![protected(unique(), LATCH)],
            mode: CreateMode::EphemeralSequential,
            data: self.options.identity.clone(),
        };
        *slot = Some(
            Attempt::begin_tracked(&session, &self.options, stake, &self.leaving)
                .await
                .map_err(client)?,
        );
        self.troubled(None);
        Ok(())
    }

    fn troubled(&self, error: Option<AcquireError>) {
        if let Some(error) = &error {
            tracing::warn!(path = %self.path, err = %error, "cannot take part in the election");
        }
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    /// Stands in line, and leads when it is first.
    async fn stand(&self, slot: &mut Option<Attempt>) -> End {
        let blockers = [LATCH.to_owned()];
        let rules = Rules {
            path: &self.path,
            directory: &self.path,
            blockers: &blockers,
            strangers: &[],
        };
        let Some(attempt) = slot else {
            return End::Again;
        };
        let mut backoff = Backoff::new();
        loop {
            let turn = attempt.look(&rules).await;
            if turn.is_ok() {
                self.troubled(None);
            }
            let looked = match turn {
                Ok(Turn::Missing) => return End::Again,
                Ok(Turn::First) => match self.lead(attempt).await {
                    LossReason::PresumedExpired => {
                        // The same znode may lead again, if the session goes on.
                        let session = attempt.session();
                        let asked = settled(|| session.sync(&self.path)).await;
                        asked.map_err(|error| AcquireError::client(&self.path, error))
                    }
                    LossReason::ClientClosed => return End::Closed,
                    LossReason::SessionExpired | LossReason::NodeDeleted | LossReason::Released => {
                        return End::Again;
                    }
                },
                Ok(Turn::Behind(name)) => attempt.wait(&rules, &name).await,
                Err(error) => Err(error),
            };
            match looked {
                Ok(()) => backoff = Backoff::new(),
                Err(_) if self.options.client.is_closed() => return End::Closed,
                Err(error) if error.client_error().is_some_and(is_session_over) => {
                    return End::Again;
                }
                Err(error) => {
                    self.troubled(Some(error));
                    backoff.pause().await;
                }
            }
        }
    }

    /// Leads until that is lost.
    async fn lead(&self, attempt: &mut Attempt) -> LossReason {
        let hold = Arc::new(attempt.lead(&self.options));
        let mut states = hold.states();
        let token = hold.token();
        let leadership = Leadership::new(hold);
        tracing::info!(path = %self.path, %token, "leads");
        self.leadership.send_replace(Some(leadership));
        let reason = loop {
            let state = *states.borrow_and_update();
            self.state.send_replace(match state {
                HoldState::Held => LeaderState::Leader(token),
                HoldState::Suspect { since, safe_until } => {
                    LeaderState::Suspended { since, safe_until }
                }
                HoldState::Lost(reason) => break reason,
            });
            if states.changed().await.is_err() {
                break LossReason::Released;
            }
        };
        self.leadership.send_replace(None);
        self.state.send_replace(LeaderState::Follower);
        reason
    }
}
