//! From a change of the tree to the notifications it causes.

use bytestring::ByteString;
use zk_proto::acl::{Acl, Perms};
use zk_proto::frame;
use zk_proto::header::ReplyHeader;
use zk_proto::{Bytes, EventType, KeeperState, WatcherEvent, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::{Access, Identities};
use crate::mutation::mutated;
use crate::tree::{Effect, EffectKind};

use super::mode::WatchSide;
use super::paths::canonical;
use super::table::WatchTable;

/// One effect of a transaction on the tree; a multi or a closeSession has several, in order.
#[derive(Clone, Copy)]
pub struct Change<'a> {
    /// What happened.
    pub effect: EffectKind,
    /// To which znode: its path.
    pub path: &'a str,
    /// Who may know of it, by the ACL of the znode: a new one's first, a deleted one's last.
    pub znode_readers: Readers<'a>,
    /// Who may know that the parent's children changed, by the ACL of the parent.
    pub parent_readers: Readers<'a>,
}

impl std::fmt::Debug for Change<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Change({:?} {})", self.effect, self.path)
    }
}

/// Which connections hold the READ permission that an event asks for.
#[derive(Clone, Copy)]
pub enum Readers<'a> {
    /// All of them: the ACL grants READ to the world, or is not checked.
    Everyone,
    /// Those that the predicate accepts.
    Those(&'a dyn Fn(ConnId) -> bool),
}

impl std::fmt::Debug for Readers<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Everyone => "Everyone",
            Self::Those(_) => "Those",
        })
    }
}

/// An event and all connections that get it: one encoding, one pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// What happened.
    pub event: EventType,
    /// To which znode.
    pub path: ByteString,
    /// Who is told: never empty, each once, in order of handles.
    pub receivers: Vec<ConnId>,
}

impl Notification {
    /// The whole frame, the same for every receiver.
    pub fn frame(&self, zxid: Zxid) -> Bytes {
        event_frame(self.event, &self.path, zxid)
    }
}

/// Frame of a watch event. `zxid` is the transaction's, or −1 for an event caught up with.
pub(crate) fn event_frame(event: EventType, path: &ByteString, zxid: Zxid) -> Bytes {
    let header = ReplyHeader {
        xid: Xid::NOTIFICATION,
        zxid,
        err: 0,
    };
    let body = WatcherEvent {
        event_type: event.code(),
        state: KeeperState::SyncConnected.code(),
        path: Some(path.clone()),
    };
    let mut out = bytes::BytesMut::new();
    frame::write_reply(&mut out, &header, Some(&body));
    out.freeze()
}

/// One table, or several of which a path picks one.
///
/// A driver with locks implements it over its shards; each call locks one shard and lets go.
pub trait WatchShards {
    /// Shows the table that has the watches of a path.
    fn with(&mut self, path: &str, visit: &mut dyn FnMut(&mut WatchTable));

    /// Whether any table has a recursive watch. It may be stale only as far as registering is not
    /// ordered with the change that is being triggered.
    fn has_recursive(&self) -> bool;
}

impl WatchShards for WatchTable {
    fn with(&mut self, _path: &str, visit: &mut dyn FnMut(&mut WatchTable)) {
        visit(self);
    }

    fn has_recursive(&self) -> bool {
        self.has_recursive()
    }
}

/// Fires the watches that an effect on the tree touches, each receiver checked against the lists that
/// the effect carries. `who` knows the identities of the connections that are there.
///
/// # Ordering
/// As of [`trigger`].
pub fn trigger_effect(
    shards: &mut impl WatchShards,
    effect: &Effect,
    access: &Access,
    who: &dyn Fn(ConnId) -> Option<Identities>,
    out: &mut Vec<Notification>,
) {
    let may_read = |conn: ConnId, acl: &[Acl]| {
        who(conn).is_some_and(|own| access.is_granted(&own, acl, Perms::READ))
    };
    let of_znode = |conn| may_read(conn, &effect.acl);
    let of_parent = |conn| may_read(conn, &effect.parent_acl);
    let change = Change {
        effect: effect.kind,
        path: &effect.path,
        znode_readers: readers(access, &effect.acl, &of_znode),
        parent_readers: readers(access, &effect.parent_acl, &of_parent),
    };
    trigger(shards, &change, out);
}

fn readers<'a>(access: &Access, acl: &[Acl], may_read: &'a dyn Fn(ConnId) -> bool) -> Readers<'a> {
    if access.is_granted_to_world(acl, Perms::READ) {
        Readers::Everyone
    } else {
        Readers::Those(may_read)
    }
}

/// Fires the watches that a change touches and appends what is to be sent, in order.
///
/// A connection without READ is left out silently, and its one-shot watch is consumed all the same.
///
/// # Ordering
/// To be called in the order of transactions and effects, while no read can register a watch; the
/// notifications are to reach the outboxes before anything can read the new state (law L4).
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree#createNode`, `#deleteNode`, `#setData`;
/// `WatchManager#triggerWatch`; `NIOServerCnxn#process` for the filter.
pub fn trigger(shards: &mut impl WatchShards, change: &Change<'_>, out: &mut Vec<Notification>) {
    let path = canonical(change.path);
    let event = match change.effect {
        EffectKind::Created => EventType::NodeCreated,
        EffectKind::Deleted => EventType::NodeDeleted,
        EffectKind::DataSet => EventType::NodeDataChanged,
    };
    let mut told = Vec::new();
    let is_silent = mutated!(CreationNotTold) && change.effect == EffectKind::Created;
    if !is_silent {
        shards.with(path, &mut |table| {
            table.fire(path, WatchSide::Data, &mut told);
        });
    }
    if shards.has_recursive() {
        let here = told.len();
        let mut at = path;
        while let Some(ancestor) = parent(at) {
            shards.with(ancestor, &mut |table| table.fire_below(ancestor, &mut told));
            at = ancestor;
        }
        if told.len() > here {
            told.sort_unstable();
            told.dedup();
        }
    }
    if change.effect == EffectKind::DataSet {
        notify(event, path, told, change.znode_readers, out);
        return;
    }
    let mut children = Vec::new();
    if change.effect == EffectKind::Deleted {
        shards.with(path, &mut |table| {
            table.fire(path, WatchSide::Child, &mut children);
        });
        children.retain(|conn| told.binary_search(conn).is_err());
    }
    // The two tables are told apart: first the receivers of the one, then those of the other.
    // Nobody is in both, so that one notification for them all keeps each connection's order.
    told.append(&mut children);
    told.sort_unstable();
    notify(event, path, told, change.znode_readers, out);
    if let Some(parent) = parent(path) {
        let mut told = Vec::new();
        shards.with(parent, &mut |table| {
            table.fire(parent, WatchSide::Child, &mut told);
        });
        let event = EventType::NodeChildrenChanged;
        notify(event, parent, told, change.parent_readers, out);
    }
}

fn notify(
    event: EventType,
    path: &str,
    mut receivers: Vec<ConnId>,
    readers: Readers<'_>,
    out: &mut Vec<Notification>,
) {
    match readers {
        Readers::Everyone => {}
        Readers::Those(may_read) => receivers.retain(|&conn| may_read(conn)),
    }
    if !receivers.is_empty() {
        out.push(Notification {
            event,
            path: path.into(),
            receivers,
        });
    }
}

/// The path without its last component; `None` for the root.
fn parent(path: &str) -> Option<&str> {
    match path.rsplit_once('/')? {
        (_, "") if path.len() == 1 => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    }
}
