use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zk_client::{
    Client, CreateMode, Error, ErrorKind, Node, Outcome, Session, SessionId, Watch, Zxid, host,
};

use crate::kernel::claim::{Claim, Stake};
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{make_parents, name, parent};
use crate::kernel::retry::{Backoff, is_session_over, settled};

/// Own sessions that are remembered, to know what they have left behind.
const SESSIONS_MAX: usize = 16;

/// A znode that is kept in being: created, and created again whenever it is gone, with the data last
/// asked for, over lost connections and sessions.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let kept = zk_recipes::KeepNode::new(&zk, "/workers/me", "idle").start();
/// kept.ready().await;
/// kept.set_data("busy");
/// kept.close().await;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// - What its own earlier session has left is replaced in one transaction: others see no gap.
/// - The data last asked for wins, whenever it was asked for.
/// - Closing deletes it, even while its creation is under way.
///
/// # Source
/// Apache Curator 5, `PersistentNode`, which re-creates the znode only after the server has let go of the
/// old one, and stops for good without a word when it has no permission.
#[derive(Debug, Clone)]
pub struct KeepNode {
    path: String,
    options: Options,
    data: Bytes,
    mode: KeepMode,
    conflict: Conflict,
}

/// What kind of znode is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KeepMode {
    /// It is gone with the session, and back with the next.
    #[default]
    Ephemeral,
    /// As before; the server puts a number behind its name, which is kept. Nobody else may use the
    /// name before it.
    EphemeralSequential,
    /// It stays until it is closed.
    Persistent,
}

/// What to do when somebody else's znode is at the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Conflict {
    /// Wait until it is gone.
    #[default]
    Wait,
    /// Take its place, in one transaction.
    Steal,
    /// Give up: [`KeepState::Refused`].
    Refuse,
}

/// How a kept znode is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum KeepState {
    /// Not there yet, or gone and not back yet.
    Absent,
    /// There, with the data asked for.
    Kept {
        /// Its path.
        path: String,
        /// The transaction that created it.
        czxid: Zxid,
    },
    /// Somebody else's is there.
    Taken {
        /// The other's session; [`SessionId::NONE`] if it is persistent.
        owner: SessionId,
    },
    /// Somebody else's is there, and it was given up.
    Refused {
        /// The other's session; [`SessionId::NONE`] if it is persistent.
        owner: SessionId,
    },
    /// It cannot be created or written; that is tried on.
    Troubled(Error),
    /// Closed.
    Closed,
}

/// A znode that is kept in being: see [`KeepNode::start`]. Dropped, it is closed in the background.
#[derive(Debug)]
#[must_use = "a znode is let go when this is dropped"]
pub struct Kept {
    data: watch::Sender<Bytes>,
    state: watch::Receiver<KeepState>,
    close: CancellationToken,
    task: Option<JoinHandle<()>>,
}

impl KeepNode {
    /// A znode at this path, ephemeral unless told otherwise. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>, data: impl Into<Bytes>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
            data: data.into(),
            mode: KeepMode::default(),
            conflict: Conflict::default(),
        }
    }

    options!(options);

    /// What kind of znode.
    #[must_use]
    pub fn mode(mut self, mode: KeepMode) -> Self {
        self.mode = mode;
        self
    }

    /// What to do when somebody else's znode is at the path. A persistent znode that is there already is
    /// nobody's, and taken over.
    #[must_use]
    pub fn conflict(mut self, conflict: Conflict) -> Self {
        self.conflict = conflict;
        self
    }

    /// Begins to keep it, in the background.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Kept {
        let (data, wanted) = watch::channel(self.data.clone());
        let (sender, state) = watch::channel(KeepState::Absent);
        let close = CancellationToken::new();
        let keeper = Keeper {
            keep: self,
            wanted,
            state: sender,
            path: None,
            sessions: VecDeque::new(),
        };
        let task = host::spawn(keeper.run(close.clone()));
        Kept {
            data,
            state,
            close,
            task: Some(task),
        }
    }
}

impl Kept {
    /// Waits until it is there; its path. `None` if it never will be: it was given up, or the client is
    /// closed. Trouble is no end: it is tried on, and [`Kept::state`] says what it is.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn ready(&self) -> Option<String> {
        let mut state = self.state.clone();
        let settled = |state: &KeepState| {
            matches!(
                state,
                KeepState::Kept { .. } | KeepState::Refused { .. } | KeepState::Closed
            )
        };
        match state.wait_for(settled).await.as_deref() {
            Ok(KeepState::Kept { path, .. }) => Some(path.clone()),
            _ => None,
        }
    }

    /// How it is: the latest value, and a way to wait for the next.
    pub fn state(&self) -> watch::Receiver<KeepState> {
        self.state.clone()
    }

    /// Its path, while it is there.
    pub fn path(&self) -> Option<String> {
        if let KeepState::Kept { path, .. } = &*self.state.borrow() {
            Some(path.clone())
        } else {
            None
        }
    }

    /// Has it hold other data. The data asked for last wins.
    pub fn set_data(&self, data: impl Into<Bytes>) {
        self.data.send_replace(data.into());
    }

    /// The data asked for last.
    pub fn data(&self) -> Bytes {
        self.data.borrow().clone()
    }

    /// Deletes it and waits until it is gone.
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn close(mut self) {
        self.close.cancel();
        if let Some(task) = self.task.take() {
            // It does not panic, and if the runtime is going down so does the session.
            task.await.ok();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // The task ends by itself, with its znode.
        self.close.cancel();
    }
}

