//! The znodes: what they are, what transactions do to them, and how they are read and captured.
//!
//! ```text
//!             ┌────────── Tree ──────────┐
//!  Txn ─apply─►  arena   records         ├─read──► Znode (stat, data, ACL, children)
//!             │  index   path → handle   │
//!  Item ─load─►  acls, owners, quotas    ├─capture─► the stream of a snapshot
//!             │  sessions, digest        │
//!             └──────────────────────────┘
//! ```
//!
//! One writer applies transactions in the order of zxids; everything else only reads. What a
//! transaction did is returned: the result for its client, and its effects for those who watch.
//!
//! Members that apply the same transactions have equal trees, whatever seed they hash with; only
//! the order of siblings may differ.

mod acl_table;
mod apply;
mod arena;
mod capture;
pub(crate) mod digest;
mod index;
mod load;
mod owners;
mod prepare;
mod quota;
mod rares;
mod read;
mod record;
mod values;

#[cfg(test)]
mod tests;

pub use acl_table::AclId;
pub(crate) use acl_table::detached;
pub use apply::{Applied, Done, Effect, EffectKind, TxnResult};
pub use capture::Capture;
pub use digest::{covers, znode_digest};
pub use load::{LoadError, TreeLoader};
pub use owners::{Lifetime, OwnerRules};
pub use prepare::{PreparedItem, PreparedTxn, Preparer};
pub use quota::{BadQuota, LIMITS, QUOTA_ROOT, Quota, STATS, limits_path, stats_path};
pub use read::{Children, TreeRead, Znode};

use std::collections::BTreeMap;

use zk_proto::{Acl, Id, Perms, SessionId, Version, Zxid};

use crate::time::WallTime;
use crate::wire::snapshot::{SnapshotDigest, StoredStat};
use crate::wire::txn::TxnDigest;
use acl_table::AclTable;
use arena::Arena;
pub(crate) use arena::Handle;
use capture::Captures;
use digest::restated;
use index::PathIndex;
use owners::Owners;
use quota::Quotas;
use record::{Rare, ZnodeRecord};

/// Path of the znode that tells the configuration of the ensemble.
pub const CONFIG_PATH: &str = "/zookeeper/config";

/// What a tree must know before its first znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeOptions {
    /// Keeps clients from choosing paths that collide; draw it at random once per process.
    pub hash_seed: u64,
    /// How owners are read and written.
    pub owners: OwnerRules,
    /// Whether the digest is kept (`zookeeper.digest.enabled`).
    pub digest: bool,
}

impl Default for TreeOptions {
    fn default() -> Self {
        Self {
            hash_seed: 0,
            owners: OwnerRules::default(),
            digest: true,
        }
    }
}

/// All znodes and sessions, as of one zxid.
#[derive(Debug)]
pub struct Tree {
    options: TreeOptions,
    arena: Arena,
    index: PathIndex,
    acls: AclTable,
    owners: Owners,
    quotas: Quotas,
    /// Timeouts in milliseconds, as the sessions began with.
    sessions: BTreeMap<SessionId, i32>,
    captures: Captures,
    /// Invariant: the sum of [`znode_digest`] of all znodes, or 0 if no digest is kept.
    digest: u64,
    /// The last znode whose stat was changed: most often it is the parent of the next, too.
    last_altered: Option<Altered>,
    /// Digest of the snapshot that was loaded, until the transactions behind it have caught up.
    loaded_digest: Option<(Zxid, u64)>,
    applied: Zxid,
    /// Invariant: the sum of the lengths of all paths and data.
    bytes: u64,
    root: Handle,
}

/// A znode whose stat was changed.
#[derive(Debug)]
struct Altered {
    handle: Handle,
    /// Invariant: its digest, as long as it is in [`Tree::last_altered`].
    digest: u64,
}

/// What comparing a digest told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DigestCheck {
    /// There was nothing to compare: no digest is kept or known, or the snapshot that was loaded is
    /// fuzzy and the transactions have not caught up with it.
    Skipped,
    /// Equal.
    Equal,
    /// The tree is not what the leader, or the writer of the snapshot, had. Both digests: theirs
    /// and ours.
    Different(u64, u64),
}

