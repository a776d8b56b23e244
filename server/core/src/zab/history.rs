//! The last committed transactions, for learners that lack no more than these.

use std::collections::VecDeque;

use zk_proto::{Bytes, Zxid};

use crate::mutation::mutated;

/// A ring of committed transactions without a gap, bounded by count and bytes.
///
/// It holds what is behind `base` up to the last transaction handed to the tree; what fell out is in
/// the log, or only in the tree.
///
/// # Invariants
/// - Zxids ascend; inside an epoch they are consecutive. A hole would be handed on to every learner
///   that is synchronised from here (ZOOKEEPER-4925).
/// - `base` is the transaction just before the first one held.
#[derive(Debug)]
pub(crate) struct History {
    ring: VecDeque<Committed>,
    bytes: usize,
    base: Zxid,
    count_max: usize,
    bytes_max: usize,
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Committed {
    pub(crate) zxid: Zxid,
    pub(crate) bytes: Bytes,
}

impl History {
    /// Nothing behind `base`.
    pub(crate) fn new(base: Zxid, count_max: usize, bytes_max: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            bytes: 0,
            base,
            count_max,
            bytes_max,
        }
    }

    /// Begins anew behind `base`: the tree was replaced.
    pub(crate) fn reset(&mut self, base: Zxid) {
        self.ring.clear();
        self.bytes = 0;
        self.base = base;
    }

    /// The transaction just before the first one held.
    pub(crate) fn base(&self) -> Zxid {
        self.base
    }

    /// The last committed transaction.
    pub(crate) fn last(&self) -> Zxid {
        self.ring.back().map_or(self.base, |last| last.zxid)
    }

    /// Takes the next one, and lets go of the oldest beyond the bounds.
    ///
    /// # Panics
    /// If it does not follow on the last one.
    pub(crate) fn push(&mut self, zxid: Zxid, bytes: Bytes) {
        if mutated!(GapAccepted) && zxid.counter() % 8 == 7 {
            return;
        }
        let last = self.last();
        let follows = follows(last, zxid) || mutated!(GapAccepted);
        assert!(follows, "{zxid} does not follow on {last}");
        self.bytes += bytes.len();
        self.ring.push_back(Committed { zxid, bytes });
        while self.ring.len() > self.count_max || self.bytes > self.bytes_max {
            let Some(oldest) = self.ring.pop_front() else {
                break;
            };
            self.bytes -= oldest.bytes.len();
            self.base = oldest.zxid;
        }
    }

    /// Whether a transaction is one that is held, or the one just before.
    pub(crate) fn knows(&self, zxid: Zxid) -> bool {
        zxid == self.base
            || self
                .ring
                .binary_search_by_key(&zxid, |one| one.zxid)
                .is_ok()
    }

    /// The last transaction before `zxid`, if it is known.
    pub(crate) fn before(&self, zxid: Zxid) -> Option<Zxid> {
        if zxid <= self.base {
            return None;
        }
        let at = self.ring.partition_point(|one| one.zxid < zxid);
        let before = at.checked_sub(1).and_then(|at| self.ring.get(at));
        Some(before.map_or(self.base, |one| one.zxid))
    }

    /// Those behind `zxid`, in order. It must not be before the base.
    pub(crate) fn after(&self, zxid: Zxid) -> impl Iterator<Item = &Committed> {
        debug_assert!(zxid >= self.base, "what fell out cannot be told");
        let from = self.ring.partition_point(|one| one.zxid <= zxid);
        self.ring.range(from..)
    }
}

/// Whether a transaction may come right behind another: the next of its epoch, or the first of a
/// younger one.
///
/// # Source
/// ZOOKEEPER-4925; Apache `ZooKeeper` 3.9.4, `Learner#syncWithLeader`. The first of an epoch may have
/// any counter but zero: the reference can be told to begin elsewhere.
pub(crate) fn follows(before: Zxid, zxid: Zxid) -> bool {
    let is_next = zxid.get() == before.get().wrapping_add(1);
    is_next || (zxid.epoch() > before.epoch() && zxid.counter() > 0)
}

/// Whether a zxid is no transaction but the beginning of an epoch.
pub(crate) fn is_boundary(zxid: Zxid) -> bool {
    zxid.counter() == 0
}

#[cfg(test)]
mod tests {
    use zk_proto::Epoch;

    use super::*;

    fn zxid(epoch: i32, counter: u32) -> Zxid {
        Zxid::from_parts(Epoch::new(epoch), counter)
    }

    fn history(count_max: usize, bytes_max: usize) -> History {
        History::new(zxid(1, 4), count_max, bytes_max)
    }

    fn push(history: &mut History, zxid: Zxid) {
        history.push(zxid, Bytes::from_static(b"12345"));
    }

    #[test]
    fn oldest_fall_out_beyond_the_count_and_beyond_the_bytes() {
        for mut history in [history(2, 1000), history(1000, 14)] {
            for counter in 5..9 {
                push(&mut history, zxid(1, counter));
            }
            assert_eq!((history.base(), history.last()), (zxid(1, 6), zxid(1, 8)));
            let held: Vec<Zxid> = history.after(zxid(1, 6)).map(|one| one.zxid).collect();
            assert_eq!(held, [zxid(1, 7), zxid(1, 8)]);
            assert_eq!(history.after(zxid(1, 8)).count(), 0);
        }
    }

    #[test]
    fn what_is_known_ends_at_the_base() {
        let mut history = history(10, 1000);
        push(&mut history, zxid(1, 5));
        push(&mut history, zxid(3, 1));
        assert!(history.knows(zxid(1, 4)) && history.knows(zxid(3, 1)));
        assert!(!history.knows(zxid(1, 3)) && !history.knows(zxid(1, 6)));
        assert_eq!(history.before(zxid(2, 1)), Some(zxid(1, 5)));
        assert_eq!(history.before(zxid(1, 5)), Some(zxid(1, 4)));
        assert_eq!(history.before(zxid(1, 4)), None);
    }

    /// ZOOKEEPER-4925.
    #[test]
    #[should_panic(expected = "does not follow")]
    fn gap_is_refused() {
        push(&mut history(10, 1000), zxid(1, 6));
    }

    #[test]
    fn one_that_is_longer_than_all_bytes_is_not_held() {
        let mut history = history(10, 3);
        push(&mut history, zxid(1, 5));
        assert_eq!((history.base(), history.last()), (zxid(1, 5), zxid(1, 5)));
    }
}
