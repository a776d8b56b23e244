//! Reading the log for a learner, aside of the log thread.

use std::sync::Arc;
use std::thread;

use zk_core::peer::{Event, LogEntry, RangeToken};
use zk_proto::{Bytes, Zxid};

use super::core::CoreItem;
use super::mailbox::Mailbox;
use crate::storage::{Disk, LogError, read_log};

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

/// What comes of reading: not all of it if anything is in the way.
fn read<D: Disk>(disk: &D, range: Range, entry_bytes_max: usize) -> Event {
    let mut entries = Vec::new();
    let mut bytes = 0;
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
    if let Err(error) = ended
        && !has_last
    {
        tracing::debug!(after = %range.after, err = %error, "a part of the log is of no use");
    }
    Event::LogRange {
        token: range.token,
        entries,
        is_complete: has_last && bytes <= range.bytes_max,
    }
}
