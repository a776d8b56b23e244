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

use crate::tree::digest::restated;
use crate::tree::{Handle, QUOTA_ROOT, Tree, Znode, covers, znode_digest};
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
    /// Slots, with what there was in them when the multi began, in the order of changes. Empty
    /// otherwise; it stands here for its memory to be used again.
    replaced: Vec<(u32, Option<Change>)>,
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
    log_len: usize,
    digest: Option<u64>,
}

/// A znode as it will be.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) stat: StoredStat,
    pub(super) children: u32,
    pub(super) acl: Arc<[Acl]>,
    /// Bytes of data; null counts as none.
    len: usize,
    /// The data itself, of znodes that may be limits or usage.
    text: Option<Bytes>,
    /// Its part of the digest.
    digest: u64,
}

/// Where a znode is, or would be: it need not be looked for again to change it. Good until something
/// else changes at its path, or the request is prepared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    /// Of the path.
    hash: u64,
    place: Place,
}

#[derive(Debug, Clone, Copy)]
enum Place {
    /// There is a record of what it will be: in this slot.
    Outstanding(u32),
    /// In the tree alone.
    Applied(Handle),
    Nowhere,
}

/// A znode as requests see it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    at: Spot,
    znode: View<'a>,
}

#[derive(Clone, Copy)]
enum View<'a> {
    Pending(&'a Pending),
    Applied(Znode<'a>),
}

impl<'a> Seen<'a> {
    pub(super) fn spot(&self) -> Spot {
        self.at
    }

    pub(super) fn stat(&self) -> StoredStat {
        match self.znode {
            View::Pending(znode) => znode.stat,
            View::Applied(znode) => znode.stored_stat(),
        }
    }

    pub(super) fn children(&self) -> usize {
        match self.znode {
            View::Pending(znode) => znode.children as usize,
            View::Applied(znode) => znode.child_count(),
        }
    }

    pub(super) fn acl(&self) -> &'a [Acl] {
        match self.znode {
            View::Pending(znode) => &znode.acl,
            View::Applied(znode) => znode.acl(),
        }
    }

    /// Bytes of data; null counts as none.
    pub(super) fn data_len(&self) -> usize {
        match self.znode {
            View::Pending(znode) => znode.data_len(),
            View::Applied(znode) => znode.data().map_or(0, <[u8]>::len),
        }
    }

    /// Data of a znode below [`QUOTA_ROOT`].
    pub(super) fn text(&self) -> &'a [u8] {
        match self.znode {
            View::Pending(znode) => znode.text.as_deref().unwrap_or_default(),
            View::Applied(znode) => znode.data().unwrap_or_default(),
        }
    }
}

impl Pending {
    /// A new znode.
    pub(super) fn new(path: &str, data: Option<&Bytes>, acl: Arc<[Acl]>, stat: StoredStat) -> Self {
        let mut znode = Self {
            stat,
            children: 0,
            acl,
            len: 0,
            text: None,
            digest: 0,
        };
        znode.put_data(path, data);
        znode
    }

    fn of(path: &str, znode: &Znode<'_>) -> Self {
        let data = znode.data();
        let stat = znode.stored_stat();
        let is_text = path.starts_with(QUOTA_ROOT);
        Self {
            digest: znode_digest(path, data, &stat),
            stat,
            children: u32::try_from(znode.child_count()).unwrap_or(u32::MAX),
            acl: znode.shared_acl(),
            len: data.map_or(0, <[u8]>::len),
            text: data.filter(|_| is_text).map(Bytes::copy_from_slice),
        }
    }

    /// Bytes of data; null counts as none.
    pub(super) fn data_len(&self) -> usize {
        self.len
    }

