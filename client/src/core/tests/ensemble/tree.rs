use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use zk_proto::{ErrorCode, EventType, SessionId, Stat, Version, Zxid};

/// The znodes as one server has them.
#[derive(Debug, Clone)]
pub(in super::super) struct Tree {
    znodes: BTreeMap<String, Znode>,
    /// Last transaction applied.
    pub(in super::super) zxid: i64,
}

#[derive(Debug, Clone, Default)]
struct Znode {
    data: Bytes,
    stat: Stat,
    children: BTreeSet<String>,
}

/// One change of a transaction.
#[derive(Debug, Clone)]
pub(in super::super) enum Change {
    Create {
        path: String,
        data: Bytes,
        owner: SessionId,
    },
    Set {
        path: String,
        data: Bytes,
    },
    Delete {
        path: String,
    },
}

/// What the ensemble agreed on, all or nothing.
#[derive(Debug, Clone)]
pub(in super::super) struct Txn {
    pub(in super::super) zxid: i64,
    pub(in super::super) changes: Vec<Change>,
}

impl Tree {
    pub(in super::super) fn new() -> Self {
        Self {
            znodes: BTreeMap::from([("/".to_owned(), Znode::default())]),
            zxid: 0,
        }
    }

    pub(in super::super) fn stat(&self, path: &str) -> Option<Stat> {
        self.znodes.get(path).map(|znode| znode.stat)
    }

    pub(super) fn data(&self, path: &str) -> Option<(Bytes, Stat)> {
        let znode = self.znodes.get(path)?;
        Some((znode.data.clone(), znode.stat))
    }

    pub(super) fn children(&self, path: &str) -> Option<(Vec<String>, Stat)> {
        let znode = self.znodes.get(path)?;
        Some((znode.children.iter().cloned().collect(), znode.stat))
    }

    pub(super) fn ephemerals(&self, owner: SessionId) -> Vec<String> {
        let znodes = self.znodes.iter();
        let dying = znodes.filter(|(_, znode)| znode.stat.ephemeral_owner == owner);
        dying.map(|(path, _)| path.clone()).collect()
    }

    /// Whether a change is legal here.
    pub(super) fn check(&self, change: &Change) -> Result<(), ErrorCode> {
        match change {
            Change::Create { path, .. } => {
                if self.znodes.contains_key(path) {
                    return Err(ErrorCode::NodeExists);
                }
                let parent = self.znodes.get(parent(path)).ok_or(ErrorCode::NoNode)?;
                if parent.stat.ephemeral_owner == SessionId::NONE {
                    Ok(())
                } else {
                    Err(ErrorCode::NoChildrenForEphemerals)
                }
            }
            Change::Set { path, .. } => {
                let exists = self.znodes.contains_key(path);
                exists.then_some(()).ok_or(ErrorCode::NoNode)
            }
            Change::Delete { path } => {
                let znode = self.znodes.get(path).ok_or(ErrorCode::NoNode)?;
                let is_leaf = znode.children.is_empty();
                is_leaf.then_some(()).ok_or(ErrorCode::NotEmpty)
            }
        }
    }

    /// Carries out a change that is legal.
    pub(super) fn change(&mut self, zxid: i64, change: &Change) {
        let at = Zxid::new(zxid);
        match change {
            Change::Create { path, data, owner } => {
                let stat = Stat {
                    czxid: at,
                    mzxid: at,
                    pzxid: at,
                    ephemeral_owner: *owner,
                    ..Stat::default()
                };
                let znode = Znode {
                    data: data.clone(),
                    stat,
                    children: BTreeSet::new(),
                };
                self.znodes.insert(path.clone(), znode);
                if let Some(parent) = self.znodes.get_mut(parent(path)) {
                    parent.children.insert(name(path));
                    parent.stat.pzxid = at;
                }
            }
            Change::Set { path, data } => {
                if let Some(znode) = self.znodes.get_mut(path) {
                    znode.data = data.clone();
                    znode.stat.mzxid = at;
                    znode.stat.version = Version::new(znode.stat.version.get() + 1);
                }
            }
            Change::Delete { path } => {
                self.znodes.remove(path);
                if let Some(parent) = self.znodes.get_mut(parent(path)) {
                    parent.children.remove(&name(path));
                    parent.stat.pzxid = at;
                }
            }
        }
    }
}

impl Change {
    pub(in super::super) fn path(&self) -> &str {
        match self {
            Self::Create { path, .. } | Self::Set { path, .. } | Self::Delete { path } => path,
        }
    }

    /// What happened to the znode itself.
    pub(in super::super) fn kind(&self) -> EventType {
        match self {
            Self::Create { .. } => EventType::NodeCreated,
            Self::Set { .. } => EventType::NodeDataChanged,
            Self::Delete { .. } => EventType::NodeDeleted,
        }
    }
}

pub(in super::super) fn parent(path: &str) -> &str {
    match path.rsplit_once('/') {
        None | Some(("", _)) => "/",
        Some((parent, _)) => parent,
    }
}

fn name(path: &str) -> String {
    path.rsplit_once('/')
        .map_or("", |(_, name)| name)
        .to_owned()
}
