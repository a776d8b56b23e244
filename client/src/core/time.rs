use std::ops::{Add, Sub};
use std::time::Duration;

/// A moment on the driver's monotonic clock, counted from when the client was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time(Duration);

impl Time {
    /// The moment this long after the client was made.
    pub(crate) const fn from_start(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the client was made this is.
    pub(crate) const fn since_start(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates: a wait of [`Duration::MAX`] never ends.
    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(wait))
    }
}

impl Sub for Time {
    type Output = Duration;

    /// Zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
