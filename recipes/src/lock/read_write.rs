use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use zk_client::{Client, CreateMode, Outcome, Stat, Version};

use super::format::{CURATOR, KAZOO, KAZOO_READ};
use super::guard::LockGuard;
use super::{Contender, contenders};
use crate::error::{AcquireError, Lost};
use crate::kernel::attempt::{Attempt, Rules, Turn, by, watch_own};
use crate::kernel::chance::unique;
use crate::kernel::claim::{Stake, created, protected};
use crate::kernel::hold::{Hold, Won};
use crate::kernel::line::sequence;
use crate::kernel::options::{Options, options};
use crate::kernel::parents::{join, name};
use crate::kernel::retry::{is_session_over, settled};
use crate::kernel::token::FencingToken;

const READ: &str = "__READ__";
const WRITE: &str = "__WRIT__";

/// In what names readers and writers stand in line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum RwFormat {
    /// `_c_<uuid>-__READ__<number>` and `_c_<uuid>-__WRIT__<number>`: with Curator's
    /// `InterProcessReadWriteLock`.
    #[default]
    Curator,
    /// `<uuid>__rlock__<number>` and `<uuid>__lock__<number>`: with kazoo's `ReadLock` and `WriteLock`,
    /// and with every [`super::Lock`].
    Kazoo,
}

/// What somebody in line wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

impl RwFormat {
    fn marker(self, access: Access) -> &'static str {
        match (self, access) {
            (Self::Curator, Access::Read) => READ,
            (Self::Curator, Access::Write) => WRITE,
            (Self::Kazoo, Access::Read) => KAZOO_READ,
            (Self::Kazoo, Access::Write) => KAZOO,
        }
    }

    fn base(self, access: Access) -> String {
        let guid = unique();
        match self {
            Self::Curator => protected(guid, self.marker(access)),
            Self::Kazoo => format!("{}{}", guid.as_simple(), self.marker(access)),
        }
    }

    fn blockers(self, access: Access) -> Vec<String> {
        let blockers: &[&str] = match (self, access) {
            (Self::Curator, Access::Read) => &[WRITE],
            (Self::Curator, Access::Write) => &[WRITE, READ],
            (Self::Kazoo, Access::Read) => &[KAZOO, CURATOR],
            (Self::Kazoo, Access::Write) => &[KAZOO, KAZOO_READ, CURATOR],
        };
        blockers.iter().map(|marker| (*marker).to_owned()).collect()
    }

    fn strangers(self) -> &'static [&'static str] {
        match self {
            Self::Curator => &[CURATOR, KAZOO, KAZOO_READ],
            Self::Kazoo => &[READ, WRITE],
        }
    }
}

/// A lock that any number of readers hold together, or one writer alone.
///
/// Strictly in the order of arrival: a reader waits for the writers before it, a writer for everybody
/// before it. So neither starves.
///
/// A writer may [`WriteGuard::downgrade`]. A reader cannot become a writer: two that wanted to would
/// wait for each other for ever. [`ReadWriteLock::for_owner`] makes that mistake an error.
///
/// # Layout
/// See [`RwFormat`].
///
/// # Source
/// Apache Curator 5, `InterProcessReadWriteLock`; kazoo 2, `ReadLock`, `WriteLock`.
#[derive(Debug, Clone)]
pub struct ReadWriteLock {
    path: String,
    options: Options,
    format: RwFormat,
}

/// A read lock that is held. It derefs to [`Hold`]. Its token is not to fence writes with.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct ReadGuard {
    guard: LockGuard,
    _count: Option<Count>,
}

/// A write lock that is held. It derefs to [`Hold`].
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct WriteGuard {
    guard: LockGuard,
    lock: ReadWriteLock,
    count: Option<Count>,
}

