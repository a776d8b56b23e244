//! A tree as simple as it can be: a map of paths, and each rule as the text of the rules says it.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a broken model fails the test"
)]

pub(crate) mod history;

use std::collections::{BTreeMap, BTreeSet};

use zk_core::time::WallTime;
use zk_core::tree::{Effect, EffectKind, OwnerRules, Quota, Tree, znode_digest};
use zk_core::wire::snapshot::StoredStat;
use zk_core::wire::txn::{Op, Txn, TxnHeader};
use zk_proto::{Acl, ErrorCode, Id, Perms, SessionId, Version, Zxid};

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ModelZnode {
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) stat: StoredStat,
}

/// The root is `""`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Model {
    pub(crate) znodes: BTreeMap<String, ModelZnode>,
    pub(crate) sessions: BTreeMap<SessionId, i32>,
    pub(crate) quotas: BTreeSet<String>,
    pub(crate) rules: OwnerRules,
}

pub(crate) fn open() -> Vec<Acl> {
    vec![Acl::new(Perms::ALL, Id::ANYONE)]
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').unwrap().0
}

pub(crate) type Effects = Vec<(EffectKind, String, Vec<Acl>)>;

impl Model {
    pub(crate) fn new(rules: OwnerRules) -> Self {
        let znode = |acl: Vec<Acl>, aversion| ModelZnode {
            data: Some(Vec::new()),
            acl,
            stat: StoredStat {
                aversion: Version::new(aversion),
                ..StoredStat::default()
            },
        };
        let mut znodes = BTreeMap::new();
        for path in ["", "/zookeeper", "/zookeeper/quota"] {
            znodes.insert(path.to_owned(), znode(open(), 0));
        }
        let readable = vec![Acl::new(Perms::READ, Id::ANYONE)];
        znodes.insert("/zookeeper/config".to_owned(), znode(readable, -1));
        Self {
            znodes,
            sessions: BTreeMap::new(),
            quotas: BTreeSet::new(),
            rules,
        }
    }

    pub(crate) fn children(&self, path: &str) -> BTreeSet<String> {
        let below = self
            .znodes
            .keys()
            .filter(|child| !child.is_empty() && parent(child) == path);
        below
            .map(|child| child.rsplit_once('/').unwrap().1.to_owned())
            .collect()
    }

    pub(crate) fn owned(&self, owner: SessionId) -> BTreeSet<String> {
        let paths = self
            .znodes
            .iter()
            .filter(|(_, znode)| znode.stat.owner == owner);
        paths.map(|(path, _)| path.clone()).collect()
    }

    pub(crate) fn digest(&self) -> u64 {
        self.znodes.iter().fold(0, |sum: u64, (path, znode)| {
            sum.wrapping_add(znode_digest(path, znode.data.as_deref(), &znode.stat))
        })
    }

    pub(crate) fn apply(&mut self, header: &TxnHeader, txn: &Txn) -> Effects {
        let mut effects = Vec::new();
        match txn {
            Txn::Single(op) => {
                self.apply_op(header, op, &mut effects).ok();
            }
            Txn::Multi(ops) if ops.iter().any(|op| matches!(op, Op::Error(_))) => {}
            Txn::Multi(ops) => {
                for op in ops {
                    self.apply_op(header, op, &mut effects).ok();
                }
            }
            Txn::CreateSession(record) => {
                self.sessions.insert(header.session, record.timeout_ms);
            }
            Txn::CloseSession(record) => {
                self.sessions.remove(&header.session);
                for path in record.paths.iter().flatten() {
                    self.delete(path, header.zxid, &mut effects).ok();
                }
                for path in self.owned(header.session) {
                    self.delete(&path, header.zxid, &mut effects).ok();
                }
            }
        }
        effects
    }

