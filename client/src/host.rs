//! What the client, and what is built on it, take from the process that they run in beside tokio's
//! clock and a [`crate::Connector`]: tasks, and numbers that nobody foresees.
//!
//! A seam for simulators, no part of the API: it may change with any version. Without the feature
//! `simulation` tasks go to tokio, and numbers come from wherever they would.

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

#[cfg(feature = "simulation")]
pub use self::simulated::{Entered, Host, Hosted, current, enter};

/// Spawns a task of the process that this is called in.
///
/// # Panics
/// Outside a tokio runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    spawn_on(&Handle::current(), future)
}

/// Spawns a task of the process that this is called in, from wherever that is.
pub fn spawn_on<F>(runtime: &Handle, future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    #[cfg(feature = "simulation")]
    if let Some(host) = current() {
        return runtime.spawn(Hosted::new(host, future));
    }
    runtime.spawn(future)
}

/// A number that the simulator draws; `None` where nothing is simulated.
pub fn drawn() -> Option<u64> {
    #[cfg(feature = "simulation")]
    if let Some(host) = current() {
        return Some(host.draw());
    }
    None
}

#[cfg(feature = "simulation")]
mod simulated {
    use std::cell::RefCell;
    use std::fmt;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    /// A process that is simulated.
    pub trait Host: fmt::Debug + Send + Sync + 'static {
        /// Whether its tasks run now. If not, the task is woken when they do.
        fn runs(&self, cx: &mut Context<'_>) -> bool;

        /// A number.
        fn draw(&self) -> u64;
    }

    thread_local! {
        static CURRENT: RefCell<Option<Arc<dyn Host>>> = const { RefCell::new(None) };
    }

    /// The process that this thread is in.
    pub fn current() -> Option<Arc<dyn Host>> {
        // A thread that ends is in none.
        let current = CURRENT.try_with(|current| current.borrow().clone());
        current.ok().flatten()
    }

    /// This thread is in a process until what is returned is dropped.
    #[must_use = "dropped at once, it has no effect"]
    pub fn enter(host: Arc<dyn Host>) -> Entered {
        Entered {
            before: CURRENT.replace(Some(host)),
        }
    }

    /// See [`enter`].
    #[derive(Debug)]
    pub struct Entered {
        before: Option<Arc<dyn Host>>,
    }

    impl Drop for Entered {
        fn drop(&mut self) {
            CURRENT.set(self.before.take());
        }
    }

    /// A task of a process: it runs while that does, and what it spawns is of the same process.
    #[derive(Debug)]
    pub struct Hosted<F> {
        host: Arc<dyn Host>,
        future: Pin<Box<F>>,
    }

    impl<F: Future> Hosted<F> {
        /// Lets a future run in a process.
        pub fn new(host: Arc<dyn Host>, future: F) -> Self {
            let future = Box::pin(future);
            Self { host, future }
        }
    }

    impl<F: Future> Future for Hosted<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
            if !self.host.runs(cx) {
                return Poll::Pending;
            }
            let _inside = enter(Arc::clone(&self.host));
            self.future.as_mut().poll(cx)
        }
    }
}
