//! Changes that are prepared and not yet applied, laid over the tree.
//!
//! Each changed znode has one record: what it will be after the last change prepared. It is dropped
//! when the tree has applied that change. A record is made of absolute values, never of differences:
//! it does not matter how far the tree has come in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use hashbrown::HashTable;
use zk_proto::{Acl, Bytes, SessionId, Zxid};

use crate::tree::digest::{self, Summed};
use crate::tree::{QUOTA_ROOT, Tree, Znode, covers, znode_digest};
use crate::wire::snapshot::StoredStat;

/// What is outstanding.
///
/// # Invariants
/// - Whatever is in `znodes` and `sessions` is also in `log`, under the zxid of its record.
/// - `owned` has (session, path) exactly where `znodes` has a znode with that owner.
/// - `digest` is that of the tree with all in `znodes` applied.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    znodes: Changes,
    /// Paths of outstanding znodes, by owner.
    owned: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    sessions: BTreeMap<SessionId, SessionChange>,
    /// Changes in the order of their zxids.
    log: VecDeque<(Zxid, Subject)>,
    /// How to get back to where a multi began, while one is being prepared.
    undo: Option<Undo>,
    digest: Option<u64>,
}

/// Changed znodes by path; the path of the root is empty.
///
/// Kept in slots, which are found by the hash of the path and walked without it, so that no order
/// comes from hashing.
#[derive(Default)]
struct Changes {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<(u64, u32)>,
}

#[derive(Debug)]
struct Slot {
    hash: u64,
    path: Arc<str>,
    change: Change,
}

/// What will have become of a znode.
#[derive(Debug, Clone)]
struct Change {
    /// The last transaction that changes it.
    zxid: Zxid,
    /// `None`: it is gone.
    znode: Option<Pending>,
}

#[derive(Debug, Clone, Copy)]
struct SessionChange {
    zxid: Zxid,
    /// Whether it begins, or ends.
    is_open: bool,
}

#[derive(Debug)]
enum Subject {
    /// Its slot. A slot that was used again since has another zxid.
    Znode(u32),
    Session(SessionId),
}

#[derive(Debug)]
struct Undo {
    /// What there was instead, in the order of changes.
    replaced: Vec<(u64, Arc<str>, Option<Change>)>,
    log_len: usize,
    digest: Option<u64>,
}

/// A znode as it will be.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) stat: StoredStat,
    pub(super) children: u32,
    pub(super) acl: Arc<[Acl]>,
    content: Content,
    /// Its part of the digest.
    ///
    /// Invariant: what [`Content::digest`] says, except while it is being changed.
    digest: u64,
}

/// What must be known of a znode's data.
#[derive(Debug, Clone)]
struct Content {
    len: usize,
    /// Of path and data, to finish with a stat; `None` for what no digest covers.
    summed: Option<Summed>,
    /// The data itself, of znodes that may be limits or usage.
    text: Option<Bytes>,
}

/// A znode as requests see it.
#[derive(Clone, Copy)]
pub(super) enum Seen<'a> {
    Pending(&'a Pending),
    Applied(Znode<'a>),
}

impl<'a> Seen<'a> {
    pub(super) fn stat(&self) -> StoredStat {
        match self {
            Self::Pending(znode) => znode.stat,
            Self::Applied(znode) => znode.stored_stat(),
        }
    }

    pub(super) fn children(&self) -> usize {
        match self {
            Self::Pending(znode) => znode.children as usize,
            Self::Applied(znode) => znode.child_count(),
        }
    }

    pub(super) fn acl(&self) -> &'a [Acl] {
        match self {
            Self::Pending(znode) => &znode.acl,
            Self::Applied(znode) => znode.acl(),
        }
    }

    /// Bytes of data; null counts as none.
    pub(super) fn data_len(&self) -> usize {
        match self {
            Self::Pending(znode) => znode.data_len(),
            Self::Applied(znode) => znode.data().map_or(0, <[u8]>::len),
        }
    }

    /// Data of a znode below [`QUOTA_ROOT`].
    pub(super) fn text(&self) -> &'a [u8] {
        match self {
            Self::Pending(znode) => znode.content.text.as_deref().unwrap_or_default(),
            Self::Applied(znode) => znode.data().unwrap_or_default(),
        }
    }
}

