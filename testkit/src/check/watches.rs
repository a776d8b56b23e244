//! A watch fires once, at the first change after the state that it was set in, and before any reply
//! that shows the change.
//!
//! # Source
//! Apache `ZooKeeper` programmer's guide, "What ZooKeeper guarantees about watches".

use bytestring::ByteString;
use zk_proto::{EventType, Zxid};

use super::model::Model;
use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "watches";

/// What a watch is set on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The znode itself: set by getData and exists.
    Data,
    /// Its children: set by getChildren.
    Children,
}

/// A watch that has not fired.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Armed {
    path: ByteString,
    subject: Subject,
    /// The state that it was set in.
    since: Zxid,
}

/// The watches of one connection.
#[derive(Debug, Default)]
pub struct Watches {
    armed: Vec<Armed>,
    /// Events that came.
    pub fired: u64,
}

impl Armed {
    /// The transaction that makes it fire, and how.
    fn due(&self, model: &Model) -> Option<(Zxid, EventType)> {
        let own = model.change_behind(&self.path, self.since);
        let own = own.map(|(at, old, new)| {
            let event = match (old, new) {
                (None, _) => EventType::NodeCreated,
                (Some(_), None) => EventType::NodeDeleted,
                (Some(_), Some(_)) => EventType::NodeDataChanged,
            };
            (at, event)
        });
        match self.subject {
            Subject::Data => own,
            Subject::Children => {
                let children = model.child_change_behind(&self.path, self.since);
                let children = children.map(|at| (at, EventType::NodeChildrenChanged));
                let deleted = self.deleted(model);
                match (children, deleted) {
                    (Some(children), Some(deleted)) => Some(children.min_by_zxid(deleted)),
                    (children, deleted) => children.or(deleted),
                }
            }
        }
    }

    /// The first deletion of the znode itself.
    fn deleted(&self, model: &Model) -> Option<(Zxid, EventType)> {
        let mut since = self.since;
        loop {
            let (at, _, new) = model.change_behind(&self.path, since)?;
            if new.is_none() {
                return Some((at, EventType::NodeDeleted));
            }
            since = at;
        }
    }
}

/// Two events, of which the first counts.
trait Earlier: Sized {
    fn min_by_zxid(self, other: Self) -> Self;
}

impl Earlier for (Zxid, EventType) {
    fn min_by_zxid(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }
}

impl Watches {
    /// A read that set a watch was answered in state `since`.
    pub fn set(&mut self, path: &ByteString, subject: Subject, since: Zxid) {
        let is_there = |armed: &Armed| armed.path == *path && armed.subject == subject;
        if !self.armed.iter().any(is_there) {
            self.armed.push(Armed {
                path: path.clone(),
                subject,
                since,
            });
        }
    }

    /// An event came.
    pub fn fired(&mut self, model: &Model, path: &str, event: EventType) -> Verdict {
        self.fired += 1;
        let mut is_due = false;
        let is_it = |armed: &Armed| {
            let due = armed.due(model).filter(|(_, due)| *due == event);
            armed.path == path && due.is_some()
        };
        self.armed.retain(|armed| {
            let fires = is_it(armed);
            is_due |= fires;
            !fires
        });
        hold(LAW, is_due, || {
            format!("{event:?} of {path} comes for none of {:?}", self.armed)
        })
    }

    /// A reply came that shows a state: whatever was due before it must have fired.
    pub fn replied(&self, model: &Model, zxid: Zxid) -> Verdict {
        let missed = self.armed.iter().find_map(|armed| {
            let (at, event) = armed.due(model)?;
            (at <= zxid).then_some((armed, at, event))
        });
        hold(LAW, missed.is_none(), || {
            format!("a reply shows {zxid}, and no event came of {missed:?}")
        })
    }

    /// The connection is gone, and its watches with it.
    pub fn clear(&mut self) {
        self.armed.clear();
    }
}