impl ReadWriteLock {
    /// A lock at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
            format: RwFormat::default(),
        }
    }

    options!(options);

    /// In what names to stand in line, [`RwFormat::Curator`] by default.
    #[must_use]
    pub fn format(mut self, format: RwFormat) -> Self {
        self.format = format;
        self
    }

    /// The path of the lock.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Waits until no writer is in front, and reads.
    ///
    /// # Errors
    /// [`AcquireError::PathInUse`] if another kind of lock is used at this path;
    /// [`AcquireError::Client`], as [`super::Lock::acquire`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub async fn read(&self) -> Result<ReadGuard, AcquireError> {
        let guard = self.acquire(Access::Read).await?;
        Ok(ReadGuard {
            guard,
            _count: None,
        })
    }

    /// Waits until nobody is in front, and writes.
    ///
    /// # Errors
    /// As [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn write(&self) -> Result<WriteGuard, AcquireError> {
        let guard = self.acquire(Access::Write).await?;
        Ok(WriteGuard {
            guard,
            lock: self.clone(),
            count: None,
        })
    }

    /// As [`ReadWriteLock::read`], for so long.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn read_within(&self, within: Duration) -> Result<ReadGuard, AcquireError> {
        by(&self.path, within, self.read()).await
    }

    /// As [`ReadWriteLock::write`], for so long.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn write_within(&self, within: Duration) -> Result<WriteGuard, AcquireError> {
        by(&self.path, within, self.write()).await
    }

    /// Reads if no writer has the lock or waits for it.
    ///
    /// # Errors
    /// As [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn try_read(&self) -> Result<Option<ReadGuard>, AcquireError> {
        let guard = self.try_acquire(Access::Read).await?;
        Ok(guard.map(|guard| ReadGuard {
            guard,
            _count: None,
        }))
    }

    /// Writes if nobody has the lock or waits for it.
    ///
    /// # Errors
    /// As [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn try_write(&self) -> Result<Option<WriteGuard>, AcquireError> {
        let guard = self.try_acquire(Access::Write).await?;
        Ok(guard.map(|guard| WriteGuard {
            guard,
            lock: self.clone(),
            count: None,
        }))
    }

    /// The same lock in the name of one owner: with it, waiting for oneself is an error instead of a
    /// wait without end. Everything that one task or one job does belongs to one owner.
    #[must_use]
    pub fn for_owner(&self) -> OwnedReadWriteLock {
        OwnedReadWriteLock {
            lock: self.clone(),
            held: Arc::default(),
        }
    }

    /// Everybody in line, readers and writers.
    ///
    /// # Errors
    /// [`AcquireError::Client`] without permission, or once the client is closed.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn contenders(&self) -> Result<Vec<Contender>, AcquireError> {
        let markers = [Access::Read, Access::Write].map(|access| self.format.marker(access).into());
        contenders(&self.options.client, &self.path, &markers).await
    }

    fn rules<'a>(&'a self, blockers: &'a [String]) -> Rules<'a> {
        Rules {
            path: &self.path,
            directory: &self.path,
            blockers,
            strangers: self.format.strangers(),
        }
    }

    async fn begin(&self, access: Access) -> Result<Attempt, AcquireError> {
        let client = |error| AcquireError::client(&self.path, error);
        let session = self.options.client.session().await.map_err(client)?;
        let stake = Stake {
            parent: &self.path,
            names: vec![self.format.base(access)],
            mode: CreateMode::EphemeralSequential,
            data: self.options.identity.clone(),
        };
        Attempt::begin(&session, &self.options, stake)
            .await
            .map_err(client)
    }

    fn may_go_on(&self, error: &AcquireError) -> bool {
        error.client_error().is_some_and(is_session_over) && !self.options.client.is_closed()
    }

    async fn acquire(&self, access: Access) -> Result<LockGuard, AcquireError> {
        let blockers = self.format.blockers(access);
        loop {
            let attempt = async {
                self.begin(access)
                    .await?
                    .first(&self.rules(&blockers))
                    .await
            };
            match attempt.await {
                Ok(Some(attempt)) => return Ok(LockGuard::new(attempt, &self.options)),
                Ok(None) => {}
                Err(error) if self.may_go_on(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    async fn try_acquire(&self, access: Access) -> Result<Option<LockGuard>, AcquireError> {
        let blockers = self.format.blockers(access);
        loop {
            let attempt = async {
                let names = settled(|| self.options.client.children(&self.path)).await;
                let names = names.map_err(|error| AcquireError::client(&self.path, error))?;
                let is_blocked = names.unwrap_or_default().iter().any(|name| {
                    blockers
                        .iter()
                        .any(|marker| sequence(name, marker).is_some())
                });
                if is_blocked {
                    return Ok(None);
                }
                let mut attempt = self.begin(access).await?;
                Ok(match attempt.look(&self.rules(&blockers)).await? {
                    Turn::First => Some(LockGuard::new(attempt, &self.options)),
                    Turn::Behind(_) | Turn::Missing => None,
                })
            };
            match attempt.await {
                Err(error) if self.may_go_on(&error) => {}
                result => return result,
            }
        }
    }
}

impl WriteGuard {
    /// Gives the lock back and waits until others may have it.
    ///
    /// # Errors
    /// [`Lost`] if it had been lost before.
    ///
    /// # Cancel safety
    /// The release goes on in the background.
    pub async fn release(self) -> Result<(), Lost> {
        self.guard.release().await
    }

    /// Becomes a reader in the writer's place: nobody gets in between, and readers that wait behind go
    /// on. The token is another one.
    ///
    /// # Errors
    /// [`AcquireError::Client`] if the lock had been lost before or is lost meanwhile
    /// (`NoNode`, `SessionExpired`). The lock is not held then.
    ///
    /// # Cancel safety
    /// Dropping the future releases the lock.
    pub async fn downgrade(self) -> Result<ReadGuard, AcquireError> {
        let Self { guard, lock, count } = self;
        let options = &lock.options;
        let client = |error| AcquireError::client(&lock.path, error);
        let Some((mut claim, hold)) = guard.into_parts() else {
            unreachable!("only release takes it, and the guard with it")
        };
        let session = claim.session().clone();
        let events = session.events();
        let write = claim.path().to_owned();
        let number = sequence(name(&write), lock.format.marker(Access::Write));
        let number = number.unwrap_or(crate::kernel::sequence::Sequence::new(0));
        let read = join(
            &lock.path,
            &format!("{}{number}", lock.format.base(Access::Read)),
        );
        // What happens to the writer's znode from here on is our own doing.
        hold.end();
        let mut stat = loop {
            // Whatever becomes of this, both are deleted if it is not finished.
            let transaction = session
                .transaction()
                .create_with(
                    &read,
                    options.identity.clone(),
                    CreateMode::Ephemeral,
                    options.acl.as_ref(),
                )
                .delete(&write, Version::ANY);
            claim.also(&read);
            match transaction.await {
                Ok(results) => {
                    break results
                        .into_iter()
                        .find_map(created)
                        .and_then(|read| read.stat);
                }
                Err(error) if error.outcome() == Outcome::Unknown && !error.is_session_fatal() => {
                    settled(|| session.sync(&read)).await.map_err(client)?;
                    let found = settled(|| session.exists(&read)).await.map_err(client)?;
                    if found.is_some() {
                        break found;
                    }
                }
                Err(error) if error.is_retryable() => {
                    crate::kernel::retry::Backoff::new().pause().await;
                }
                Err(error) => return Err(client(error)),
            }
        };
        if stat.is_none_or(|stat| stat.ephemeral_owner != session.id()) {
            stat = settled(|| session.exists(&read)).await.map_err(client)?;
        }
        let stat: Stat = stat.unwrap_or_default();
        claim.replace(vec![read.clone()], stat);
        drop(hold);
        let watches = watch_own(&claim).await.map_err(client)?;
        let Some(watches) = watches else {
            // Deleted by somebody at once.
            let error = session.get(&read).require().await.map(drop);
            let gone = error.err().map(client);
            return Err(gone.unwrap_or_else(|| AcquireError::Mismatch {
                path: lock.path.clone(),
                what: "the reader's znode is not what it was".to_owned(),
            }));
        };
        let hold = Hold::new(Won {
            session,
            paths: vec![read],
            token: FencingToken::new(stat.czxid, number),
            policy: options.policy,
            deletes: true,
            events,
            asked: Vec::new(),
            watches,
        });
        Ok(ReadGuard {
            guard: LockGuard::from_parts(claim, hold),
            _count: count.map(|count| count.reading()),
        })
    }
}

impl ReadGuard {
    /// Gives the lock back and waits until others may have it.
    ///
    /// # Errors
    /// [`Lost`] if it had been lost before.
    ///
    /// # Cancel safety
    /// The release goes on in the background.
    pub async fn release(self) -> Result<(), Lost> {
        self.guard.release().await
    }
}

impl Deref for ReadGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.guard
    }
}

impl Deref for WriteGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.guard
    }
}

