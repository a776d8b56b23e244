//! Waiting for each other.

mod double;
mod generation;
mod simple;

pub use self::double::{DoubleBarrier, Entered, StaleReady};
pub use self::generation::{GenerationBarrier, Tripped};
pub use self::simple::{Barrier, Lifted};

use std::time::Duration;

/// Why a barrier was not passed. Nothing is left behind.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BarrierError {
    /// It was not passed in time.
    #[error("{path}: not passed within {within:?}")]
    Timeout {
        /// Path of the barrier.
        path: String,
        /// The time given.
        within: Duration,
    },
    /// Time was over, but others had counted this member and went on: the round has started without
    /// it.
    #[error("{path}: passed by the others, after {within:?}")]
    TimedOutAfterTrip {
        /// Path of the barrier.
        path: String,
        /// The time given.
        within: Duration,
    },
    /// What the barrier keeps in its znodes is not readable, or says something else than this program.
    #[error("{path}: {what}")]
    Mismatch {
        /// Path of the barrier.
        path: String,
        /// What does not agree.
        what: String,
    },
    /// The client could not: no permission, an illegal path, a client that is closed.
    #[error("{path}: not passed")]
    Client {
        /// Path of the barrier.
        path: String,
        /// What went wrong.
        source: zk_client::Error,
    },
}

impl BarrierError {
    pub(crate) fn client(path: &str, source: zk_client::Error) -> Self {
        Self::Client {
            path: path.to_owned(),
            source,
        }
    }

    /// What the client had to say, if it was the client.
    pub fn client_error(&self) -> Option<&zk_client::Error> {
        if let Self::Client { source, .. } = self {
            Some(source)
        } else {
            None
        }
    }
}

/// Ends a wait at its deadline.
async fn by<T>(
    path: &str,
    within: Duration,
    wait: impl Future<Output = Result<T, BarrierError>>,
) -> Result<T, BarrierError> {
    match tokio::time::timeout(within, wait).await {
        Ok(result) => result,
        Err(_) => Err(BarrierError::Timeout {
            path: path.to_owned(),
            within,
        }),
    }
}
