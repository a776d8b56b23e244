//! Clocks of one member: they are late, fast or slow, and one of them jumps.

use std::time::Duration;

use zk_core::time::{Now, Time, WallTime};

use super::schedule::Micros;

/// Wall time at the beginning of a run, in milliseconds since 1970.
const EPOCH_MS: i64 = 1_700_000_000_000;
const MILLION: u64 = 1_000_000;

/// The clocks of a member. The monotonic one starts anew with the machine and runs a little wrong;
/// the one on the wall may be set at any time.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// When the monotonic clock was where it starts.
    booted: Micros,
    /// Where it starts.
    base: Micros,
    /// How many microseconds it counts while a million pass.
    rate: u64,
    /// How far the wall clock is off, in milliseconds.
    skew_ms: i64,
}

impl Clock {
    /// A clock that counts `rate` microseconds in a million, and is off by `skew_ms`.
    pub fn new(rate: u64, skew_ms: i64) -> Self {
        Self {
            booted: 0,
            base: MILLION,
            rate: rate.max(1),
            skew_ms,
        }
    }

    /// Starts the monotonic clock anew, as a reboot does.
    pub fn reboot(&mut self, now: Micros, base: Micros) {
        self.booted = now;
        self.base = base;
    }

    /// Sets the wall clock by so much.
    pub fn jump(&mut self, by_ms: i64) {
        self.skew_ms = self.skew_ms.saturating_add(by_ms);
    }

    /// What the clocks show.
    pub fn read(&self, now: Micros) -> Now {
        let passed = now.saturating_sub(self.booted) * self.rate / MILLION;
        let wall = EPOCH_MS.saturating_add((now / 1000).cast_signed());
        Now {
            time: Time::from_micros(self.base + passed),
            wall: WallTime::from_millis(wall.saturating_add(self.skew_ms)),
        }
    }

    /// When the monotonic clock will show `time`, at the latest.
    pub fn when(&self, time: Time) -> Micros {
        let to_pass = time.as_micros().saturating_sub(self.base);
        let real = u128::from(to_pass) * u128::from(MILLION) / u128::from(self.rate) + 1;
        self.booted
            .saturating_add(u64::try_from(real).unwrap_or(u64::MAX))
    }

    /// How long a distance on the monotonic clock takes.
    pub fn real(&self, distance: Duration) -> Micros {
        let micros = distance.as_micros() * u128::from(MILLION) / u128::from(self.rate);
        u64::try_from(micros).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn when_is_never_too_early_and_hardly_too_late() {
        for rate in [900_000, 999_950, 1_000_000, 1_000_200, 1_100_000] {
            let mut clock = Clock::new(rate, 0);
            clock.reboot(12_345, 777);
            for time in [777, 778, 10_000, 123_456_789] {
                let at = clock.when(Time::from_micros(time));
                assert!(clock.read(at).time.as_micros() >= time);
                assert!(clock.read(at.saturating_sub(4)).time.as_micros() <= time);
            }
        }
    }

    #[test]
    fn only_the_wall_clock_jumps() {
        let mut clock = Clock::new(1_000_000, 0);
        let before = clock.read(5000);
        clock.jump(-60_000);
        let after = clock.read(5000);
        assert_eq!(after.time, before.time);
        assert_eq!(after.wall.millis_since(before.wall), -60_000);
    }
}
