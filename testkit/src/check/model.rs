//! What the committed transactions make, worked out naively: what laws about clients compare with.
//!
//! It keeps every value that every znode ever had, so that it can tell what was there at any zxid.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use bytestring::ByteString;
use zk_core::wire::txn::{Op, Txn, TxnEntry};
use zk_proto::{SessionId, Xid, Zxid};

/// What a znode was after a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// Stands for the data.
    pub data: u64,
    /// Changes of the data since it was created.
    pub version: i32,
    /// Transaction that created it.
    pub created: Zxid,
    /// Transaction that last set its data.
    pub modified: Zxid,
    /// Session that it ends with.
    pub owner: SessionId,
}

/// Everything that is committed, and everything that ever was.
#[derive(Debug, Default)]
pub struct Model {
    /// Values of each path by the transactions that gave them; none if one deleted the znode.
    values: BTreeMap<ByteString, Vec<(Zxid, Option<Value>)>>,
    /// Transactions that created or deleted a child, by the path of the parent.
    children: BTreeMap<ByteString, Vec<Zxid>>,
    /// Sessions that live, and the znodes that they own.
    sessions: BTreeMap<SessionId, BTreeSet<ByteString>>,
    ended: BTreeMap<SessionId, Zxid>,
    /// Requests of clients that have a transaction.
    requests: BTreeMap<(SessionId, i32), Zxid>,
    /// Whether clients number their requests anew on each connection: then the numbers say nothing.
    pub(crate) has_clients_outside: bool,
    /// The last number given to a sequential znode, by what is in front of it.
    numbers: BTreeMap<ByteString, u64>,
    last: Zxid,
}

/// Something in the committed history that no leader should have proposed.
pub type Strange = Result<(), String>;

impl Model {
    /// The last transaction.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// The znode at a path after all transactions up to `zxid`.
    pub fn at(&self, path: &str, zxid: Zxid) -> Option<Value> {
        let values = self.values.get(path)?;
        let end = values.partition_point(|(since, _)| *since <= zxid);
        values.get(end.checked_sub(1)?)?.1
    }

    /// Names of the children of a znode after all transactions up to `zxid`, in order.
    pub fn children_at(&self, path: &str, zxid: Zxid) -> Vec<&str> {
        let prefix = format!("{}/", path.trim_end_matches('/'));
        let from = (Bound::Included(prefix.as_str()), Bound::Unbounded);
        let below = self.values.range::<str, _>(from).map(|(child, _)| child);
        let names = below.map_while(|child| {
            child
                .strip_prefix(prefix.as_str())
                .map(|name| (child, name))
        });
        let alive =
            names.filter(|(child, name)| !name.contains('/') && self.at(child, zxid).is_some());
        alive.map(|(_, name)| name).collect()
    }

    /// The first change of a znode behind `zxid`: when, what it was before and after.
    pub fn change_behind(
        &self,
        path: &str,
        zxid: Zxid,
    ) -> Option<(Zxid, Option<Value>, Option<Value>)> {
        let values = self.values.get(path)?;
        let next = values.partition_point(|(since, _)| *since <= zxid);
        let &(at, new) = values.get(next)?;
        let old = next.checked_sub(1).and_then(|last| values.get(last)?.1);
        Some((at, old, new))
    }

    /// The first creation or deletion of a child behind `zxid`.
    pub fn child_change_behind(&self, path: &str, zxid: Zxid) -> Option<Zxid> {
        let changes = self.children.get(path)?;
        let next = changes.partition_point(|&at| at <= zxid);
        changes.get(next).copied()
    }

    /// The transaction of a client's request, if there is one.
    pub fn request(&self, session: SessionId, xid: Xid) -> Option<Zxid> {
        self.requests.get(&(session, xid.get())).copied()
    }