impl Content {
    fn new(path: &str, data: Option<&[u8]>, text: impl FnOnce() -> Option<Bytes>) -> Self {
        Self {
            len: data.map_or(0, <[u8]>::len),
            summed: covers(path).then(|| digest::content(path, data)),
            text: if path.starts_with(QUOTA_ROOT) {
                text()
            } else {
                None
            },
        }
    }

    fn of(path: &str, data: Option<&Bytes>) -> Self {
        Self::new(path, data.map(AsRef::as_ref), || data.cloned())
    }

    /// What a znode with this stat is in the digest.
    fn digest(&self, stat: &StoredStat) -> u64 {
        let summed = self.summed.as_ref();
        summed.map_or(0, |content| digest::finish(content, stat))
    }
}

impl Pending {
    /// A new znode.
    pub(super) fn new(path: &str, data: Option<&Bytes>, acl: Arc<[Acl]>, stat: StoredStat) -> Self {
        let content = Content::of(path, data);
        Self {
            digest: content.digest(&stat),
            stat,
            children: 0,
            acl,
            content,
        }
    }

    fn of(path: &str, znode: &Znode<'_>) -> Self {
        let data = znode.data();
        let stat = znode.stored_stat();
        let content = Content::new(path, data, || data.map(Bytes::copy_from_slice));
        Self {
            digest: content.digest(&stat),
            stat,
            children: u32::try_from(znode.child_count()).unwrap_or(u32::MAX),
            acl: znode.shared_acl(),
            content,
        }
    }

    /// Bytes of data; null counts as none.
    pub(super) fn data_len(&self) -> usize {
        self.content.len
    }

    /// Replaces the data; the path is that of the znode.
    pub(super) fn set_data(&mut self, path: &str, data: Option<&Bytes>) {
        self.content = Content::of(rooted(path), data);
    }

    /// Changes anything, and says what that adds to the digest.
    fn alter(&mut self, change: impl FnOnce(&mut Self)) -> u64 {
        let before = self.digest;
        change(self);
        self.digest = self.content.digest(&self.stat);
        self.digest.wrapping_sub(before)
    }
}

impl Outstanding {
    /// Number of outstanding records.
    pub(super) fn len(&self) -> usize {
        self.znodes.len() + self.sessions.len()
    }

    /// Digest of the tree when all is applied; `None` if the tree keeps none.
    pub(super) fn digest(&self) -> Option<u64> {
        self.digest
    }

    /// Drops what the tree has, and takes over its digest when nothing else is outstanding.
    pub(super) fn catch_up(&mut self, tree: &Tree) {
        self.release(tree.applied());
        if self.log.is_empty() {
            self.digest = tree.digest();
        }
    }

    /// Drops what changes up to `applied` made.
    pub(super) fn release(&mut self, applied: Zxid) {
        while let Some((zxid, _)) = self.log.front()
            && *zxid <= applied
            && let Some((zxid, subject)) = self.log.pop_front()
        {
            match subject {
                Subject::Znode(slot) => {
                    if let Some(gone) = self.znodes.remove_if(slot, zxid) {
                        self.disown(&gone.path, Some(&gone.change));
                    }
                }
                Subject::Session(id) => {
                    if self.sessions.get(&id).is_some_and(|s| s.zxid == zxid) {
                        self.sessions.remove(&id);
                    }
                }
            }
        }
    }

    /// The znode at a path, as it will be. The root is `/` or empty.
    pub(super) fn find<'a>(&'a self, tree: &'a Tree, path: &str) -> Option<Seen<'a>> {
        let path = rooted(path);
        let hash = tree.path_hash(path);
        match self.znodes.get(hash, path) {
            Some(slot) => slot.change.znode.as_ref().map(Seen::Pending),
            None => tree.get_hashed(hash, path).map(Seen::Applied),
        }
    }

    /// Whether there is a record of what a znode will be.
    pub(super) fn has(&self, tree: &Tree, path: &str) -> bool {
        let path = rooted(path);
        self.znodes.get(tree.path_hash(path), path).is_some()
    }

