//! A number of leases to share.

mod mutex;

pub use self::mutex::SemaphoreMutex;

use std::ops::Deref;
use std::time::Duration;

use bytes::Bytes;
use zk_client::{Client, ConnEvents, CreateMode, Error, ErrorKind, Session, Stat, Watch};

use crate::error::{AcquireError, Lost};
use crate::kernel::attempt::{by, watch_own};
use crate::kernel::chance::unique;
use crate::kernel::claim::{Claim, Stake, protected};
use crate::kernel::hold::{Hold, Won};
use crate::kernel::line::sequence;
use crate::kernel::options::{Options, options};
use crate::kernel::parents::join;
use crate::kernel::retry::{is_session_over, settled};
use crate::kernel::sequence::Sequence;
use crate::kernel::token::FencingToken;
use crate::lock::{Lock, LockFormat, LockGuard};

/// In what names leases are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SemaphoreFormat {
    /// Leases `<path>/leases/_c_<uuid>-lease-<number>`, the line before them in `<path>/locks`: with
    /// Curator's `InterProcessSemaphoreV2` and `InterProcessSemaphoreMutex`.
    #[default]
    Curator,
    /// Leases `<path>/<uuid>`, the line before them in `<path>-__lock__`, the number of leases as text in
    /// the data of `<path>`: with kazoo's `Semaphore`.
    Kazoo,
}

/// How many leases there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaxLeases {
    /// So many. All that use the path must agree.
    Fixed(usize),
    /// As many as the znode at this path says, as a 32-bit integer, big-endian: Curator's
    /// `SharedCount`. It is followed; a lower number takes no lease away.
    Shared(String),
}

/// A number of leases to share among all processes that use the same path.
///
/// Leases are given in the order in which they were asked for: one request for many leases holds up later
/// ones for few. All leases of one request are given together.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let slots = zk_recipes::Semaphore::new(&zk, "/slots", 3);
/// let lease = slots.acquire().await?;
/// lease.release().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// Never more live leases than there are, as far as holders stop at
/// [`Lease::lost`](crate::Hold::lost). Leases die with their session.
///
/// # Layout
/// See [`SemaphoreFormat`].
///
/// # Source
/// Apache Curator 5, `InterProcessSemaphoreV2`, which takes leases one by one and can end in a deadlock of
/// two that each have a part; kazoo 2, `Semaphore`.
#[derive(Debug, Clone)]
pub struct Semaphore {
    path: String,
    options: Options,
    max: MaxLeases,
    format: SemaphoreFormat,
}

/// Leases that are held. Derefs to [`Hold`]; dropped, they are given back in the background.
#[derive(Debug)]
#[must_use = "leases are given back when they are dropped"]
pub struct Lease {
    guard: LockGuard,
    paths: Vec<String>,
}

impl From<usize> for MaxLeases {
    fn from(max: usize) -> Self {
        Self::Fixed(max)
    }
}

/// What came of one attempt.
enum Outcome {
    Won(Box<Lease>),
    /// Not free, and nobody wanted to wait.
    Busy,
    /// An own znode was deleted by somebody: once more.
    Again,
}

/// What a look at the leases found.
enum Found {
    /// The own ones are within the limit. What became of the connection since before that was asked.
    Enough(ConnEvents),
    /// They are not, and nobody wants to wait.
    TooFew,
    /// An own znode is gone.
    Gone,
}