    /// Whether a session has begun and not ended.
    pub fn is_alive(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// The transaction that ended a session.
    pub fn ended(&self, session: SessionId) -> Option<Zxid> {
        self.ended.get(&session).copied()
    }

    /// Sessions that live.
    pub fn sessions(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.keys().copied()
    }

    /// Takes the next committed transaction.
    ///
    /// # Errors
    /// What is strange about it: a session that ends twice, ends without one of its znodes or with a
    /// znode of another, or does something after its end; a request that is done twice.
    pub fn commit(&mut self, entry: &TxnEntry) -> Strange {
        let header = &entry.header;
        let (zxid, session) = (header.zxid, header.session);
        self.last = zxid;
        let is_error = match &entry.txn {
            Txn::Single(op) => matches!(op, Op::Error(_)),
            Txn::Multi(ops) => ops.iter().any(|op| matches!(op, Op::Error(_))),
            Txn::CreateSession(_) | Txn::CloseSession(_) => false,
        };
        if header.cxid.get() != 0 && !self.has_clients_outside {
            let first = self.requests.insert((session, header.cxid.get()), zxid);
            if let Some(first) = first {
                let cxid = header.cxid.get();
                return Err(format!(
                    "request {cxid} of {session} is done by {first} and again by {zxid}"
                ));
            }
        }
        match &entry.txn {
            Txn::CreateSession(_) => {
                if self.ended.contains_key(&session) || self.sessions.contains_key(&session) {
                    return Err(format!("{zxid} begins {session} again"));
                }
                self.sessions.insert(session, BTreeSet::new());
                return Ok(());
            }
            Txn::CloseSession(record) => {
                let own = self.sessions.remove(&session);
                // One that is closed by its client and runs out at the same time ends twice.
                if own.is_none() && !self.ended.contains_key(&session) {
                    return Err(format!("{zxid} ends {session}, which never lived"));
                }
                let own = own.unwrap_or_default();
                self.ended.entry(session).or_insert(zxid);
                let listed: BTreeSet<_> = record.paths.iter().flatten().cloned().collect();
                if record.paths.is_some() && listed != own {
                    return Err(format!(
                        "{zxid} ends {session} with {listed:?}, which owns {own:?}"
                    ));
                }
                for path in own {
                    self.set(&path, zxid, None);
                }
                return Ok(());
            }
            Txn::Single(_) | Txn::Multi(_) => {}
        }
        let is_server = session == SessionId::NONE;
        if !is_error && !is_server && !self.sessions.contains_key(&session) {
            return Err(format!("{zxid} is of {session}, which does not live"));
        }
        match &entry.txn {
            Txn::Single(op) => {
                self.number(op)?;
                self.apply(op, session, zxid);
            }
            Txn::Multi(ops) if !ops.iter().any(|op| matches!(op, Op::Error(_))) => {
                for op in ops {
                    self.apply(op, session, zxid);
                }
            }
            Txn::Multi(_) | Txn::CreateSession(_) | Txn::CloseSession(_) => {}
        }
        Ok(())
    }

    /// Numbers of sequential znodes ascend.
    fn number(&mut self, op: &Op) -> Strange {
        let (Op::Create(record) | Op::Create2(record)) = op else {
            return Ok(());
        };
        let Some((prefix, number)) = record.path.rsplit_once('-') else {
            return Ok(());
        };
        let (10, Ok(number)) = (number.len(), number.parse()) else {
            return Ok(());
        };
        let last = self.numbers.insert(ByteString::from(prefix), number);
        match last {
            Some(last) if last >= number => {
                Err(format!("{} comes after number {last}", record.path))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn apply(&mut self, op: &Op, session: SessionId, zxid: Zxid) {
        match op {
            Op::Create(record) | Op::Create2(record) => {
                let owner = if record.ephemeral {
                    session
                } else {
                    SessionId::NONE
                };
                self.create(&record.path, record.data.as_deref(), owner, zxid);
            }
            Op::CreateContainer(record) => {
                self.create(&record.path, record.data.as_deref(), SessionId::NONE, zxid);
            }
            Op::CreateTtl(record) => {
                self.create(&record.path, record.data.as_deref(), SessionId::NONE, zxid);
            }
            Op::Delete(record) | Op::DeleteContainer(record) => {
                if let Some(old) = self.at(&record.path, zxid)
                    && let Some(own) = self.sessions.get_mut(&old.owner)
                {
                    own.remove(&record.path);
                }
                self.set(&record.path, zxid, None);
            }
            Op::SetData(record) | Op::Reconfig(record) => {
                if let Some(old) = self.at(&record.path, zxid) {
                    let new = Value {
                        data: data(record.data.as_deref()),
                        version: record.version.get(),
                        modified: zxid,
                        ..old
                    };
                    self.set(&record.path, zxid, Some(new));
                }
            }
            Op::SetAcl(_) | Op::Check(_) | Op::Error(_) => {}
        }
    }

    fn create(&mut self, path: &ByteString, bytes: Option<&[u8]>, owner: SessionId, zxid: Zxid) {
        if let Some(own) = self.sessions.get_mut(&owner) {
            own.insert(path.clone());
        }
        let value = Value {
            data: data(bytes),
            version: 0,
            created: zxid,
            modified: zxid,
            owner,
        };
        self.set(path, zxid, Some(value));
    }

    /// Several values within one transaction leave the last.
    fn set(&mut self, path: &ByteString, zxid: Zxid, value: Option<Value>) {
        let before = self.at(path, zxid);
        if before.is_some() != value.is_some()
            && let Some((parent, _)) = path.rsplit_once('/')
        {
            let parent = if parent.is_empty() { "/" } else { parent };
            self.children
                .entry(ByteString::from(parent))
                .or_default()
                .push(zxid);
        }
        self.values
            .entry(path.clone())
            .or_default()
            .push((zxid, value));
    }
}

/// Stands for the data of a znode.
pub fn data(bytes: Option<&[u8]>) -> u64 {
    let start = 0x100 + u64::from(bytes.is_some());
    bytes.unwrap_or_default().iter().fold(start, |hash, &byte| {
        (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}
