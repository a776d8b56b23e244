use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_client::{
    Client, CreateMode, Error, ErrorKind, Node, Outcome, Session, SessionId, Stat, Watch, Zxid,
    host,
};

use super::own::{Contest, Own, Whose};
use crate::kernel::claim::{Claim, Stake, created};
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{make_parents, name, parent};
use crate::kernel::retry::{Backoff, is_session_over, settled};

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
/// - Closing deletes it, even while its creation is under way, and nothing that is somebody else's.
///
/// # Whose it is
/// An ephemeral znode is its own if it has created it; what others write there is written over. A
/// persistent one has no owner: it is whose who wrote it last. So that a process that comes back after a
/// crash finds its way, what is there at the start is taken over, written at once, if it is persistent and
/// to be, or of the same session. To whoever kept it until then that is a [`Conflict`], as is anything
/// that somebody else creates there or, if it is persistent, writes. Nobody is written over again and
/// again without pauses, which grow to seconds.
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
    /// As before; the server puts a number behind its name, which is kept. Others may use the name before
    /// it; two of one client that are started at a time may take each other's for their own if the
    /// connection is lost meanwhile.
    EphemeralSequential,
    /// It stays until it is closed.
    Persistent,
}

/// What to do when somebody else's znode is at the path: see [`KeepNode`] for what that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Conflict {
    /// Wait until it is gone.
    #[default]
    Wait,
    /// Take its place, in one transaction; a persistent znode that is to be one is written over.
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
    /// Somebody else's is there, or what somebody else writes into it again and again, which is written over
    /// after a pause.
    Taken {
        /// Whose znode it is; [`SessionId::NONE`] if it is persistent.
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

    /// What to do when somebody else's znode is at the path.
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
        let own = Own::new(self.mode);
        let keeper = Keeper {
            keep: self,
            wanted,
            state: sender,
            path: None,
            own,
            contest: Contest::default(),
            cleanings: TaskTracker::new(),
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
    own: Own,
    contest: Contest,
    /// What a creation that was dropped has left, while it is being deleted.
    cleanings: TaskTracker,
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
            self.cleanings.close();
            self.cleanings.wait().await;
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
        if self.own.is_in_doubt() {
            // What was still on its way is done by then, or cannot be done any more.
            settled(|| session.sync(&path)).await?;
        }
        let (node, watch) = match settled(|| session.get(&path).watch()).await {
            Ok(found) => found,
            Err(error) if error.kind() == ErrorKind::NoNode => {
                self.own.look();
                self.state.send_replace(KeepState::Absent);
                self.create(session, &path, &data).await?;
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let owner = node.stat.ephemeral_owner;
        let is_disturbed = self.own.is_disturbed(&node);
        match self.own.whose(session.id(), &node) {
            Whose::Own => {
                self.own.note(&node.stat);
                if node.data != data {
                    if is_disturbed && self.gives_way(session, owner).await {
                        return Ok(None);
                    }
                    self.set(session, &path, &node, &data).await?;
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
                Ok(Some(watch))
            }
            Whose::LeftOver => {
                self.own.note(&node.stat);
                self.take(session, &path, &node, &data).await?;
                Ok(None)
            }
            Whose::Nobodys => {
                self.take(session, &path, &node, &data).await?;
                Ok(None)
            }
            Whose::Others => {
                self.own.look();
                match self.keep.conflict {
                    Conflict::Steal => {
                        self.state.send_replace(KeepState::Taken { owner });
                        if !self.gives_way(session, owner).await {
                            self.take(session, &path, &node, &data).await?;
                        }
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
        }
    }

    fn is_persistent(&self) -> bool {
        self.keep.mode == KeepMode::Persistent
    }

    /// Pauses before somebody is written over, if that is due, and tells so: then another look is due, and a
    /// write. Whoever writes again and again meanwhile does not have the pause begin anew.
    async fn gives_way(&mut self, session: &Session, owner: SessionId) -> bool {
        if !self.contest.begin() {
            return false;
        }
        self.state.send_replace(KeepState::Taken { owner });
        tokio::select! {
            biased;
            () = session.over() => {}
            () = self.contest.pause() => {}
        }
        true
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
        if name(path).is_empty() {
            // As a sequential one it would be legal, and the number its whole name: refused as any other.
            session.exists(path).await?;
        }
        let stake = Stake {
            parent: parent(path),
            names: vec![name(path).to_owned()],
            mode: CreateMode::EphemeralSequential,
            data: data.clone(),
        };
        let (options, cleanings) = (&self.keep.options, &self.cleanings);
        let claim = Claim::stake_named(session, options, stake, cleanings).await?;
        self.own.begin_in(session.id(), data);
        self.own.note(claim.stat());
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
        self.own.begin_in(session.id(), data);
        let options = &self.keep.options;
        let create = session.create(path, data.clone()).mode(mode);
        let create = match &options.acl {
            Some(acl) => create.acl(acl.clone()),
            None => create,
        };
        match create.if_absent().await {
            Err(error)
                if error.kind() == ErrorKind::NoNode
                    && options.parents != crate::Parents::MustExist =>
            {
                self.own.give_up();
                let acl = options.parent_acl.as_ref();
                make_parents(session, parent(path), options.parents, acl).await
            }
            Err(error) => self.answered(Err(error), &[]),
            Ok(Some(created)) => self.answered(Ok(created.stat), &[]),
            // Somebody was quicker: look again.
            Ok(None) => {
                self.own.give_up();
                Ok(())
            }
        }
    }

    /// Makes a znode that was found one's own, without a gap.
    async fn take(
        &mut self,
        session: &Session,
        path: &str,
        old: &Node,
        data: &Bytes,
    ) -> Result<(), Error> {
        if self.is_persistent() && old.stat.ephemeral_owner == SessionId::NONE {
            return self.set(session, path, old, data).await;
        }
        let mode = self.create_mode();
        self.own.begin_in(session.id(), data);
        let acl = self.keep.options.acl.as_ref();
        let transaction = session
            .transaction()
            .delete(path, old.stat.version)
            .create_with(path, data.clone(), mode, acl);
        let results = transaction.await;
        let stat = |results: Vec<_>| results.into_iter().find_map(created)?.stat;
        self.answered(results.map(stat), &CHANGED)
    }

    /// Writes a znode that was found, unless somebody has since.
    async fn set(
        &mut self,
        session: &Session,
        path: &str,
        old: &Node,
        data: &Bytes,
    ) -> Result<(), Error> {
        let mut backoff = Backoff::new();
        loop {
            self.own.begin(data);
            let set = session.set(path, data.clone()).version(old.stat.version);
            match set.await {
                Err(error) if error.is_retryable() && error.outcome() != Outcome::Unknown => {
                    backoff.pause().await;
                }
                set => return self.answered(set.map(Some), &CHANGED),
            }
        }
    }

    /// Takes in what became of a write. An error of the kinds `passed` says that things are not as they
    /// were seen: another look is due. So it is if the answer was lost.
    fn answered(
        &mut self,
        result: Result<Option<Stat>, Error>,
        passed: &[ErrorKind],
    ) -> Result<(), Error> {
        match result {
            Ok(stat) => {
                if let Some(stat) = stat {
                    self.own.note(&stat);
                }
                Ok(())
            }
            Err(error) if error.outcome() == Outcome::Unknown => {
                if error.is_retryable() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => {
                self.own.give_up();
                if passed.contains(&error.kind()) {
                    Ok(())
                } else {
                    Err(error)
                }
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
                loop {
                    settled(|| session.sync(&path)).await?;
                    let node = settled(|| session.get(&path)).await?;
                    let Some(node) = node.filter(|node| self.own.is_own(node)) else {
                        return Ok(());
                    };
                    let version = node.stat.version;
                    let delete = || session.delete(&path).version(version).idempotent();
                    match settled(|| delete().if_exists()).await {
                        // Written by somebody since: see who that was.
                        Err(error) if error.kind() == ErrorKind::BadVersion => {}
                        deleted => return deleted.map(drop),
                    }
                }
            };
            match removed.await {
                Err(error) if is_session_over(&error) => {}
                result => return result,
            }
        }
    }
}

/// How a write of a znode that was seen fails if that has gone or changed since.
const CHANGED: [ErrorKind; 2] = [ErrorKind::NoNode, ErrorKind::BadVersion];

impl KeepState {
    /// Whether the znode is there, with the data asked for.
    pub fn is_kept(&self) -> bool {
        matches!(self, Self::Kept { .. })
    }
}