    /// Outstanding znodes of an owner, in order.
    pub(super) fn owned_by(&self, owner: SessionId) -> impl Iterator<Item = &Arc<str>> {
        self.owned.get(&owner).into_iter().flatten()
    }

    /// Outstanding znodes at and below a path.
    pub(super) fn within<'a>(
        &'a self,
        top: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Pending)> {
        let top = rooted(top);
        let inside = self
            .znodes
            .iter()
            .filter(move |slot| is_within(&slot.path, top));
        inside.filter_map(|slot| Some((&*slot.path, slot.change.znode.as_ref()?)))
    }

    /// Whether a session is known to begin (`true`) or to end (`false`).
    pub(super) fn is_session_open(&self, id: SessionId) -> Option<bool> {
        self.sessions.get(&id).map(|change| change.is_open)
    }

    /// Begins or ends a session.
    pub(super) fn set_session(&mut self, zxid: Zxid, id: SessionId, is_open: bool) {
        self.sessions.insert(id, SessionChange { zxid, is_open });
        self.log.push_back((zxid, Subject::Session(id)));
    }

    /// Adds a znode where there is none.
    pub(super) fn create(&mut self, tree: &Tree, zxid: Zxid, path: &str, znode: Pending) {
        self.add_to_digest(znode.digest);
        self.put(tree, zxid, path, Some(znode));
    }

    /// Removes a znode.
    pub(super) fn delete(&mut self, tree: &Tree, zxid: Zxid, path: &str) {
        let path = rooted(path);
        if let Some(znode) = self.find(tree, path) {
            let digest = match znode {
                Seen::Pending(znode) => znode.digest,
                Seen::Applied(znode) => znode_digest(path, znode.data(), &znode.stored_stat()),
            };
            self.add_to_digest(digest.wrapping_neg());
            self.put(tree, zxid, path, None);
        }
    }

    /// Changes anything of a znode but its owner.
    pub(super) fn alter(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        path: &str,
        change: impl FnOnce(&mut Pending),
    ) {
        let path = rooted(path);
        let hash = tree.path_hash(path);
        if let Some(slot) = self.znodes.find(hash, path) {
            let Some(entry) = self.znodes.at_mut(slot) else {
                return;
            };
            let Some(znode) = &mut entry.change.znode else {
                return;
            };
            if let Some(undo) = &mut self.undo {
                let znode = Some(znode.clone());
                let zxid = entry.change.zxid;
                let before = Some(Change { zxid, znode });
                undo.replaced.push((hash, Arc::clone(&entry.path), before));
            }
            let added = znode.alter(change);
            entry.change.zxid = zxid;
            self.log.push_back((zxid, Subject::Znode(slot)));
            self.add_to_digest(added);
        } else if let Some(applied) = tree.get_hashed(hash, path) {
            let mut znode = Pending::of(path, &applied);
            let added = znode.alter(change);
            self.add_to_digest(added);
            self.put(tree, zxid, path, Some(znode));
        }
    }

    /// Remembers from here on how to get back here.
    pub(super) fn begin_multi(&mut self) {
        self.undo = Some(Undo {
            replaced: Vec::new(),
            log_len: self.log.len(),
            digest: self.digest,
        });
    }

    /// Keeps all since [`Self::begin_multi`].
    pub(super) fn keep_multi(&mut self) {
        self.undo = None;
    }

    /// Takes all back since [`Self::begin_multi`].
    pub(super) fn undo_multi(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        for (hash, path, before) in undo.replaced.into_iter().rev() {
            self.replace(hash, &path, before);
        }
        self.log.truncate(undo.log_len);
        self.digest = undo.digest;
    }

    fn add_to_digest(&mut self, added: u64) {
        if let Some(digest) = &mut self.digest {
            *digest = digest.wrapping_add(added);
        }
    }

    fn put(&mut self, tree: &Tree, zxid: Zxid, path: &str, znode: Option<Pending>) {
        let hash = tree.path_hash(path);
        let path = match self.znodes.get(hash, path) {
            Some(slot) => Arc::clone(&slot.path),
            None => Arc::from(path),
        };
        let (slot, before) = self.replace(hash, &path, Some(Change { zxid, znode }));
        if let Some(undo) = &mut self.undo {
            undo.replaced.push((hash, path, before));
        }
        if let Some(slot) = slot {
            self.log.push_back((zxid, Subject::Znode(slot)));
        }
    }

    /// Puts a record in the place of another. Returns where it is, if there is one, and the other.
    fn replace(
        &mut self,
        hash: u64,
        path: &Arc<str>,
        change: Option<Change>,
    ) -> (Option<u32>, Option<Change>) {
        let owner = owner_of(change.as_ref());
        let (slot, before) = self.znodes.replace(hash, path, change);
        if owner_of(before.as_ref()) != owner {
            self.disown(path, before.as_ref());
            if owner != SessionId::NONE {
                self.owned
                    .entry(owner)
                    .or_default()
                    .insert(Arc::clone(path));
            }
        }
        (slot, before)
    }

    fn disown(&mut self, path: &str, change: Option<&Change>) {
        let owner = owner_of(change);
        if let Some(paths) = self.owned.get_mut(&owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.iter().map(|slot| (&slot.path, &slot.change));
        f.debug_map()
            .entries(changes.collect::<BTreeMap<_, _>>())
            .finish()
    }
}

