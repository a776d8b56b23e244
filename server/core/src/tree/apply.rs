//! What transactions do.
//!
//! The same rules hold live and when a log is replayed over a snapshot that already has the effects
//! of some of its transactions: setting is absolute, what is gone stays gone, and what a later
//! transaction of the log restores may be lost in between.

use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::{Acl, ErrorCode, SessionId, Stat, Version, Zxid};

use super::arena::Handle;
use super::prepare::{Known, PreparedTxn};
use super::quota::{self, Quota};
use super::record::{Rare, ZnodeRecord};
use super::{Lifetime, Tree};
use crate::mutation::mutated;
use crate::wire::txn::{CreateTxn, Op, Txn, TxnHeader};

/// What a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// For the client that asked.
    pub result: TxnResult,
    /// For those who watch, in order.
    pub effects: Vec<Effect>,
}

/// What a transaction tells the client that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TxnResult {
    /// It is done.
    Done(Done),
    /// It failed, at the leader or, in a replay, here.
    Failed(ErrorCode),
    /// Each part of a multi. Parts fail only in a replay.
    Multi(Vec<Result<Done, ErrorCode>>),
    /// A multi that failed at the leader, with the number of each part's error: 0 before the one
    /// that failed.
    MultiFailed(Vec<i32>),
    /// A session began.
    SessionCreated,
    /// A session ended.
    SessionClosed,
}

/// What a change tells the client that asked for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// A znode was created.
    Created {
        /// Its path.
        path: ByteString,
        /// Its stat, as clients see it.
        stat: Stat,
    },
    /// A znode was deleted.
    Deleted,
    /// Data was set.
    DataSet(Stat),
    /// An access control list was set.
    AclSet(Stat),
    /// A version was as expected.
    Checked,
}

/// A change that watches may be set on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// What happened to the znode. What happened to the parent's children follows from it.
    pub kind: EffectKind,
    /// Path of the znode.
    pub path: ByteString,
    /// Access control list of the znode: its first if it was created, its last if it was deleted.
    pub acl: Arc<[Acl]>,
    /// Access control list of its parent; of the znode itself if only its data was set.
    pub parent_acl: Arc<[Acl]>,
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EffectKind {
    /// It was created: an event at its path and one at its parent's.
    Created,
    /// It was deleted: an event at its path and one at its parent's.
    Deleted,
    /// Its data was set: an event at its path.
    DataSet,
}

impl TxnResult {
    /// The error that a reply header carries; `None` if all went well.
    pub fn error(&self) -> Option<ErrorCode> {
        match self {
            Self::Done(_) | Self::SessionCreated | Self::SessionClosed => None,
            Self::Failed(err) => Some(*err),
            Self::Multi(parts) => parts.iter().find_map(|part| part.as_ref().err().copied()),
            Self::MultiFailed(codes) => codes.iter().find_map(|&code| ErrorCode::from_code(code)),
        }
    }
}

/// A znode to be created.
struct NewZnode<'a> {
    path: &'a ByteString,
    data: Option<&'a [u8]>,
    acl: Option<&'a [Acl]>,
    parent_cversion: Version,
    owner: SessionId,
    known: Option<Known>,
}

/// Who owns what a transaction creates that says no more of it.
pub(super) fn owner(header: &TxnHeader, record: &CreateTxn) -> SessionId {
    if record.ephemeral {
        header.session
    } else {
        SessionId::NONE
    }
}

impl Tree {
    /// Applies a transaction. Transactions come in the order of zxids; those that the tree already
    /// has the effects of do no harm.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#processTxn`.
    pub fn apply(&mut self, header: &TxnHeader, txn: &Txn) -> Applied {
        self.apply_known(header, txn, None)
    }

    /// Has the memory at hand that these will take, which makes applying them faster and nothing else.
    pub fn prefetch(&self, prepared: &[PreparedTxn]) {
        self.index.prefetch(prepared.iter().map(|it| it.known));
    }

    /// As [`Self::apply`], for a transaction that was prepared for a tree with these options.
    pub fn apply_prepared(&mut self, prepared: &PreparedTxn) -> Applied {
        let entry = prepared.entry();
        self.apply_known(&entry.header, &entry.txn, prepared.known)
    }

