//! What reads, and the leader's checks of requests, may ask of a tree.

use bytestring::ByteString;
use zk_proto::{Acl, SessionId, Stat, Version, ZPath, Zxid};

use super::acl_table::AclId;
use super::arena::Handle;
use super::record::{Rare, ZnodeRecord};
use super::{Lifetime, Tree};
use crate::time::WallTime;
use crate::wire::snapshot::StoredStat;

/// The seam between the tree and those who ask it; `dyn`, so that asking code is compiled once.
pub trait TreeRead {
    /// The znode at a path. Text that is no path has none; the root is `/` or empty.
    fn znode(&self, path: &str) -> Option<Znode<'_>>;

    /// The list of an id that a znode of the same state has.
    fn acl(&self, id: AclId) -> &[Acl];

    /// Shows the path of each ephemeral znode of a session.
    fn each_ephemeral(&self, session: SessionId, f: &mut dyn FnMut(&str));

    /// Last zxid that was applied.
    fn applied(&self) -> Zxid;
}

impl TreeRead for Tree {
    fn znode(&self, path: &str) -> Option<Znode<'_>> {
        self.get(path)
    }

    fn acl(&self, id: AclId) -> &[Acl] {
        self.acl_list(id)
    }

    fn each_ephemeral(&self, session: SessionId, f: &mut dyn FnMut(&str)) {
        for path in self.ephemerals(session) {
            f(&path);
        }
    }

    fn applied(&self) -> Zxid {
        self.applied
    }
}

