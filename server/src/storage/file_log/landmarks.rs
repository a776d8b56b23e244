//! Transactions that a history must have: those that snapshots are named after.

use std::collections::BTreeMap;

use zk_proto::Zxid;

use super::error::LogError;
use crate::storage::disk::Disk;
use crate::storage::layout::{Area, Name};

/// The snapshots on disk that reading a log must come past.
///
/// A log may have a hole that its zxids do not show: an epoch begins at 1 wherever the one before it
/// ended. One of Apache's that was given a tree by a leader has such a hole between the log of before
/// and that behind the tree; the snapshot of the tree tells of it.
#[derive(Debug)]
pub struct Landmarks(BTreeMap<Zxid, Name>);

impl Landmarks {
    /// Snapshots behind `after`, up to `upto`.
    ///
    /// # Errors
    ///
    /// The disk.
    pub fn between<D: Disk>(disk: &D, after: Zxid, upto: Zxid) -> Result<Self, LogError> {
        let names = disk.list(Area::Data).map_err(LogError::directory("list"))?;
        let snapshots = names
            .into_iter()
            .filter_map(|name| Some((name.as_snapshot()?, name)));
        Ok(Self(
            snapshots
                .filter(|(zxid, _)| (after < *zxid) && (*zxid <= upto))
                .collect(),
        ))
    }

    /// Takes a transaction of the log.
    pub fn pass(&mut self, zxid: Zxid) {
        self.0.remove(&zxid);
    }

    /// The newest snapshot whose transaction was not among those taken.
    pub fn missed(&self) -> Option<Name> {
        self.0.values().next_back().copied()
    }
}