impl Tree {
    /// The tree that every history begins with: the root and what is below `/zookeeper`.
    pub fn new(options: TreeOptions) -> Self {
        let mut tree = Self::with_root(options);
        tree.ensure_built_in();
        tree
    }

    /// A tree with nothing but the root.
    fn with_root(options: TreeOptions) -> Self {
        let mut arena = Arena::default();
        let record = arena.record("", Some(&[]));
        let root = arena.insert(record, false);
        let mut index = PathIndex::new(options.hash_seed);
        index.insert(index.hash(""), root, &arena);
        let mut tree = Self {
            options,
            arena,
            index,
            acls: AclTable::new(),
            owners: Owners::default(),
            quotas: Quotas::default(),
            sessions: BTreeMap::new(),
            captures: Captures::default(),
            digest: 0,
            bytes: 0,
            last_altered: None,
            loaded_digest: None,
            applied: Zxid::ZERO,
            root,
        };
        tree.digest = tree.digest_of("", root);
        tree
    }

    /// Adds the znodes that every tree has, where they are missing.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#DataTree`, `DataTree#addConfigNode`.
    fn ensure_built_in(&mut self) {
        for path in ["/zookeeper", QUOTA_ROOT, CONFIG_PATH] {
            let Some((parent, name)) = path.rsplit_once('/') else {
                continue;
            };
            let (Some(parent), None) = (self.find(parent), self.find(path)) else {
                continue;
            };
            let mut record = self.arena.record(name, Some(&[]));
            let mut rare = Rare::of(record.czxid);
            if path == CONFIG_PATH {
                let readable = [Acl::new(Perms::READ, Id::ANYONE)];
                record.acl = self
                    .acls
                    .acquire(Some(&readable), self.captures.are_active());
                rare.aversion = Version::new(-1);
            }
            let hash = self.index.hash(path);
            self.insert(parent, path, (hash, None), record, rare, SessionId::NONE);
        }
    }

    /// Last zxid that was applied.
    pub fn applied(&self) -> Zxid {
        self.applied
    }

    /// Digest of the tree, if it is kept.
    pub fn digest(&self) -> Option<u64> {
        self.options.digest.then_some(self.digest)
    }

    /// Options it was made with.
    pub fn options(&self) -> TreeOptions {
        self.options
    }

    /// Compares the tree with the digest that the leader had after `zxid`, which must have been
    /// applied just before. After a fuzzy snapshot was loaded, digests mean nothing until the
    /// transactions have caught up with it; then the snapshot's own digest is compared once.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#compareDigest`, `#compareSnapshotDigests`.
    pub fn check_digest(&mut self, zxid: Zxid, digest: Option<&TxnDigest>) -> DigestCheck {
        let Some(ours) = self.digest() else {
            return DigestCheck::Skipped;
        };
        let compare = |theirs| {
            if theirs == ours {
                DigestCheck::Equal
            } else {
                DigestCheck::Different(theirs, ours)
            }
        };
        if let Some((until, loaded)) = self.loaded_digest {
            if zxid < until {
                return DigestCheck::Skipped;
            }
            self.loaded_digest = None;
            if zxid == until {
                return compare(loaded);
            }
        }
        digest
            .and_then(TxnDigest::known)
            .map_or(DigestCheck::Skipped, compare)
    }

    /// Remembers the digest of a snapshot that was loaded, unless it is older than the state.
    fn expect_digest(&mut self, digest: Option<SnapshotDigest>) {
        let known = digest.and_then(|digest| Some((digest.zxid, digest.tree?)));
        self.loaded_digest = known.filter(|(zxid, _)| *zxid != Zxid::ZERO && *zxid >= self.applied);
    }

