//! Building a tree from the entries of a snapshot.

use std::collections::BTreeMap;

use zk_proto::Zxid;

use super::acl_table::AclId;
use super::arena::Handle;
use super::prepare::{Known, PreparedItem};
use super::record::{Rare, ZnodeRecord};
use super::{DigestCheck, Tree, TreeOptions, quota};
use crate::wire::snapshot::{AclKey, Item, StoredZnode, Trailer};

/// Takes the entries of a snapshot, in order.
#[derive(Debug)]
pub struct TreeLoader {
    tree: Tree,
    /// Ids of the keys that the snapshot uses; each holds its list as a znode would.
    acls: BTreeMap<AclKey, AclId>,
    has_root: bool,
    /// The parent of the last znode and its path: siblings come in rows.
    last_parent: Option<(Handle, String)>,
}

/// Why the entries of a snapshot make no tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// A znode comes before its parent, or without one.
    #[error("znode {path:?} has no parent")]
    NoParent {
        /// Path of the znode.
        path: String,
    },
    /// A znode comes twice.
    #[error("znode {path:?} comes twice")]
    Twice {
        /// Path of the znode.
        path: String,
    },
    /// There is not even a root.
    #[error("there is no root")]
    NoRoot,
}

impl TreeLoader {
    /// For a snapshot whose first entry is to come.
    pub fn new(options: TreeOptions) -> Self {
        let mut tree = Tree::with_root(options);
        tree.index.remember(true);
        Self {
            tree,
            acls: BTreeMap::new(),
            has_root: false,
            last_parent: None,
        }
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`LoadError`]; the tree is useless then.
    pub fn add(&mut self, item: &Item) -> Result<(), LoadError> {
        self.add_known(item, None)
    }

    /// Takes entries in order that were prepared for a tree with these options.
    ///
    /// # Errors
    /// As [`Self::add`].
    pub fn add_prepared(&mut self, prepared: &[PreparedItem]) -> Result<(), LoadError> {
        self.tree.index.prefetch(prepared.iter().map(|it| it.known));
        let mut items = prepared.iter();
        items.try_for_each(|it| self.add_known(&it.item, it.known))
    }

    fn add_known(&mut self, item: &Item, known: Option<Known>) -> Result<(), LoadError> {
        match item {
            Item::Session(session, timeout_ms) => {
                self.tree.sessions.insert(*session, *timeout_ms);
                Ok(())
            }
            Item::Acl(key, acl) => {
                let id = self.tree.acls.acquire(Some(acl), false);
                if let Some(replaced) = self.acls.insert(*key, id) {
                    self.tree.acls.release(replaced, false);
                }
                Ok(())
            }
            Item::Znode(path, znode) => self.add_znode(path, znode, known),
        }
    }

    fn add_znode(
        &mut self,
        path: &str,
        znode: &StoredZnode,
        known: Option<Known>,
    ) -> Result<(), LoadError> {
        let tree = &mut self.tree;
        let twice = || LoadError::Twice {
            path: path.to_owned(),
        };
        if path.is_empty() {
            if self.has_root {
                return Err(twice());
            }
            self.has_root = true;
            tree.alter(tree.root, "", znode.data.as_deref(), |record, rare| {
                fill(record, rare, znode);
            });
            return Ok(());
        }
        let no_parent = || LoadError::NoParent {
            path: path.to_owned(),
        };
        let (parent, name) = path.rsplit_once('/').ok_or_else(no_parent)?;
        if name.is_empty() || !self.has_root {
            return Err(no_parent());
        }
        let parent = match &self.last_parent {
            Some((handle, last)) if last == parent => *handle,
            _ => {
                let handle = tree.find_parent(parent).ok_or_else(no_parent)?;
                self.last_parent.insert((handle, parent.to_owned())).0
            }
        };
        let hash = known.map_or_else(|| tree.index.hash(path), |known| known.hash);
        if tree.find_child(parent, hash, name).is_some() {
            return Err(twice());
        }
        let mut record = tree.arena.record(name, znode.data.as_deref());
        let mut rare = Rare::of(znode.stat.czxid);
        fill(&mut record, &mut rare, znode);
        record.acl = self.acquire(znode.acl);
        let (owner, digest) = (znode.stat.owner, known.map(|known| known.digest));
        self.tree
            .insert(parent, path, (hash, digest), record, rare, owner);
        Ok(())
    }

