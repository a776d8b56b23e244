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
        if let Seen::Event { zxid: -1, what } = theirs {
            let is_same = matches!(ours, Seen::Event { zxid: 1.., what: ours } if what == ours);
            return is_same.then_some(Self::EventZxid);
        }
        let (ask, theirs, ours) = (ask?, Outcome::of(theirs)?, Outcome::of(ours)?);
        if (theirs.xid, theirs.zxid) != (ours.xid, ours.zxid) {
            return None;
        }
        let is_multi = matches!(ask.op(), Some(OpCode::Multi | OpCode::MultiRead));
        match (theirs.error(), ours.error()) {
            (None, None) => {
                let is_same = is_multi && theirs.body == without_created_stats(ours.body);
                is_same.then_some(Self::MultiCreate2)
            }
            (Some(ErrorCode::MarshallingError), Some(ErrorCode::MarshallingError)) => {
                let is_remnant = theirs.body.ends_with(REMNANT) && ours.body.is_empty();
                (is_multi && is_remnant).then_some(Self::MultiRemnant)
            }
            (None, Some(ErrorCode::NoAuth)) if ask.op() == Some(OpCode::Exists) => {
                Some(Self::ExistsNeedsRead)
            }
            (None, Some(ErrorCode::NoWatcher)) if ask.op() == Some(OpCode::CheckWatches) => {
                Some(Self::ForeignWatches)
            }
            (Some(ErrorCode::MarshallingError), None | Some(ErrorCode::NoWatcher)) => {
                let Ask::Request(Request::CheckWatches(request)) = ask else {
                    return None;
                };
                matches!(request.watcher_type, 4 | 5).then_some(Self::TypedWatchers)
            }
            (Some(ErrorCode::BadArguments), Some(ErrorCode::NoNode | ErrorCode::NoAuth)) => {
                matches!(ask, Ask::DeleteContainer(_)).then_some(Self::DeleteContainerPath)
            }
            _ => None,
        }
    }
}

/// A reply.
struct Outcome<'a> {
    xid: i32,
    zxid: i64,
    err: i32,
    body: &'a str,
}

impl<'a> Outcome<'a> {
    fn of(seen: &'a Seen) -> Option<Self> {
        let Seen::Reply {
            xid,
            zxid,
            err,
            body,
        } = seen
        else {
            return None;
        };
        Some(Self {
            xid: *xid,
            zxid: *zxid,
            err: *err,
            body,
        })
    }

    fn error(&self) -> Option<ErrorCode> {
        ErrorCode::from_code(self.err)
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
