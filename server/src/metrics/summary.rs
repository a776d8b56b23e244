//! A distribution that many threads add to and nobody locks.

use std::sync::atomic::{AtomicU64, Ordering};

/// Values below this are told apart; above, the 8 parts of each power of two are.
const EXACT: u64 = 1 << EXACT_BITS;
/// As a power of two.
const EXACT_BITS: u32 = 4;
/// Parts of a power of two, as a power of two.
const PARTS_BITS: u32 = 3;
/// Powers of two beyond the exact values.
const POWERS: u32 = 64 - EXACT_BITS;
/// Buckets in all.
const BUCKETS: usize = (1 << EXACT_BITS) + ((POWERS as usize) << PARTS_BITS);

/// A distribution of whole numbers: count, sum, bounds, and quantiles to an eighth.
#[derive(Debug)]
pub(crate) struct Summary {
    count: AtomicU64,
    sum: AtomicU64,
    /// `u64::MAX` while there is nothing.
    min: AtomicU64,
    max: AtomicU64,
    buckets: Box<[AtomicU64]>,
}

/// A distribution at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) count: u64,
    pub(crate) sum: u64,
    pub(crate) min: u64,
    pub(crate) max: u64,
    buckets: Vec<u64>,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Summary {
    pub(crate) fn add(&self, value: u64) {
        self.add_many(value, 1);
    }

    /// Adds a value so many times.
    pub(crate) fn add_many(&self, value: u64, times: u64) {
        if times == 0 {
            return;
        }
        self.count.fetch_add(times, Ordering::Relaxed);
        self.sum
            .fetch_add(value.saturating_mul(times), Ordering::Relaxed);
        self.min.fetch_min(value, Ordering::Relaxed);
        self.max.fetch_max(value, Ordering::Relaxed);
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(times, Ordering::Relaxed);
        }
    }

    pub(crate) fn reset(&self) {
        self.count.store(0, Ordering::Relaxed);
        self.sum.store(0, Ordering::Relaxed);
        self.min.store(u64::MAX, Ordering::Relaxed);
        self.max.store(0, Ordering::Relaxed);
        for bucket in &self.buckets {
            bucket.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let min = self.min.load(Ordering::Relaxed);
        Snapshot {
            count: self.count.load(Ordering::Relaxed),
            sum: self.sum.load(Ordering::Relaxed),
            min: if min == u64::MAX { 0 } else { min },
            max: self.max.load(Ordering::Relaxed),
            buckets: self
                .buckets
                .iter()
                .map(|bucket| bucket.load(Ordering::Relaxed))
                .collect(),
        }
    }
}

impl Snapshot {
    /// The mean; 0 of nothing.
    #[expect(clippy::cast_precision_loss, reason = "a mean for people")]
    pub(crate) fn mean(&self) -> f64 {
        self.sum as f64 / self.count.max(1) as f64
    }

    /// The value that so many thousandths do not exceed; 0 of nothing.
    pub(crate) fn quantile(&self, thousandths: u64) -> u64 {
        let total: u64 = self.buckets.iter().sum();
        let rank = (total * thousandths).div_ceil(1000);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return value_of(at).clamp(self.min, self.max);
            }
        }
        0
    }
}

fn bucket_of(value: u64) -> usize {
    if value < EXACT {
        return usize::try_from(value).unwrap_or(0);
    }
    let power = value.ilog2();
    let part = (value >> (power - PARTS_BITS)) & ((1 << PARTS_BITS) - 1);
    let behind = u64::from(power - EXACT_BITS) << PARTS_BITS;
    usize::try_from(EXACT + behind + part).unwrap_or(0)
}

/// The largest value of a bucket.
fn value_of(bucket: usize) -> u64 {
    let bucket = u64::try_from(bucket).unwrap_or(u64::MAX);
    if bucket < EXACT {
        return bucket;
    }
    let behind = bucket - EXACT;
    let power = u32::try_from(behind >> PARTS_BITS).unwrap_or(0) + EXACT_BITS;
    let part = behind & ((1 << PARTS_BITS) - 1);
    let width = 1_u64 << (power - PARTS_BITS);
    (1_u64 << power) + part * width + (width - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_an_eighth() {
        let summary = Summary::default();
        assert_eq!(summary.snapshot().quantile(500), 0);
        for value in 1..=10_000 {
            summary.add(value);
        }
        let snapshot = summary.snapshot();
        assert_eq!(
            (snapshot.count, snapshot.min, snapshot.max),
            (10_000, 1, 10_000)
        );
        assert!((snapshot.mean() - 5000.5).abs() < 1e-9);
        for (thousandths, exact) in [(500, 5000), (950, 9500), (990, 9900), (999, 9990)] {
            let got = snapshot.quantile(thousandths);
            assert!(
                got >= exact && got <= exact + exact / 8,
                "{thousandths}: {got}"
            );
        }
        summary.reset();
        assert_eq!(summary.snapshot(), Summary::default().snapshot());
    }

    #[test]
    fn every_value_has_a_bucket_that_holds_it() {
        for value in (0..5000).chain([u64::MAX, u64::MAX / 2, 1 << 40]) {
            let bucket = bucket_of(value);
            assert!(bucket < BUCKETS, "{value}");
            assert!(value_of(bucket) >= value, "{value}");
            assert!(bucket == 0 || value_of(bucket - 1) < value, "{value}");
        }
    }
}
