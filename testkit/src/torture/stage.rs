//! What the clients of a run share: the clock, the journal, the gate that the judge closes.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use zk_client::{Client, Outcome};

use super::history::{Ephemeral, Key, Seen, Session, Slice, Tick, Write};

/// Registers in use at a time.
pub(super) const LANES: usize = 8;
/// Requests about one register before the next takes its place: as many as can be ordered.
const REQUESTS_PER_KEY: u64 = 60;

/// Where the ephemerals are.
pub(super) const LIVE: &str = "/torture/live";
/// Where owners of ephemerals write to show that they are alive.
pub(super) const OWNERS: &str = "/torture/owners";

/// The part of the tree that clients write to now.
#[derive(Debug, Clone, Default)]
pub(super) struct Ground {
    pub(super) root: String,
}

/// How often what came of a request.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) acknowledged: AtomicU64,
    pub(super) reads: AtomicU64,
    pub(super) rejected: AtomicU64,
    pub(super) not_sent: AtomicU64,
    pub(super) unknown: AtomicU64,
    pub(super) watch_events: AtomicU64,
    pub(super) expired: AtomicU64,
    pub(super) sessions: AtomicU64,
    /// Sessions that were left to their timeout.
    pub(super) left: AtomicU64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stage {
    gate: RwLock<Ground>,
    is_over: AtomicBool,
    clock: AtomicU64,
    values: AtomicU64,
    lanes: [AtomicU64; LANES],
    last_seen: Mutex<BTreeMap<Key, Seen>>,
    journal: Mutex<Slice>,
    /// Ephemerals by name, until their slice is judged after they are gone.
    residents: Mutex<BTreeMap<String, Ephemeral>>,
    /// Owners of ephemerals.
    owners: Mutex<BTreeMap<usize, Client>>,
    silence: Mutex<Silence>,
    pub(super) counts: Counts,
}

/// How long no write has been acknowledged.
#[derive(Debug)]
struct Silence {
    last: Instant,
    longest: Duration,
}

impl Stage {
    pub(super) fn new() -> Self {
        Self {
            gate: RwLock::default(),
            is_over: AtomicBool::new(false),
            clock: AtomicU64::new(1),
            values: AtomicU64::new(1),
            lanes: Default::default(),
            last_seen: Mutex::default(),
            journal: Mutex::default(),
            residents: Mutex::default(),
            owners: Mutex::default(),
            silence: Mutex::new(Silence {
                last: Instant::now(),
                longest: Duration::ZERO,
            }),
            counts: Counts::default(),
        }
    }

    /// The next moment.
    pub(super) fn tick(&self) -> Tick {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// A value that nobody has written.
    pub(super) fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed)
    }

    /// Enters, while the gate is open.
    pub(super) async fn enter(&self) -> RwLockReadGuard<'_, Ground> {
        self.gate.read().await
    }

    /// Closes the gate: returns when everybody has left.
    pub(super) async fn close(&self) -> RwLockWriteGuard<'_, Ground> {
        self.gate.write().await
    }

    /// Clients are to end.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// A register for the next request, and whether the request is the first about it.
    pub(super) fn key(&self, lane: usize) -> (Key, bool) {
        let lane = lane % LANES;
        let Some(counter) = self.lanes.get(lane) else {
            return (0, false);
        };
        let number = counter.fetch_add(1, Ordering::Relaxed);
        (
            key_of(lane, number),
            number.is_multiple_of(REQUESTS_PER_KEY),
        )
    }

    /// The register that is in use in a lane.
    pub(super) fn current_key(&self, lane: usize) -> Key {
        let counter = self.lanes.get(lane % LANES);
        let number = counter.map_or(0, |counter| counter.load(Ordering::Relaxed));
        key_of(lane % LANES, number)
    }

    /// What a register held when somebody last looked.
    pub(super) fn last_seen(&self, key: Key) -> Option<Seen> {
        lock(&self.last_seen).get(&key).copied()
    }

    pub(super) fn saw(&self, key: Key, seen: Option<Seen>) {
        let mut last = lock(&self.last_seen);
        match seen {
            Some(seen) => drop(last.insert(key, seen)),
            None => drop(last.remove(&key)),
        }
    }

    pub(super) fn journal(&self) -> MutexGuard<'_, Slice> {
        lock(&self.journal)
    }

    pub(super) fn residents(&self) -> MutexGuard<'_, BTreeMap<String, Ephemeral>> {
        lock(&self.residents)
    }

    pub(super) fn owners(&self) -> MutexGuard<'_, BTreeMap<usize, Client>> {
        lock(&self.owners)
    }

    /// A write was acknowledged.
    pub(super) fn acknowledged(&self) {
        self.counts.acknowledged.fetch_add(1, Ordering::Relaxed);
        let mut silence = lock(&self.silence);
        let now = Instant::now();
        silence.longest = silence
            .longest
            .max(now.saturating_duration_since(silence.last));
        silence.last = now;
    }

    /// A write of another kind than those of registers was acknowledged.
    pub(super) fn wrote(&self, session: Session, begin: Tick, end: Tick, zxid: i64) {
        self.acknowledged();
        self.journal().writes.push(Write {
            session,
            begin,
            end,
            zxid,
        });
    }

    /// A request failed.
    pub(super) fn failed(&self, outcome: Outcome) {
        let counts = &self.counts;
        let count = match outcome {
            Outcome::Rejected => &counts.rejected,
            Outcome::NotSent => &counts.not_sent,
            Outcome::Unknown => &counts.unknown,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Something was read.
    pub(super) fn read(&self) {
        self.counts.reads.fetch_add(1, Ordering::Relaxed);
    }

    /// Nobody is to write for a while: what comes before does not count as silence.
    pub(super) fn restart_silence(&self) {
        let mut silence = lock(&self.silence);
        silence.last = Instant::now();
    }

    /// The longest time without an acknowledged write so far, the present one included.
    pub(super) fn longest_silence(&self) -> Duration {
        let mut silence = lock(&self.silence);
        silence.longest = silence.longest.max(silence.last.elapsed());
        silence.longest
    }

    /// Begins a slice below `root`; what belonged to the last one is forgotten.
    pub(super) fn begin(&self, slice: Slice) {
        for lane in &self.lanes {
            lane.store(0, Ordering::Relaxed);
        }
        lock(&self.last_seen).clear();
        *self.journal() = slice;
    }
}

fn key_of(lane: usize, number: u64) -> Key {
    (number / REQUESTS_PER_KEY) * LANES as u64 + lane as u64
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
