//! What is counted and measured, under the names of the reference.
//!
//! Owners add to [`Metrics`] without locks; gauges are sampled when somebody asks. One server has
//! one set: several in a process do not mix.
//!
//! | asked by | form | here |
//! |---|---|---|
//! | `mntr`, `/commands/monitor` | classic names, `avg_`, `p99_` and so on in front | [`Metrics::samples`] |
//! | `/metrics` | Prometheus text as the reference's exporter writes it | [`prometheus`] |

mod names;
mod process;
mod prometheus;
mod summary;

pub(crate) use self::names::{Advanced, Basic, Counter};
pub(crate) use self::process::Process;
pub(crate) use self::prometheus::{Exposition, Series, prometheus};

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use zk_proto::Zxid;

use self::summary::Summary;
use crate::four_letter::Sample;

/// The counters and distributions of a server.
#[derive(Debug)]
pub(crate) struct Metrics {
    counters: Box<[AtomicU64]>,
    basic: Box<[Summary]>,
    advanced: Box<[Summary]>,
    /// Syncs of the log that took longer than is good.
    slow_syncs: AtomicU64,
    last_snapshot: Mutex<LastSnapshot>,
}

/// The newest snapshot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LastSnapshot {
    pub(crate) zxid: Zxid,
    /// When it was written or found, in ms since the epoch.
    pub(crate) unix_ms: i64,
}

impl Default for Metrics {
    fn default() -> Self {
        let summaries = |count| (0..count).map(|_| Summary::default()).collect();
        Self {
            counters: Counter::ALL.iter().map(|_| AtomicU64::new(0)).collect(),
            basic: summaries(Basic::ALL.len()),
            advanced: summaries(Advanced::ALL.len()),
            slow_syncs: AtomicU64::new(0),
            last_snapshot: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Counts.
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        if let Some(counter) = self.counters.get(counter as usize) {
            counter.fetch_add(by, Ordering::Relaxed);
        }
    }

    /// Counted so far.
    pub(crate) fn counted(&self, counter: Counter) -> u64 {
        let counter = self.counters.get(counter as usize);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// Adds a value to a distribution.
    pub(crate) fn add(&self, basic: Basic, value: u64) {
        if let Some(summary) = self.basic.get(basic as usize) {
            summary.add(value);
        }
    }

    /// Adds a value to a distribution, so many times.
    pub(crate) fn add_many(&self, advanced: Advanced, value: u64, times: u64) {
        if let Some(summary) = self.advanced.get(advanced as usize) {
            summary.add_many(value, times);
        }
    }

    /// Counts a sync that took too long.
    pub(crate) fn sync_was_slow(&self) {
        self.slow_syncs.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn slow_syncs(&self) -> u64 {
        self.slow_syncs.load(Ordering::Relaxed)
    }

    /// Remembers a snapshot.
    pub(crate) fn snapshot_written(&self, zxid: Zxid, unix_ms: i64) {
        *self.last_snapshot.lock() = LastSnapshot { zxid, unix_ms };
    }

    pub(crate) fn last_snapshot(&self) -> LastSnapshot {
        *self.last_snapshot.lock()
    }

    /// Begins anew, as `srst` asks for.
    pub(crate) fn reset(&self) {
        for counter in &self.counters {
            counter.store(0, Ordering::Relaxed);
        }
        for summary in self.basic.iter().chain(&self.advanced) {
            summary.reset();
        }
    }

    /// All of them, as `mntr` shows them behind the gauges.
    pub(crate) fn samples(&self) -> Vec<(String, Sample)> {
        let mut samples = Vec::new();
        for &counter in Counter::ALL {
            let value = int(self.counted(counter));
            samples.push((counter.name().to_owned(), value));
        }
        for (basic, summary) in Basic::ALL.iter().zip(&self.basic) {
            push(&mut samples, basic.name(), summary, &[]);
        }
        let tail = [("p50", 500), ("p95", 950), ("p99", 990), ("p999", 999)];
        for (advanced, summary) in Advanced::ALL.iter().zip(&self.advanced) {
            push(&mut samples, advanced.name(), summary, &tail);
        }
        samples
    }
}

fn push(
    samples: &mut Vec<(String, Sample)>,
    name: &str,
    summary: &Summary,
    quantiles: &[(&str, u64)],
) {
    let snapshot = summary.snapshot();
    let mean = (snapshot.mean() * 10_000.0).round() / 10_000.0;
    samples.push((format!("avg_{name}"), Sample::Double(mean)));
    for (prefix, value) in [
        ("min", snapshot.min),
        ("max", snapshot.max),
        ("cnt", snapshot.count),
        ("sum", snapshot.sum),
    ] {
        samples.push((format!("{prefix}_{name}"), int(value)));
    }
    for (prefix, thousandths) in quantiles {
        let value = int(snapshot.quantile(*thousandths));
        samples.push((format!("{prefix}_{name}"), value));
    }
}

fn int(value: u64) -> Sample {
    Sample::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_shown_under_its_name() {
        let metrics = Metrics::default();
        metrics.count(Counter::ConnectionRejected, 2);
        metrics.add(Basic::Fsynctime, 3);
        metrics.add_many(Advanced::Readlatency, 1, 4);
        let samples = metrics.samples();
        let find = |name: &str| {
            samples
                .iter()
                .find(|(own, _)| own == name)
                .map(|(_, value)| *value)
        };
        assert_eq!(find("connection_rejected"), Some(Sample::Int(2)));
        assert_eq!(find("avg_fsynctime"), Some(Sample::Double(3.0)));
        assert_eq!(find("cnt_readlatency"), Some(Sample::Int(4)));
        assert_eq!(find("p999_readlatency"), Some(Sample::Int(1)));
        metrics.reset();
        assert_eq!(metrics.counted(Counter::ConnectionRejected), 0);
    }
}
