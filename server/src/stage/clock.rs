//! The clocks of a server.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use zk_core::time::{Now, Time, WallTime};

/// Reads the clocks. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// Monotonic time.
    pub(crate) fn time(self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Both clocks.
    pub(crate) fn now(self) -> Now {
        Now {
            time: self.time(),
            wall: wall(),
        }
    }

    /// Whole seconds from the start to a moment.
    pub(crate) fn seconds(self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.start);
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
    }

    /// The moment that a point in time is, for those who wait for it.
    pub(crate) fn instant(self, time: Time) -> Instant {
        let at = Duration::from_micros(time.as_micros());
        // Half a million years from now is as good as never.
        let never = self.start + Duration::from_secs(1 << 32);
        self.start.checked_add(at).unwrap_or(never)
    }
}

/// The wall clock.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let millis = match since {
        Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
    };
    WallTime::from_millis(millis)
}
