use std::collections::HashMap;
use std::hash::Hash;
use std::ops::Deref;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::{Lock, LockGuard};
use crate::error::AcquireError;
use crate::kernel::attempt::by;
use crate::kernel::hold::Hold;

/// A [`Lock`] that an owner may acquire while it has it. Who the owner is says the caller, by any value:
/// async tasks have no identity of their own.
///
/// One znode stands for all holds of an owner; the lock is released with the last of them.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use zk_recipes::{Lock, ReentrantLock};
///
/// let lock = ReentrantLock::<&str>::new(Lock::new(&zk, "/locks/orders"));
/// let outer = lock.acquire("job 7").await?;
/// let inner = lock.acquire("job 7").await?; // at once
/// assert_eq!(outer.token(), inner.token());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct ReentrantLock<K> {
    lock: Lock,
    owners: Mutex<HashMap<K, Arc<Slot>>>,
}

/// What an owner holds. The lock around it is held while the owner's first acquisition waits, so that
/// a second one of the same owner does not stand in line too.
type Slot = tokio::sync::Mutex<Weak<LockGuard>>;

/// A hold of a [`ReentrantLock`]; the lock is released with the last one of its owner.
#[derive(Debug, Clone)]
#[must_use = "a lock is released when its last guard is dropped"]
pub struct ReentrantGuard(Arc<LockGuard>);

impl<K: Eq + Hash + Clone> ReentrantLock<K> {
    /// Makes a lock re-entrant, for those who use this value and its clones by reference.
    pub fn new(lock: Lock) -> Self {
        Self {
            lock,
            owners: Mutex::default(),
        }
    }

    /// Waits for the lock, unless the owner has it.
    ///
    /// # Errors
    /// As [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn acquire(&self, owner: impl Into<K>) -> Result<ReentrantGuard, AcquireError> {
        let slot = self.slot(owner.into());
        let mut held = slot.lock().await;
        // One that was lost is of no use to whoever comes now.
        if let Some(guard) = held.upgrade().filter(|guard| guard.is_held()) {
            return Ok(ReentrantGuard(guard));
        }
        let guard = Arc::new(self.lock.acquire().await?);
        *held = Arc::downgrade(&guard);
        Ok(ReentrantGuard(guard))
    }

    /// As [`ReentrantLock::acquire`], for so long.
    ///
    /// # Errors
    /// [`AcquireError::Timeout`]; those of [`Lock::acquire`].
    ///
    /// # Cancel safety
    /// As [`Lock::acquire`].
    pub async fn acquire_within(
        &self,
        owner: impl Into<K>,
        within: Duration,
    ) -> Result<ReentrantGuard, AcquireError> {
        by(self.lock.path(), within, self.acquire(owner)).await
    }

    fn slot(&self, owner: K) -> Arc<Slot> {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        // Owners that hold nothing and wait for nothing are forgotten.
        owners.retain(|_, slot| {
            let is_idle = slot.try_lock().is_ok_and(|held| held.strong_count() == 0);
            Arc::strong_count(slot) > 1 || !is_idle
        });
        Arc::clone(owners.entry(owner).or_default())
    }
}

impl Deref for ReentrantGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.0
    }
}