/// The task behind a [`Kept`].
struct Keeper {
    keep: KeepNode,
    wanted: watch::Receiver<Bytes>,
    state: watch::Sender<KeepState>,
    /// Path with its number, once there is one.
    path: Option<String>,
    /// Sessions in which it was created, the last one last.
    sessions: VecDeque<SessionId>,
}

/// Why the task stops looking after its znode.
enum Stop {
    /// For another attempt, on another session perhaps.
    Again(Error),
    /// For good.
    Refused,
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Again(error)
    }
}

impl Keeper {
    async fn run(mut self, close: CancellationToken) {
        let is_closed = tokio::select! {
            biased;
            () = close.cancelled() => true,
            is_refused = self.keep() => !is_refused,
        };
        if is_closed {
            self.remove().await;
            self.state.send_replace(KeepState::Closed);
        }
    }

    fn client(&self) -> &Client {
        &self.keep.options.client
    }

    /// Keeps it until it is given up, which it tells, or the client is closed.
    async fn keep(&mut self) -> bool {
        let mut backoff = Backoff::new();
        loop {
            let session = match self.client().session().await {
                Ok(session) => session,
                Err(_) if self.client().is_closed() => return false,
                Err(_) => continue,
            };
            match self.keep_in(&session, &mut backoff).await {
                Stop::Refused => return true,
                Stop::Again(_) if self.client().is_closed() => return false,
                Stop::Again(error) if is_session_over(&error) => {
                    self.state.send_replace(KeepState::Absent);
                }
                Stop::Again(error) => {
                    tracing::warn!(path = %self.keep.path, err = %error, "cannot keep the znode");
                    self.state.send_replace(KeepState::Troubled(error));
                    backoff.pause().await;
                }
            }
        }
    }

    async fn keep_in(&mut self, session: &Session, backoff: &mut Backoff) -> Stop {
        loop {
            match self.reconcile(session).await {
                Ok(Some(watch)) => {
                    *backoff = Backoff::new();
                    let wanted = &mut self.wanted;
                    tokio::select! {
                        biased;
                        // However it ended: the session tells if it is over.
                        _end = watch => {}
                        changed = wanted.changed() => if changed.is_err() {
                            // The handle is gone, and has told to close.
                            std::future::pending::<()>().await;
                        },
                        () = session.over() => {}
                    }
                }
                // Something was changed: look again.
                Ok(None) => {}
                Err(stop) => return stop,
            }
        }
    }

