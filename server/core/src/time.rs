//! Time as the core knows it: values that a driver reads from its clocks and passes in.
//!
//! Two kinds that never mix: [`Time`] only measures distances and never goes back, [`WallTime`] is
//! what goes into transactions and may jump either way.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Point on a monotonic clock whose start means nothing.
///
/// Unit: microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// Point on the wall clock, as transactions and stats carry it. It may go backwards.
///
/// Unit: milliseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

/// Both clocks, read once per batch of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// For deadlines.
    pub time: Time,
    /// For what is written down.
    pub wall: WallTime,
}

impl Time {
    /// The start of the clock.
    pub const ZERO: Self = Self(0);

    /// The point this many microseconds after the clock's start.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// The point this many milliseconds after the clock's start; the last point if that is too far.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis.saturating_mul(1000))
    }

    /// Microseconds since the clock's start.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }

    /// How long ago `earlier` was; zero if it is yet to come.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the last point of the clock, half a million years away.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, distance: Duration) -> Self {
        let micros = u64::try_from(distance.as_micros()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(micros))
    }
}

/// Distance between two points; zero if the right one is later.
impl Sub for Time {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        self.since(earlier)
    }
}

impl WallTime {
    /// The point this many milliseconds after 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Milliseconds from `earlier` to here; negative if the clock went back, saturating.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_saturate() {
        let early = Time::from_millis(5);
        let late = early + Duration::from_millis(7);
        assert_eq!(late - early, Duration::from_millis(7));
        assert_eq!(early - late, Duration::ZERO);
        assert_eq!(Time::from_micros(u64::MAX) + Duration::MAX, Time(u64::MAX));
    }

    #[test]
    fn wall_time_may_go_back() {
        let (early, late) = (WallTime::from_millis(1), WallTime::from_millis(3));
        assert_eq!(early.millis_since(late), -2);
        assert_eq!(WallTime::from_millis(i64::MIN).millis_since(late), i64::MIN);
    }
}
