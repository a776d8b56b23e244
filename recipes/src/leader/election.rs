use std::any::Any;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio_util::sync::CancellationToken;
use zk_client::Client;

use super::Leadership;
use crate::error::{AcquireError, Lost};
use crate::kernel::clock::now;
use crate::lock::{Contender, Lock, LockFormat};

/// Runs something while, and only while, it leads.
///
/// ```no_run
/// # async fn example(zk: zk_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// use std::ops::ControlFlow;
///
/// let election = zk_recipes::Election::new(&zk, "/leader").identity("node-1");
/// election
///     .run(|leadership| async move {
///         println!("leads with token {}", leadership.token());
///         ControlFlow::<()>::Continue(()) // once is enough: get in line again
///     })
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Guarantees
/// The body never runs twice at a time, here or at another candidate: it is dropped when the leadership
/// is lost, and the next attempt begins only when it and all that it spawned
/// ([`Leadership::spawn`]) have ended. What it does on other threads must look at
/// [`Leadership::is_held`](crate::Hold::is_held) or fence with tokens.
///
/// # Layout
/// Of a [`Lock`]: with Curator's `LeaderSelector` by default, with kazoo's `Election` by
/// [`LockFormat::Kazoo`].
///
/// # Source
/// Apache Curator 5, `LeaderSelector`; kazoo 2, `Election`.
#[derive(Debug, Clone)]
pub struct Election {
    lock: Lock,
    grace: Duration,
    survives_panics: bool,
    /// Stops the leadership that is, if one is.
    present: Present,
}

type Present = Arc<Mutex<Option<Arc<CancellationToken>>>>;

