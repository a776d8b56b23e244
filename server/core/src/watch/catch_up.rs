//! Registering watches anew after a reconnect, and finding those that fired meanwhile.

use bytestring::ByteString;
use zk_proto::request::{SetWatches, SetWatches2};
use zk_proto::{Bytes, ErrorCode, EventType, Zxid};

use super::mode::WatchKind;
use super::trigger::event_frame;

/// The transactions that last changed a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangeZxids {
    /// That last set its data.
    pub mzxid: Zxid,
    /// That last created or deleted a child.
    pub pzxid: Zxid,
}

/// The lists of setWatches and setWatches2. `None` is a null list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchLists {
    /// Highest zxid that the client has seen.
    pub relative_zxid: Zxid,
    /// Paths and what to do with them, list by list in the order of the request.
    lists: [Option<Vec<ByteString>>; 5],
    /// How many of the lists the request has: three or five.
    count: usize,
}

impl From<SetWatches> for WatchLists {
    fn from(request: SetWatches) -> Self {
        Self {
            relative_zxid: request.relative_zxid,
            lists: [
                request.data_watches,
                request.exist_watches,
                request.child_watches,
                None,
                None,
            ],
            count: 3,
        }
    }
}

impl From<SetWatches2> for WatchLists {
    fn from(request: SetWatches2) -> Self {
        Self {
            relative_zxid: request.relative_zxid,
            lists: [
                request.data_watches,
                request.exist_watches,
                request.child_watches,
                request.persistent_watches,
                request.persistent_recursive_watches,
            ],
            count: 5,
        }
    }
}

/// What a setWatches comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CatchUp {
    /// Events to send to the connection, in order and before the reply. They are not subject to
    /// ACLs: the client has proved that it knew of the znode by having had a watch.
    pub events: Vec<(EventType, ByteString)>,
    /// Watches to register.
    pub register: Vec<(ByteString, WatchKind)>,
    /// The error to answer, after the events; what stands above takes effect all the same.
    pub error: Option<ErrorCode>,
}

impl CatchUp {
    /// The frame of each event. They have no transaction of their own: their zxid is −1.
    pub fn frames(&self) -> impl Iterator<Item = Bytes> + '_ {
        let frame =
            |(event, path): &(EventType, ByteString)| event_frame(*event, path, Zxid::new(-1));
        self.events.iter().map(frame)
    }
}

/// Compares each path with the tree as it is: fires what the client missed, registers the others.
///
/// `look` answers for the state that the watches are registered against: the caller keeps changes
/// out between the look and the registration.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `DataTree#setWatches`. A null list ends it with `MARSHALLINGERROR` after
/// the lists before have taken effect.
pub fn catch_up(request: WatchLists, look: &mut dyn FnMut(&str) -> Option<ChangeZxids>) -> CatchUp {
    let mut outcome = CatchUp::default();
    let seen = request.relative_zxid;
    let kinds = [
        WatchKind::Data,
        WatchKind::Exist,
        WatchKind::Child,
        WatchKind::Persistent,
        WatchKind::PersistentRecursive,
    ];
    let lists = kinds.into_iter().zip(request.lists).take(request.count);
    for (kind, list) in lists {
        let Some(paths) = list else {
            outcome.error = Some(ErrorCode::MarshallingError);
            break;
        };
        for path in paths {
            match missed(kind, &path, seen, look) {
                Some(event) => outcome.events.push((event, path)),
                None => outcome.register.push((path, kind)),
            }
        }
    }
    outcome
}

/// The event that a watch of this kind would have fired since `seen`.
fn missed(
    kind: WatchKind,
    path: &str,
    seen: Zxid,
    look: &mut dyn FnMut(&str) -> Option<ChangeZxids>,
) -> Option<EventType> {
    match kind {
        WatchKind::Data => match look(path) {
            None => Some(EventType::NodeDeleted),
            Some(znode) => (znode.mzxid > seen).then_some(EventType::NodeDataChanged),
        },
        WatchKind::Exist => look(path).map(|_| EventType::NodeCreated),
        WatchKind::Child => match look(path) {
            None => Some(EventType::NodeDeleted),
            Some(znode) => (znode.pzxid > seen).then_some(EventType::NodeChildrenChanged),
        },
        WatchKind::Persistent | WatchKind::PersistentRecursive => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(paths: &[&str]) -> Vec<ByteString> {
        paths.iter().map(|&path| path.into()).collect()
    }

    fn tree(path: &str) -> Option<ChangeZxids> {
        let zxids = |mzxid, pzxid| ChangeZxids {
            mzxid: Zxid::new(mzxid),
            pzxid: Zxid::new(pzxid),
        };
        match path {
            "/old" => Some(zxids(5, 5)),
            "/data" => Some(zxids(9, 5)),
            "/children" => Some(zxids(5, 9)),
            _ => None,
        }
    }

    #[test]
    fn set_watches_fires_what_was_missed_and_registers_the_rest() {
        let all = ["/old", "/data", "/children", "/gone"];
        let request = SetWatches2 {
            relative_zxid: Zxid::new(8),
            data_watches: Some(list(&all)),
            exist_watches: Some(list(&all)),
            child_watches: Some(list(&all)),
            persistent_watches: Some(list(&all)),
            persistent_recursive_watches: Some(list(&["/gone"])),
        };
        let outcome = catch_up(request.into(), &mut tree);
        let events: Vec<_> = outcome.events.iter().map(|(e, p)| (*e, &**p)).collect();
        assert_eq!(
            events,
            [
                (EventType::NodeDataChanged, "/data"),
                (EventType::NodeDeleted, "/gone"),
                (EventType::NodeCreated, "/old"),
                (EventType::NodeCreated, "/data"),
                (EventType::NodeCreated, "/children"),
                (EventType::NodeChildrenChanged, "/children"),
                (EventType::NodeDeleted, "/gone"),
            ]
        );
        let registered: Vec<_> = outcome.register.iter().map(|(p, k)| (&**p, *k)).collect();
        assert_eq!(
            registered,
            [
                ("/old", WatchKind::Data),
                ("/children", WatchKind::Data),
                ("/gone", WatchKind::Exist),
                ("/old", WatchKind::Child),
                ("/data", WatchKind::Child),
                ("/old", WatchKind::Persistent),
                ("/data", WatchKind::Persistent),
                ("/children", WatchKind::Persistent),
                ("/gone", WatchKind::Persistent),
                ("/gone", WatchKind::PersistentRecursive),
            ]
        );
        assert_eq!(outcome.error, None);
    }

    #[test]
    fn null_list_fails_after_the_lists_before_it_took_effect() {
        let request = SetWatches {
            relative_zxid: Zxid::new(8),
            data_watches: Some(list(&["/old"])),
            exist_watches: None,
            child_watches: Some(list(&["/old"])),
        };
        let outcome = catch_up(request.into(), &mut tree);
        assert_eq!(outcome.register, [("/old".into(), WatchKind::Data)]);
        assert_eq!(outcome.error, Some(ErrorCode::MarshallingError));
    }

    #[test]
    fn set_watches_of_three_lists_misses_no_further_ones() {
        let request = SetWatches {
            relative_zxid: Zxid::ZERO,
            data_watches: Some(list(&[])),
            exist_watches: Some(list(&[])),
            child_watches: Some(list(&[])),
        };
        assert_eq!(catch_up(request.into(), &mut tree), CatchUp::default());
    }
}
