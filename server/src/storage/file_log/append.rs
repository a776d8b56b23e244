//! Appending: one write and one sync per batch.

use std::io;

use bytes::{BufMut as _, BytesMut};
use zk_core::wire::log_record;
use zk_proto::Zxid;

use super::error::LogError;
use super::read::has_header;
use super::{LogEntry, restart, truncate};
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::layout::{Area, Name};

/// How a log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Bytes by which a file is made longer ahead of the records; 0 is never.
    pub preallocate_bytes: u64,
    /// Bytes of records after which the next file begins; `None` is no limit.
    pub file_bytes_max: Option<u64>,
    /// Whether a batch is durable before it counts as appended.
    pub sync: bool,
    /// Longest entry read; longer ones are damage.
    pub entry_bytes_max: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            preallocate_bytes: 64 << 20,
            file_bytes_max: None,
            sync: true,
            entry_bytes_max: log_record::ENTRY_MAX,
        }
    }
}

/// The log of one server, open for appending.
///
/// Invariant: every zxid appended is greater than `last`, and all up to `last` are durable
/// unless syncing is switched off. After the first failure nothing is written any more, because
/// nobody knows what the disk holds.
#[derive(Debug)]
pub struct FileLog<D: Disk> {
    disk: D,
    options: LogOptions,
    /// File being appended to; none until the first batch after a start, a roll or a truncation.
    segment: Option<Segment<D::File>>,
    last: Zxid,
    is_poisoned: bool,
    /// Reused between batches.
    buffer: BytesMut,
}

/// Bytes of zeros written ahead of the records, at least and at most.
const ZEROS_MIN: u64 = 16 << 10;
const ZEROS_MAX: u64 = 256 << 10;

/// Bytes reserved behind the records where there is no room for more.
const LEAST_STEP: u64 = 64 << 10;

/// A file being appended to.
///
/// Space that is merely reserved becomes a part of the file only when it is written, and each sync
/// behind that has the file system write its journal, too. So zeros are written ahead of the records,
/// for many batches at once: the sync of a batch that falls among them writes that batch alone.
#[derive(Debug)]
struct Segment<F> {
    name: Name,
    file: F,
    /// End of the last record.
    end: u64,
    /// End of what was ever written: records, and zeros for those to come.
    written: u64,
    /// Length of the file, preallocated zeros included.
    len: u64,
}

impl<D: Disk> FileLog<D> {
    /// Opens the log behind its last transaction, as recovery found it.
    ///
    /// Removes files at the end that a crash left without a header: they never held a record.
    ///
    /// # Errors
    ///
    /// If the disk fails.
    pub fn open(disk: D, options: LogOptions, last: Zxid) -> Result<Self, LogError> {
        let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
        let mut removed = false;
        for name in names
            .into_iter()
            .filter(|name| name.as_log().is_some())
            .rev()
        {
            if has_header(&disk, name)? {
                break;
            }
            disk.remove(name).map_err(LogError::disk("remove", name))?;
            removed = true;
        }
        if removed {
            disk.sync_dir(Area::Log)
                .map_err(LogError::directory("sync"))?;
        }
        Ok(Self {
            disk,
            options,
            segment: None,
            last,
            is_poisoned: false,
            buffer: BytesMut::new(),
        })
    }

    /// Last transaction appended.
    pub const fn last(&self) -> Zxid {
        self.last
    }

    /// Appends a batch and makes it durable: all of it when this returns, some or nothing of it
    /// when it fails. Returns the last zxid.
    ///
    /// # Errors
    ///
    /// An earlier failure; a zxid that is not greater than the one before; the disk.
    pub fn append(&mut self, batch: &[LogEntry]) -> Result<Zxid, LogError> {
        let Some(first) = batch.first() else {
            return Ok(self.last);
        };
        self.guarded(|log| {
            let mut last = log.last;
            for entry in batch {
                if entry.zxid <= last {
                    return Err(LogError::OutOfOrder {
                        last,
                        zxid: entry.zxid,
                    });
                }
                last = entry.zxid;
            }
            log.buffer.clear();
            let (mut segment, is_new) = match log.segment.take() {
                Some(segment) => (segment, false),
                None => (log.create(Name::log(first.zxid))?, true),
            };
            if is_new {
                log.buffer.extend_from_slice(&log_record::header());
            }
            for entry in batch {
                log_record::write(&entry.bytes, &mut log.buffer);
            }
            segment.write(&mut log.buffer, &log.options)?;
            if is_new && log.options.sync {
                // The records are durable, but not the name they are found by.
                log.disk
                    .sync_dir(Area::Log)
                    .map_err(LogError::directory("sync"))?;
            }
            let is_full = log
                .options
                .file_bytes_max
                .is_some_and(|max| segment.end > max);
            log.segment = Some(segment);
            log.last = last;
            if is_full {
                log.roll();
            }
            Ok(last)
        })
    }