/// A [`ReadWriteLock`] in the name of one owner: see [`ReadWriteLock::for_owner`].
#[derive(Debug, Clone)]
pub struct OwnedReadWriteLock {
    lock: ReadWriteLock,
    held: Arc<Mutex<Held>>,
}

/// What an owner holds, or waits for.
#[derive(Debug, Default)]
struct Held {
    readers: usize,
    writers: usize,
}

/// Counts one guard of an owner, from the attempt to get it on.
#[derive(Debug)]
struct Count {
    held: Arc<Mutex<Held>>,
    access: Access,
}

impl Count {
    fn new(held: &Arc<Mutex<Held>>, access: Access) -> Self {
        let held = Arc::clone(held);
        *lock(&held).counter(access) += 1;
        Self { held, access }
    }

    fn reading(&self) -> Self {
        Self::new(&self.held, Access::Read)
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        *lock(&self.held).counter(self.access) -= 1;
    }
}

fn lock(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Held {
    fn counter(&mut self, access: Access) -> &mut usize {
        match access {
            Access::Read => &mut self.readers,
            Access::Write => &mut self.writers,
        }
    }

    /// What makes an attempt wait for its own owner.
    fn bars(&self, access: Access) -> Option<&'static str> {
        match access {
            _ if self.writers > 0 => Some("the write lock"),
            Access::Write if self.readers > 0 => Some("a read lock"),
            Access::Read | Access::Write => None,
        }
    }
}

