//! Reading a log, and telling what a crash did to it from what nothing should have done.

use bytes::Bytes;
use zk_core::wire::log_record::{self, BadHeader, Damage, Ending};
use zk_core::wire::recovery::{Replay, Step};
use zk_core::wire::txn::TxnHeader;
use zk_proto::Zxid;
use zk_proto::jute::Reader;

use super::LogEntry;
use super::error::LogError;
use crate::storage::disk::{Disk, DiskFile, fill, read_start};
use crate::storage::layout::{Area, Name};

/// Unit that disks write as a whole.
const SECTOR: usize = 512;
/// Bytes read at a time. In tests so few that records stand in several windows.
const WINDOW: usize = if cfg!(test) { SECTOR } else { 128 << 10 };

/// Where reading a log ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    /// Last transaction in the log; `None` if there is none behind the base.
    pub last: Option<Zxid>,
    /// The record that a crash left incomplete behind it, and what is wrong with it.
    pub torn: Option<(Name, usize, Damage)>,
    /// The last file, and the length of what is in it, if nothing but zeros follows.
    pub end: Option<(Name, u64)>,
}

/// Reads every transaction behind `base`, the zxid of a snapshot, in order.
///
/// An entry shares the memory of those around it; whoever keeps one must copy it.
///
/// What was being written when the power went is dropped: nothing of it was acknowledged. It is
/// recognised by being the end of its file, or by a sector of zeros where bytes should be, and by
/// the history going on without a gap, if it goes on in another file.
///
/// # Errors
///
/// A file that is no log; a damaged record with others behind it; a whole one that is longer than
/// `entry_bytes_max`; missing transactions; the disk.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `FileTxnLog#getLogFiles` for the choice of files. The reference takes
/// any missing end mark for the end of a file, and goes on behind it in the next one.
pub fn read_log<D: Disk>(
    disk: &D,
    base: Zxid,
    entry_bytes_max: usize,
    mut each: impl FnMut(LogEntry) -> Result<(), LogError>,
) -> Result<LogTail, LogError> {
    let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
    let logs: Vec<Name> = names
        .into_iter()
        .filter(|name| name.as_log().is_some())
        .collect();
    let needed = logs
        .partition_point(|name| name.as_log() <= Some(base))
        .saturating_sub(1);
    let logs = logs.get(needed..).unwrap_or_default();
    let mut replay = Replay::new(base, logs.iter().filter_map(|name| name.as_log()).collect());
    let mut tail = LogTail {
        last: None,
        torn: None,
        end: None,
    };
    for (at, &name) in logs.iter().enumerate() {
        let is_last = at + 1 == logs.len();
        let scanned = scan(disk, name, entry_bytes_max, |zxid, bytes, _| {
            let last = replay.last();
            match replay.record(zxid) {
                Ok(Step::Apply) => {}
                Ok(Step::Skip) => return Ok(true),
                Err(_) => {
                    return Err(LogError::Gap {
                        name,
                        last,
                        found: zxid,
                    });
                }
            }
            tail.last = Some(zxid);
            each(LogEntry { zxid, bytes })?;
            Ok(true)
        })?;
        match scanned {
            ScanEnd::Unborn if is_last => return Ok(tail),
            ScanEnd::Unborn => {
                return Err(LogError::Header {
                    name,
                    source: BadHeader::Short { len: 0 },
                });
            }
            _ if !is_last => {}
            ScanEnd::End(offset) => tail.end = Some((name, offset as u64)),
            ScanEnd::Torn { offset, damage } => tail.torn = Some((name, offset, damage)),
            ScanEnd::Stopped => {}
        }
    }
    Ok(tail)
}

/// Makes durable what [`read_log`] finds: a process that was killed between its write and its sync left
/// records that have been read, and count from now on, while the power may still take them. What that
/// process had reserved behind them is given back: the log goes on in another file.
///
/// # Errors
///
/// The disk.
pub fn sync_tail<D: Disk>(disk: &D, tail: &LogTail) -> Result<(), LogError> {
    let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
    // Older files were synced before this one was begun.
    let last = names.into_iter().rfind(|name| name.as_log().is_some());
    let Some(name) = last else {
        return Ok(());
    };
    let mut file = disk.open(name).map_err(LogError::disk("open", name))?;
    file.sync_data().map_err(LogError::disk("sync", name))?;
    if let Some((_, end)) = tail.end.filter(|(of, _)| *of == name)
        && file.len().map_err(LogError::disk("read", name))? > end
    {
        // Need not be durable: the next start would do it again.
        if let Err(error) = file.set_len(end) {
            tracing::warn!(%name, err = %error, "space behind a log is not given back");
        }
    }
    disk.sync_dir(Area::Log)
        .map_err(LogError::directory("sync"))
}

/// Whether a file is more than a crash left of one that was just created.
pub(super) fn has_header<D: Disk>(disk: &D, name: Name) -> Result<bool, LogError> {
    let file = disk.open(name).map_err(LogError::disk("open", name))?;
    let start =
        read_start(&file, log_record::HEADER_LEN as u64).map_err(LogError::disk("read", name))?;
    is_born(name, &start)
}

/// The same, by the first bytes of the file.
fn is_born(name: Name, start: &[u8]) -> Result<bool, LogError> {
    match log_record::check_header(start) {
        Ok(()) => Ok(true),
        Err(BadHeader::Short { .. } | BadHeader::Magic { found: 0 }) => Ok(false),
        Err(source) => Err(LogError::Header { name, source }),
    }
}

