//! Differences that are wanted. Each has an entry of its name in `server/QUIRKS.md`.

use zk_proto::request::Request;
use zk_proto::{ErrorCode, OpCode};

use super::ask::Ask;
use super::seen::Seen;

/// Why an answer of ours differs from the reference's, Apache 3.8.0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Quirk {
    /// Events carry the zxid of their transaction.
    EventZxid,
    /// `exists` needs the permission to read.
    ExistsNeedsRead,
    /// Watchers can be asked for by the kinds of addWatch.
    TypedWatchers,
    /// `deleteContainer` of a client has a path.
    DeleteContainerPath,
    /// A write that cannot be read takes no zxid.
    UnreadableWrite,
    /// A multi or multiRead that is refused as a whole has no body.
    MultiRemnant,
    /// A create2 inside a multi answers with a stat.
    MultiCreate2,
    /// checkWatches does not find watches of others.
    ForeignWatches,
}

/// The end of a list of results.
const REMNANT: &str = "ff, ff, ff, ff, 1, ff, ff, ff, ff]";

impl Quirk {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::ForeignWatches,
        Self::MultiCreate2,
        Self::MultiRemnant,
        Self::UnreadableWrite,
        Self::EventZxid,
        Self::ExistsNeedsRead,
        Self::TypedWatchers,
        Self::DeleteContainerPath,
    ];

    /// The heading in `QUIRKS.md`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EventZxid => "event-zxid",
            Self::ExistsNeedsRead => "exists-needs-read",
            Self::TypedWatchers => "typed-watchers",
            Self::DeleteContainerPath => "delete-container-path",
            Self::UnreadableWrite => "unreadable-write",
            Self::MultiRemnant => "multi-remnant",
            Self::MultiCreate2 => "multi-create2",
            Self::ForeignWatches => "foreign-watches",
        }
    }

    /// The quirk that explains two frames that differ; `ask` is what they answer.
    pub(super) fn explains(ask: Option<&Ask>, theirs: &Seen, ours: &Seen) -> Option<Self> {
        match (theirs, ours) {
            (
                Seen::Event { zxid: -1, what },
                Seen::Event {
                    zxid: 1..,
                    what: same,
                },
            ) if what == same => Some(Self::EventZxid),
            (
                Seen::Reply {
                    xid,
                    zxid,
                    err: -5,
                    body,
                },
                Seen::Reply {
                    xid: our_xid,
                    zxid: our_zxid,
                    err: -5,
                    body: our_body,
                },
            ) if (xid, zxid) == (our_xid, our_zxid)
                && body.ends_with(REMNANT)
                && our_body.is_empty()
                && matches!(
                    ask.and_then(Ask::op),
                    Some(OpCode::Multi | OpCode::MultiRead)
                ) =>
            {
                Some(Self::MultiRemnant)
            }
            (
                Seen::Reply {
                    xid,
                    zxid,
                    err: 0,
                    body,
                },
                Seen::Reply {
                    xid: our_xid,
                    zxid: our_zxid,
                    err: 0,
                    body: our_body,
                },
            ) if (xid, zxid) == (our_xid, our_zxid) => {
                let is_multi = ask.and_then(Ask::op) == Some(OpCode::Multi);
                (is_multi && *body == without_created_stats(our_body)).then_some(Self::MultiCreate2)
            }
            (
                Seen::Reply { xid, zxid, err, .. },
                Seen::Reply {
                    xid: our_xid,
                    zxid: our_zxid,
                    err: our_err,
                    ..
                },
            ) if (xid, zxid) == (our_xid, our_zxid) => Self::of_errors(ask?, *err, *our_err),
            _ => None,
        }
    }

    fn of_errors(ask: &Ask, theirs: i32, ours: i32) -> Option<Self> {
        let ours = ErrorCode::from_code(ours);
        let theirs = ErrorCode::from_code(theirs);
        match ask {
            Ask::Request(Request::Exists(_))
                if (theirs, ours) == (None, Some(ErrorCode::NoAuth)) =>
            {
                Some(Self::ExistsNeedsRead)
            }
            Ask::DeleteContainer(_)
                if theirs == Some(ErrorCode::BadArguments)
                    && matches!(ours, Some(ErrorCode::NoNode | ErrorCode::NoAuth)) =>
            {
                Some(Self::DeleteContainerPath)
            }
            Ask::Request(Request::CheckWatches(_))
                if (theirs, ours) == (None, Some(ErrorCode::NoWatcher)) =>
            {
                Some(Self::ForeignWatches)
            }
            Ask::Request(Request::CheckWatches(r))
                if matches!(r.watcher_type, 4 | 5)
                    && theirs == Some(ErrorCode::MarshallingError)
                    && matches!(ours, None | Some(ErrorCode::NoWatcher)) =>
            {
                Some(Self::TypedWatchers)
            }
            _ => None,
        }
    }
}

/// The text of a multi response with every result of a create2 as one of a create.
fn without_created_stats(body: &str) -> String {
    let mut parts = body.split("Create2(Create2Response { ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let cut = part.split_once(", stat: Stat {").and_then(|(path, rest)| {
            let (_, behind) = rest.split_once(" } })")?;
            Some((path, behind))
        });
        let (path, behind) = cut.unwrap_or((part, ""));
        text.push_str("Create(CreateResponse { ");
        text.push_str(path);
        text.push_str(" })");
        text.push_str(behind);
    }
    text
}
