use std::ops::{Add, Sub};
use std::time::Duration;

const NANOS_A_SECOND: u64 = 1_000_000_000;

/// A moment on the driver's monotonic clock: nanoseconds from when the client was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time(u64);

impl Time {
    /// When the client was made.
    pub(crate) const START: Self = Self(0);
    /// Five hundred years later.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The moment this long after the client was made.
    pub(crate) fn from_start(elapsed: Duration) -> Self {
        Self::START + elapsed
    }

    /// How long after the client was made this is.
    pub(crate) const fn since_start(self) -> Duration {
        Duration::from_nanos(self.0)
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates: a wait of [`Duration::MAX`] never ends.
    fn add(self, wait: Duration) -> Self {
        let seconds = wait.as_secs().saturating_mul(NANOS_A_SECOND);
        let nanos = seconds.saturating_add(wait.subsec_nanos().into());
        Self(self.0.saturating_add(nanos))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