/// Where scanning a file ended.
pub(super) enum ScanEnd {
    /// Before its start: there is less than a header, or zeros where it should be. The file was created,
    /// and never synced.
    Unborn,
    /// At its end, or at the zeros behind the records, which begin here.
    End(usize),
    /// At a record that a crash left incomplete.
    Torn {
        /// Where it begins.
        offset: usize,
        /// What is wrong with it.
        damage: Damage,
    },
    /// The caller had enough.
    Stopped,
}

/// Hands out the records of a file: zxid, entry and where the record begins, until `each` says
/// `false`.
pub(super) fn scan<D: Disk>(
    disk: &D,
    name: Name,
    entry_bytes_max: usize,
    mut each: impl FnMut(Zxid, Bytes, usize) -> Result<bool, LogError>,
) -> Result<ScanEnd, LogError> {
    let mut window = Window::open(disk, name)?;
    if !is_born(name, &window.bytes)? {
        return Ok(ScanEnd::Unborn);
    }
    let mut at = log_record::HEADER_LEN;
    loop {
        let offset = window.start + at;
        let none = match log_record::whole(&window.bytes, at, entry_bytes_max) {
            Ok((entry, next)) => {
                let (header, _) = TxnHeader::decode(&mut Reader::new(entry))
                    .map_err(|_| LogError::NoTransaction { name, offset })?;
                if !each(header.zxid, window.bytes.slice_ref(entry), offset)? {
                    return Ok(ScanEnd::Stopped);
                }
                at = next;
                continue;
            }
            Err(none) => none,
        };
        // What is no record can be told apart by all that follows only.
        if window.advance(&mut at)? {
            continue;
        }
        return match none.judge(&window.bytes, at, entry_bytes_max) {
            Ending::Clean => Ok(ScanEnd::End(offset)),
            Ending::Torn(damage) => Ok(ScanEnd::Torn { offset, damage }),
            Ending::Corrupt(damage) if lost_a_sector(&window.bytes, at) => {
                Ok(ScanEnd::Torn { offset, damage })
            }
            Ending::Corrupt(source) => Err(LogError::Corrupt {
                name,
                offset,
                source,
            }),
            Ending::TooLong(len) => Err(LogError::TooLong {
                name,
                offset,
                len,
                max: entry_bytes_max,
            }),
        };
    }
}

/// A part of a log file that is in memory.
struct Window<F> {
    name: Name,
    file: F,
    /// Where the zeros begin that reach to the end of the file.
    end: u64,
    /// Offset of the first byte. Invariant: a multiple of [`SECTOR`].
    start: usize,
    bytes: Bytes,
}

impl<F: DiskFile> Window<F> {
    fn open<D: Disk<File = F>>(disk: &D, name: Name) -> Result<Self, LogError> {
        let file = disk.open(name).map_err(LogError::disk("read", name))?;
        let end = file.data_end().map_err(LogError::disk("read", name))?;
        let mut window = Self {
            name,
            file,
            end,
            start: 0,
            bytes: Bytes::new(),
        };
        window.advance(&mut 0)?;
        Ok(window)
    }

    /// Reads on, and lets go of what stands before the sector of `at`, which moves along. False at the
    /// end of the file: then all of it behind `at` is here.
    fn advance(&mut self, at: &mut usize) -> Result<bool, LogError> {
        let gone = *at / SECTOR * SECTOR;
        let kept = self.bytes.slice(gone.min(self.bytes.len())..);
        let from = (self.start + self.bytes.len()) as u64;
        // A window that brings no record doubles: that is a long record, or the end.
        let len = self
            .end
            .saturating_sub(from)
            .min(WINDOW.max(kept.len()) as u64);
        let failed = LogError::disk("read", self.name);
        let len = usize::try_from(len).map_err(|err| failed(std::io::Error::other(err)))?;
        let mut bytes = vec![0; kept.len() + len];
        let (head, rest) = bytes.split_at_mut(kept.len());
        head.copy_from_slice(&kept);
        let read = fill(&self.file, from, rest).map_err(LogError::disk("read", self.name))?;
        if read == 0 {
            return Ok(false);
        }
        bytes.truncate(kept.len() + read);
        self.bytes = bytes.into();
        self.start += gone;
        *at -= gone;
        Ok(true)
    }
}

/// Whether the record at `offset` lacks a sector that never reached the disk, while a later
/// sector of the same write did.
///
/// Such a sector holds zeros from where the record, or the sector, begins; see the module. Data
/// that a client set to long runs of zeros looks the same: damage elsewhere in such a record is
/// then taken for a torn write. The next file, or the other members, tell of the gap.
fn lost_a_sector(content: &[u8], offset: usize) -> bool {
    let claimed = content
        .get(offset + 8..offset + 12)
        .and_then(|len| len.try_into().ok());
    let len = claimed
        .and_then(|len| usize::try_from(i32::from_be_bytes(len)).ok())
        .unwrap_or(0);
    // A damaged length says nothing; the frame alone is looked at then.
    let end = offset
        .saturating_add(log_record::FRAME_LEN)
        .saturating_add(len)
        .min(content.len());
    let mut start = offset;
    while start < end {
        let sector_end = (start / SECTOR + 1) * SECTOR;
        let sector = content
            .get(start..sector_end.min(content.len()))
            .unwrap_or_default();
        // The first bytes of a checksum are zeros by themselves.
        if sector.len() > 4 && sector.iter().all(|&byte| byte == 0) {
            return true;
        }
        start = sector_end;
    }
    false
}
