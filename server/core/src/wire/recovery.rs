//! Which files of a data directory make up the state, and what may be wrong with them.
//!
//! Pure decisions: a driver lists files, reads them, and asks here what that means.
//!
//! ```text
//! snapshots_to_try ─► load each until one is whole ─► start ─► logs_to_read ─► Replay
//!                                                                 each record: skip, apply or refuse
//!                                                                 each end:    go on, delete or refuse
//! ```
//!
//! Stricter than the reference in one thing: it goes on behind a record that is missing or damaged in
//! the middle of the history, and serves a tree that never was. Here that is refused.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `FileSnap#deserialize`, `FileTxnSnapLog#restore`, `FileTxnLog#getLogFiles`.

use zk_proto::Zxid;

use super::file_name::FileName;
use super::log_record::{BadHeader, Damage};

/// Most snapshots that are tried before giving up.
pub const SNAPSHOTS_MAX: usize = 100;

/// Where the state begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With a snapshot, and the transactions above the zxid in its name.
    Snapshot(Zxid),
    /// With an empty tree, and all transactions there are.
    Empty,
}

/// Why a server must not start with the files it has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// There are snapshots, and none is whole.
    #[error("none of {0} snapshots is whole")]
    NoWholeSnapshot(usize),
    /// There are logs, and no snapshot that they follow.
    #[error("there are logs but no snapshot, and an empty tree is not trusted to precede them")]
    LogsWithoutSnapshot,
    /// A file is no log.
    #[error("log.{:x} is no log", .0.get())]
    NoLog(Zxid, #[source] BadHeader),
    /// A record is damaged and others follow it.
    #[error("log.{:x} is damaged in the middle", .0.get())]
    Damaged(Zxid, #[source] Damage),
    /// Transactions are missing.
    #[error("the transactions between {after} and {found} are missing")]
    Gap {
        /// Last one before the gap.
        after: Zxid,
        /// First one behind it.
        found: Zxid,
    },
    /// A transaction comes behind a later one.
    #[error("transaction {found} comes behind {after}")]
    Backwards {
        /// The later one.
        after: Zxid,
        /// The one behind it.
        found: Zxid,
    },
}

/// Snapshots in the order in which to try them: the newest first. Leave out those that
/// [`looks_whole`](super::snapshot::looks_whole) or their compression's magic tells are cut off.
pub fn snapshots_to_try(listing: &[FileName]) -> Vec<FileName> {
    let snapshots = listing
        .iter()
        .filter(|name| matches!(name, FileName::Snapshot(..)));
    let mut snapshots: Vec<_> = snapshots.copied().collect();
    snapshots.sort_unstable_by(|a, b| b.cmp(a));
    snapshots.truncate(SNAPSHOTS_MAX);
    snapshots
}

/// Where the state begins, given the zxid of the snapshot that was found whole, if any was.
/// `trust_empty` allows an empty tree to precede logs (`zookeeper.snapshot.trust.empty`).
///
/// # Errors
/// [`Refusal::NoWholeSnapshot`], [`Refusal::LogsWithoutSnapshot`].
pub fn start(
    listing: &[FileName],
    whole: Option<Zxid>,
    trust_empty: bool,
) -> Result<Start, Refusal> {
    if let Some(zxid) = whole {
        return Ok(Start::Snapshot(zxid));
    }
    let is_log = |name: &&FileName| matches!(name, FileName::Log(_));
    let logs = listing.iter().filter(is_log).count();
    if logs < listing.len() {
        Err(Refusal::NoWholeSnapshot(listing.len() - logs))
    } else if logs > 0 && !trust_empty {
        Err(Refusal::LogsWithoutSnapshot)
    } else {
        Ok(Start::Empty)
    }
}

/// Logs that can hold transactions above `base`, in the order in which to read them: those whose
/// first is, and the last one before them.
pub fn logs_to_read(listing: &[FileName], base: Zxid) -> Vec<Zxid> {
    let logs = listing.iter().filter_map(|name| match name {
        FileName::Log(zxid) => Some(*zxid),
        FileName::Snapshot(..) => None,
    });
    let mut logs: Vec<_> = logs.collect();
    logs.sort_unstable();
    let above = logs.partition_point(|&zxid| zxid <= base);
    logs.split_off(above.saturating_sub(1))
}

/// Goes through the logs from a state on, and tells which records to apply.
#[derive(Debug, Clone)]
pub struct Replay {
    base: Zxid,
    last: Zxid,
    /// Logs that are yet to end, the next to end last.
    logs: Vec<Zxid>,
}

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing: the snapshot has it.
    Skip,
    /// Apply it.
    Apply,
}

impl Replay {
    /// From a state with this last zxid over logs as [`logs_to_read`] gives them.
    pub fn new(base: Zxid, mut logs: Vec<Zxid>) -> Self {
        logs.reverse();
        Self {
            base,
            last: base,
            logs,
        }
    }

    /// The log to read now; none when all have ended.
    pub fn log(&self) -> Option<Zxid> {
        self.logs.last().copied()
    }

