//! Cutting the end off the history.

use std::io;

use zk_proto::Zxid;

use super::error::LogError;
use super::read::scan;
use crate::storage::disk::{Disk, DiskFile};
use crate::storage::layout::{Area, Name};

/// Removes snapshots and log records after `to`, from the newest backwards, each durably before
/// the next: what is left is a history without holes at every moment.
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
    let data = disk.list(Area::Data).map_err(LogError::directory("list"))?;
    let snapshots = || {
        data.iter()
            .copied()
            .filter_map(|name| Some((name, name.as_snapshot()?)))
    };
    if !snapshots().any(|(_, zxid)| zxid <= to) {
        return Err(LogError::NoSnapshot { to });
    }
    let later = snapshots().filter(|(_, zxid)| *zxid > to);
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

fn remove<D: Disk>(disk: &D, name: Name) -> Result<(), LogError> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::disk("remove", name)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
