//! The table of watches.

use zk_proto::request::WatcherType;

use crate::conn::ConnId;
use crate::mutation::mutated;

use super::mode::{Modes, WatchKind, WatchSide};
use super::pairs::PairMap;
use super::paths::{PathStore, canonical};
use super::report::WatchCounts;

/// Watches of many connections on many paths.
///
/// Register, check and remove cost two searches; firing a path costs one search and one pass over
/// its watchers; a path without watches costs one look. Nothing that comes out depends on hashing:
/// connections come in the order of their handles.
///
/// # Invariants
/// - `by_conn` has `(conn, path)` exactly where `by_path` has `(path, conn)`, with non-empty modes.
/// - A path is in `paths` exactly while it has a watch.
/// - The counters are what a walk over `by_path` would count.
#[derive(Debug, Clone)]
pub struct WatchTable {
    paths: PathStore,
    by_path: PairMap<Modes>,
    by_conn: PairMap<()>,
    /// Pairs of path and connection with a mode in the data table.
    in_data: usize,
    /// Pairs of path and connection with a mode in the child table.
    in_child: usize,
    /// Pairs of path and connection with the recursive mode.
    recursive: usize,
}

impl WatchTable {
    /// An empty table.
    ///
    /// `seed` is to be drawn at random once per process: it keeps clients from choosing paths that
    /// make the table slow. It changes nothing that can be seen.
    pub fn new(seed: u64) -> Self {
        Self {
            paths: PathStore::new(seed),
            by_path: PairMap::default(),
            by_conn: PairMap::default(),
            in_data: 0,
            in_child: 0,
            recursive: 0,
        }
    }

    /// Adds a watch. Kinds on one path coexist; one that is there already stays one.
    pub fn register(&mut self, conn: ConnId, path: &str, kind: WatchKind) {
        let id = self.paths.intern(canonical(path));
        let added = Modes::of_kind(kind);
        let before = self.by_path.get(id, conn.get()).unwrap_or(Modes::NONE);
        let after = before.with(added);
        if after != before {
            self.by_path.insert(id, conn.get(), after);
            self.by_conn.insert(conn.get(), id, ());
            self.recount(before, after);
        }
    }

    /// Whether a connection has a watch of this type on exactly this path: checkWatches.
    pub fn has(&self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        let modes = || {
            let id = self.paths.find(canonical(path))?;
            self.by_path.get(id, conn.get())
        };
        modes().is_some_and(|modes| modes.intersects(Modes::of_type(watcher_type)))
    }

    /// Removes the watches of this type that a connection has on exactly this path, and says
    /// whether there was one: removeWatches. Nobody is notified.
    pub fn remove(&mut self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        let Some(id) = self.paths.find(canonical(path)) else {
            return false;
        };
        let Some(before) = self.by_path.get(id, conn.get()) else {
            return false;
        };
        let removed = Modes::of_type(watcher_type);
        if !before.intersects(removed) {
            return false;
        }
        self.replace(id, conn, before, before.without(removed));
        true
    }

    /// Removes all watches of a connection that is gone.
    pub fn drop_connection(&mut self, conn: ConnId) {
        let mut ids = Vec::new();
        self.by_conn.retain(conn.get(), |id, ()| {
            ids.push(id);
            false
        });
        for id in ids {
            if let Some(before) = self.by_path.remove(id, conn.get()) {
                self.recount(before, Modes::NONE);
            }
            self.release_if_unwatched(id);
        }
    }

    /// Fires the watches on a path in one table: appends the connections, each once and in order,
    /// and drops their one-shot watches there.
    pub fn fire(&mut self, path: &str, side: WatchSide, receivers: &mut Vec<ConnId>) {
        let Some(id) = self.paths.find(canonical(path)) else {
            return;
        };
        let (listening, one_shot) = (Modes::of_side(side), Modes::one_shot(side));
        let start = receivers.len();
        let mut consumed = 0;
        let by_conn = &mut self.by_conn;
        self.by_path.retain(id, |conn, modes| {
            if modes.intersects(listening) {
                receivers.push(ConnId::new(conn));
            }
            if modes.intersects(one_shot) && !mutated!(WatchFiresAgain) {
                // A persistent or recursive watch keeps the connection in the table.
                consumed += usize::from(!modes.without(one_shot).intersects(listening));
                *modes = modes.without(one_shot);
            }
            if modes.is_empty() {
                by_conn.remove(conn, id);
            }
            !modes.is_empty()
        });
        match side {
            WatchSide::Data => self.in_data -= consumed,
            WatchSide::Child => self.in_child -= consumed,
        }
        if receivers.len() > start {
            self.release_if_unwatched(id);
        }
    }