/// Why an election is over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ElectionError {
    /// It could not take part.
    #[error("the election is over")]
    Acquire(#[from] AcquireError),
    /// The leadership was lost, or interrupted, before the body was done.
    #[error("the leadership was lost")]
    Lost(#[from] Lost),
}

/// How one leadership ended.
enum Ended<T> {
    Done(T),
    Lost(Lost),
    Panicked(Box<dyn Any + Send>),
}

impl Election {
    /// An election at this path. Nothing is asked of a server yet.
    pub fn new(client: &Client, path: impl Into<String>) -> Self {
        Self::of(Lock::new(client, path))
    }

    /// An election by a lock that is set up already.
    pub fn of(lock: Lock) -> Self {
        Self {
            lock,
            grace: Duration::ZERO,
            survives_panics: false,
            present: Arc::default(),
        }
    }

    /// Who takes part: data of the znode.
    #[must_use]
    pub fn identity(mut self, identity: impl Into<bytes::Bytes>) -> Self {
        self.lock = self.lock.identity(identity);
        self
    }

    /// See [`Lock::format`].
    #[must_use]
    pub fn format(mut self, format: LockFormat) -> Self {
        self.lock = self.lock.format(format);
        self
    }

    /// See [`crate::LossPolicy`].
    #[must_use]
    pub fn loss_policy(mut self, policy: crate::LossPolicy) -> Self {
        self.lock = self.lock.loss_policy(policy);
        self
    }

    /// Tells the body so long before it is dropped that it is to stop, by
    /// [`Leadership::stopping`]. Not longer than a third of the session timeout is of use.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Gets in line again after a body has panicked, instead of passing the panic on.
    #[must_use]
    pub fn survive_panics(mut self) -> Self {
        self.survives_panics = true;
        self
    }

    /// Leads again and again, with a new place in line each time, until the body breaks. A leadership
    /// that is lost is no end.
    ///
    /// # Errors
    /// [`ElectionError::Acquire`] as [`Lock::acquire`].
    ///
    /// # Panics
    /// With the panic of the body, once the leadership is given back, unless
    /// [`Election::survive_panics`] was chosen.
    ///
    /// # Cancel safety
    /// Dropping the future drops the body and gives the leadership back in the background.
    pub async fn run<T, F>(&self, mut body: impl FnMut(Leadership) -> F) -> Result<T, ElectionError>
    where
        F: Future<Output = ControlFlow<T>>,
    {
        loop {
            match self.lead(&mut body).await? {
                Ended::Done(ControlFlow::Break(output)) => return Ok(output),
                Ended::Done(ControlFlow::Continue(())) | Ended::Lost(_) => {}
                Ended::Panicked(panic) if self.survives_panics => drop(panic),
                Ended::Panicked(panic) => std::panic::resume_unwind(panic),
            }
        }
    }

    /// Leads once.
    ///
    /// # Errors
    /// [`ElectionError::Acquire`] as [`Lock::acquire`]; [`ElectionError::Lost`] if the leadership was lost
    /// or interrupted before the body was done.
    ///
    /// # Panics, cancel safety
    /// As [`Election::run`].
    pub async fn run_once<T, F>(
        &self,
        body: impl FnOnce(Leadership) -> F,
    ) -> Result<T, ElectionError>
    where
        F: Future<Output = T>,
    {
        match self.lead(body).await? {
            Ended::Done(output) => Ok(output),
            Ended::Lost(lost) => Err(lost.into()),
            Ended::Panicked(panic) => std::panic::resume_unwind(panic),
        }
    }

    /// Ends the leadership that is, if one is: its body is told to stop, and dropped after the grace. The
    /// candidate stays; a leadership that comes later is not meant.
    pub fn interrupt(&self) {
        let present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(present) = &*present {
            present.cancel();
        }
    }

    /// All candidates, the leader first.
    ///
    /// # Errors
    /// As [`Lock::contenders`].
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn candidates(&self) -> Result<Vec<Contender>, AcquireError> {
        self.lock.contenders().await
    }

    async fn lead<T, F>(&self, body: impl FnOnce(Leadership) -> F) -> Result<Ended<T>, AcquireError>
    where
        F: Future<Output = T>,
    {
        let guard = self.lock.acquire().await?;
        let Some((claim, hold)) = guard.into_parts() else {
            unreachable!("only release takes it, and the guard with it")
        };
        let leadership = Leadership::new(Arc::new(hold));
        // Ends with this function, however that ends.
        let term = Term {
            leadership: leadership.clone(),
            claim: Some(claim),
            present: Arc::clone(&self.present),
            interrupt: Arc::default(),
        };
        *self.present.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Arc::clone(&term.interrupt));
        let ended = {
            // Made within the catch, because making it may panic too.
            let leading = AssertUnwindSafe(async { body(leadership.clone()).await }).catch_unwind();
            tokio::select! {
                biased;
                lost = self.told_to_stop(&term) => Ended::Lost(lost),
                output = leading => match output {
                    Ok(output) => Ended::Done(output),
                    Err(panic) => Ended::Panicked(panic),
                },
            }
        };
        leadership.end();
        leadership.drained().await;
        term.release().await;
        Ok(ended)
    }

    /// Waits until the body is to be dropped; tells it some time before.
    async fn told_to_stop(&self, term: &Term) -> Lost {
        let leadership = &term.leadership;
        let stopping = leadership.stopping();
        let lost = leadership.lost();
        tokio::pin!(lost);
        let reason = tokio::select! {
            biased;
            reason = &mut lost => reason,
            () = async {
                tokio::select! {
                    biased;
                    () = term.interrupt.cancelled() => {}
                    () = nearly_over(leadership, self.grace) => {}
                }
                stopping.cancel();
                // An end that only comes near is for the leadership itself to tell.
                term.interrupt.cancelled().await;
                tokio::time::sleep(self.grace).await;
            } => crate::LossReason::Released,
        };
        Lost {
            path: leadership.node_path().to_owned(),
            reason,
        }
    }
}

/// Waits until the leadership may be over within the grace.
async fn nearly_over(leadership: &Leadership, grace: Duration) {
    if grace.is_zero() {
        std::future::pending::<()>().await;
    }
    while let Some(end) = leadership.safe_until() {
        let at = end.checked_sub(grace).unwrap_or(end);
        if at <= now() {
            return;
        }
        tokio::time::sleep_until(at.into()).await;
    }
    // No bound, or no session: its end tells itself.
    std::future::pending::<()>().await;
}

/// One leadership, given back when it is dropped.
struct Term {
    leadership: Leadership,
    claim: Option<crate::kernel::claim::Claim>,
    present: Present,
    interrupt: Arc<CancellationToken>,
}

impl Term {
    async fn release(mut self) {
        if let Some(claim) = self.claim.take() {
            // What went wrong was told where it did.
            claim.release().await.ok();
        }
    }
}

impl Drop for Term {
    fn drop(&mut self) {
        // A clone of the election may lead already, by a token of its own.
        let mut present = self.present.lock().unwrap_or_else(PoisonError::into_inner);
        present.take_if(|present| Arc::ptr_eq(present, &self.interrupt));
        drop(present);
        self.leadership.end();
        if let Some(claim) = self.claim.take() {
            claim.clean_with(self.leadership.clone());
        }
    }
}