    fn apply_known(&mut self, header: &TxnHeader, txn: &Txn, known: Option<Known>) -> Applied {
        let mut effects = match txn {
            Txn::Multi(ops) => Vec::with_capacity(ops.len()),
            Txn::Single(_) | Txn::CreateSession(_) | Txn::CloseSession(_) => Vec::new(),
        };
        let result = match txn {
            Txn::Single(op) => match self.apply_op(header, op, known, &mut effects) {
                Ok(done) => TxnResult::Done(done),
                Err(err) => TxnResult::Failed(err),
            },
            Txn::Multi(ops) => self.apply_multi(header, ops, &mut effects),
            Txn::CreateSession(record) => {
                self.set_session(header.session, Some(record.timeout_ms));
                TxnResult::SessionCreated
            }
            Txn::CloseSession(record) => {
                let listed = record.paths.as_deref().unwrap_or_default();
                self.close_session(header, listed, &mut effects);
                TxnResult::SessionClosed
            }
        };
        self.applied = self.applied.max(header.zxid);
        Applied { result, effects }
    }

    fn apply_multi(
        &mut self,
        header: &TxnHeader,
        ops: &[Op],
        effects: &mut Vec<Effect>,
    ) -> TxnResult {
        let code = |op: &Op| {
            if let Op::Error(record) = op {
                record.err
            } else {
                0
            }
        };
        if ops.iter().any(|op| matches!(op, Op::Error(_))) {
            return TxnResult::MultiFailed(ops.iter().map(code).collect());
        }
        let results = ops
            .iter()
            .map(|op| self.apply_op(header, op, None, effects));
        TxnResult::Multi(results.collect())
    }

