//! Cutting the end off the history.

use std::collections::BTreeSet;

use zk_proto::Zxid;

use super::error::LogError;
use super::landmarks::Landmarks;
use super::read::{read_log, scan};
use super::restart::remove;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::file_snapshot::looks_whole;
use crate::storage::layout::{Area, Name};

/// Removes snapshots and log records after `to`, from the newest backwards, each durably before
/// the next: what is left is a history without holes at every moment. The caller knows that `to` is
/// reached: see [`reaches`].
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `FileTxnLog#truncate`, keeps later snapshots, and with them the
/// effects of what was truncated; and it leaves one record too many when `to` is not in the log.
pub(super) fn truncate<D: Disk>(
    disk: &D,
    to: Zxid,
    entry_bytes_max: usize,
) -> Result<(), LogError> {
    let later = snapshots(disk)?.filter(|(_, zxid)| *zxid > to);
    for (name, _) in later {
        remove(disk, name)?;
    }
    disk.sync_dir(Area::Data)
        .map_err(LogError::directory("sync"))?;

    let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
    let logs = names
        .into_iter()
        .filter_map(|name| Some((name, name.as_log()?)));
    for (name, first) in logs.rev() {
        if first > to {
            remove(disk, name)?;
            disk.sync_dir(Area::Log)
                .map_err(LogError::directory("sync"))?;
        } else {
            return cut(disk, name, to, entry_bytes_max);
        }
    }
    Ok(())
}

/// Whether the state at `to` is to be had from what is on disk, and `last`, where the history ends, is
/// so without the snapshots above `to`: a truncation that a crash cuts short leaves no more.
///
/// Not so where there is a hole, behind a tree that came from a leader, or may be one: behind a snapshot
/// whose transaction is not in the log, an epoch may begin that knows nothing of it.
pub(super) fn reaches<D: Disk>(
    disk: &D,
    to: Zxid,
    last: Zxid,
    entry_bytes_max: usize,
) -> Result<bool, LogError> {
    let mut base = None;
    for (name, zxid) in snapshots(disk)?.filter(|(_, zxid)| *zxid <= to) {
        if looks_whole(disk, name).map_err(LogError::disk("read", name))? {
            base = base.max(Some(zxid));
        }
    }
    let Some(base) = base else { return Ok(false) };
    let mut landmarks = Landmarks::between(disk, base, last)?;
    let mut missing = BTreeSet::from([to, last]);
    missing.remove(&base);
    let mut first = None;
    let read = read_log(disk, base, entry_bytes_max, |entry| {
        first.get_or_insert(entry.zxid);
        missing.remove(&entry.zxid);
        landmarks.pass(entry.zxid);
        Ok(())
    });
    if !is_of_use(read.map(drop))? || !missing.is_empty() || landmarks.missed().is_some() {
        return Ok(false);
    }
    if first.is_none_or(|first| first.get() == base.get() + 1) {
        return Ok(true);
    }
    let mut is_logged = false;
    let before = Zxid::new(base.get() - 1);
    let read = read_log(disk, before, entry_bytes_max, |entry| {
        is_logged = entry.zxid == base;
        Err(LogError::Ended)
    });
    Ok(is_of_use(read.map(drop))? && is_logged)
}

/// Whether a log was read as far as was wanted.
///
/// # Errors
///
/// The disk: no word about the log.
fn is_of_use(read: Result<(), LogError>) -> Result<bool, LogError> {
    match read {
        Ok(()) | Err(LogError::Ended) => Ok(true),
        Err(error @ (LogError::Disk { .. } | LogError::Directory { .. })) => Err(error),
        Err(_) => Ok(false),
    }
}

/// The snapshots there are.
fn snapshots<D: Disk>(disk: &D) -> Result<impl Iterator<Item = (Name, Zxid)>, LogError> {
    let names = disk.list(Area::Data).map_err(LogError::directory("list"))?;
    Ok(names
        .into_iter()
        .filter_map(|name| Some((name, name.as_snapshot()?))))
}

/// Cuts a file behind its last record at or before `to`.
fn cut<D: Disk>(disk: &D, name: Name, to: Zxid, entry_bytes_max: usize) -> Result<(), LogError> {
    let mut end = None;
    scan(disk, name, entry_bytes_max, |zxid, _, offset| {
        let is_kept = zxid <= to;
        if !is_kept {
            end = Some(offset);
        }
        Ok(is_kept)
    })?;
    let Some(end) = end else { return Ok(()) };
    let mut file = disk.open(name).map_err(LogError::disk("open", name))?;
    file.set_len(end as u64)
        .map_err(LogError::disk("cut", name))?;
    file.sync_data().map_err(LogError::disk("sync", name))
}
