//! Counts and listings of watches for operators.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Add;

use crate::conn::ConnId;

use super::mode::WatchSide;
use super::table::WatchTable;

/// How many watches there are: pairs of path and connection. Add those of several tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WatchCounts {
    /// In the data table: data, exist, persistent, recursive. What `wchs` calls total watches.
    pub data: usize,
    /// In the child table: child, persistent.
    pub child: usize,
    /// Of the data table's, those with the recursive mode.
    pub recursive: usize,
}

impl WatchCounts {
    /// Both tables: `zk_watch_count` of `mntr`. A persistent watch counts twice, as it does there.
    pub const fn total(self) -> usize {
        self.data + self.child
    }
}

impl Add for WatchCounts {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            data: self.data + other.data,
            child: self.child + other.child,
            recursive: self.recursive + other.recursive,
        }
    }
}

/// The watches in the data table by connection and by path, both in order: `wchs`, `wchc`, `wchp`.
///
/// It costs a walk over all watches and a copy of their paths: what asks for it is to be limited.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree#dumpWatches` and the commands over it leave out the child table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchReport {
    /// Paths watched by each connection.
    pub by_connection: BTreeMap<ConnId, BTreeSet<Box<str>>>,
    /// Connections that watch each path.
    pub by_path: BTreeMap<Box<str>, BTreeSet<ConnId>>,
}

impl WatchReport {
    /// Adds the watches of one table; the tables of a server may be added one after the other.
    pub fn add(&mut self, table: &WatchTable) {
        table.each(WatchSide::Data, &mut |conn, path| {
            let paths = self.by_connection.entry(conn).or_default();
            paths.insert(path.into());
            let conns = self.by_path.entry(path.into()).or_default();
            conns.insert(conn);
        });
    }

    /// Pairs of path and connection.
    pub fn total(&self) -> usize {
        self.by_path.values().map(BTreeSet::len).sum()
    }
}
