//! Changes that are prepared and not yet applied, laid over the tree.
//!
//! Each changed znode has one record: what it will be after the last change prepared. It is dropped
//! when the tree has applied that change. A record is made of absolute values, never of differences:
//! it does not matter how far the tree has come in between.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use crc32fast::Hasher;
use zk_proto::{Acl, Bytes, SessionId, Zxid};

use crate::tree::{QUOTA_ROOT, Tree, Znode, covers, digest};
use crate::wire::snapshot::StoredStat;

/// What is outstanding.
///
/// # Invariants
/// - Whatever is in `znodes` and `sessions` is also in `log`, under the zxid of its record.
/// - `owned` has (session, path) exactly where `znodes` has a znode with that owner.
/// - `digest` is that of the tree with all in `znodes` applied.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    /// By path; that of the root is empty.
    znodes: BTreeMap<Arc<str>, Change>,
    /// Paths of outstanding znodes, by owner.
    owned: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    sessions: BTreeMap<SessionId, SessionChange>,
    /// Changes in the order of their zxids.
    log: VecDeque<(Zxid, Subject)>,
    /// How to get back to where a multi began, while one is being prepared.
    undo: Option<Undo>,
    digest: Option<u64>,
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
    Znode(Arc<str>),
    Session(SessionId),
}

#[derive(Debug)]
struct Undo {
    /// What there was instead, in the order of changes.
    replaced: Vec<(Arc<str>, Option<Change>)>,
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
}

/// What must be known of a znode's data.
#[derive(Debug, Clone)]
struct Content {
    len: usize,
    /// Of path and data, to finish with a stat; `None` for what no digest covers.
    hasher: Option<Hasher>,
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
            hasher: covers(path).then(|| digest::content(path, data)),
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
}

impl Pending {
    /// A new znode.
    pub(super) fn new(path: &str, data: Option<&Bytes>, acl: Arc<[Acl]>, stat: StoredStat) -> Self {
        Self {
            stat,
            children: 0,
            acl,
            content: Content::of(path, data),
        }
    }

    fn of(path: &str, znode: &Znode<'_>) -> Self {
        let data = znode.data();
        Self {
            stat: znode.stored_stat(),
            children: u32::try_from(znode.child_count()).unwrap_or(u32::MAX),
            acl: znode.shared_acl(),
            content: Content::new(path, data, || data.map(Bytes::copy_from_slice)),
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

    /// Its part of the digest.
    fn digest(&self) -> u64 {
        let hasher = self.content.hasher.clone();
        hasher.map_or(0, |content| digest::finish(content, &self.stat))
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
                Subject::Znode(path) => {
                    if self.znodes.get(&path).is_some_and(|c| c.zxid == zxid) {
                        let change = self.znodes.remove(&path);
                        self.disown(&path, change.as_ref());
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
        match self.znodes.get(path) {
            Some(change) => change.znode.as_ref().map(Seen::Pending),
            None => tree.get(path).map(Seen::Applied),
        }
    }

    /// Whether there is a record of what a znode will be.
    pub(super) fn has(&self, path: &str) -> bool {
        self.znodes.contains_key(rooted(path))
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
        let from = self
            .znodes
            .range::<str, _>((Bound::Included(top), Bound::Unbounded));
        let near = from.take_while(move |(path, _)| path.starts_with(top));
        let inside = near.filter(move |(path, _)| is_within(path, top));
        inside.filter_map(|(path, change)| Some((&**path, change.znode.as_ref()?)))
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
    pub(super) fn create(&mut self, zxid: Zxid, path: &str, znode: Pending) {
        self.shift_digest(0, znode.digest());
        self.put(zxid, path, Some(znode));
    }

    /// Removes a znode.
    pub(super) fn delete(&mut self, tree: &Tree, zxid: Zxid, path: &str) {
        if let Some(znode) = self.pending(tree, path) {
            self.shift_digest(znode.digest(), 0);
            self.put(zxid, path, None);
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
        if let Some(mut znode) = self.pending(tree, path) {
            let old = znode.digest();
            change(&mut znode);
            self.shift_digest(old, znode.digest());
            self.put(zxid, path, Some(znode));
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
        for (path, before) in undo.replaced.into_iter().rev() {
            self.replace(&path, before);
        }
        self.log.truncate(undo.log_len);
        self.digest = undo.digest;
    }

    /// A copy of a znode, to be changed.
    fn pending(&self, tree: &Tree, path: &str) -> Option<Pending> {
        match self.find(tree, path)? {
            Seen::Pending(znode) => Some(znode.clone()),
            Seen::Applied(znode) => Some(Pending::of(path, &znode)),
        }
    }

    fn shift_digest(&mut self, old: u64, new: u64) {
        if let Some(digest) = &mut self.digest {
            *digest = digest.wrapping_sub(old).wrapping_add(new);
        }
    }

    fn put(&mut self, zxid: Zxid, path: &str, znode: Option<Pending>) {
        let path = match self.znodes.get_key_value(path) {
            Some((path, _)) => Arc::clone(path),
            None => Arc::from(path),
        };
        let before = self.replace(&path, Some(Change { zxid, znode }));
        if let Some(undo) = &mut self.undo {
            undo.replaced.push((Arc::clone(&path), before));
        }
        self.log.push_back((zxid, Subject::Znode(path)));
    }

    /// Puts a record in the place of another, and returns that.
    fn replace(&mut self, path: &Arc<str>, change: Option<Change>) -> Option<Change> {
        let owner = owner_of(change.as_ref());
        let before = match change {
            Some(change) => self.znodes.insert(Arc::clone(path), change),
            None => self.znodes.remove(path),
        };
        if owner_of(before.as_ref()) != owner {
            self.disown(path, before.as_ref());
            if owner != SessionId::NONE {
                self.owned
                    .entry(owner)
                    .or_default()
                    .insert(Arc::clone(path));
            }
        }
        before
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
