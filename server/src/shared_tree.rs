//! The tree and its watches, between those who read and the one who applies.
//!
//! ```text
//!  connection tasks ──read()──► Reading  (many)   ─► &Tree, register / check / remove watches
//!  apply thread ─────apply()──► Applying (alone)  ─► &mut Tree, fire watches, the same reads
//! ```
//!
//! This is the only place that knows how the two exclude each other: a lock that readers share. Both
//! sides batch: a connection takes it once for a group of reads, the apply thread once for a batch
//! of transactions.
//!
//! # Ordering
//!
//! A watch is registered while its read holds the guard, so that no change can come between what
//! the read saw and the watch. Watches are fired while the apply thread holds the guard alone, so
//! that no reader sees a change before its events are on their way.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use parking_lot::{Mutex, RwLock, RwLockReadGuard, RwLockWriteGuard};
use zk_core::conn::ConnId;
use zk_core::conn::auth::{Access, Identities};
use zk_core::ensemble::EnsembleConfig;
use zk_core::tree::{CONFIG_PATH, Effect, Tree};
use zk_core::watch::{
    Notification, WatchCounts, WatchKind, WatchReport, WatchShards, WatchTable, path_hash,
    trigger_effect,
};
use zk_proto::Zxid;
use zk_proto::request::WatcherType;

use crate::stage::clock::wall;

/// Number of watch tables, a power of two: enough that readers on many cores rarely meet.
const SHARDS: usize = 64;

/// A digest is kept of every so many transactions.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree#DIGEST_LOG_INTERVAL`, `DataTree#DIGEST_LOG_LIMIT`.
const DIGEST_INTERVAL: i64 = 128;
/// Digests that are kept.
const DIGESTS_MAX: usize = 1024;

/// A tree that many read and one changes.
#[derive(Debug)]
pub struct SharedTree {
    tree: RwLock<Tree>,
    watches: WatchSet,
    /// What `tree.applied()` was when the last [`Applying`] ended, for those who only want to know
    /// that.
    applied: AtomicI64,
    /// Digests at some transactions, oldest first, for operators who compare servers.
    digests: Mutex<VecDeque<(Zxid, u64)>>,
    /// The members that `/zookeeper/config` tells.
    config: Mutex<Option<Shown>>,
}

/// What `/zookeeper/config` tells.
#[derive(Debug)]
struct Shown {
    config: Arc<EnsembleConfig>,
    /// Whether a tree may know of younger ones, because members come and go. Otherwise what a tree
    /// from elsewhere says of them is of no interest.
    yields: bool,
}

/// Read access, shared with other readers.
#[derive(Debug)]
pub struct Reading<'a> {
    tree: RwLockReadGuard<'a, Tree>,
    watches: &'a WatchSet,
}

/// Write access, alone.
#[derive(Debug)]
pub struct Applying<'a> {
    tree: RwLockWriteGuard<'a, Tree>,
    shared: &'a SharedTree,
}

/// The watches of all connections of a server.
///
/// Who registers must hold a guard of the tree; see the module.
#[derive(Debug)]
pub struct WatchSet {
    seed: u64,
    shards: Vec<Mutex<WatchTable>>,
    /// Number of tables with a recursive watch. Changes are ordered with firing by the guards.
    recursive: AtomicUsize,
}

impl SharedTree {
    /// Shares a tree. `seed` keeps clients from choosing paths that collide; draw it at random once
    /// per process.
    pub fn new(tree: Tree, seed: u64) -> Self {
        let applied = AtomicI64::new(tree.applied().get());
        Self {
            tree: RwLock::new(tree),
            watches: WatchSet::new(seed),
            applied,
            digests: Mutex::default(),
            config: Mutex::new(None),
        }
    }

    /// Has `/zookeeper/config` tell these members, in this tree and in each that takes its place; if
    /// `yields`, unless the tree has younger ones.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `QuorumPeerMain#runFromConfig`, `Learner#syncWithLeader`.
    #[must_use]
    pub fn with_config(mut self, config: Arc<EnsembleConfig>, yields: bool) -> Self {
        let shown = Shown { config, yields };
        shown.tell(self.tree.get_mut());
        *self.config.get_mut() = Some(shown);
        self
    }

    /// Digests at some transactions, oldest first.
    pub fn digests(&self) -> Vec<(Zxid, u64)> {
        self.digests.lock().iter().copied().collect()
    }

    /// Waits until nobody applies, and keeps it so.
    pub fn read(&self) -> Reading<'_> {
        Reading {
            tree: self.tree.read(),
            watches: &self.watches,
        }
    }

    /// Waits until nobody reads or applies, and keeps it so. For the apply thread only.
    pub fn apply(&self) -> Applying<'_> {
        Applying {
            tree: self.tree.write(),
            shared: self,
        }
    }

    /// Last transaction applied that readers can see.
    pub fn applied(&self) -> Zxid {
        Zxid::new(self.applied.load(Ordering::Acquire))
    }

    /// Watches, for what needs no guard: dropping those of a connection that is gone, and counts.
    pub fn watches(&self) -> &WatchSet {
        &self.watches
    }
}