impl Tree {
    /// The znode at a path. Text that is no path has none; the root is `/` or empty.
    pub fn get(&self, path: &str) -> Option<Znode<'_>> {
        self.find(path).map(|handle| self.view(handle))
    }

    /// Hash of a path, for [`Self::locate`]; that of the root is to be empty.
    pub(crate) fn path_hash(&self, path: &str) -> u64 {
        self.index.hash(path)
    }

    /// Where the znode at a path with this hash is, for [`Self::view`].
    pub(crate) fn locate(&self, hash: u64, path: &str) -> Option<Handle> {
        let is_it = |handle| self.arena.stands_at(handle, path);
        self.index.find(hash, is_it)
    }

    /// The list of an id that a znode of this tree has.
    pub fn acl_list(&self, id: AclId) -> &[Acl] {
        self.acls.get(id)
    }

    /// Number of access control lists that znodes have, beside the built-in one.
    pub fn acl_count(&self) -> usize {
        self.acls.len()
    }

    /// Number of znodes whose list was missing in the snapshot they came from, and was not told by a
    /// transaction since. Any after a replay means that the snapshot was damaged.
    pub fn unresolved_acls(&self) -> usize {
        self.acls.unresolved()
    }

    /// Number of znodes, the root included.
    #[expect(clippy::len_without_is_empty, reason = "there is always a root")]
    pub fn len(&self) -> usize {
        self.arena.len()
    }

    /// Bytes of all paths and data together: what is kept, without what it takes to keep it.
    pub fn content_bytes(&self) -> u64 {
        self.bytes
    }

    /// Sessions and the timeouts they began with, in milliseconds, in order.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = (SessionId, i32)> {
        self.sessions
            .iter()
            .map(|(&session, &timeout)| (session, timeout))
    }

    /// The timeout that a session began with, in milliseconds; `None` if there is no such session.
    pub fn session_timeout(&self, session: SessionId) -> Option<i32> {
        self.sessions.get(&session).copied()
    }

    /// Paths of the ephemeral znodes of a session.
    pub fn ephemerals(&self, session: SessionId) -> impl Iterator<Item = String> {
        let is_session = self.lifetime(session) == Lifetime::Ephemeral(session);
        let handles = is_session.then(|| self.owners.znodes(session));
        let handles = handles.into_iter().flatten();
        handles.map(|handle| self.arena.path(handle))
    }

    /// Sessions that own ephemeral znodes, known or not, in order.
    pub fn ephemeral_owners(&self) -> impl Iterator<Item = SessionId> {
        let owners = self.owners.all();
        owners.filter(|&owner| self.lifetime(owner) == Lifetime::Ephemeral(owner))
    }

    /// Number of ephemeral znodes of all sessions.
    pub fn ephemeral_count(&self) -> usize {
        let owners = self.ephemeral_owners();
        owners.map(|owner| self.owners.count(owner)).sum()
    }

    /// Whether any znode is a container or has a time to live.
    pub fn has_timed(&self) -> bool {
        self.timed_owners().next().is_some()
    }

    /// Containers and znodes with a time to live that may be deleted now, at most `max`.
    ///
    /// A container may be deleted once it has no children any more; or, if `never_used_ms` is not 0,
    /// when it never had any and its data was not set for that long. A znode with a time to live may
    /// be deleted when it has no children and its data was not set for longer than that.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `ContainerManager#getCandidates`.
    pub fn timed_out(&self, now: WallTime, never_used_ms: i64, max: usize) -> Vec<ByteString> {
        let is_over = |&(lifetime, handle): &(Lifetime, Handle)| {
            let record = self.arena.at(handle);
            let age = now.millis_since(record.mtime);
            let rare = self.arena.rare(record);
            rare.children == 0
                && match lifetime {
                    Lifetime::Container => {
                        rare.cversion.get() > 0 || (never_used_ms != 0 && age > never_used_ms)
                    }
                    Lifetime::Ttl { millis } => u64::try_from(age).is_ok_and(|age| age > millis),
                    Lifetime::Persistent | Lifetime::Ephemeral(_) | Lifetime::Unknown => false,
                }
        };
        let timed = self.timed_owners().flat_map(|(lifetime, owner)| {
            let handles = self.owners.znodes(owner);
            handles.map(move |handle| (lifetime, handle))
        });
        let over = timed.filter(is_over).take(max);
        over.map(|(_, handle)| self.arena.path(handle).into())
            .collect()
    }

    fn timed_owners(&self) -> impl Iterator<Item = (Lifetime, SessionId)> {
        let owners = self.owners.all().map(|owner| (self.lifetime(owner), owner));
        owners
            .filter(|(lifetime, _)| matches!(lifetime, Lifetime::Container | Lifetime::Ttl { .. }))
    }

    /// All znodes, parents before children, with their paths; the root's is empty.
    pub fn each_znode(&self, f: impl FnMut(&str, Znode<'_>)) {
        self.each_within("", f);
    }

    /// A znode and all below it, parents before children, with their paths.
    pub(crate) fn each_within(&self, top: &str, mut f: impl FnMut(&str, Znode<'_>)) {
        let Some(top_handle) = self.find(top) else {
            return;
        };
        let mut path = top.to_owned();
        self.walk(top_handle, |handle, step| match step {
            Step::Down if handle == top_handle => f(&path, self.view(handle)),
            Step::Down => {
                path.push('/');
                path.push_str(self.arena.name(self.arena.at(handle)));
                f(&path, self.view(handle));
            }
            Step::Up => path.truncate(path.rfind('/').unwrap_or_default()),
        });
    }

    pub(super) fn each_descendant(&self, top: Handle, mut f: impl FnMut(&ZnodeRecord)) {
        self.walk(top, |handle, step| {
            if step == Step::Down {
                f(self.arena.at(handle));
            }
        });
    }

    /// Walks a subtree from its top, without recursion.
    fn walk(&self, top: Handle, mut f: impl FnMut(Handle, Step)) {
        let mut at = top;
        loop {
            f(at, Step::Down);
            if let Some(child) = self.arena.rare(self.arena.at(at)).first_child {
                at = child;
                continue;
            }
            loop {
                f(at, Step::Up);
                if at == top {
                    return;
                }
                let record = self.arena.at(at);
                if let Some(next) = record.next {
                    at = next;
                    break;
                }
                let Some(parent) = record.parent else {
                    return;
                };
                at = parent;
            }
        }
    }

    /// The znode of a handle.
    ///
    /// # Panics
    /// If it is gone since.
    pub(crate) fn view(&self, handle: Handle) -> Znode<'_> {
        Znode {
            tree: self,
            record: self.arena.at(handle),
            handle,
        }
    }

    pub(super) fn client_stat(&self, handle: Handle) -> Stat {
        self.view(handle).stat()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To a znode, before its children.
    Down,
    /// From a znode, after its children.
    Up,
}

/// A znode as it stands in a tree.
#[derive(Clone, Copy)]
pub struct Znode<'a> {
    tree: &'a Tree,
    record: &'a ZnodeRecord,
    handle: Handle,
}