    fn apply_op(
        &mut self,
        header: &TxnHeader,
        op: &Op,
        known: Option<Known>,
        effects: &mut Vec<Effect>,
    ) -> Result<Done, ErrorCode> {
        match op {
            Op::Create(record) | Op::Create2(record) => {
                let znode = NewZnode {
                    path: &record.path,
                    data: record.data.as_deref(),
                    acl: record.acl.as_deref(),
                    parent_cversion: record.parent_cversion,
                    owner: owner(header, record),
                    known,
                };
                self.create(header, &znode, effects)
            }
            Op::CreateContainer(record) => {
                let znode = NewZnode {
                    path: &record.path,
                    data: record.data.as_deref(),
                    acl: record.acl.as_deref(),
                    parent_cversion: record.parent_cversion,
                    owner: self.options.owners.container(),
                    known: None,
                };
                self.create(header, &znode, effects)
            }
            Op::CreateTtl(record) => {
                let owner = self.options.owners.ttl(record.ttl);
                let znode = NewZnode {
                    path: &record.path,
                    data: record.data.as_deref(),
                    acl: record.acl.as_deref(),
                    parent_cversion: record.parent_cversion,
                    owner: owner.ok_or(ErrorCode::BadArguments)?,
                    known: None,
                };
                self.create(header, &znode, effects)
            }
            Op::Delete(record) | Op::DeleteContainer(record) => {
                self.delete(&record.path, header.zxid, effects)?;
                Ok(Done::Deleted)
            }
            Op::SetData(record) | Op::Reconfig(record) => {
                let data = record.data.as_deref();
                self.set_data(header, &record.path, data, record.version, effects)
            }
            Op::SetAcl(record) => {
                let handle = self.find(&record.path).ok_or(ErrorCode::NoNode)?;
                let path = rooted(&record.path);
                self.replace_acl(handle, path, record.acl.as_deref(), Some(record.version));
                Ok(Done::AclSet(self.client_stat(handle)))
            }
            Op::Check(_) => Ok(Done::Checked),
            Op::Error(record) => {
                Err(ErrorCode::from_code(record.err).unwrap_or(ErrorCode::Other(record.err)))
            }
        }
    }

    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#createNode`; `FileTxnSnapLog#processTransaction` for what
    /// becomes of the parent of a znode that exists. That one does it for `create` outside of a multi
    /// only, and so loses count of the children of a parent that a fuzzy snapshot caught too early;
    /// here it is done for all, which gives what the leader has.
    fn create(
        &mut self,
        header: &TxnHeader,
        znode: &NewZnode<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<Done, ErrorCode> {
        let path: &str = znode.path;
        let (parent_path, name) = path.rsplit_once('/').ok_or(ErrorCode::BadArguments)?;
        if name.is_empty() {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.find_parent(parent_path).ok_or(ErrorCode::NoNode)?;
        let known = znode.known;
        let hash = known.map_or_else(|| self.index.hash(path), |known| known.hash);
        let existing = self.find_child(parent, hash, name);
        self.count_child(parent, parent_path, znode.parent_cversion, header.zxid);
        if let Some(existing) = existing {
            // A fuzzy snapshot has its lists from before its znodes, so this one may not be known.
            self.replace_acl(existing, path, znode.acl, None);
            return Err(ErrorCode::NodeExists);
        }
        let mut record = self.arena.record(name, znode.data);
        record.czxid = header.zxid;
        record.mzxid = header.zxid;
        record.ctime = header.time;
        record.mtime = header.time;
        record.acl = self.acls.acquire(znode.acl, self.captures.are_active());
        let rare = Rare::of(header.zxid);
        let digest = known.map(|known| known.digest);
        let handle = self.insert(parent, path, (hash, digest), record, rare, znode.owner);
        // As it was created: usage that is counted right behind it has another length.
        let stat = self.client_stat(handle);
        self.quota_created(parent_path, name);
        self.count_usage(path, 1, signed_len(znode.data));
        effects.push(Effect {
            kind: EffectKind::Created,
            path: znode.path.clone(),
            acl: self.acls.share(self.arena.at(handle).acl),
            parent_acl: self.acls.share(self.arena.at(parent).acl),
        });
        Ok(Done::Created {
            path: znode.path.clone(),
            stat,
        })
    }

    /// Counts a new child, unless the parent is ahead already.
    fn count_child(&mut self, parent: Handle, path: &str, cversion: Version, zxid: Zxid) {
        let counted = self.arena.rare(self.arena.at(parent)).cversion.get();
        let cversion = match cversion {
            CreateTxn::NEXT_CVERSION => counted.wrapping_add(1),
            cversion => cversion.get(),
        };
        if cversion > counted {
            self.alter_stat(parent, path, |_, rare| {
                rare.cversion = Version::new(cversion);
                rare.pzxid = zxid;
            });
        }
    }

    /// Deletes a znode. In a replay it may have children, which later transactions create again: they
    /// go with it.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#deleteNode`.
    pub(super) fn delete(
        &mut self,
        path: &ByteString,
        zxid: Zxid,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorCode> {
        let (parent_path, name) = path.rsplit_once('/').ok_or(ErrorCode::BadArguments)?;
        if name.is_empty() {
            return Err(ErrorCode::BadArguments);
        }
        let parent = self.find_parent(parent_path).ok_or(ErrorCode::NoNode)?;
        let changed = self.arena.rare(self.arena.at(parent)).pzxid;
        if changed < zxid && !mutated!(ParentUnchangedByDelete) {
            self.alter_stat(parent, parent_path, |_, rare| rare.pzxid = zxid);
        }
        let handle = self
            .find_child(parent, self.index.hash(path), name)
            .ok_or(ErrorCode::NoNode)?;
        let mut at = handle;
        loop {
            if let Some(child) = self.arena.rare(self.arena.at(at)).first_child {
                at = child;
            } else if at == handle {
                break;
            } else {
                let path = ByteString::from(self.arena.path(at));
                let above = self.arena.at(at).parent.unwrap_or(handle);
                self.delete_leaf(at, &path, effects);
                at = above;
            }
        }
        self.delete_leaf(handle, path, effects);
        Ok(())
    }

    fn delete_leaf(&mut self, handle: Handle, path: &ByteString, effects: &mut Vec<Effect>) {
        let record = self.arena.at(handle);
        let parent_acl = record.parent.map(|parent| self.arena.at(parent).acl);
        let effect = Effect {
            kind: EffectKind::Deleted,
            path: path.clone(),
            acl: self.acls.share(record.acl),
            parent_acl: self.acls.share(parent_acl.unwrap_or(record.acl)),
        };
        let removed = self.remove(handle, path);
        if let Some((parent, quota::LIMITS)) = path.rsplit_once('/')
            && let Some(subject) = quota::subject(parent)
        {
            self.quotas.remove(subject);
        }
        self.count_usage(path, -1, -len_of(&removed));
        effects.push(effect);
    }

    fn set_data(
        &mut self,
        header: &TxnHeader,
        path: &ByteString,
        data: Option<&[u8]>,
        version: Version,
        effects: &mut Vec<Effect>,
    ) -> Result<Done, ErrorCode> {
        let handle = self.find(path).ok_or(ErrorCode::NoNode)?;
        let old_len = len_of(self.arena.at(handle));
        self.alter(handle, rooted(path), data, |record, _| {
            record.version = version;
            record.mzxid = header.zxid;
            record.mtime = header.time;
        });
        self.count_usage(path, 0, signed_len(data) - old_len);
        let acl = self.acls.share(self.arena.at(handle).acl);
        effects.push(Effect {
            kind: EffectKind::DataSet,
            path: path.clone(),
            acl: Arc::clone(&acl),
            parent_acl: acl,
        });
        Ok(Done::DataSet(self.client_stat(handle)))
    }

    fn replace_acl(
        &mut self,
        handle: Handle,
        path: &str,
        acl: Option<&[Acl]>,
        version: Option<Version>,
    ) {
        let extend = self.captures.are_active();
        let old = self.arena.at(handle).acl;
        let new = self.acls.acquire(acl, extend);
        self.alter_stat(handle, path, |record, rare| {
            record.acl = new;
            if let Some(version) = version {
                rare.aversion = version;
            }
        });
        self.acls.release(old, extend);
    }

    fn close_session(
        &mut self,
        header: &TxnHeader,
        listed: &[ByteString],
        effects: &mut Vec<Effect>,
    ) {
        let session = header.session;
        self.set_session(session, None);
        let mut delete = |tree: &mut Self, path: &ByteString| {
            // Gone already in a replay, or deleted by a request that came first.
            tree.delete(path, header.zxid, effects).ok();
        };
        for path in listed {
            delete(self, path);
        }
        if self.lifetime(session) == Lifetime::Ephemeral(session) {
            // In the order of paths, so that members agree whatever order they hold them in: an
            // ephemeral znode with children, which no leader makes but a damaged log may, can take
            // a quota with it that the next one is counted for.
            let handles = self.owners.znodes(session);
            let mut paths: Vec<_> = handles.map(|handle| self.arena.path(handle)).collect();
            paths.sort_unstable();
            for path in paths {
                delete(self, &path.into());
            }
        }
    }

    /// The child of this name, by the hash of its path.
    pub(super) fn find_child(&self, parent: Handle, hash: u64, name: &str) -> Option<Handle> {
        let is_it = |handle| self.arena.is_child(handle, parent, name);
        self.index.find(hash, is_it)
    }

    /// Begins to count where a new znode says so.
    fn quota_created(&mut self, parent_path: &str, name: &str) {
        let Some(subject) = quota::subject(parent_path) else {
            return;
        };
        if name == quota::LIMITS {
            self.quotas.add(subject);
        }
        if name == quota::STATS {
            self.recount(subject);
        }
    }

    /// Sets the usage of a path to what is there.
    pub(super) fn recount(&mut self, subject: &str) {
        let (mut count, mut bytes) = (0, 0);
        if let Some(top) = self.find(subject) {
            self.each_descendant(top, |record| {
                count += 1;
                bytes += len_of(record);
            });
        }
        self.set_usage(subject, &Quota::usage(count, bytes));
    }

    /// Adds to the usage of the nearest path with a quota.
    fn count_usage(&mut self, path: &str, count: i64, bytes: i64) {
        let Some(subject) = self.quotas.nearest(path) else {
            return;
        };
        let Some(stats) = self.find(&quota::stats_path(subject)) else {
            return;
        };
        // A client may have written anything there; what is no usage stays as it is.
        let data = self.arena.data(self.arena.at(stats)).unwrap_or_default();
        let Ok(mut usage) = Quota::parse(data) else {
            return;
        };
        usage.count = usage.count.saturating_add(count);
        usage.bytes = usage.bytes.saturating_add(bytes);
        self.set_usage(subject, &usage);
    }

    fn set_usage(&mut self, subject: &str, usage: &Quota) {
        let path = quota::stats_path(subject);
        if let Some(stats) = self.find(&path) {
            let text = usage.to_string();
            self.alter(stats, &path, Some(text.as_bytes()), |_, _| {});
        }
    }
}

/// A path as digests know it: the root is empty.
fn rooted(path: &str) -> &str {
    if path == "/" { "" } else { path }
}

/// Bytes of data of a znode.
fn len_of(record: &ZnodeRecord) -> i64 {
    i64::try_from(record.data.len()).unwrap_or(i64::MAX)
}

fn signed_len(data: Option<&[u8]>) -> i64 {
    i64::try_from(data.map_or(0, <[u8]>::len)).unwrap_or(i64::MAX)
}
