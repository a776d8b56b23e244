use std::time::Duration;

use zk_client::Client;

use super::{Lease, Semaphore};
use crate::error::AcquireError;

/// A lock made of a semaphore with one lease. Not re-entrant; it does not exclude a [`crate::Lock`] at
/// the same path.
///
/// # Source
/// Apache Curator 5, `InterProcessSemaphoreMutex`.
#[derive(Debug, Clone)]
pub struct SemaphoreMutex(Semaphore);

impl SemaphoreMutex {
    /// A lock at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self(Semaphore::new(client, path, 1))
    }

    /// Waits for the lock.
    ///
    /// # Errors
    /// As [`Semaphore::acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire`].
    pub async fn acquire(&self) -> Result<Lease, AcquireError> {
        self.0.acquire().await
    }

    /// As [`SemaphoreMutex::acquire`], for so long.
    ///
    /// # Errors
    /// As [`Semaphore::acquire_within`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::acquire_within`].
    pub async fn acquire_within(&self, within: Duration) -> Result<Lease, AcquireError> {
        self.0.acquire_within(within).await
    }

    /// Takes the lock if it is free and nobody waits.
    ///
    /// # Errors
    /// As [`Semaphore::try_acquire`].
    ///
    /// # Cancel safety
    /// As [`Semaphore::try_acquire`].
    pub async fn try_acquire(&self) -> Result<Option<Lease>, AcquireError> {
        self.0.try_acquire().await
    }
}
