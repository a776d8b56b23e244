use std::ops::Deref;
use std::sync::Arc;

use crate::error::Lost;
use crate::kernel::attempt::Attempt;
use crate::kernel::claim::Claim;
use crate::kernel::hold::Hold;
use crate::kernel::options::Options;

/// A lock that is held. It derefs to [`Hold`], which tells whether that is still so.
///
/// Dropped, it releases the lock in the background; [`LockGuard::release`] waits until that is done. It
/// may move between tasks.
#[derive(Debug)]
#[must_use = "a lock is released when its guard is dropped"]
pub struct LockGuard {
    /// Both are there until it is released.
    held: Option<(Claim, Hold)>,
}

impl LockGuard {
    pub(crate) fn new(attempt: Attempt, options: &Options) -> Self {
        Self {
            held: Some(attempt.hold(options, true)),
        }
    }

    /// Gives the lock back and waits until others may have it.
    ///
    /// # Errors
    /// [`Lost`] if it had been lost before. What holds of the lock afterwards is the same.
    ///
    /// # Cancel safety
    /// The release goes on in the background.
    pub async fn release(mut self) -> Result<(), Lost> {
        let Some((claim, hold)) = self.held.take() else {
            return Ok(());
        };
        release(claim, hold).await
    }

    /// Makes a guard that can be cloned: the lock is released with the last clone.
    pub fn share(self) -> SharedGuard {
        SharedGuard(Arc::new(self))
    }

    pub(crate) fn into_parts(mut self) -> Option<(Claim, Hold)> {
        self.held.take()
    }

    pub(crate) fn from_parts(claim: Claim, hold: Hold) -> Self {
        Self {
            held: Some((claim, hold)),
        }
    }
}

/// Releases what was won.
pub(crate) async fn release(claim: Claim, hold: Hold) -> Result<(), Lost> {
    let lost = hold.loss();
    hold.end();
    // It is released locally whatever the server says; a failure was told where it happened.
    let deleted = claim.release().await;
    drop(hold);
    match (lost, deleted) {
        (Some(lost), _) => Err(lost),
        (None, _) => Ok(()),
    }
}

impl Deref for LockGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        let (_, hold) = self
            .held
            .as_ref()
            .expect("only release takes it, and the guard with it");
        hold
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        if let Some((claim, hold)) = self.held.take() {
            hold.end();
            claim.clean_with(hold);
        }
    }
}

/// A lock that several tasks hold together: see [`LockGuard::share`].
#[derive(Debug, Clone)]
#[must_use = "a lock is released when its last guard is dropped"]
pub struct SharedGuard(Arc<LockGuard>);

impl Deref for SharedGuard {
    type Target = Hold;

    fn deref(&self) -> &Hold {
        &self.0
    }
}