impl OwnedReadWriteLock {
    /// As [`ReadWriteLock::read`].
    ///
    /// # Errors
    /// [`AcquireError::WouldDeadlock`] if this owner writes, or is about to: downgrade instead. Those of
    /// [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn read(&self) -> Result<ReadGuard, AcquireError> {
        let count = self.begin(Access::Read)?;
        let guard = self.lock.acquire(Access::Read).await?;
        Ok(ReadGuard {
            guard,
            _count: Some(count),
        })
    }

    /// As [`ReadWriteLock::write`].
    ///
    /// # Errors
    /// [`AcquireError::WouldDeadlock`] if this owner reads or writes, or is about to: there is no upgrade. Those of
    /// [`ReadWriteLock::read`].
    ///
    /// # Cancel safety
    /// As [`ReadWriteLock::read`].
    pub async fn write(&self) -> Result<WriteGuard, AcquireError> {
        let count = self.begin(Access::Write)?;
        let guard = self.lock.acquire(Access::Write).await?;
        Ok(WriteGuard {
            guard,
            lock: self.lock.clone(),
            count: Some(count),
        })
    }

    /// Counts an attempt, unless it would wait for its own owner.
    fn begin(&self, access: Access) -> Result<Count, AcquireError> {
        let mut held = lock(&self.held);
        if let Some(held) = held.bars(access) {
            let path = self.lock.path.clone();
            return Err(AcquireError::WouldDeadlock { path, held });
        }
        *held.counter(access) += 1;
        let held = Arc::clone(&self.held);
        Ok(Count { held, access })
    }
}