    /// Appends the connections that watch a path and all below it, each once and in order: what a
    /// change further down fires here.
    pub fn fire_below(&self, path: &str, receivers: &mut Vec<ConnId>) {
        if self.recursive == 0 {
            return;
        }
        let Some(id) = self.paths.find(canonical(path)) else {
            return;
        };
        let watching = self.by_path.of(id);
        let recursive = watching.filter(|(_, modes)| modes.intersects(Modes::RECURSIVE));
        receivers.extend(recursive.map(|(conn, _)| ConnId::new(conn)));
    }

    /// Whether any watch is recursive: if none is, ancestors need no look.
    pub fn has_recursive(&self) -> bool {
        self.recursive > 0
    }

    /// Number of watches of a connection, one per path.
    pub fn paths_watched_by(&self, conn: ConnId) -> usize {
        self.by_conn.of(conn.get()).count()
    }

    /// How many watches there are.
    pub fn counts(&self) -> WatchCounts {
        WatchCounts {
            data: self.in_data,
            child: self.in_child,
            recursive: self.recursive,
        }
    }

    /// Shows each pair of path and connection that listens in a table, by connection and in no
    /// order of paths.
    pub(super) fn each(&self, side: WatchSide, show: &mut dyn FnMut(ConnId, &str)) {
        for ((conn, id), ()) in self.by_conn.iter() {
            let modes = self.by_path.get(id, conn).unwrap_or(Modes::NONE);
            if modes.intersects(Modes::of_side(side)) {
                show(ConnId::new(conn), self.paths.text(id));
            }
        }
    }

    /// Puts the modes of a pair in place of those before, and forgets what that leaves empty.
    fn replace(&mut self, id: u32, conn: ConnId, before: Modes, after: Modes) {
        if after.is_empty() {
            self.by_path.remove(id, conn.get());
            self.by_conn.remove(conn.get(), id);
            self.release_if_unwatched(id);
        } else {
            self.by_path.insert(id, conn.get(), after);
        }
        self.recount(before, after);
    }

    fn release_if_unwatched(&mut self, id: u32) {
        if self.by_path.of(id).next().is_none() {
            self.paths.release(id);
        }
    }

    fn recount(&mut self, before: Modes, after: Modes) {
        let count = |counter: &mut usize, modes: Modes| {
            *counter -= usize::from(before.intersects(modes));
            *counter += usize::from(after.intersects(modes));
        };
        count(&mut self.in_data, Modes::of_side(WatchSide::Data));
        count(&mut self.in_child, Modes::of_side(WatchSide::Child));
        count(&mut self.recursive, Modes::RECURSIVE);
    }

    /// Bytes allocated for watches, without those for their paths.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        self.by_path.heap_bytes() + self.by_conn.heap_bytes()
    }

    /// Checks the invariants.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert!(self.by_path.len() == self.by_conn.len());
        let mut counts = WatchCounts::default();
        let mut ids = std::collections::BTreeSet::new();
        for ((id, conn), modes) in self.by_path.iter() {
            assert!(!modes.is_empty() && self.by_conn.get(conn, id).is_some());
            ids.insert(id);
            counts.data += usize::from(modes.intersects(Modes::of_side(WatchSide::Data)));
            counts.child += usize::from(modes.intersects(Modes::of_side(WatchSide::Child)));
            counts.recursive += usize::from(modes.intersects(Modes::RECURSIVE));
        }
        assert_eq!(counts, self.counts());
        assert_eq!(ids.len(), self.paths.len());
    }
}
