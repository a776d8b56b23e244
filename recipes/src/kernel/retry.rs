//! Asking again for what can be asked for any number of times.

use std::time::Duration;

use zk_client::{Error, ErrorKind};

use super::chance::part_of;

/// First and longest pause between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Pauses that double, with jitter, so that many do not come back at once.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(PAUSE_MIN)
    }

    /// Waits a little, and longer the next time.
    pub(crate) async fn pause(&mut self) {
        let pause = self.0 / 2 + part_of(self.0 / 2);
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        tokio::time::sleep(pause).await;
    }
}

/// Asks until there is an answer that another attempt would not change.
///
/// Only for what may be asked twice: reads, syncs, deletions of own names, creations of what may exist.
pub(crate) async fn settled<T, F>(mut ask: impl FnMut() -> F) -> Result<T, Error>
where
    F: IntoFuture<Output = Result<T, Error>>,
{
    let mut backoff = Backoff::new();
    loop {
        match ask().await {
            Err(error) if error.is_retryable() => backoff.pause().await,
            result => return result,
        }
    }
}

/// Whether the error says that the session is over while the client lives: a new attempt on the next
/// session may do better.
pub(crate) fn is_session_over(error: &Error) -> bool {
    error.kind() == ErrorKind::SessionExpired
}
