//! Reading the log for a learner, aside of the log thread.

use std::sync::Arc;
use std::thread;

use zk_core::peer::{Event, LogEntry, RangeToken};
use zk_proto::{Bytes, Zxid};

use super::core::CoreItem;
use super::mailbox::Mailbox;
use crate::storage::{Disk, Landmarks, LogError, read_log};

/// What an entry costs beside its bytes, where it waits to be sent: a proposal and a commit. It counts, so
/// that all of a part has room there however short its entries are.
const ENTRY_COST: usize = 160;

/// A part of the log that the core asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Range {
    pub(crate) token: RangeToken,
    /// Entries behind this one.
    pub(crate) after: Zxid,
    /// The last one wanted.
    pub(crate) upto: Zxid,
    pub(crate) bytes_max: usize,
}

/// Reads parts of the log.
pub(crate) struct LogReader<D> {
    pub(crate) disk: D,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    pub(crate) entry_bytes_max: usize,
}

impl<D: Disk + Clone + Sync + 'static> LogReader<D> {
    /// Begins to read a part, and reports it to the core once it is there.
    pub(crate) fn start(&self, range: Range) {
        let (disk, core) = (self.disk.clone(), Arc::clone(&self.core));
        let entry_bytes_max = self.entry_bytes_max;
        let read = move || {
            let event = read(&disk, range, entry_bytes_max);
            core.send([CoreItem::Event(event)]);
        };
        let spawned = thread::Builder::new()
            .name("zk-log-read".into())
            .spawn(read);
        if let Err(error) = spawned {
            tracing::warn!(err = %error, "cannot read the log for a learner");
            self.core.send([CoreItem::Event(Event::LogRange {
                token: range.token,
                entries: Vec::new(),
                is_complete: false,
            })]);
        }
    }
}

/// What comes of reading: not all of it if anything is in the way, or a snapshot tells of a transaction
/// that the log does not have.
fn read<D: Disk>(disk: &D, range: Range, entry_bytes_max: usize) -> Event {
    let mut entries = Vec::new();
    let mut bytes = 0;
    let landmarks = Landmarks::between(disk, range.after, range.upto);
    let ended = read_log(disk, range.after, entry_bytes_max, |entry| {
        if entry.zxid > range.upto {
            return Err(LogError::Ended);
        }
        bytes += ENTRY_COST + entry.bytes.len();
        if bytes > range.bytes_max {
            return Err(LogError::Ended);
        }
        entries.push(LogEntry {
            zxid: entry.zxid,
            bytes: Bytes::copy_from_slice(&entry.bytes),
        });
        Ok(())
    });
    let has_last = entries.last().is_some_and(|entry| entry.zxid == range.upto);
    let is_whole = landmarks.is_ok_and(|mut landmarks| {
        for entry in &entries {
            landmarks.pass(entry.zxid);
        }
        landmarks.missed().is_none()
    });
    if let Err(error) = ended
        && !has_last
    {
        tracing::debug!(after = %range.after, err = %error, "a part of the log is of no use");
    }
    Event::LogRange {
        token: range.token,
        entries,
        is_complete: has_last && is_whole && bytes <= range.bytes_max,
    }
}

#[cfg(all(test, feature = "sim"))]
mod tests {
    use super::*;
    use crate::storage::{FileLog, LogEntry as Logged, LogOptions, Name, SimDisk, write_durably};
    use bytes::{BufMut as _, BytesMut};
    use zk_core::wire::file_name::Compression;
    use zk_core::wire::log_record::ENTRY_MAX;

    fn entries(epoch: i64, counters: std::ops::RangeInclusive<i64>) -> Vec<Logged> {
        let entry = |counter| {
            let zxid = Zxid::new((epoch << 32) + counter);
            let mut bytes = BytesMut::new();
            bytes.put_bytes(0, 12);
            bytes.put_i64(zxid.get());
            bytes.put_bytes(0, 20);
            Logged {
                zxid,
                bytes: bytes.freeze(),
            }
        };
        counters.map(entry).collect()
    }

    fn put_snapshot(disk: &SimDisk, zxid: i64) -> Name {
        let name = Name::snapshot(Zxid::new(zxid), Compression::None);
        write_durably(disk, name, b"a snapshot").expect("written");
        name
    }

    /// Counters read between two zxids of epochs 1 and 2, and whether that is all.
    fn read_between(disk: &SimDisk, after: i64, upto: i64) -> (usize, bool) {
        let range = Range {
            token: RangeToken::new(1),
            after: Zxid::new(after),
            upto: Zxid::new(upto),
            bytes_max: 1 << 20,
        };
        let event = read(disk, range, ENTRY_MAX);
        let Event::LogRange {
            entries,
            is_complete,
            ..
        } = event
        else {
            panic!("{event:?}");
        };
        (entries.len(), is_complete)
    }

    const TREE: i64 = (1 << 32) + 200;
    const AFTER: i64 = (1 << 32) + 29;
    const UPTO: i64 = (2 << 32) + 3;

    /// Whoever was given the tree of a leader has no log that leads there.
    #[test]
    fn a_log_is_not_read_across_the_tree_of_a_leader() {
        let disk = SimDisk::new(1);
        put_snapshot(&disk, 0);
        let open = || FileLog::open(disk.clone(), LogOptions::default(), Zxid::ZERO);
        let mut log = open().expect("opens");
        log.append(&entries(1, 1..=50)).expect("appended");
        assert_eq!(read_between(&disk, AFTER, (1 << 32) + 50), (21, true));
        let tree = put_snapshot(&disk, TREE);
        log.restart(tree).expect("begun anew");
        log.append(&entries(2, 1..=3)).expect("appended");
        let (count, _) = read_between(&disk, AFTER, UPTO);
        assert_eq!(count, 3, "nothing of before is left");
        assert_eq!(read_between(&disk, 2 << 32, UPTO), (3, true));
    }

    /// A server of Apache's keeps the log of before; its snapshot tells.
    #[test]
    fn a_log_that_lacks_what_a_snapshot_has_is_of_no_use() {
        let disk = SimDisk::new(1);
        let open = || FileLog::open(disk.clone(), LogOptions::default(), Zxid::ZERO);
        let mut log = open().expect("opens");
        log.append(&entries(1, 1..=50)).expect("appended");
        log.roll();
        log.append(&entries(2, 1..=3)).expect("appended");
        assert_eq!(read_between(&disk, AFTER, UPTO), (24, true));
        put_snapshot(&disk, (1 << 32) + 40);
        assert_eq!(read_between(&disk, AFTER, UPTO), (24, true));
        put_snapshot(&disk, TREE);
        assert_eq!(read_between(&disk, AFTER, UPTO), (24, false));
        assert_eq!(read_between(&disk, 2 << 32, UPTO), (3, true));
    }
}
