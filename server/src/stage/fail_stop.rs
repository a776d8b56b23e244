//! Stopping for good: law L7.

use std::fmt;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use zk_core::peer::Fatal;
use zk_proto::Zxid;

use crate::storage::{EpochError, LogError, RecoverError};

/// Why a server stopped by itself.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StopCause {
    /// The log could not be written.
    #[error("the transaction log cannot be written")]
    Log(#[from] LogError),
    /// An epoch file could not be written.
    #[error("an epoch file cannot be written")]
    Epochs(#[from] EpochError),
    /// A server that is no member was asked to promise an epoch.
    #[error("a server on its own has no epochs")]
    NoEpochs,
    /// The state could not be loaded again after the log was cut.
    #[error("the state cannot be loaded again")]
    Reload(#[from] Box<RecoverError>),
    /// A snapshot could not be written.
    #[error("a snapshot cannot be written")]
    Snapshot(#[source] std::io::Error),
    /// The core met what must not happen.
    #[error("the core cannot go on")]
    Core(#[from] Fatal),
    /// The tree is not what was computed beforehand.
    #[error("the tree differs from what was logged for transaction {zxid}")]
    Digest {
        /// After this transaction.
        zxid: Zxid,
    },
    /// A thread panicked.
    #[error("the {thread} thread panicked")]
    Panic {
        /// Its name.
        thread: &'static str,
    },
    /// A thread could not be started.
    #[error("the {thread} thread cannot be started")]
    Spawn {
        /// Its name.
        thread: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What is done to bring the threads of a server to their end.
type Closer = Box<dyn Fn() + Send + Sync>;

/// Stops a server: once, for the first reason.
pub(crate) struct FailStop {
    cause: Mutex<Option<Arc<StopCause>>>,
    closers: Mutex<Vec<Closer>>,
    /// Cancelled when the server stops, whether it failed or was told to.
    stopping: CancellationToken,
}

impl fmt::Debug for FailStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailStop")
            .field("cause", &*self.cause.lock())
            .finish_non_exhaustive()
    }
}

impl FailStop {
    pub(crate) fn new() -> Self {
        Self {
            cause: Mutex::new(None),
            closers: Mutex::new(Vec::new()),
            stopping: CancellationToken::new(),
        }
    }

    /// Adds what is to be closed at the end.
    pub(crate) fn on_stop(&self, closer: impl Fn() + Send + Sync + 'static) {
        self.closers.lock().push(Box::new(closer));
    }

    /// Stops for a reason. Only the first is kept.
    pub(crate) fn fail(&self, cause: StopCause) {
        let mut held = self.cause.lock();
        if held.is_none() {
            tracing::error!(err = %chain(&cause), "server stops");
            *held = Some(Arc::new(cause));
        }
        drop(held);
        self.stop();
    }

    /// Stops as told.
    pub(crate) fn stop(&self) {
        self.stopping.cancel();
        for closer in self.closers.lock().iter() {
            closer();
        }
    }

    /// Cancelled when the server stops.
    pub(crate) fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Why it stopped, if it failed.
    pub(crate) fn cause(&self) -> Option<Arc<StopCause>> {
        self.cause.lock().clone()
    }

    /// Runs an owner on a thread of its own. Its error or panic stops the server.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &'static str,
        owner: impl FnOnce() -> Result<(), StopCause> + Send + 'static,
    ) -> Result<JoinHandle<()>, StopCause> {
        let fail_stop = Arc::clone(self);
        thread::Builder::new()
            .name(format!("zk-{name}"))
            .spawn(move || {
                let _watch = PanicWatch::new(name, &fail_stop);
                if let Err(cause) = owner() {
                    fail_stop.fail(cause);
                }
            })
            .map_err(|source| StopCause::Spawn {
                thread: name,
                source,
            })
    }
}

/// Stops the server when its thread unwinds.
pub(super) struct PanicWatch(&'static str, Arc<FailStop>);

impl PanicWatch {
    pub(super) fn new(name: &'static str, fail_stop: &Arc<FailStop>) -> Self {
        Self(name, Arc::clone(fail_stop))
    }
}

impl Drop for PanicWatch {
    fn drop(&mut self) {
        if thread::panicking() {
            self.1.fail(StopCause::Panic { thread: self.0 });
        }
    }
}

/// An error with its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_in_an_owner_stops_the_server_and_the_first_reason_is_kept() {
        let fail_stop = Arc::new(FailStop::new());
        let thread = fail_stop
            .spawn("test", || panic!("on purpose"))
            .expect("spawned");
        thread.join().expect_err("it panicked");
        assert!(fail_stop.stopping().is_cancelled());
        fail_stop.fail(StopCause::Digest { zxid: Zxid::ZERO });
        let cause = fail_stop.cause().expect("a cause");
        assert!(matches!(*cause, StopCause::Panic { thread: "test" }));
    }
}
