//! What the requests of all connections together may take.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::config::keys::ThrottleSettings;

/// Bounds that all connections share.
#[derive(Debug)]
pub(crate) struct Admission {
    /// One for each write that may be on its way: `globalOutstandingLimit`.
    pub(crate) permits: Semaphore,
    /// How long a request may wait for its permit and still be executed; `None` is for ever.
    pub(crate) wait_max: Option<Duration>,
    /// Longest request that is not large; `None`: there are no large ones.
    threshold: Option<NonZeroU32>,
    large_bytes_max: usize,
    /// Bytes of the large writes that are on their way.
    large_bytes: AtomicUsize,
}

/// Large requests take all the memory that they may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for a large request of {len} bytes")]
pub(crate) struct NoRoom {
    /// Its length.
    pub(crate) len: usize,
}

impl Admission {
    pub(crate) fn new(permits: usize, settings: &ThrottleSettings) -> Self {
        Self {
            permits: Semaphore::new(permits),
            wait_max: settings.op_wait.filter(|wait| !wait.is_zero()),
            threshold: settings.large_request_threshold,
            large_bytes_max: usize::try_from(settings.large_request_max_bytes)
                .unwrap_or(usize::MAX),
            large_bytes: AtomicUsize::new(0),
        }
    }

    /// Looks whether a request of this length may come.
    ///
    /// # Errors
    ///
    /// It is large, and there is no room for it beside those on their way.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `ZooKeeperServer#checkRequestSizeWhenReceivingMessage`.
    pub(crate) fn check(&self, len: usize) -> Result<(), NoRoom> {
        let taken = || self.large_bytes.load(Ordering::Relaxed);
        if self.is_large(len) && taken().saturating_add(len) > self.large_bytes_max {
            return Err(NoRoom { len });
        }
        Ok(())
    }

    /// Takes room for a request. Returns what of it is to be given back: nothing unless it is large.
    ///
    /// # Errors
    ///
    /// As [`Self::check`].
    pub(crate) fn take(&self, len: usize) -> Result<usize, NoRoom> {
        if !self.is_large(len) {
            return Ok(0);
        }
        let bytes = self.large_bytes.fetch_add(len, Ordering::Relaxed);
        if bytes.saturating_add(len) > self.large_bytes_max {
            self.give_back(len);
            return Err(NoRoom { len });
        }
        Ok(len)
    }

    /// Gives back what was taken.
    pub(crate) fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.large_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
    }

    fn is_large(&self, len: usize) -> bool {
        self.threshold
            .is_some_and(|threshold| len > limit(threshold))
    }
}

fn limit(threshold: NonZeroU32) -> usize {
    usize::try_from(threshold.get()).unwrap_or(usize::MAX)
}

/// As these lines of a configuration file make it.
#[cfg(test)]
pub(crate) fn of_lines(permits: usize, lines: &str) -> Admission {
    use crate::config::{Config, Properties, Sources, Strictness};

    let text = format!("dataDir=/d\nclientPort=1\n{lines}");
    let main = Properties::parse("test", text.as_bytes(), Strictness::Normal);
    let resolved = Config::resolve(Sources {
        main: &main.expect("a file"),
        dynamic: None,
        environment: &[],
        my_id: None,
        strictness: Strictness::Normal,
    });
    Admission::new(permits, &resolved.expect("legal").config.throttle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_threshold_nothing_is_large() {
        let admission = of_lines(1, "largeRequestMaxBytes=10");
        assert_eq!(admission.check(1000), Ok(()));
        assert_eq!(admission.take(1000), Ok(0));
    }

    #[test]
    fn large_requests_share_what_there_is() {
        let admission = of_lines(1, "largeRequestThreshold=100\nlargeRequestMaxBytes=300");
        assert_eq!(admission.take(100), Ok(0));
        assert_eq!(admission.take(301), Err(NoRoom { len: 301 }));
        assert_eq!(admission.take(101), Ok(101));
        assert_eq!(admission.take(199), Ok(199));
        assert_eq!(admission.check(101), Err(NoRoom { len: 101 }));
        assert_eq!(admission.take(101), Err(NoRoom { len: 101 }));
        assert_eq!(admission.check(100), Ok(()));
        admission.give_back(101);
        assert_eq!(admission.take(101), Ok(101));
    }
}
