use std::time::Duration;

use futures_util::future::{join_all, select_all};
use zk_client::Client;

use super::{Lock, LockFormat, LockGuard};
use crate::error::{AcquireError, Lost};
use crate::kernel::attempt::by;
use crate::kernel::hold::LossReason;

/// Several locks that are acquired together or not at all.
///
/// They are acquired in the order of their paths as bytes, whatever the order they were named in, so that
/// two that want the same locks do not wait for each other for ever.
///
/// # Source
/// Apache Curator 5, `InterProcessMultiLock`, which takes them in the order given and goes on after a
/// failure.
#[derive(Debug, Clone)]
pub struct MultiLock {
    /// In the order in which they are acquired.
    locks: Vec<Lock>,
    duplicate: Option<String>,
}

/// Several locks that are held together.
#[derive(Debug)]
#[must_use = "locks are released when their guard is dropped"]
pub struct MultiGuard(Vec<LockGuard>);

impl MultiLock {
    /// Locks at these paths.
    pub fn new<P: Into<String>>(client: &Client, paths: impl IntoIterator<Item = P>) -> Self {
        Self::of(paths.into_iter().map(|path| Lock::new(client, path)))
    }

    /// Locks that are set up already.
    pub fn of(locks: impl IntoIterator<Item = Lock>) -> Self {
        let mut locks: Vec<_> = locks.into_iter().collect();
        locks.sort_by(|a, b| a.path().cmp(b.path()));
        let pairs = locks.iter().zip(locks.iter().skip(1));
        let mut duplicates = pairs.filter(|(one, next)| one.path() == next.path());
        Self {
            duplicate: duplicates.next().map(|(one, _)| one.path().to_owned()),
            locks,
        }
    }

    /// See [`Lock::format`].
    #[must_use]
    pub fn format(mut self, format: LockFormat) -> Self {
        self.locks = self
            .locks
            .into_iter()
            .map(|lock| lock.format(format))
            .collect();
        self
    }

    /// Waits for all of them.
    ///
    /// # Errors
    /// [`AcquireError::Duplicate`] if a path was named twice; the first error of [`Lock::acquire`]. None
    /// of them is held then.
    ///
    /// # Cancel safety
    /// Dropping the future releases those acquired already.
    pub async fn acquire(&self) -> Result<MultiGuard, AcquireError> {
        if let Some(path) = self.duplicate.clone() {
            return Err(AcquireError::Duplicate { path });
        }
        loop {
            let mut guards = Vec::with_capacity(self.locks.len());
            for lock in &self.locks {
                guards.push(lock.acquire().await?);
            }
            // Waiting for the later ones may have cost the earlier ones.
            if guards.iter().all(|guard| guard.is_held()) {
                return Ok(MultiGuard(guards));
            }
        }
    }

    /// As [`MultiLock::acquire`]; the time is for all of them together.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`MultiLock::acquire`].
    ///
    /// # Cancel safety
    /// As [`MultiLock::acquire`].
    pub async fn acquire_within(&self, within: Duration) -> Result<MultiGuard, AcquireError> {
        let paths: Vec<_> = self.locks.iter().map(Lock::path).collect();
        by(&paths.join(" "), within, self.acquire()).await
    }

    /// Takes all of them if all are free.
    ///
    /// # Errors
    /// As [`MultiLock::acquire`].
    ///
    /// # Cancel safety
    /// As [`MultiLock::acquire`].
    pub async fn try_acquire(&self) -> Result<Option<MultiGuard>, AcquireError> {
        if let Some(path) = self.duplicate.clone() {
            return Err(AcquireError::Duplicate { path });
        }
        let mut guards = Vec::with_capacity(self.locks.len());
        for lock in &self.locks {
            match lock.try_acquire().await? {
                Some(guard) => guards.push(guard),
                None => return Ok(None),
            }
        }
        let is_held = guards.iter().all(|guard| guard.is_held());
        Ok(is_held.then_some(MultiGuard(guards)))
    }
}

impl MultiGuard {
    /// The guards, in the order of their paths.
    pub fn guards(&self) -> &[LockGuard] {
        &self.0
    }

    /// Whether all of them are held.
    pub fn is_held(&self) -> bool {
        self.0.iter().all(|guard| guard.is_held())
    }

    /// Waits until one of them is lost: all are worth nothing then.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn lost(&self) -> LossReason {
        if self.0.is_empty() {
            return std::future::pending().await;
        }
        let (reason, _, _) = select_all(self.0.iter().map(|guard| Box::pin(guard.lost()))).await;
        reason
    }

    /// Gives all of them back and waits until that is done.
    ///
    /// # Errors
    /// [`Lost`] if one of them had been lost before.
    ///
    /// # Cancel safety
    /// The release goes on in the background.
    pub async fn release(self) -> Result<(), Lost> {
        let releases = self.0.into_iter().rev().map(LockGuard::release);
        join_all(releases).await.into_iter().collect()
    }
}
