//! What a server sent, in a form that can be compared.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::response::{MultiResult, Response};
use zk_proto::{Acl, Bytes, OpCode, SessionId, Stat, WatcherEvent, Xid, Zxid};

/// Zxids from before the script.
const BEFORE: Zxid = Zxid::new(-1000);

/// More transactions than any script makes.
const OUT_OF_REACH: i64 = 1_000_000;

/// One frame, or what came instead.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// A watch fired.
    Event {
        /// −1, or transactions since the script began.
        zxid: i64,
        /// Type and path.
        what: String,
    },
    /// A request was answered.
    Reply {
        /// As asked.
        xid: i32,
        /// Transactions since the script began.
        zxid: i64,
        /// Error of the header.
        err: i32,
        /// The body, decoded; what is behind an error is not.
        body: String,
    },
    /// The connection was closed.
    Closed,
    /// Nothing came though something was owed.
    Silent,
    /// Something that is none of these.
    Garbage(String),
}

/// What the oldest request without an answer asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// There is none.
    Nothing,
    /// Something that there is not.
    NoOp,
    Op(OpCode),
}

/// What makes ids and zxids of one server comparable with another's.
#[derive(Debug, Default)]
pub(super) struct Terms {
    /// Last zxid before the script.
    pub(super) base: Zxid,
    /// Zxids that only this server has given to a request.
    pub(super) extra: Vec<Zxid>,
    /// The last that a reply told.
    pub(super) last: Zxid,
    /// Sessions by their order.
    pub(super) sessions: BTreeMap<SessionId, i64>,
}

impl Terms {
    pub(super) fn zxid(&self, zxid: Zxid) -> Zxid {
        match zxid.get() {
            plain if plain <= 0 => zxid,
            old if old <= self.base.get() => BEFORE,
            new => {
                let extra = self.extra.iter().filter(|&&extra| extra <= zxid).count();
                Zxid::new(new - self.base.get() - i64::try_from(extra).unwrap_or_default())
            }
        }
    }

    /// The first number behind `last` that is not known to be skipped was.
    pub(super) fn skip(&mut self, last: Zxid) {
        let mut next = Zxid::new(last.get() + 1);
        while self.extra.contains(&next) {
            next = Zxid::new(next.get() + 1);
        }
        self.extra.push(next);
    }

    /// What [`Self::zxid`] makes so many transactions after the script began of. One that has not
    /// happened stays out of the script's reach, because requests on the way may take a zxid on one
    /// server and none on the other.
    pub(super) fn raw(&self, after: i64) -> Zxid {
        let mut raw = self.base.get() + after;
        let mut extra = self.extra.clone();
        extra.sort_unstable();
        for extra in extra {
            raw += i64::from(extra.get() <= raw);
        }
        if raw > self.last.get() {
            raw += OUT_OF_REACH;
        }
        Zxid::new(raw)
    }

    fn stat(&self, stat: &mut Stat) {
        for zxid in [&mut stat.czxid, &mut stat.mzxid, &mut stat.pzxid] {
            *zxid = self.zxid(*zxid);
        }
        for time in [&mut stat.ctime, &mut stat.mtime] {
            *time = (*time).signum();
        }
        if let Some(&number) = self.sessions.get(&stat.ephemeral_owner) {
            stat.ephemeral_owner = SessionId::new(number);
        }
    }

    /// The body of a reply without error.
    fn body(&self, op: OpCode, payload: &[u8]) -> String {
        let mut reader = Reader::new(payload);
        let mut response = match Response::decode(op, &mut reader) {
            Ok(response) => response,
            Err(err) => return format!("undecodable {payload:x?}: {err}"),
        };
        let len = response.encoded_len();
        match &mut response {
            Response::Create2(r) => self.stat(&mut r.stat),
            Response::Exists(r) => self.stat(&mut r.stat),
            Response::GetData(r) => self.stat(&mut r.stat),
            Response::SetData(r) => self.stat(&mut r.stat),
            Response::GetAcl(r) => {
                // Identities that `auth` stood for come in the order of a hash table.
                let key = |acl: &Acl| format!("{acl:?}");
                r.acl.iter_mut().for_each(|list| list.sort_by_key(key));
                self.stat(&mut r.stat);
            }
            Response::SetAcl(r) => self.stat(&mut r.stat),
            Response::GetChildren(r) => r.children.sort(),
            Response::GetChildren2(r) => {
                r.children.sort();
                self.stat(&mut r.stat);
            }
            Response::GetEphemerals(r) => r.ephemerals.sort(),
            Response::WhoAmI(r) => {
                r.client_info
                    .sort_by(|a, b| (&a.auth_scheme, &a.user).cmp(&(&b.auth_scheme, &b.user)));
            }
            Response::Multi(r) => r.results.iter_mut().for_each(|result| match result {
                MultiResult::Create2(r) => self.stat(&mut r.stat),
                MultiResult::SetData(r) => self.stat(&mut r.stat),
                MultiResult::GetData(r) => self.stat(&mut r.stat),
                MultiResult::GetChildren(r) => r.children.sort(),
                MultiResult::Create(_)
                | MultiResult::Delete
                | MultiResult::Check
                | MultiResult::Error(_) => {}
            }),
            // Nothing in these is different from server to server.
            Response::Create(_)
            | Response::Sync(_)
            | Response::Sasl(_)
            | Response::GetAllChildrenNumber(_)
            | Response::AddWatch(_)
            | Response::Empty
            | _ => {}
        }
        let mut text = format!("{response:?}");
        let behind = payload.len().saturating_sub(len);
        if behind > 0 {
            write!(text, " and {behind} bytes").ok();
        }
        text
    }

    /// A frame.
    pub(super) fn frame(&self, payload: &Bytes, asked: Asked) -> Seen {
        let mut reader = Reader::new(payload);
        let Ok(header) = ReplyHeader::decode(&mut reader) else {
            return Seen::Garbage(format!("{payload:x?}"));
        };
        let rest = payload.get(ReplyHeader::LEN..).unwrap_or_default();
        let zxid = self.zxid(header.zxid).get();
        if header.xid == Xid::NOTIFICATION {
            return match WatcherEvent::decode(&mut Reader::new(rest)) {
                Ok(event) => Seen::Event {
                    zxid,
                    what: format!(
                        "{} {} {:?}",
                        event.event_type,
                        event.state,
                        event.path.as_deref().unwrap_or("null")
                    ),
                },
                Err(err) => Seen::Garbage(format!("event: {err}")),
            };
        }
        let body = match asked {
            Asked::Nothing => return Seen::Garbage(format!("an answer to nothing: {header:?}")),
            Asked::Op(op) if header.err == 0 => self.body(op, rest),
            Asked::Op(_) | Asked::NoOp if rest.is_empty() => String::new(),
            Asked::Op(_) | Asked::NoOp => format!("{rest:x?}"),
        };
        Seen::Reply {
            xid: header.xid.get(),
            zxid,
            err: header.err,
            body,
        }
    }
}