    /// Takes one step towards what is wanted; a watch if nothing is left to do.
    async fn reconcile(&mut self, session: &Session) -> Result<Option<Watch>, Stop> {
        let data = self.wanted.borrow_and_update().clone();
        let Some(path) = self.target(session, &data).await? else {
            return Ok(None);
        };
        let (node, watch) = match settled(|| session.get(&path).watch()).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NoNode => {
                self.state.send_replace(KeepState::Absent);
                self.create(session, &path, &data).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let owner = node.stat.ephemeral_owner;
        let is_ephemeral = self.keep.mode != KeepMode::Persistent;
        let is_own = if is_ephemeral {
            owner == session.id()
        } else {
            owner == SessionId::NONE
        };
        if is_own {
            if node.data != data {
                // Nobody else writes it; setting the same twice does no harm.
                let set = settled(|| session.set(&path, data.clone()).idempotent()).await;
                match set {
                    Err(error) if error.kind() == ErrorKind::NoNode => {}
                    set => drop(set?),
                }
                return Ok(None);
            }
            let czxid = node.stat.czxid;
            self.state.send_if_modified(|state| {
                let is_new =
                    !matches!(state, KeepState::Kept { czxid: known, .. } if *known == czxid);
                if is_new {
                    *state = KeepState::Kept { path, czxid };
                }
                is_new
            });
            return Ok(Some(watch));
        }
        let is_left_over = is_ephemeral && self.sessions.contains(&owner);
        match self.keep.conflict {
            _ if is_left_over => {
                self.replace(session, &path, &node, &data).await?;
                Ok(None)
            }
            Conflict::Steal => {
                self.replace(session, &path, &node, &data).await?;
                Ok(None)
            }
            Conflict::Wait => {
                self.state.send_replace(KeepState::Taken { owner });
                Ok(Some(watch))
            }
            Conflict::Refuse => {
                self.state.send_replace(KeepState::Refused { owner });
                Err(Stop::Refused)
            }
        }
    }

    /// The path to keep: for a sequential znode that of the first one. `None` if it was just created.
    async fn target(&mut self, session: &Session, data: &Bytes) -> Result<Option<String>, Error> {
        if let Some(path) = &self.path {
            return Ok(Some(path.clone()));
        }
        let path = &self.keep.path;
        if self.keep.mode != KeepMode::EphemeralSequential {
            self.path = Some(path.clone());
            return Ok(self.path.clone());
        }
        let stake = Stake {
            parent: parent(path),
            names: vec![name(path).to_owned()],
            mode: CreateMode::EphemeralSequential,
            data: data.clone(),
        };
        let claim = Claim::stake(session, &self.keep.options, stake).await?;
        self.remember(session.id());
        self.path = Some(claim.into_path());
        Ok(None)
    }

    fn create_mode(&self) -> CreateMode {
        match self.keep.mode {
            KeepMode::Ephemeral | KeepMode::EphemeralSequential => CreateMode::Ephemeral,
            KeepMode::Persistent => CreateMode::Persistent,
        }
    }

    async fn create(&mut self, session: &Session, path: &str, data: &Bytes) -> Result<(), Error> {
        let mode = self.create_mode();
        self.remember(session.id());
        let options = &self.keep.options;
        let create = session.create(path, data.clone()).mode(mode);
        let create = match &options.acl {
            Some(acl) => create.acl(acl.clone()),
            None => create,
        };
        match create.if_absent().await {
            Ok(_) => Ok(()),
            Err(error)
                if error.kind() == ErrorKind::NoNode
                    && options.parents != crate::Parents::MustExist =>
            {
                let acl = options.parent_acl.as_ref();
                make_parents(session, parent(path), options.parents, acl).await
            }
            error => self.tell_by_looking(session, path, error.map(drop)).await,
        }
    }

    /// Puts an own znode in the place of another, without a gap.
    async fn replace(
        &mut self,
        session: &Session,
        path: &str,
        old: &Node,
        data: &Bytes,
    ) -> Result<(), Error> {
        let mode = self.create_mode();
        self.remember(session.id());
        let acl = self.keep.options.acl.as_ref();
        let transaction = session
            .transaction()
            .delete(path, old.stat.version)
            .create_with(path, data.clone(), mode, acl);
        match transaction.await {
            Ok(_) => Ok(()),
            // It has gone or changed: look again.
            Err(error)
                if matches!(error.kind(), ErrorKind::NoNode | ErrorKind::BadVersion)
                    || error.kind() == ErrorKind::NodeExists =>
            {
                Ok(())
            }
            Err(error) => self.tell_by_looking(session, path, Err(error)).await,
        }
    }

    /// A write whose answer was lost is told by the next look, behind a sync.
    async fn tell_by_looking(
        &self,
        session: &Session,
        path: &str,
        result: Result<(), Error>,
    ) -> Result<(), Error> {
        match result {
            Err(error) if error.outcome() == Outcome::Unknown && !error.is_session_fatal() => {
                settled(|| session.sync(path)).await
            }
            result => result,
        }
    }

    fn remember(&mut self, session: SessionId) {
        if self.sessions.back() != Some(&session) {
            self.sessions.push_back(session);
            if self.sessions.len() > SESSIONS_MAX {
                self.sessions.pop_front();
            }
        }
    }

    /// Deletes it, if it is ours, behind whatever was on its way.
    async fn remove(&mut self) {
        if let Err(error) = self.try_remove().await
            && !error.is_session_fatal()
        {
            tracing::warn!(path = %self.keep.path, err = %error, "a znode that was let go stays");
        }
    }

    async fn try_remove(&self) -> Result<(), Error> {
        // Without a path none was created, or its claim has cleaned up.
        let Some(path) = self.path.clone() else {
            return Ok(());
        };
        loop {
            if self.client().is_closed() {
                return Ok(());
            }
            let session = self.client().session().await?;
            let removed = async {
                settled(|| session.sync(&path)).await?;
                let Some(stat) = settled(|| session.exists(&path)).await? else {
                    return Ok(());
                };
                let owner = stat.ephemeral_owner;
                let is_own = match self.keep.mode {
                    KeepMode::Persistent => owner == SessionId::NONE,
                    KeepMode::Ephemeral | KeepMode::EphemeralSequential => {
                        self.sessions.contains(&owner)
                    }
                };
                if is_own {
                    settled(|| session.delete(&path).idempotent().if_exists()).await?;
                }
                Ok(())
            };
            match removed.await {
                Err(error) if is_session_over(&error) => {}
                result => return result,
            }
        }
    }
}

impl KeepState {
    /// Whether the znode is there, with the data asked for.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }
}