impl Semaphore {
    /// A semaphore at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>, max: impl Into<MaxLeases>) -> Self {
        Self {
            path: path.into(),
            options: Options::new(client),
            max: max.into(),
            format: SemaphoreFormat::default(),
        }
    }

    options!(options);

    /// In what names leases are kept, [`SemaphoreFormat::Curator`] by default.
    #[must_use]
    pub fn format(mut self, format: SemaphoreFormat) -> Self {
        self.format = format;
        self
    }

    /// Waits for a lease.
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire_many`].
    pub async fn acquire(&self) -> Result<Lease, AcquireError> {
        self.acquire_many(1).await
    }

    /// Waits for that many leases, which are given together.
    ///
    /// # Errors
    /// [`AcquireError::NoLeases`] for none; [`AcquireError::TooMany`] for more than a fixed number of leases;
    /// [`AcquireError::Mismatch`] if what the znodes say of the number of leases is not readable, or not
    /// the same; [`AcquireError::Client`], as [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// Dropping the future leaves the line.
    pub async fn acquire_many(&self, count: usize) -> Result<Lease, AcquireError> {
        loop {
            match self.attempt(count, true).await {
                Ok(Outcome::Won(lease)) => return Ok(*lease),
                Ok(Outcome::Busy | Outcome::Again) => {}
                Err(error) if self.may_go_on(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// As [`Semaphore::acquire`], for so long.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`Semaphore::acquire_many`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire_many`].
    pub async fn acquire_within(&self, within: Duration) -> Result<Lease, AcquireError> {
        by(&self.path, within, self.acquire()).await
    }

    /// Takes a lease if one is free and nobody waits.
    ///
    /// # Errors
    /// As [`Semaphore::acquire_many`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire_many`].
    pub async fn try_acquire(&self) -> Result<Option<Lease>, AcquireError> {
        loop {
            match self.attempt(1, false).await {
                Ok(Outcome::Won(lease)) => return Ok(Some(*lease)),
                Ok(Outcome::Busy) => return Ok(None),
                Ok(Outcome::Again) => {}
                Err(error) if self.may_go_on(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Data of all leases that are out, as [`Semaphore::identity`] wrote it.
    ///
    /// # Errors
    /// [`AcquireError::Client`] without permission, or once the client is closed.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn participants(&self) -> Result<Vec<Bytes>, AcquireError> {
        let (client, leases) = (&self.options.client, self.leases());
        let error = |error| AcquireError::client(&self.path, error);
        let mut names = settled(|| client.children(&leases))
            .await
            .map_err(error)?
            .unwrap_or_default();
        names.sort();
        let mut found = Vec::new();
        for name in names {
            let path = join(&leases, &name);
            if let Some(node) = settled(|| client.get(&path)).await.map_err(error)? {
                found.push(node.data);
            }
        }
        Ok(found)
    }

    fn may_go_on(&self, error: &AcquireError) -> bool {
        error.client_error().is_some_and(is_session_over) && !self.options.client.is_closed()
    }

    /// The directory of leases.
    fn leases(&self) -> String {
        match self.format {
            SemaphoreFormat::Curator => join(&self.path, "leases"),
            SemaphoreFormat::Kazoo => self.path.clone(),
        }
    }

    /// The line before the leases: who has it is the only one to wait for a lease.
    fn line(&self) -> Lock {
        let (path, format) = match self.format {
            SemaphoreFormat::Curator => (join(&self.path, "locks"), LockFormat::Curator),
            SemaphoreFormat::Kazoo => (format!("{}-__lock__", self.path), LockFormat::Kazoo),
        };
        let mut lock = Lock::new(&self.options.client, path)
            .format(format)
            .no_requeue();
        lock = lock
            .identity(self.options.identity.clone())
            .parents(self.options.parents);
        if let Some(acl) = &self.options.acl {
            lock = lock.acl(acl.clone());
        }
        if let Some(acl) = &self.options.parent_acl {
            lock = lock.parent_acl(acl.clone());
        }
        lock
    }

    async fn attempt(&self, count: usize, wait: bool) -> Result<Outcome, AcquireError> {
        if count == 0 {
            let path = self.path.clone();
            return Err(AcquireError::NoLeases { path });
        }
        if let MaxLeases::Fixed(max) = self.max
            && count > max
        {
            let (path, wanted) = (self.path.clone(), count);
            return Err(AcquireError::TooMany { path, wanted, max });
        }
        let line = self.line();
        let turn = if wait {
            let session = self.options.client.session().await;
            let session = session.map_err(|error| AcquireError::client(&self.path, error))?;
            match line.attempt_in(&session).await? {
                Some(turn) => turn,
                None => return Ok(Outcome::Again),
            }
        } else {
            match line.try_acquire().await? {
                Some(turn) => turn,
                None => return Ok(Outcome::Busy),
            }
        };
        // Everything from here on is in the session of the turn.
        let session = turn.session().clone();
        if self.format == SemaphoreFormat::Kazoo {
            self.agree(&session).await?;
        }
        if !wait && self.out(&session).await? + count > self.limit(&session).await?.0 {
            turn.release().await.ok();
            return Ok(Outcome::Busy);
        }
        let leases = self.leases();
        let (names, mode) = self.names(count);
        let stake = Stake {
            parent: &leases,
            names: names.clone(),
            mode,
            data: self.options.identity.clone(),
        };
        let claim = Claim::stake(&session, &self.options, stake).await;
        let claim = claim.map_err(|error| AcquireError::client(&self.path, error))?;
        let free = tokio::select! {
            biased;
            free = self.free(&session, &claim, wait) => free,
            // Two in the line at once could each see the other's lease, and both wait for ever.
            _lost = turn.lost() => Ok(Found::Gone),
        };
        let found = match free? {
            Found::Enough(events) => Ok(events),
            Found::TooFew => Err(Outcome::Busy),
            Found::Gone => Err(Outcome::Again),
        };
        let events = match found {
            Ok(events) => events,
            Err(outcome) => {
                // First the leases, then the line.
                claim.release().await.ok();
                turn.release().await.ok();
                return Ok(outcome);
            }
        };
        let watches = watch_own(&claim).await;
        let Some(watches) = watches.map_err(|error| AcquireError::client(&self.path, error))?
        else {
            return Ok(Outcome::Again);
        };
        let first = claim.own_names().into_iter().next().unwrap_or_default();
        let number = names.first().and_then(|mark| sequence(&first, mark));
        let hold = Hold::new(Won {
            session,
            paths: claim.paths().to_vec(),
            token: FencingToken::new(claim.stat().czxid, number.unwrap_or(Sequence::new(0))),
            policy: self.options.policy,
            deletes: true,
            events,
            asked: Vec::new(),
            watches,
        });
        let paths = claim.paths().to_vec();
        let guard = LockGuard::from_parts(claim, hold);
        // The next in line may look. Waited for, so that whoever asks next finds the line empty.
        turn.release().await.ok();
        Ok(Outcome::Won(Box::new(Lease { guard, paths })))
    }

    /// Names of one request's leases.
    fn names(&self, count: usize) -> (Vec<String>, CreateMode) {
        match self.format {
            SemaphoreFormat::Curator => {
                let name = protected(unique(), "lease-");
                (vec![name; count], CreateMode::EphemeralSequential)
            }
            SemaphoreFormat::Kazoo => {
                let name = || unique().as_simple().to_string();
                ((0..count).map(|_| name()).collect(), CreateMode::Ephemeral)
            }
        }
    }

    /// Writes the number of leases where kazoo keeps it, or sees whether it agrees.
    async fn agree(&self, session: &Session) -> Result<(), AcquireError> {
        let client = |error| AcquireError::client(&self.path, error);
        let MaxLeases::Fixed(max) = self.max else {
            return Ok(());
        };
        let parents = self.options.parents;
        let acl = self.options.parent_acl.as_ref();
        if parents != crate::Parents::MustExist {
            // Its data is to stay: a container would go with the last lease.
            let persistent = crate::Parents::Persistent;
            let made = crate::kernel::parents::make_parents(session, &self.path, persistent, acl);
            made.await.map_err(client)?;
        }
        let node = settled(|| session.get(&self.path).require())
            .await
            .map_err(client)?;
        if node.data.is_empty() {
            let set = settled(|| session.set(&self.path, max.to_string()).idempotent());
            set.await.map_err(client)?;
            return Ok(());
        }
        let said = String::from_utf8_lossy(&node.data);
        if said.trim().parse() == Ok(max) {
            return Ok(());
        }
        Err(AcquireError::Mismatch {
            path: self.path.clone(),
            what: format!("the znode says {said:?} leases, not {max}"),
        })
    }

    /// How many leases there are, and a watch if that can change.
    async fn limit(&self, session: &Session) -> Result<(usize, Option<Watch>), AcquireError> {
        let path = match &self.max {
            MaxLeases::Fixed(max) => return Ok((*max, None)),
            MaxLeases::Shared(path) => path,
        };
        let client = |error| AcquireError::client(&self.path, error);
        let (node, watch) = settled(|| session.get(path).watch())
            .await
            .map_err(client)?;
        let number = <[u8; 4]>::try_from(&*node.data).map(i32::from_be_bytes);
        match number.map(usize::try_from) {
            Ok(Ok(max)) => Ok((max, Some(watch))),
            _ => Err(AcquireError::Mismatch {
                path: path.clone(),
                what: "is no number of leases: a 32-bit integer that is not negative".to_owned(),
            }),
        }
    }

    /// How many leases are out, those of others and of ourselves.
    async fn out(&self, session: &Session) -> Result<usize, AcquireError> {
        let leases = self.leases();
        let names = settled(|| session.children(&leases)).await;
        let names = names.map_err(|error| AcquireError::client(&self.path, error))?;
        Ok(names.unwrap_or_default().len())
    }

    /// Waits until the own leases are within the limit.
    async fn free(
        &self,
        session: &Session,
        claim: &Claim,
        wait: bool,
    ) -> Result<Found, AcquireError> {
        let client = |error| AcquireError::client(&self.path, error);
        let leases = self.leases();
        let own = claim.own_names();
        loop {
            // What happened to the connection before is of no interest to what is won by this look.
            let events = session.events();
            let (names, changed) = match settled(|| session.children(&leases).watch()).await {
                Ok(found) => found,
                Err(error) if error.kind() == ErrorKind::NoNode => return Ok(Found::Gone),
                Err(error) => return Err(client(error)),
            };
            if !own.iter().all(|own| names.contains(own)) {
                return Ok(Found::Gone);
            }
            let (max, other) = self.limit(session).await?;
            if names.len() <= max {
                return Ok(Found::Enough(events));
            }
            if !wait {
                return Ok(Found::TooFew);
            }
            // However a watch ended, the next question to the session tells if that is over.
            match other {
                Some(other) => {
                    futures_util::future::select(changed, other).await;
                }
                None => {
                    changed.await;
                }
            }
        }
    }
}

impl Lease {
    /// Gives the leases back and waits until others may have them.
    ///
    /// # Errors
    /// [`Lost`] if they had been lost before.
    ///
    /// # Cancel safety
    /// It goes on in the background.
    pub async fn release(self) -> Result<(), Lost> {
        self.guard.release().await
    }

    /// How many leases these are.
    pub fn count(&self) -> usize {
        self.paths.len()
    }

    /// Writes something else into the data of the leases.
    ///
    /// # Errors
    /// Those of the client: [`ErrorKind::NoNode`] or [`ErrorKind::SessionExpired`] when they are lost.
    ///
    /// # Cancel safety
    /// It may be written or not.
    pub async fn set_data(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        for path in &self.paths {
            let _stat: Stat = self.session().set(path, data.clone()).await?;
        }
        Ok(())
    }
}

impl Deref for Lease {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.guard
    }
}
