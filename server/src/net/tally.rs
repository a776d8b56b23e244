//! Where answers are counted, whoever sends them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::connections::Conn;
use super::service::Stats;
use crate::metrics::{Advanced, Metrics};
use crate::shared_tree::SharedTree;
use crate::stage::clock::Clock;

/// Counters of a server and of its connections.
#[derive(Clone)]
pub(crate) struct Tally {
    pub(crate) stats: Arc<Stats>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) clock: Clock,
}

impl Tally {
    /// Counts reads that were executed together, and took that long.
    pub(crate) fn read(&self, conn: &Conn, took: Duration, count: usize) {
        self.stats.took(std::iter::repeat_n(took, count));
        let reads = as_count(count);
        self.metrics
            .add_many(Advanced::Readlatency, millis(took), reads);
        self.note(conn, &[took], reads);
    }

    /// Counts writes that were answered, each with the time it took.
    pub(crate) fn wrote(&self, conn: &Conn, took: &[Duration]) {
        // What was synced together took about as long.
        for alike in took.chunk_by(|a, b| millis(*a) == millis(*b)) {
            let took = alike.first().copied().unwrap_or_default();
            self.metrics
                .add_many(Advanced::Updatelatency, millis(took), as_count(alike.len()));
        }
        self.stats.took(took.iter().copied());
        self.note(conn, took, as_count(took.len()));
    }

    /// For people who look; of reads that were executed together, once.
    fn note(&self, conn: &Conn, took: &[Duration], sent: u64) {
        if took.is_empty() {
            return;
        }
        if let Some(activity) = &mut *conn.activity.lock() {
            let now_ms = self.clock.time().as_millis();
            let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
            activity.answered(took, self.tree.applied(), now_ms);
        }
        conn.sent.fetch_add(sent, Ordering::Relaxed);
        self.stats.sent.fetch_add(sent, Ordering::Relaxed);
    }
}

fn as_count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
