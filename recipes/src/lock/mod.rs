//! Exclusive locks.

mod format;
mod guard;
mod multi;
mod read_write;
mod reentrant;

pub use self::format::LockFormat;
pub use self::guard::{LockGuard, SharedGuard};
pub use self::multi::{MultiGuard, MultiLock};
pub use self::read_write::{OwnedReadWriteLock, ReadGuard, ReadWriteLock, RwFormat, WriteGuard};
pub use self::reentrant::{ReentrantGuard, ReentrantLock};

use std::time::Duration;

use zk_client::{Client, CreateMode, Session, SessionId, Zxid};

use crate::error::AcquireError;
use crate::kernel::attempt::{Attempt, Rules, Turn, by};
use crate::kernel::chance::unique;
use crate::kernel::claim::Stake;
use crate::kernel::line::in_order;
use crate::kernel::options::{Options, options};
use crate::kernel::parents::join;
use crate::kernel::retry::{is_session_over, settled};

/// An exclusive lock: at most one holder among all processes that use the same path.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use zk_recipes::Lock;
///
/// let lock = Lock::new(&zk, "/locks/report");
/// let guard = lock.acquire().await?;
/// // Whatever is done here is dropped at once should the lock be lost.
/// guard.run(async { /* … */ }).await?;
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// - Mutual exclusion among holders that stop at [`LockGuard::lost`](crate::Hold::lost), and by
///   [`FencingToken`](crate::FencingToken)s among all.
/// - First come, first served, over all processes: by the order in which the servers created the
///   contenders' znodes. A task that waits when its session expires gets in line anew, at the end, unless
///   [`Lock::no_requeue`] was chosen.
/// - A release wakes one waiter, however many there are.
/// - Nothing is left behind: a dropped future or guard deletes its znode in the background.
///
/// Not re-entrant: the same task waits for itself for ever. See [`ReentrantLock`], and
/// [`LockGuard::share`].
///
/// # Layout
/// Below the path, one ephemeral sequential znode per contender: `_c_<uuid>-lock-<number>` by
/// [`LockFormat::Curator`]. See [`LockFormat`] for whom it excludes.
///
/// # Source
/// Apache Curator 5, `InterProcessMutex`; kazoo 2, `kazoo.recipe.lock.Lock`.
#[derive(Debug, Clone)]
pub struct Lock {
    path: String,
    options: Options,
    format: LockFormat,
    respected: Vec<String>,
    requeue: bool,
}

/// Somebody in line for a lock, as [`Lock::contenders`] found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contender {
    /// Path of its znode.
    pub path: String,
    /// Its number in line.
    pub sequence: i64,
    /// The data of its znode, which says who it is.
    pub identity: bytes::Bytes,
    /// Its session.
    pub session: SessionId,
    /// The transaction that created its znode: the fencing token, if it holds.
    pub czxid: Zxid,
}