    /// Ends the current file, and gives back what was reserved behind its records; the next batch
    /// begins another file.
    ///
    /// Every batch was synced when it was appended, so there is nothing to wait for: a crash leaves
    /// the file with the zeros at its end or without. If they cannot be given back, they stay.
    pub fn roll(&mut self) {
        let Some(mut segment) = self.segment.take() else {
            return;
        };
        if let Err(error) = segment.trim() {
            tracing::warn!(name = %segment.name, err = %error, "space behind a log is not given back");
        }
    }

    /// Forgets everything after `to`: log records, and snapshots that may contain their effects. Says
    /// whether it did: not if the state at `to` is not to be had from what is on disk, which stays as
    /// it is then.
    ///
    /// A crash in between leaves a history that ends somewhere between `to` and where it ended,
    /// without holes.
    ///
    /// # Errors
    ///
    /// The disk.
    pub fn truncate(&mut self, to: Zxid) -> Result<bool, LogError> {
        self.guarded(|log| {
            // In both cases what follows goes to another file.
            log.segment = None;
            let entry_bytes_max = log.options.entry_bytes_max;
            if to > log.last || !truncate::reaches(&log.disk, to, log.last, entry_bytes_max)? {
                return Ok(false);
            }
            truncate::truncate(&log.disk, to, entry_bytes_max)?;
            log.last = to;
            Ok(true)
        })
    }

    /// Goes on behind a snapshot, which is on disk: for a server whose state was replaced by another
    /// one's. Everything else is removed, as it belongs to a history that this server does not have
    /// any more, or lacks what came before the snapshot.
    ///
    /// A crash in between leaves what was there before, or the snapshot alone, once
    /// [`finish_restart`](super::finish_restart) was there.
    ///
    /// # Errors
    ///
    /// The snapshot is not there; the disk.
    pub fn restart(&mut self, snapshot: Name) -> Result<(), LogError> {
        self.guarded(|log| {
            log.segment = None;
            restart::restart(&log.disk, snapshot)?;
            log.last = snapshot.as_snapshot().unwrap_or(log.last);
            Ok(())
        })
    }

    /// Runs a step that leaves the log unusable if it fails.
    fn guarded<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        if self.is_poisoned {
            return Err(LogError::Poisoned);
        }
        let result = step(self);
        self.is_poisoned = result.is_err();
        result
    }

    /// Creates a file. One of that name can only hold a first record that a crash tore; it is
    /// removed durably, so that none of its bytes can show between the new ones.
    fn create(&self, name: Name) -> Result<Segment<D::File>, LogError> {
        let file = match self.disk.create(name) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk
                    .remove(name)
                    .map_err(LogError::disk("remove", name))?;
                self.disk
                    .sync_dir(Area::Log)
                    .map_err(LogError::directory("sync"))?;
                self.disk.create(name)
            }
            result => result,
        };
        let file = file.map_err(LogError::disk("create", name))?;
        Ok(Segment {
            name,
            file,
            end: 0,
            written: 0,
            len: 0,
        })
    }
}

impl<F: DiskFile> Segment<F> {
    /// Cuts off what is behind the last record.
    fn trim(&mut self) -> io::Result<()> {
        if self.len > self.end {
            self.file.set_len(self.end)?;
        }
        Ok(())
    }

    /// Reserves space up to `len`, or where a disk that is nearly full has none, for what is about to
    /// be written up to `end` and a little more. Returns how far.
    fn allocate(&mut self, end: u64, len: u64) -> io::Result<u64> {
        if len <= self.len {
            return Ok(len);
        }
        match self.file.allocate(len) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let least = (end + LEAST_STEP).min(len).max(self.len);
                self.file.allocate(least)?;
                Ok(least)
            }
            result => result.map(|()| len),
        }
    }

    /// Writes records behind the last ones, and makes them durable.
    fn write(&mut self, records: &mut BytesMut, options: &LogOptions) -> Result<(), LogError> {
        let end = self.end + records.len() as u64;
        let step = options.preallocate_bytes;
        let len =
            log_record::padded_len(end, log_record::padded_len(self.end, self.len, step), step);
        let len = self
            .allocate(end, len)
            .map_err(LogError::disk("preallocate", self.name))?;
        let ahead = end.clamp(ZEROS_MIN, ZEROS_MAX);
        if end > self.written && options.sync && records.len() as u64 <= ahead / 8 {
            // No further than the file reaches: it grows as the options say.
            let zeros = (end + ahead).min(len).saturating_sub(end);
            records.put_bytes(0, usize::try_from(zeros).unwrap_or(0));
        }
        self.file
            .write_at(self.end, records)
            .map_err(LogError::disk("append to", self.name))?;
        if options.sync {
            self.file
                .sync_data()
                .map_err(LogError::disk("sync", self.name))?;
        }
        self.written = self.written.max(self.end + records.len() as u64);
        self.end = end;
        self.len = len.max(end);
        Ok(())
    }
}