impl<'a> Reading<'a> {
    /// The watches, to be registered against the state that is being read.
    pub fn watches(&self) -> &'a WatchSet {
        self.watches
    }
}

impl Deref for Reading<'_> {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl Applying<'_> {
    /// The tree, to be changed.
    pub fn tree_mut(&mut self) -> &mut Tree {
        &mut self.tree
    }

    /// Puts another tree in its place, and hands the old one out. The old one must have no capture.
    pub fn replace(&mut self, mut tree: Tree) -> Tree {
        if let Some(shown) = &*self.shared.config.lock() {
            shown.tell(&mut tree);
        }
        std::mem::replace(&mut *self.tree, tree)
    }

    /// Has `/zookeeper/config` tell these members from now on, unless the tree has younger ones.
    pub fn show_config(&mut self, config: Arc<EnsembleConfig>) {
        let shown = Shown {
            config,
            yields: true,
        };
        shown.tell(&mut self.tree);
        *self.shared.config.lock() = Some(shown);
    }

    /// Keeps the digest of the transaction just applied, if its turn has come.
    pub fn note_digest(&self) {
        let zxid = self.tree.applied();
        if zxid.get() % DIGEST_INTERVAL != 0 {
            return;
        }
        if let Some(digest) = self.tree.digest() {
            let mut digests = self.shared.digests.lock();
            if digests.len() == DIGESTS_MAX {
                digests.pop_front();
            }
            digests.push_back((zxid, digest));
        }
    }

    /// The watches.
    pub fn watches(&self) -> &WatchSet {
        &self.shared.watches
    }

    /// Fires the watches on an effect of the transaction just applied, and appends who is to be
    /// told what.
    pub fn fire(
        &mut self,
        effect: &Effect,
        access: &Access,
        who: &dyn Fn(ConnId) -> Option<Identities>,
        out: &mut Vec<Notification>,
    ) {
        trigger_effect(&mut &self.shared.watches, effect, access, who, out);
    }
}

impl Deref for Applying<'_> {
    type Target = Tree;

    fn deref(&self) -> &Tree {
        &self.tree
    }
}

impl Drop for Applying<'_> {
    fn drop(&mut self) {
        let applied = self.tree.applied().get();
        self.shared.applied.store(applied, Ordering::Release);
    }
}

impl Shown {
    fn tell(&self, tree: &mut Tree) {
        let Self { config, yields } = self;
        let (version, zero) = (config.version(), Zxid::ZERO);
        let known = tree
            .get(CONFIG_PATH)
            .map_or(zero, |znode| znode.stat().mzxid);
        let is_known = known > version || known == version && version > zero;
        if !(*yields && is_known) {
            tree.set_config(config.text().as_bytes(), version, wall());
        }
    }
}

impl WatchSet {
    fn new(seed: u64) -> Self {
        let table = |_| Mutex::new(WatchTable::new(seed));
        Self {
            seed,
            shards: (0..SHARDS).map(table).collect(),
            recursive: AtomicUsize::new(0),
        }
    }

    /// Adds a watch.
    pub fn register(&self, conn: ConnId, path: &str, kind: WatchKind) {
        self.on(path, |table| table.register(conn, path, kind));
    }

    /// Whether a connection has a watch of this type on exactly this path.
    pub fn has(&self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        self.on(path, |table| table.has(conn, path, watcher_type))
    }

    /// Removes watches of this type of a connection on exactly this path; false if there was none.
    pub fn remove(&self, conn: ConnId, path: &str, watcher_type: WatcherType) -> bool {
        self.on(path, |table| table.remove(conn, path, watcher_type))
    }

    /// Removes all watches of a connection that is gone.
    pub fn drop_connection(&self, conn: ConnId) {
        for shard in &self.shards {
            self.visit(shard, |table| table.drop_connection(conn));
        }
    }

    /// How many watches there are. Shard by shard: while others register, no state that ever was.
    pub fn counts(&self) -> WatchCounts {
        let counts = self.shards.iter().map(|shard| shard.lock().counts());
        counts.fold(WatchCounts::default(), |sum, counts| sum + counts)
    }

    /// All watches, for operators; as exact as [`Self::counts`].
    pub fn report(&self) -> WatchReport {
        let mut report = WatchReport::default();
        for shard in &self.shards {
            report.add(&shard.lock());
        }
        report
    }

