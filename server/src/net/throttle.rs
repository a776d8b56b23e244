//! How many clients may attach at a time: a bucket of tokens, and chance when it runs dry.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zk_core::conn::handshake::Weights;

use crate::config::keys::ThrottleSettings;

/// Lets new sessions in.
///
/// The bucket is filled over time and emptied by those who come. If chance is on, whoever comes may
/// be sent away though there are tokens: the likelier, the longer the bucket was empty.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `BlueThrottle`.
#[derive(Debug)]
pub(crate) struct Throttle {
    /// What clients take, unless all take the same.
    pub(crate) weights: Option<Weights>,
    max: Option<NonZeroU32>,
    fill_time: Duration,
    fill_count: u32,
    chance: Option<Chance>,
    state: Mutex<State>,
}

/// Rules of sending clients away at random.
#[derive(Clone, Copy, Debug)]
struct Chance {
    /// Time between changes of the probability.
    freeze: Duration,
    increase: f64,
    decrease: f64,
    /// Share of the bucket that must be left for the probability to fall.
    left: f64,
}

#[derive(Debug)]
struct State {
    tokens: u32,
    filled: Instant,
    drop: f64,
    adapted: Instant,
    random: u64,
}

impl Throttle {
    pub(crate) fn new(settings: &ThrottleSettings, now: Instant, seed: u64) -> Self {
        let weights = Weights {
            global: settings.connection_global_weight,
            local: settings.connection_local_weight,
            renewed: settings.connection_renew_weight,
        };
        Self {
            weights: settings.connection_weight_enabled.then_some(weights),
            max: settings.connection_tokens,
            fill_time: settings.connection_fill_time,
            fill_count: settings.connection_fill_count,
            chance: settings.connection_freeze_time.map(|freeze| Chance {
                freeze,
                increase: settings.connection_drop_increase,
                decrease: settings.connection_drop_decrease,
                left: settings.connection_decrease_ratio,
            }),
            state: Mutex::new(State {
                tokens: settings.connection_tokens.map_or(0, NonZeroU32::get),
                filled: now,
                drop: 0.0,
                adapted: now,
                random: seed | 1,
            }),
        }
    }

    /// Takes the tokens of one client; false if there are not enough of them.
    pub(crate) fn take(&self, cost: u32, now: Instant) -> bool {
        let Some(max) = self.max.map(NonZeroU32::get) else {
            return true;
        };
        let mut state = self.state.lock();
        let fills = now.saturating_duration_since(state.filled).as_micros()
            / self.fill_time.as_micros().max(1);
        if fills > 0 {
            let gained = u128::from(self.fill_count) * fills;
            let gained = u32::try_from(gained).unwrap_or(u32::MAX);
            state.tokens = state.tokens.saturating_add(gained).min(max);
            state.filled = now;
        }
        if let Some(chance) = self.chance {
            state.adapt(chance, max, now);
            if state.draw() < state.drop {
                return false;
            }
        }
        match state.tokens.checked_sub(cost) {
            Some(left) => {
                state.tokens = left;
                true
            }
            None => false,
        }
    }

    /// How likely it is that somebody is sent away while there are tokens.
    pub(crate) fn drop_probability(&self) -> f64 {
        self.state.lock().drop
    }
}

impl State {
    fn adapt(&mut self, chance: Chance, max: u32, now: Instant) {
        if now.saturating_duration_since(self.adapted) < chance.freeze {
            return;
        }
        self.adapted = now;
        if self.tokens == 0 {
            self.drop = (self.drop + chance.increase).min(1.0);
        } else if f64::from(self.tokens) > f64::from(max) * chance.left {
            self.drop = (self.drop - chance.decrease).max(0.0);
        }
    }

    /// Between 0 and 1.
    fn draw(&mut self) -> f64 {
        // Xorshift: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let high = u32::try_from(self.random >> 32).unwrap_or(0);
        f64::from(high) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Properties, Sources, Strictness};

    fn throttle(text: &str, now: Instant) -> Throttle {
        let text = format!("dataDir=/d\nclientPort=1\n{text}");
        let main = Properties::parse("test", text.as_bytes(), Strictness::Normal);
        let resolved = Config::resolve(Sources {
            main: &main.expect("a file"),
            dynamic: None,
            environment: &[],
            my_id: None,
            strictness: Strictness::Normal,
        });
        Throttle::new(&resolved.expect("legal").config.throttle, now, 7)
    }

    #[test]
    fn without_a_bucket_everybody_comes_in() {
        let now = Instant::now();
        let throttle = throttle("", now);
        assert!((0..1000).all(|_| throttle.take(100, now)));
    }

    #[test]
    fn a_bucket_lets_in_what_it_holds_and_fills_with_time() {
        let now = Instant::now();
        let throttle = throttle(
            "connection_throttle_tokens=3\nconnection_throttle_fill_time=10\n\
             connection_throttle_fill_count=2",
            now,
        );
        assert_eq!((0..5).filter(|_| throttle.take(1, now)).count(), 3);
        let later = now + Duration::from_millis(10);
        assert_eq!((0..5).filter(|_| throttle.take(1, later)).count(), 2);
        let much_later = later + Duration::from_secs(10);
        assert_eq!((0..5).filter(|_| throttle.take(1, much_later)).count(), 3);
    }

    #[test]
    fn an_empty_bucket_makes_it_likelier_to_be_sent_away() {
        let now = Instant::now();
        let throttle = throttle(
            "connection_throttle_tokens=1\nconnection_throttle_fill_time=1000000\n\
             connection_throttle_freeze_time=0\nconnection_throttle_drop_increase=0.5",
            now,
        );
        assert!(throttle.take(1, now));
        for _ in 0..3 {
            assert!(!throttle.take(1, now));
        }
        assert!((throttle.drop_probability() - 1.0).abs() < 1e-9);
    }
}