    /// Computes the digest from all znodes, to compare with [`Tree::digest`].
    pub fn recompute_digest(&self) -> u64 {
        let handles = (0..self.arena.slots()).map(Handle::from_slot);
        let live = handles.filter(|&handle| self.arena.get(handle).is_some());
        live.fold(0u64, |sum, handle| {
            let data = self.arena.data(self.arena.at(handle));
            let stat = self.stored_stat(handle);
            sum.wrapping_add(znode_digest(&self.arena.path(handle), data, &stat))
        })
    }

    /// Sets what `/zookeeper/config` tells, as a member of an ensemble does when it starts.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZKDatabase#initConfigInZKDatabase`.
    pub fn set_config(&mut self, config: &[u8], version: Zxid, now: WallTime) {
        let Some(handle) = self.find(CONFIG_PATH) else {
            return;
        };
        self.alter(handle, CONFIG_PATH, Some(config), |record, _| {
            record.version = Version::new(-1);
            record.mzxid = version;
            record.mtime = now;
        });
    }

    /// Deletes ephemeral znodes of sessions that are not known, without a transaction: a leader does
    /// so after it has loaded its state. Returns their number.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ZooKeeperServer#loadData`.
    pub fn delete_orphans(&mut self) -> usize {
        let owners: Vec<_> = self.owners.all().collect();
        let mut deleted = 0;
        for owner in owners {
            if self.lifetime(owner) != Lifetime::Ephemeral(owner)
                || self.sessions.contains_key(&owner)
            {
                continue;
            }
            for handle in self.owners.znodes(owner).collect::<Vec<_>>() {
                if self.arena.get(handle).is_none() {
                    continue;
                }
                let path = self.arena.path(handle);
                let gone = self.delete(&path.into(), self.applied, &mut Vec::new());
                deleted += usize::from(gone.is_ok());
            }
        }
        deleted
    }

    fn lifetime(&self, owner: SessionId) -> Lifetime {
        self.options.owners.lifetime(owner)
    }

    /// The znode at a path; the root is `/` or empty.
    fn find(&self, path: &str) -> Option<Handle> {
        let path = if path == "/" { "" } else { path };
        let is_it = |handle| self.arena.stands_at(handle, path);
        self.index.find(self.index.hash(path), is_it)
    }

    /// The znode by what stands before the last slash of a path: nothing, for the root. A path with two
    /// slashes at its start would be a second name for a child of the root.
    fn find_parent(&self, path: &str) -> Option<Handle> {
        if path == "/" { None } else { self.find(path) }
    }

    /// Digest of a znode as it stands in the sum.
    fn digest_of(&self, path: &str, handle: Handle) -> u64 {
        if !self.options.digest {
            return 0;
        }
        let data = self.arena.data(self.arena.at(handle));
        znode_digest(path, data, &self.stored_stat(handle))
    }

    /// The stat of a znode as it is stored.
    fn stored_stat(&self, handle: Handle) -> StoredStat {
        let record = self.arena.at(handle);
        let rare = self.arena.rare(record);
        record.stat(&rare, self.owners.owner(rare.owner))
    }

    /// Bytes of data of a znode.
    fn data_len(&self, handle: Handle) -> u64 {
        self.arena.at(handle).data.len() as u64
    }

    /// Changes the stat of a znode, but neither its data nor its owner; `path` is empty for the root.
    fn alter_stat(
        &mut self,
        handle: Handle,
        path: &str,
        change: impl FnOnce(&mut ZnodeRecord, &mut Rare),
    ) {
        self.captures.keep(handle, &self.arena, &self.owners);
        let mut rare = self.arena.rare(self.arena.at(handle));
        if !self.options.digest || !covers(path) {
            change(self.arena.at_mut(handle), &mut rare);
            return self.arena.set_rare(handle, &rare);
        }
        let record = self.arena.at(handle);
        let owner = self.owners.owner(rare.owner);
        let before = record.stat(&rare, owner);
        let last = self.last_altered.take();
        let old = match last.filter(|last| last.handle == handle) {
            Some(last) => last.digest,
            None => znode_digest(path, self.arena.data(record), &before),
        };
        let record = self.arena.at_mut(handle);
        change(record, &mut rare);
        let new = restated(old, &before, &record.stat(&rare, owner));
        self.arena.set_rare(handle, &rare);
        self.last_altered = Some(Altered {
            handle,
            digest: new,
        });
        self.digest = self.digest.wrapping_sub(old).wrapping_add(new);
    }