impl Changes {
    fn len(&self) -> usize {
        self.index.len()
    }

    fn get(&self, hash: u64, path: &str) -> Option<&Slot> {
        let slot = self.find(hash, path)?;
        self.slots.get(slot as usize)?.as_ref()
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All of them, in an order that comes from their history alone.
    fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    /// Puts a change in the place of another, or nothing. Returns where it is, and the other.
    fn replace(
        &mut self,
        hash: u64,
        path: &Arc<str>,
        change: Option<Change>,
    ) -> (Option<u32>, Option<Change>) {
        let found = self.find(hash, path);
        match (found, change) {
            (Some(slot), Some(change)) => {
                let place = self.slots.get_mut(slot as usize).and_then(Option::as_mut);
                let before = place.map(|place| std::mem::replace(&mut place.change, change));
                (found, before)
            }
            (Some(slot), None) => (None, self.remove(slot).map(|gone| gone.change)),
            (None, Some(change)) => {
                let path = Arc::clone(path);
                let entry = Slot { hash, path, change };
                (Some(self.insert(entry)), None)
            }
            (None, None) => (None, None),
        }
    }

    /// Removes what is in a slot, if it is what the transaction put there.
    fn remove_if(&mut self, slot: u32, zxid: Zxid) -> Option<Slot> {
        let place = self.slots.get(slot as usize)?.as_ref();
        place.filter(|place| place.change.zxid == zxid)?;
        self.remove(slot)
    }

    fn remove(&mut self, slot: u32) -> Option<Slot> {
        let gone = self.slots.get_mut(slot as usize)?.take()?;
        let is_it = |&(_, other): &(u64, u32)| other == slot;
        if let Ok(entry) = self.index.find_entry(gone.hash, is_it) {
            entry.remove();
        }
        self.free.push(slot);
        Some(gone)
    }

    fn insert(&mut self, entry: Slot) -> u32 {
        let hash = entry.hash;
        let slot = if let Some(slot) = self.free.pop()
            && let Some(place) = self.slots.get_mut(slot as usize)
        {
            *place = Some(entry);
            slot
        } else {
            let slot = u32::try_from(self.slots.len()).expect("requests in flight are bounded");
            self.slots.push(Some(entry));
            slot
        };
        self.index
            .insert_unique(hash, (hash, slot), |&(hash, _)| hash);
        slot
    }

    fn find(&self, hash: u64, path: &str) -> Option<u32> {
        let is_it = |&(other, slot): &(u64, u32)| {
            let place = self.slots.get(slot as usize).and_then(Option::as_ref);
            other == hash && place.is_some_and(|place| *place.path == *path)
        };
        self.index.find(hash, is_it).map(|&(_, slot)| slot)
    }
}

fn owner_of(change: Option<&Change>) -> SessionId {
    let znode = change.and_then(|change| change.znode.as_ref());
    znode.map_or(SessionId::NONE, |znode| znode.stat.owner)
}

/// Whether a path is `top` or below it.
fn is_within(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(rooted(top));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The one name of the root among the records, which is also the one that digests know.
fn rooted(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