    /// Last zxid that was to be applied, or that the state had.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// Takes the next record of the log. Zxids follow each other without gaps, and begin at 1 in an
    /// epoch; the same one may come twice, because 3.9 logs a request that it cannot decode as an
    /// error with the zxid before.
    ///
    /// # Errors
    /// [`Refusal::Backwards`], [`Refusal::Gap`].
    pub fn record(&mut self, zxid: Zxid) -> Result<Step, Refusal> {
        if zxid <= self.base {
            return Ok(Step::Skip);
        }
        let (after, found) = (self.last, zxid);
        if zxid < after {
            return Err(Refusal::Backwards { after, found });
        }
        let follows = zxid == after
            || Some(zxid.get()) == after.get().checked_add(1)
            || (zxid.epoch() > after.epoch() && zxid.counter() <= 1);
        if !follows {
            return Err(Refusal::Gap { after, found });
        }
        self.last = zxid;
        Ok(Step::Apply)
    }

    /// Takes the end of the log, whole or torn. What is torn was never acknowledged; if another log
    /// follows, its records must follow those before the tear, which [`Self::record`] sees to.
    pub fn end_log(&mut self) {
        self.logs.pop();
    }

    /// Takes a damaged record that is not at the end of its log.
    pub fn damaged(&self, damage: Damage) -> Refusal {
        Refusal::Damaged(self.log().unwrap_or_default(), damage)
    }

    /// Takes a log whose header is wrong. If it is the last one and ends inside its header, because
    /// the server died while creating it, it is to be deleted: it holds no record, and would be an
    /// error once others follow it.
    ///
    /// # Errors
    /// [`Refusal::NoLog`] for any other.
    pub fn bad_header(&mut self, bad: BadHeader) -> Result<(), Refusal> {
        match (&bad, self.logs.as_slice()) {
            (BadHeader::Short { .. }, [_]) => {
                self.logs.pop();
                Ok(())
            }
            _ => Err(Refusal::NoLog(self.log().unwrap_or_default(), bad)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file_name::Compression;
    use super::*;

    fn zxids(numbers: &[i64]) -> Vec<Zxid> {
        numbers.iter().copied().map(Zxid::new).collect()
    }

    fn listing(names: &[&str]) -> Vec<FileName> {
        names
            .iter()
            .map(|name| FileName::parse(name).unwrap())
            .collect()
    }

    #[test]
    fn the_newest_snapshot_is_tried_first() {
        let names = listing(&["snapshot.2", "log.5", "snapshot.10.gz", "snapshot.a"]);
        let tried = snapshots_to_try(&names);
        assert_eq!(tried.len(), 3);
        assert_eq!(
            tried[0],
            FileName::Snapshot(Zxid::new(16), Compression::Gzip)
        );
        assert_eq!(tried[2].zxid(), Zxid::new(2));
    }

    #[test]
    fn logs_begin_with_the_one_that_may_hold_the_next_transaction() {
        let names = listing(&["log.20", "log.1", "log.10", "snapshot.15"]);
        assert_eq!(logs_to_read(&names, Zxid::new(0x15)), zxids(&[0x10, 0x20]));
        assert_eq!(logs_to_read(&names, Zxid::new(0x1f)), zxids(&[0x10, 0x20]));
        assert_eq!(logs_to_read(&names, Zxid::new(0x20)), zxids(&[0x20]));
        assert_eq!(logs_to_read(&names, Zxid::ZERO), zxids(&[1, 0x10, 0x20]));
        assert_eq!(logs_to_read(&[], Zxid::ZERO), []);
    }

    #[test]
    fn an_empty_tree_precedes_logs_only_if_trusted() {
        let logs = listing(&["log.1"]);
        assert_eq!(start(&[], None, false), Ok(Start::Empty));
        assert_eq!(start(&logs, None, true), Ok(Start::Empty));
        assert_eq!(start(&logs, None, false), Err(Refusal::LogsWithoutSnapshot));
        let broken = listing(&["log.1", "snapshot.0"]);
        assert_eq!(start(&broken, None, true), Err(Refusal::NoWholeSnapshot(1)));
    }

    #[test]
    fn transactions_follow_each_other_without_gaps() {
        let mut replay = Replay::new(Zxid::new(5), zxids(&[1]));
        for (zxid, step) in [
            (4, Step::Skip),
            (5, Step::Skip),
            (6, Step::Apply),
            (6, Step::Apply),
        ] {
            assert_eq!(replay.record(Zxid::new(zxid)), Ok(step));
        }
        let gap = Refusal::Gap {
            after: Zxid::new(6),
            found: Zxid::new(8),
        };
        assert_eq!(replay.record(Zxid::new(8)), Err(gap));
        assert_eq!(replay.record(Zxid::new(0x1_0000_0001)), Ok(Step::Apply));
        assert!(replay.record(Zxid::new(0x2_0000_0002)).is_err());
        assert!(matches!(
            replay.record(Zxid::new(7)),
            Err(Refusal::Backwards { .. })
        ));
    }

    #[test]
    fn only_the_last_log_may_end_inside_its_header() {
        let mut replay = Replay::new(Zxid::ZERO, zxids(&[1, 9]));
        let short = || BadHeader::Short { len: 3 };
        assert!(replay.bad_header(short()).is_err());
        replay.end_log();
        assert!(replay.bad_header(BadHeader::Magic { found: 0 }).is_err());
        assert_eq!(replay.bad_header(short()), Ok(()));
        assert_eq!(replay.log(), None);
    }
}