impl std::fmt::Debug for Znode<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Znode")
            .field("path", &self.path())
            .field("stat", &self.stored_stat())
            .finish_non_exhaustive()
    }
}

impl<'a> Znode<'a> {
    /// The stat as clients see it: `cversion` counts creations and deletions of children, and only a
    /// session is an owner.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataNode#copyStat`.
    pub fn stat(&self) -> Stat {
        let record = self.record;
        let rare = self.rare();
        let children = rare.children.cast_signed();
        let owner = self.tree.owners.owner(rare.owner);
        let ephemeral_owner = match self.tree.lifetime(owner) {
            Lifetime::Ephemeral(session) => session,
            Lifetime::Persistent
            | Lifetime::Container
            | Lifetime::Ttl { .. }
            | Lifetime::Unknown => SessionId::NONE,
        };
        let created = rare.cversion.get();
        Stat {
            czxid: record.czxid,
            mzxid: record.mzxid,
            ctime: record.ctime.as_millis(),
            mtime: record.mtime.as_millis(),
            version: record.version,
            cversion: Version::new(created.wrapping_mul(2).wrapping_sub(children)),
            aversion: rare.aversion,
            ephemeral_owner,
            data_length: i32::try_from(record.data.len()).unwrap_or(i32::MAX),
            num_children: children,
            pzxid: rare.pzxid,
        }
    }

    /// The stat as it is stored and logged. Its `cversion` is the next sequence number.
    pub fn stored_stat(&self) -> StoredStat {
        let rare = self.rare();
        self.record.stat(&rare, self.tree.owners.owner(rare.owner))
    }

    /// Owner as it is stored.
    pub fn owner(&self) -> SessionId {
        self.tree.owners.owner(self.rare().owner)
    }

    fn rare(&self) -> Rare {
        self.tree.arena.rare(self.record)
    }

    /// What ends its life.
    pub fn lifetime(&self) -> Lifetime {
        self.tree.lifetime(self.owner())
    }

    /// Data; null and empty are different.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.tree.arena.data(self.record)
    }

    /// Stands for its access control list.
    pub fn acl_id(&self) -> AclId {
        self.record.acl
    }

    /// Its access control list.
    pub fn acl(&self) -> &'a [Acl] {
        self.tree.acls.get(self.record.acl)
    }

    /// Its access control list, to be kept.
    pub fn shared_acl(&self) -> std::sync::Arc<[Acl]> {
        self.tree.acls.share(self.record.acl)
    }

    /// Last component of its path; empty for the root.
    pub fn name(&self) -> &'a str {
        self.tree.arena.name(self.record)
    }

    /// Its path; `/` for the root.
    pub fn path(&self) -> String {
        match self.tree.arena.path(self.handle) {
            root if root.is_empty() => ZPath::ROOT.as_str().to_owned(),
            path => path,
        }
    }

    /// Number of children.
    pub fn child_count(&self) -> usize {
        self.rare().children as usize
    }

    /// Number of znodes below it.
    pub fn descendant_count(&self) -> usize {
        let mut count = 0;
        self.tree.each_descendant(self.handle, |_| count += 1);
        count - 1
    }

    /// Its children, in no particular order.
    pub fn children(&self) -> Children<'a> {
        Children {
            tree: self.tree,
            next: self.rare().first_child,
            left: self.child_count(),
        }
    }
}

/// Children of a znode.
#[derive(Clone)]
pub struct Children<'a> {
    tree: &'a Tree,
    next: Option<Handle>,
    left: usize,
}

impl std::fmt::Debug for Children<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Children")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}

impl<'a> Iterator for Children<'a> {
    type Item = Znode<'a>;

    fn next(&mut self) -> Option<Znode<'a>> {
        let child = self.tree.view(self.next?);
        self.next = child.record.next;
        self.left -= 1;
        Some(child)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Children<'_> {}