    /// Takes the list of a key for a znode. A fuzzy snapshot may have a znode that is younger than its
    /// lists; the transaction that created it will tell.
    fn acquire(&mut self, key: AclKey) -> AclId {
        let acls = &mut self.tree.acls;
        if key == AclKey::BUILT_IN {
            return AclId::BUILT_IN;
        }
        match self.acls.get(&key) {
            Some(&id) => {
                acls.retain(id);
                id
            }
            None => acls.acquire_unresolved(),
        }
    }

    /// Ends the snapshot: `base` is the zxid in the name of its file, or the one that a leader told
    /// before it sent the stream. Transactions above it are to be applied next.
    ///
    /// Also tells whether the tree has the digest in the trailer; that is skipped for a fuzzy
    /// snapshot until [`Tree::check_digest`] gets to the zxid of that digest.
    ///
    /// # Errors
    /// If there was no root.
    pub fn finish(self, base: Zxid, trailer: &Trailer) -> Result<(Tree, DigestCheck), LoadError> {
        let (mut tree, check) = self.finish_for_replay(base, trailer)?;
        tree.replayed();
        Ok((tree, check))
    }

    /// As [`Self::finish`], for a tree that a log is replayed over at once: it goes on to remember
    /// what makes that fast until [`Tree::replayed`] is called.
    ///
    /// # Errors
    /// If there was no root.
    pub fn finish_for_replay(
        mut self,
        base: Zxid,
        trailer: &Trailer,
    ) -> Result<(Tree, DigestCheck), LoadError> {
        if !self.has_root {
            return Err(LoadError::NoRoot);
        }
        for id in self.acls.into_values() {
            self.tree.acls.release(id, false);
        }
        let mut tree = self.tree;
        tree.applied = base;
        tree.ensure_built_in();
        tree.restore_quotas();
        tree.expect_digest(trailer.digest);
        let check = match tree.loaded_digest {
            Some((zxid, _)) if zxid == base => tree.check_digest(base, None),
            _ => DigestCheck::Skipped,
        };
        Ok((tree, check))
    }
}

/// Copies all but links, data and owner.
fn fill(record: &mut ZnodeRecord, rare: &mut Rare, znode: &StoredZnode) {
    let stat = &znode.stat;
    record.czxid = stat.czxid;
    record.mzxid = stat.mzxid;
    record.ctime = stat.ctime;
    record.mtime = stat.mtime;
    record.version = stat.version;
    rare.pzxid = stat.pzxid;
    rare.cversion = stat.cversion;
    rare.aversion = stat.aversion;
}

impl Tree {
    /// Forgets what only loading and replaying need: eight bytes a znode.
    pub fn replayed(&mut self) {
        self.index.remember(false);
    }

    /// Finds the quotas that the tree has, and counts what they are about.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#setupQuota`.
    fn restore_quotas(&mut self) {
        let Some(top) = self.get(quota::QUOTA_ROOT) else {
            return;
        };
        let mut subjects = Vec::new();
        let mut pending: Vec<_> = top.children().collect();
        while let Some(znode) = pending.pop() {
            pending.extend(znode.children());
            if znode.name() == quota::LIMITS
                && znode.child_count() == 0
                && let Some((parent, _)) = znode.path().rsplit_once('/')
                && let Some(subject) = quota::subject(parent)
            {
                subjects.push(subject.to_owned());
            }
        }
        for subject in subjects {
            self.quotas.add(&subject);
            self.recount(&subject);
        }
    }
}
