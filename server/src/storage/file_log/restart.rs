//! Beginning the log anew, behind a tree that came from a leader.
//!
//! ```text
//! snapshot.z ─► log.z.tmp ─► other snapshots go ─► all logs go ─► log.z.tmp goes
//!               └─────────── a crash here: recovery does the rest ───────────┘
//! ```
//!
//! What was on disk before is of another history, or ends long before the tree: neither a record nor a
//! snapshot of it may ever be read together with what follows. Files do not go all at once, so a mark
//! that they are to go comes first. Until it is there, the state is that of the newest snapshot, as it
//! was or of the tree; from then on, it is that of the tree.

use std::io;

use super::error::LogError;
use crate::storage::disk::Disk;
use crate::storage::layout::{Area, Name, Role};
use zk_proto::Zxid;

/// Leaves nothing but a snapshot.
pub(super) fn restart<D: Disk>(disk: &D, snapshot: Name) -> Result<(), LogError> {
    let snapshots = snapshots(disk)?;
    let zxid = snapshot.as_snapshot();
    let Some(zxid) = zxid.filter(|_| snapshots.contains(&snapshot)) else {
        return Err(LogError::NoSnapshot { name: snapshot });
    };
    // The mark does not tell which of two is meant: the other has the same state.
    let twins = snapshots
        .into_iter()
        .filter(|&name| name.as_snapshot() == Some(zxid) && name != snapshot);
    remove_all(disk, Area::Data, twins)?;
    let mark = Name::Temporary(Role::Log(zxid));
    match disk.create(mark) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(LogError::disk("create", mark)(error));
        }
        Ok(_) | Err(_) => {}
    }
    disk.sync_dir(Area::Log)
        .map_err(LogError::directory("sync"))?;
    clear(disk, zxid)?;
    remove_all(disk, Area::Log, [mark])
}

/// Goes on with what a crash interrupted: to be called before anything else is read.
///
/// # Errors
///
/// The disk.
pub fn finish_restart<D: Disk>(disk: &D) -> Result<(), LogError> {
    let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
    for mark in names {
        let Name::Temporary(Role::Log(zxid)) = mark else {
            continue;
        };
        let is_there = |name: &Name| name.as_snapshot() == Some(zxid);
        // Without it, somebody else has been at work here.
        if snapshots(disk)?.iter().any(is_there) {
            clear(disk, zxid)?;
        }
        remove_all(disk, Area::Log, [mark])?;
    }
    Ok(())
}

/// Removes all snapshots but those of a zxid, and then all logs.
fn clear<D: Disk>(disk: &D, zxid: Zxid) -> Result<(), LogError> {
    let others = snapshots(disk)?
        .into_iter()
        .filter(|name| name.as_snapshot() != Some(zxid));
    remove_all(disk, Area::Data, others)?;
    let names = disk.list(Area::Log).map_err(LogError::directory("list"))?;
    let logs = names
        .into_iter()
        .filter(|name| name.as_log().is_some())
        .rev();
    remove_all(disk, Area::Log, logs)
}

fn snapshots<D: Disk>(disk: &D) -> Result<Vec<Name>, LogError> {
    let names = disk.list(Area::Data).map_err(LogError::directory("list"))?;
    let is_snapshot = |name: &Name| name.as_snapshot().is_some();
    Ok(names.into_iter().filter(is_snapshot).collect())
}

/// Removes files of an area, durably.
fn remove_all<D: Disk>(
    disk: &D,
    area: Area,
    names: impl IntoIterator<Item = Name>,
) -> Result<(), LogError> {
    let mut removed = false;
    for name in names {
        remove(disk, name)?;
        removed = true;
    }
    if removed {
        disk.sync_dir(area).map_err(LogError::directory("sync"))?;
    }
    Ok(())
}

/// Removes a file, unless it is gone: old ones are purged meanwhile.
pub(super) fn remove<D: Disk>(disk: &D, name: Name) -> Result<(), LogError> {
    match disk.remove(name) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::disk("remove", name)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}