    /// Gives a znode other data, and changes anything else but its owner and links; `path` is empty
    /// for the root.
    fn alter(
        &mut self,
        handle: Handle,
        path: &str,
        data: Option<&[u8]>,
        change: impl FnOnce(&mut ZnodeRecord, &mut Rare),
    ) {
        self.captures.keep(handle, &self.arena, &self.owners);
        self.last_altered = None;
        let is_summed = self.options.digest && covers(path);
        let record = self.arena.at(handle);
        let mut rare = self.arena.rare(record);
        let owner = self.owners.owner(rare.owner);
        if is_summed {
            let old = znode_digest(path, self.arena.data(record), &record.stat(&rare, owner));
            self.digest = self.digest.wrapping_sub(old);
        }
        let mut value = record.data;
        self.bytes = self.bytes.wrapping_sub(value.len() as u64);
        self.arena.values.replace(&mut value, data);
        self.bytes = self.bytes.wrapping_add(value.len() as u64);
        let record = self.arena.at_mut(handle);
        record.data = value;
        change(record, &mut rare);
        if is_summed {
            let new = znode_digest(path, data, &record.stat(&rare, owner));
            self.digest = self.digest.wrapping_add(new);
        }
        self.arena.set_rare(handle, &rare);
    }

    /// Links a new znode below its parent and enters it everywhere; its digest is computed if it is not
    /// known.
    fn insert(
        &mut self,
        parent: Handle,
        path: &str,
        (hash, digest): (u64, Option<u64>),
        mut record: ZnodeRecord,
        mut rare: Rare,
        owner: SessionId,
    ) -> Handle {
        let mut above = self.arena.rare(self.arena.at(parent));
        let next = above.first_child;
        record.parent = Some(parent);
        record.next = next;
        let handle = self.arena.insert(record, self.captures.are_active());
        if let Some(next) = next {
            self.arena.at_mut(next).prev = Some(handle);
        }
        above.first_child = Some(handle);
        above.children += 1;
        self.arena.set_rare(parent, &above);
        rare.owner = self.owners.add(owner, handle);
        self.arena.set_rare(handle, &rare);
        self.index.insert(hash, handle, &self.arena);
        debug_assert!(digest.is_none_or(|digest| digest == self.digest_of(path, handle)));
        let digest = digest.unwrap_or_else(|| self.digest_of(path, handle));
        self.digest = self.digest.wrapping_add(digest);
        self.bytes += path.len() as u64 + self.data_len(handle);
        handle
    }

    /// Takes a znode without children out of everything.
    fn remove(&mut self, handle: Handle, path: &str) -> ZnodeRecord {
        self.captures
            .keep_removed(handle, &self.arena, &self.owners);
        self.last_altered = None;
        self.digest = self.digest.wrapping_sub(self.digest_of(path, handle));
        self.bytes -= path.len() as u64 + self.data_len(handle);
        self.index.remove(self.index.hash(path), handle);
        let defer = self.captures.are_active();
        let rare = self.arena.rare(self.arena.at(handle));
        let record = self.arena.remove(handle, defer);
        self.owners.remove(rare.owner, handle);
        self.acls.release(record.acl, defer);
        if let Some(next) = record.next {
            self.arena.at_mut(next).prev = record.prev;
        }
        if let Some(parent) = record.parent {
            self.arena.change_rare(parent, |above| {
                above.children -= 1;
                if record.prev.is_none() {
                    above.first_child = record.next;
                }
            });
        }
        if let Some(prev) = record.prev {
            self.arena.at_mut(prev).next = record.next;
        }
        record
    }

    fn set_session(&mut self, session: SessionId, timeout_ms: Option<i32>) {
        self.captures.keep_session(session, &self.sessions);
        match timeout_ms {
            Some(timeout_ms) => self.sessions.insert(session, timeout_ms),
            None => self.sessions.remove(&session),
        };
    }
}