    pub(crate) fn apply_op(
        &mut self,
        header: &TxnHeader,
        op: &Op,
        effects: &mut Effects,
    ) -> Result<(), ErrorCode> {
        let (record, owner) = match op {
            Op::Create(record) | Op::Create2(record) => {
                let owner = if record.ephemeral {
                    header.session
                } else {
                    SessionId::NONE
                };
                (record.clone(), owner)
            }
            Op::CreateContainer(record) => (
                zk_core::wire::txn::CreateTxn {
                    path: record.path.clone(),
                    data: record.data.clone(),
                    acl: record.acl.clone(),
                    ephemeral: false,
                    parent_cversion: record.parent_cversion,
                },
                self.rules.container(),
            ),
            Op::CreateTtl(record) => (
                zk_core::wire::txn::CreateTxn {
                    path: record.path.clone(),
                    data: record.data.clone(),
                    acl: record.acl.clone(),
                    ephemeral: false,
                    parent_cversion: record.parent_cversion,
                },
                self.rules.ttl(record.ttl).unwrap(),
            ),
            Op::Delete(record) | Op::DeleteContainer(record) => {
                return self.delete(&record.path, header.zxid, effects);
            }
            Op::SetData(record) | Op::Reconfig(record) => {
                let path: &str = &record.path;
                let znode = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                let old = znode.data.as_ref().map_or(0, Vec::len);
                znode.data = record.data.as_ref().map(|data| data.to_vec());
                znode.stat.version = record.version;
                znode.stat.mzxid = header.zxid;
                znode.stat.mtime = header.time;
                effects.push((EffectKind::DataSet, path.to_owned(), znode.acl.clone()));
                let new = znode.data.as_ref().map_or(0, Vec::len);
                self.count(
                    path,
                    0,
                    i64::try_from(new).unwrap() - i64::try_from(old).unwrap(),
                );
                return Ok(());
            }
            Op::SetAcl(record) => {
                let path: &str = &record.path;
                let znode = self.znodes.get_mut(path).ok_or(ErrorCode::NoNode)?;
                znode.acl = list(record.acl.as_ref());
                znode.stat.aversion = record.version;
                return Ok(());
            }
            Op::Check(_) => return Ok(()),
            Op::Error(record) => return Err(ErrorCode::from_code(record.err).unwrap()),
        };
        let path: &str = &record.path;
        let above = self.znodes.get_mut(parent(path)).ok_or(ErrorCode::NoNode)?;
        let counted = above.stat.cversion.get();
        let cversion = match record.parent_cversion.get() {
            -1 => counted + 1,
            cversion => cversion,
        };
        if cversion > counted {
            above.stat.cversion = Version::new(cversion);
            above.stat.pzxid = header.zxid;
        }
        let acl = list(record.acl.as_ref());
        if let Some(znode) = self.znodes.get_mut(path) {
            znode.acl = acl;
            return Err(ErrorCode::NodeExists);
        }
        let data = record.data.as_ref().map(|data| data.to_vec());
        let len = i64::try_from(data.as_ref().map_or(0, Vec::len)).unwrap();
        effects.push((EffectKind::Created, path.to_owned(), acl.clone()));
        let stat = StoredStat {
            czxid: header.zxid,
            mzxid: header.zxid,
            ctime: header.time,
            mtime: header.time,
            owner,
            pzxid: header.zxid,
            ..StoredStat::default()
        };
        self.znodes
            .insert(path.to_owned(), ModelZnode { data, acl, stat });
        if let Some(subject) = parent(path).strip_prefix("/zookeeper/quota/") {
            let subject = format!("/{subject}");
            if path.ends_with("/zookeeper_limits") {
                self.quotas.insert(subject);
            } else if path.ends_with("/zookeeper_stats") {
                self.recount(&subject);
            }
        }
        self.count(path, 1, len);
        Ok(())
    }

    fn delete(&mut self, path: &str, zxid: Zxid, effects: &mut Effects) -> Result<(), ErrorCode> {
        let above = self.znodes.get_mut(parent(path)).ok_or(ErrorCode::NoNode)?;
        above.stat.pzxid = above.stat.pzxid.max(zxid);
        if !self.znodes.contains_key(path) {
            return Err(ErrorCode::NoNode);
        }
        for name in self.children(path) {
            self.delete(&format!("{path}/{name}"), Zxid::ZERO, effects)?;
        }
        let znode = self.znodes.remove(path).unwrap();
        effects.push((EffectKind::Deleted, path.to_owned(), znode.acl));
        if let Some(subject) = parent(path).strip_prefix("/zookeeper/quota/")
            && path.ends_with("/zookeeper_limits")
        {
            self.quotas.remove(&format!("/{subject}"));
        }
        let len = i64::try_from(znode.data.as_ref().map_or(0, Vec::len)).unwrap();
        self.count(path, -1, -len);
        Ok(())
    }

    fn is_within(path: &str, above: &str) -> bool {
        path == above || path.starts_with(&format!("{above}/"))
    }

    fn recount(&mut self, subject: &str) {
        let below = self
            .znodes
            .iter()
            .filter(|(path, _)| Self::is_within(path, subject));
        let sizes: Vec<_> = below
            .map(|(_, znode)| znode.data.as_ref().map_or(0, Vec::len))
            .collect();
        let bytes = i64::try_from(sizes.iter().sum::<usize>()).unwrap();
        let usage = Quota::usage(i64::try_from(sizes.len()).unwrap(), bytes);
        let stats = format!("/zookeeper/quota{subject}/zookeeper_stats");
        if let Some(znode) = self.znodes.get_mut(&stats) {
            znode.data = Some(usage.to_string().into_bytes());
        }
    }

    fn count(&mut self, path: &str, count: i64, bytes: i64) {
        let within = self
            .quotas
            .iter()
            .filter(|subject| Self::is_within(path, subject));
        let Some(subject) = within.max_by_key(|subject| subject.len()) else {
            return;
        };
        let stats = format!("/zookeeper/quota{subject}/zookeeper_stats");
        if let Some(znode) = self.znodes.get_mut(&stats)
            && let Ok(mut usage) = Quota::parse(znode.data.as_deref().unwrap_or_default())
        {
            usage.count += count;
            usage.bytes += bytes;
            znode.data = Some(usage.to_string().into_bytes());
        }
    }
}

fn list(acl: Option<&Vec<Acl>>) -> Vec<Acl> {
    acl.cloned()
        .filter(|acl| !acl.is_empty())
        .unwrap_or_else(open)
}

/// What a tree holds, in the form of the model.
pub(crate) fn contents(tree: &Tree) -> BTreeMap<String, ModelZnode> {
    let mut znodes = BTreeMap::new();
    tree.each_znode(|path, znode| {
        let znode = ModelZnode {
            data: znode.data().map(<[u8]>::to_vec),
            acl: znode.acl().to_vec(),
            stat: znode.stored_stat(),
        };
        assert!(znodes.insert(path.to_owned(), znode).is_none());
    });
    znodes
}

pub(crate) fn effects(effects: &[Effect]) -> Effects {
    let effect = |effect: &Effect| (effect.kind, effect.path.to_string(), effect.acl.to_vec());
    effects.iter().map(effect).collect()
}

pub(crate) fn header(session: i64, zxid: i64) -> TxnHeader {
    TxnHeader {
        session: SessionId::new(session),
        cxid: zk_proto::Xid::new(0),
        zxid: Zxid::new(zxid),
        time: WallTime::from_millis(1000 + zxid * 10),
    }
}