impl Lock {
    /// A lock at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
            format: LockFormat::Curator,
            respected: Vec::new(),
            requeue: true,
        }
    }

    options!(options);

    /// In what names to stand in line, [`LockFormat::Curator`] by default.
    #[must_use]
    pub fn format(mut self, format: LockFormat) -> Self {
        self.format = format;
        self
    }

    /// Waits also for contenders in whose names this text stands before the number.
    #[must_use]
    pub fn respect(mut self, marker: impl Into<String>) -> Self {
        self.respected.push(marker.into());
        self
    }

    /// Fails when the session expires while waiting, instead of getting in line anew.
    #[must_use]
    pub fn no_requeue(mut self) -> Self {
        self.requeue = false;
        self
    }

    /// The path of the lock.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Waits for the lock, as long as it takes.
    ///
    /// # Errors
    /// [`AcquireError::PathInUse`] if a read/write lock is used at this path;
    /// [`AcquireError::Client`]: without permission, for an illegal path or a parent that can have no
    /// children, once the client is closed. Lost connections are no error.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line: its znode is deleted, in the background if it must be.
    ///
    /// # Ordering
    /// First come, first served, by the creation of znodes.
    pub async fn acquire(&self) -> Result<LockGuard, AcquireError> {
        loop {
            let result = self.attempt().await;
            match result {
                Ok(Some(guard)) => return Ok(guard),
                // The own znode was deleted by somebody: once more.
                Ok(None) => {}
                Err(AcquireError::Client { ref source, .. })
                    if self.requeue && is_session_over(source) && !self.is_closed() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Lock::acquire`], for so long.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn acquire_within(&self, within: Duration) -> Result<LockGuard, AcquireError> {
        by(&self.path, within, self.acquire()).await
    }

    /// Takes the lock if it is free: `None` if somebody has it or waits for it. Writes nothing then.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<LockGuard>, AcquireError> {
        loop {
            let result = self.attempt_at_once().await;
            match result {
                Err(AcquireError::Client { ref source, .. })
                    if self.requeue && is_session_over(source) && !self.is_closed() => {}
                result => return result,
            }
        }
    }

    /// Everybody in line, the holder first.
    ///
    /// # Errors
    /// [`AcquireError::Client`] without permission, or once the client is closed.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn contenders(&self) -> Result<Vec<Contender>, AcquireError> {
        contenders(&self.options.client, &self.path, &self.blockers()).await
    }

    fn is_closed(&self) -> bool {
        self.options.client.is_closed()
    }

    fn blockers(&self) -> Vec<String> {
        let mut blockers: Vec<_> = (LockFormat::exclusive_blockers().iter())
            .map(|marker| (*marker).to_owned())
            .collect();
        blockers.extend(self.respected.iter().cloned());
        blockers
    }

    fn rules<'a>(&'a self, blockers: &'a [String]) -> Rules<'a> {
        let strangers: &[&str] = if self.respected.is_empty() {
            &["__READ__", "__WRIT__"]
        } else {
            &[]
        };
        Rules {
            path: &self.path,
            directory: &self.path,
            blockers,
            strangers,
        }
    }

    async fn session(&self) -> Result<Session, AcquireError> {
        let session = self.options.client.session().await;
        session.map_err(|error| AcquireError::client(&self.path, error))
    }

    async fn begin(&self, session: &Session) -> Result<Attempt, AcquireError> {
        let stake = Stake {
            parent: &self.path,
            names: self.format.names(unique()),
            mode: CreateMode::EphemeralSequential,
            data: self.options.identity.clone(),
        };
        let attempt = Attempt::begin(session, &self.options, stake).await;
        attempt.map_err(|error| AcquireError::client(&self.path, error))
    }

    /// `None` if the own znode was deleted by somebody.
    async fn attempt(&self) -> Result<Option<LockGuard>, AcquireError> {
        let session = self.session().await?;
        self.attempt_in(&session).await
    }

    pub(crate) async fn attempt_in(
        &self,
        session: &Session,
    ) -> Result<Option<LockGuard>, AcquireError> {
        let blockers = self.blockers();
        let attempt = self
            .begin(session)
            .await?
            .first(&self.rules(&blockers))
            .await?;
        Ok(attempt.map(|attempt| LockGuard::new(attempt, &self.options)))
    }

    async fn attempt_at_once(&self) -> Result<Option<LockGuard>, AcquireError> {
        let session = self.session().await?;
        let blockers = self.blockers();
        let names = settled(|| session.children(&self.path)).await;
        let names = names.map_err(|error| AcquireError::client(&self.path, error))?;
        if !in_order(&names.unwrap_or_default(), &blockers).is_empty() {
            return Ok(None);
        }
        let mut attempt = self.begin(&session).await?;
        Ok(match attempt.look(&self.rules(&blockers)).await? {
            Turn::First => Some(LockGuard::new(attempt, &self.options)),
            Turn::Behind(_) | Turn::Missing => None,
        })
    }
}

/// Everybody with one of the markers in a directory, in line.
pub(crate) async fn contenders(
    client: &Client,
    path: &str,
    markers: &[String],
) -> Result<Vec<Contender>, AcquireError> {
    let error = |error| AcquireError::client(path, error);
    let names = settled(|| client.children(path))
        .await
        .map_err(error)?
        .unwrap_or_default();
    let mut found = Vec::new();
    for (sequence, name) in in_order(&names, markers) {
        let path = join(path, &name);
        if let Some(node) = settled(|| client.get(&path)).await.map_err(error)? {
            found.push(Contender {
                path,
                sequence: sequence.get(),
                identity: node.data,
                session: node.stat.ephemeral_owner,
                czxid: node.stat.czxid,
            });
        }
    }
    Ok(found)
}
