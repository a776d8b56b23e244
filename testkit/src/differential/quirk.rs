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
    /// The empty path has as many descendants as `/`.
    EmptyPathCount,
}

/// The end of a list of results.
const REMNANT: &str = "ff, ff, ff, ff, 1, ff, ff, ff, ff]";

impl Quirk {
    /// All.
    pub const ALL: [Self; 9] = [
        Self::EmptyPathCount,
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
            Self::EmptyPathCount => "empty-path-count",
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
            (None, None) if ask.op() == Some(OpCode::GetAllChildrenNumber) => {
                let Ask::Request(Request::GetAllChildrenNumber(request)) = ask else {
                    return None;
                };
                let is_empty = request.path.as_deref() == Some("");
                let one_more = number(ours.body).map(|ours| ours + 1);
                (is_empty && number(theirs.body) == one_more).then_some(Self::EmptyPathCount)
            }
            (None, None) => {
                let is_same =
                    is_multi && theirs.body == without_created_stats(ours.body, theirs.body);
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

/// The only number in a text.
fn number(body: &str) -> Option<u64> {
    let digits: String = body.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Where the result of a create2 begins in a text, and of a create.
const CREATED2: &str = "Create2(Create2Response { ";
const CREATED: &str = "Create(CreateResponse { ";

/// The text of our multi response with the results of those operations without a stat that have
/// none in theirs.
fn without_created_stats(ours: &str, theirs: &str) -> String {
    let mut has_stat = results(theirs).map(|(_, has_stat)| has_stat);
    let (mut text, mut done) = (String::new(), 0);
    for (at, is_create2) in results(ours) {
        let keeps = has_stat.next().unwrap_or(true);
        if !is_create2 || keeps {
            continue;
        }
        let rest = ours.get(at + CREATED2.len()..).unwrap_or_default();
        let Some((path, behind)) = rest.split_once(", stat: Stat {") else {
            continue;
        };
        let Some((_, behind)) = behind.split_once(" } })") else {
            continue;
        };
        text.push_str(ours.get(done..at).unwrap_or_default());
        text.push_str(CREATED);
        text.push_str(path);
        text.push_str(" })");
        done = ours.len() - behind.len();
    }
    text.push_str(ours.get(done..).unwrap_or_default());
    text
}

/// Where each result of a creation begins, and whether it is one of a create2.
fn results(text: &str) -> impl Iterator<Item = (usize, bool)> {
    let starts = text.match_indices("Create");
    starts.filter_map(|(at, _)| {
        let rest = text.get(at..)?;
        let is_create2 = rest.starts_with(CREATED2);
        (is_create2 || rest.starts_with(CREATED)).then_some((at, is_create2))
    })
}
