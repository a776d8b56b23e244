//! Who is left out for a while because of errors: pure, time as an argument.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// When an instance is left out.
///
/// # Source
/// Apache Curator 5, `DownInstancePolicy`: two errors within 30 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownPolicy {
    /// So many errors leave it out.
    pub errors: u32,
    /// Errors are forgotten so long after the first of them.
    pub forget_after: Duration,
    /// What to do when all are left out.
    pub all_down: AllDown,
}

/// What to do when every instance is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum AllDown {
    /// Choose among all of them: they may do better than nothing.
    #[default]
    ServeAny,
    /// Choose none.
    ServeNone,
}

impl Default for DownPolicy {
    fn default() -> Self {
        Self {
            errors: 2,
            forget_after: Duration::from_secs(30),
            all_down: AllDown::default(),
        }
    }
}

/// Errors that are remembered.
#[derive(Debug)]
pub(crate) struct Errors<K> {
    policy: DownPolicy,
    /// When the first was, and how many there were.
    errors: HashMap<K, (Instant, u32)>,
}

impl<K: Eq + Hash> Errors<K> {
    pub(crate) fn new(policy: DownPolicy) -> Self {
        let errors = HashMap::new();
        Self { policy, errors }
    }

    pub(crate) fn failed(&mut self, key: K, now: Instant) {
        self.forget(now);
        let (_, count) = self.errors.entry(key).or_insert((now, 0));
        *count = count.saturating_add(1);
    }

    pub(crate) fn is_down(&self, key: &K, now: Instant) -> bool {
        self.errors.get(key).is_some_and(|(since, count)| {
            *count >= self.policy.errors && self.is_recent(*since, now)
        })
    }

    pub(crate) fn all_down(&self) -> AllDown {
        self.policy.all_down
    }

    fn forget(&mut self, now: Instant) {
        let forget_after = self.policy.forget_after;
        self.errors
            .retain(|_, (since, _)| now.saturating_duration_since(*since) < forget_after);
    }

    fn is_recent(&self, since: Instant, now: Instant) -> bool {
        now.saturating_duration_since(since) < self.policy.forget_after
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_errors_leave_out_until_they_are_forgotten() {
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let mut errors = Errors::new(DownPolicy::default());
        errors.failed("a", at(0));
        assert!(!errors.is_down(&"a", at(0)));
        errors.failed("a", at(20));
        assert!(errors.is_down(&"a", at(20)) && errors.is_down(&"a", at(29)));
        assert!(!errors.is_down(&"b", at(20)));
        // Counted from the first.
        assert!(!errors.is_down(&"a", at(30)));
        errors.failed("a", at(31));
        assert!(!errors.is_down(&"a", at(31)), "one error is none again");
        // A clock that goes back does no harm.
        errors.failed("a", at(0));
        assert!(errors.is_down(&"a", at(0)));
    }
}