    /// Replaces the data, all else being what it will be.
    fn put_data(&mut self, path: &str, data: Option<&Bytes>) {
        self.len = data.map_or(0, Bytes::len);
        self.text = data.filter(|_| path.starts_with(QUOTA_ROOT)).cloned();
        self.digest = znode_digest(path, data.map(AsRef::as_ref), &self.stat);
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
                    let entry = self.znodes.at(slot);
                    if entry.is_some_and(|entry| entry.change.zxid == zxid) {
                        self.remove(slot);
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

    /// Where the znode at a path is, or would be. The root is `/` or empty.
    pub(super) fn locate(&self, tree: &Tree, path: &str) -> Spot {
        let path = rooted(path);
        let hash = tree.path_hash(path);
        let place = match self.znodes.find(hash, path) {
            Some(slot) => Place::Outstanding(slot),
            None => match tree.locate(hash, path) {
                Some(handle) => Place::Applied(handle),
                None => Place::Nowhere,
            },
        };
        Spot { hash, place }
    }

    /// The znode there, as it will be.
    pub(super) fn see<'a>(&'a self, tree: &'a Tree, at: Spot) -> Option<Seen<'a>> {
        let znode = match at.place {
            Place::Outstanding(slot) => View::Pending(self.znodes.at(slot)?.change.znode.as_ref()?),
            Place::Applied(handle) => View::Applied(tree.view(handle)),
            Place::Nowhere => return None,
        };
        Some(Seen { at, znode })
    }

    /// Whether there is a record of what a znode will be.
    pub(super) fn has(&self, tree: &Tree, path: &str) -> bool {
        let path = rooted(path);
        self.znodes.find(tree.path_hash(path), path).is_some()
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
    pub(super) fn create(&mut self, zxid: Zxid, at: Spot, path: &str, znode: Pending) {
        self.add_to_digest(znode.digest);
        self.put(zxid, at, path, Some(znode));
    }

    /// Removes a znode.
    pub(super) fn delete(&mut self, tree: &Tree, zxid: Zxid, at: Spot, path: &str) {
        let path = rooted(path);
        if let Some(seen) = self.see(tree, at) {
            let digest = match seen.znode {
                View::Pending(znode) => znode.digest,
                View::Applied(znode) => znode_digest(path, znode.data(), &znode.stored_stat()),
            };
            self.add_to_digest(digest.wrapping_neg());
            self.put(zxid, at, path, None);
        }
    }

    /// Changes anything of a znode but its data and its owner.
    pub(super) fn alter(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        at: Spot,
        path: &str,
        change: impl FnOnce(&mut Pending),
    ) {
        let path = rooted(path);
        self.replace(tree, zxid, at, path, |znode| {
            let before = znode.stat;
            change(znode);
            if covers(path) {
                znode.digest = restated(znode.digest, &before, &znode.stat);
            }
        });
    }

    /// Gives a znode other data, and changes anything else but its owner.
    pub(super) fn set_data(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        at: Spot,
        path: &str,
        data: Option<&Bytes>,
        change: impl FnOnce(&mut Pending),
    ) {
        let path = rooted(path);
        self.replace(tree, zxid, at, path, |znode| {
            change(znode);
            znode.put_data(path, data);
        });
    }

    fn replace(
        &mut self,
        tree: &Tree,
        zxid: Zxid,
        at: Spot,
        path: &str,
        change: impl FnOnce(&mut Pending),
    ) {
        match at.place {
            Place::Outstanding(slot) => {
                let Some(entry) = self.znodes.at_mut(slot) else {
                    return;
                };
                let Some(znode) = &mut entry.change.znode else {
                    return;
                };
                // What this request has changed already can be undone, and is in the log.
                let is_first = entry.change.zxid != zxid;
                if is_first && self.undo.is_some() {
                    let before = Change {
                        zxid: entry.change.zxid,
                        znode: Some(znode.clone()),
                    };
                    self.replaced.push((slot, Some(before)));
                }
                let digest = znode.digest;
                change(znode);
                let added = znode.digest.wrapping_sub(digest);
                if is_first {
                    entry.change.zxid = zxid;
                    self.log.push_back((zxid, Subject::Znode(slot)));
                }
                self.add_to_digest(added);
            }
            Place::Applied(handle) => {
                let mut znode = Pending::of(path, &tree.view(handle));
                let digest = znode.digest;
                change(&mut znode);
                self.add_to_digest(znode.digest.wrapping_sub(digest));
                self.put(zxid, at, path, Some(znode));
            }
            Place::Nowhere => {}
        }
    }

    /// Remembers from here on how to get back here.
    pub(super) fn begin_multi(&mut self) {
        self.undo = Some(Undo {
            log_len: self.log.len(),
            digest: self.digest,
        });
    }

    /// Keeps all since [`Self::begin_multi`].
    pub(super) fn keep_multi(&mut self) {
        self.undo = None;
        self.replaced.clear();
    }

    /// Takes all back since [`Self::begin_multi`].
    pub(super) fn undo_multi(&mut self) {
        let Some(undo) = self.undo.take() else {
            return;
        };
        while let Some((slot, before)) = self.replaced.pop() {
            match before {
                Some(before) => {
                    self.change(slot, before);
                }
                None => self.remove(slot),
            }
        }
        self.log.truncate(undo.log_len);
        self.digest = undo.digest;
    }

    fn add_to_digest(&mut self, added: u64) {
        if let Some(digest) = &mut self.digest {
            *digest = digest.wrapping_add(added);
        }
    }

    /// Puts a record where there may be one.
    fn put(&mut self, zxid: Zxid, at: Spot, path: &str, znode: Option<Pending>) {
        let change = Change { zxid, znode };
        let (slot, before) = match at.place {
            Place::Outstanding(slot) => (slot, self.change(slot, change)),
            Place::Applied(_) | Place::Nowhere => (self.insert(at.hash, path, change), None),
        };
        if self.undo.is_some() {
            self.replaced.push((slot, before));
        }
        self.log.push_back((zxid, Subject::Znode(slot)));
    }

    fn insert(&mut self, hash: u64, path: &str, change: Change) -> u32 {
        let path = Arc::from(path);
        self.own(&path, change.owner());
        self.znodes.insert(Slot { hash, path, change })
    }

    /// Puts a record in the place of another, which comes back.
    fn change(&mut self, slot: u32, change: Change) -> Option<Change> {
        let owner = change.owner();
        let entry = self.znodes.at_mut(slot)?;
        let before = std::mem::replace(&mut entry.change, change);
        if before.owner() != owner {
            let path = Arc::clone(&entry.path);
            self.disown(&path, before.owner());
            self.own(&path, owner);
        }
        Some(before)
    }

    fn remove(&mut self, slot: u32) {
        if let Some(entry) = self.znodes.at(slot) {
            let owner = entry.change.owner();
            if owner != SessionId::NONE {
                let path = Arc::clone(&entry.path);
                self.disown(&path, owner);
            }
            self.znodes.remove(slot);
        }
    }

    fn own(&mut self, path: &Arc<str>, owner: SessionId) {
        if owner != SessionId::NONE {
            let paths = self.owned.entry(owner).or_default();
            paths.insert(Arc::clone(path));
        }
    }

    fn disown(&mut self, path: &str, owner: SessionId) {
        if let Some(paths) = self.owned.get_mut(&owner) {
            paths.remove(path);
            if paths.is_empty() {
                self.owned.remove(&owner);
            }
        }
    }
}

impl Change {
    /// Who owns the znode, if anybody will.
    fn owner(&self) -> SessionId {
        let znode = self.znode.as_ref();
        znode.map_or(SessionId::NONE, |znode| znode.stat.owner)
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

    fn at(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)?.as_ref()
    }

    fn at_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)?.as_mut()
    }

    /// All of them, in an order that comes from their history alone.
    fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().flatten()
    }

    fn remove(&mut self, slot: u32) {
        let place = self.slots.get_mut(slot as usize);
        let Some(place) = place.filter(|place| place.is_some()) else {
            return;
        };
        let hash = place.as_ref().map_or(0, |gone| gone.hash);
        *place = None;
        let is_it = |&(_, other): &(u64, u32)| other == slot;
        if let Ok(entry) = self.index.find_entry(hash, is_it) {
            entry.remove();
        }
        self.free.push(slot);
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

/// Whether a path is `top` or below it.
fn is_within(path: &str, top: &str) -> bool {
    let rest = path.strip_prefix(rooted(top));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The one name of the root among the records, which is also the one that digests know.
fn rooted(path: &str) -> &str {
    if path == "/" { "" } else { path }
}