    /// Shows the table that has the watches of a path.
    fn on<T>(&self, path: &str, visit: impl FnOnce(&mut WatchTable) -> T) -> T {
        let at = path_hash(self.seed, path) % (SHARDS as u64);
        let at = usize::try_from(at).unwrap_or(0);
        let shard = self.shards.get(at).expect("there are this many shards");
        self.visit(shard, visit)
    }

    fn visit<T>(&self, shard: &Mutex<WatchTable>, visit: impl FnOnce(&mut WatchTable) -> T) -> T {
        let mut table = shard.lock();
        let before = table.has_recursive();
        let value = visit(&mut table);
        match (before, table.has_recursive()) {
            (false, true) => {
                self.recursive.fetch_add(1, Ordering::Relaxed);
            }
            (true, false) => {
                self.recursive.fetch_sub(1, Ordering::Relaxed);
            }
            (false, false) | (true, true) => {}
        }
        value
    }
}

impl WatchShards for &WatchSet {
    fn with(&mut self, path: &str, visit: &mut dyn FnMut(&mut WatchTable)) {
        self.on(path, visit);
    }

    fn has_recursive(&self) -> bool {
        self.recursive.load(Ordering::Relaxed) > 0
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use zk_core::conn::auth::Schemes;
    use zk_core::time::WallTime;
    use zk_core::tree::TreeOptions;
    use zk_core::wire::txn::{CreateTxn, Op, SetDataTxn, Txn, TxnHeader};
    use zk_proto::{Bytes, EventType, SessionId, Version, Xid};

    use super::*;

    fn header(zxid: i64) -> TxnHeader {
        TxnHeader {
            session: SessionId::NONE,
            cxid: Xid::new(0),
            zxid: Zxid::new(zxid),
            time: WallTime::from_millis(zxid),
        }
    }

    fn create(path: &'static str) -> Txn {
        Txn::Single(Op::Create(CreateTxn {
            path: path.into(),
            data: None,
            acl: None,
            ephemeral: false,
            parent_cversion: CreateTxn::NEXT_CVERSION,
        }))
    }

    fn fire(shared: &SharedTree, zxid: i64, txn: &Txn) -> Vec<Notification> {
        let access = Access::new(Schemes::standard());
        let mut applying = shared.apply();
        let applied = applying.tree_mut().apply(&header(zxid), txn);
        let mut out = Vec::new();
        for effect in &applied.effects {
            applying.fire(effect, &access, &|_| None, &mut out);
        }
        out
    }

    #[test]
    fn watches_fire_across_shards_and_recursive_ones_are_counted() {
        let shared = SharedTree::new(Tree::new(TreeOptions::default()), 5);
        let (one, two) = (ConnId::new(1), ConnId::new(2));
        {
            let reading = shared.read();
            reading.watches().register(one, "/a", WatchKind::Exist);
            reading
                .watches()
                .register(two, "/", WatchKind::PersistentRecursive);
            reading.watches().register(two, "/", WatchKind::Child);
        }
        let out = fire(&shared, 1, &create("/a"));
        assert_eq!(shared.applied(), Zxid::new(1));
        let told: Vec<_> = out
            .iter()
            .map(|n| (n.event, &*n.path, n.receivers.clone()))
            .collect();
        assert_eq!(
            told,
            [
                (EventType::NodeCreated, "/a", vec![one, two]),
                (EventType::NodeChildrenChanged, "/", vec![two]),
            ]
        );
        shared.watches().drop_connection(two);
        assert_eq!(shared.watches().counts(), WatchCounts::default());
        assert!(fire(&shared, 2, &create("/b")).is_empty());
        assert!(!(&shared.watches).has_recursive());
    }

    /// Readers look at a znode and watch it, while it is changed: each change after the look fires.
    #[test]
    fn no_change_comes_between_a_read_and_its_watch() {
        let shared = SharedTree::new(Tree::new(TreeOptions::default()), 5);
        fire(&shared, 1, &create("/a"));
        let last = 2000;
        thread::scope(|scope| {
            for reader in 0..3 {
                let (shared, conn) = (&shared, ConnId::new(reader));
                scope.spawn(move || {
                    loop {
                        let reading = shared.read();
                        let seen = reading.get("/a").expect("created").stat().mzxid;
                        assert_eq!(seen, reading.applied());
                        reading.watches().register(conn, "/a", WatchKind::Data);
                        drop(reading);
                        if seen.get() == last {
                            return;
                        }
                        // The watch is gone as soon as the change after `seen` is visible.
                        while shared.applied() == seen {
                            thread::yield_now();
                        }
                        assert!(!shared.watches().has(conn, "/a", WatcherType::Data));
                    }
                });
            }
            for zxid in 2..=last {
                let set = Txn::Single(Op::SetData(SetDataTxn {
                    path: "/a".into(),
                    data: Some(Bytes::from_static(b"x")),
                    version: Version::new(1),
                }));
                fire(&shared, zxid, &set);
                thread::yield_now();
            }
        });
    }
}
