//! Session timeouts and what a server grants.

use std::fmt;
use std::time::Duration;

/// How long a session lives without a sign of its client.
///
/// Unit: milliseconds, as the wire and the log carry it. A log may hold any number; anything below
/// zero counts as zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionTimeout(i32);

impl SessionTimeout {
    /// A timeout as it stands on the wire or in the log.
    pub const fn from_millis(millis: i32) -> Self {
        Self(millis)
    }

    /// The number as it goes on the wire.
    pub const fn as_millis(self) -> i32 {
        self.0
    }

    /// As a distance in time.
    pub fn as_duration(self) -> Duration {
        Duration::from_millis(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for SessionTimeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

/// The timeouts that a server grants.
///
/// Invariant: 0 < min ≤ max.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeoutBounds {
    min: i32,
    max: i32,
}

/// Why two bounds are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "session timeouts between {min} and {max} ms: the least must be positive and not above the most"
)]
pub struct BoundsError {
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

impl TimeoutBounds {
    /// Bounds in milliseconds; what is not given is 2 and 20 ticks.
    ///
    /// # Errors
    /// [`BoundsError`] if the least is not positive or above the most.
    pub fn new(tick_ms: i32, min: Option<i32>, max: Option<i32>) -> Result<Self, BoundsError> {
        let min = min.unwrap_or_else(|| tick_ms.saturating_mul(2));
        let max = max.unwrap_or_else(|| tick_ms.saturating_mul(20));
        if min > 0 && min <= max {
            Ok(Self { min, max })
        } else {
            Err(BoundsError { min, max })
        }
    }

    /// What a server grants to a client that asks for this many milliseconds, which may be negative.
    pub fn grant(self, asked_ms: i32) -> SessionTimeout {
        SessionTimeout(asked_ms.clamp(self.min, self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_timeouts_are_clamped() {
        let bounds = TimeoutBounds::new(2000, None, None).unwrap();
        for (asked, granted) in [
            (-5, 4000),
            (i32::MIN, 4000),
            (1, 4000),
            (4001, 4001),
            (1_000_000_000, 40_000),
        ] {
            assert_eq!(bounds.grant(asked).as_millis(), granted);
        }
    }

    #[test]
    fn bounds_that_cross_are_refused() {
        assert!(TimeoutBounds::new(2000, Some(50_000), None).is_err());
        assert!(TimeoutBounds::new(2000, Some(0), None).is_err());
        assert!(TimeoutBounds::new(i32::MAX, None, None).is_ok());
    }

    #[test]
    fn negative_timeouts_of_a_log_are_zero() {
        assert_eq!(
            SessionTimeout::from_millis(-1).as_duration(),
            Duration::ZERO
        );
    }
}
