//! A standalone server without clocks and sockets: a request goes in, its reply comes out.

mod golden;
mod reads;
mod writes;

use bytes::BytesMut;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::{CreateSessionRequest, Request, WatcherType};
use zk_proto::{Bytes, OpCode, SessionId, Stat, Xid, Zxid};

use super::*;
use crate::conn::ConnId;
use crate::conn::auth::{Access, Identities, Schemes};
use crate::conn::handshake::SessionKind;
use crate::conn::pipeline::Then;
use crate::conn::request::{Class, Incoming};
use crate::prep::{Prep, PrepOptions, Requester};
use crate::time::WallTime;
use crate::tree::{OwnerRules, Tree, TreeOptions};
use crate::watch::{WatchKind, WatchTable, trigger_effect};

const CONN: ConnId = ConnId::new(1);

/// A server with one connection.
pub(super) struct Server {
    pub(super) tree: Tree,
    pub(super) prep: Prep,
    pub(super) watches: Mine,
    pub(super) access: Access,
    pub(super) session: SessionId,
    pub(super) identities: Identities,
}

/// Watches of the connection.
pub(super) struct Mine(WatchTable);

impl ConnWatches for Mine {
    fn register(&mut self, path: &str, kind: WatchKind) {
        self.0.register(CONN, path, kind);
    }

    fn has(&self, path: &str, watcher_type: WatcherType) -> bool {
        self.0.has(CONN, path, watcher_type)
    }

    fn remove(&mut self, path: &str, watcher_type: WatcherType) -> bool {
        self.0.remove(CONN, path, watcher_type)
    }
}

/// A reply taken apart.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) header: ReplyHeader,
    pub(super) body: Bytes,
    pub(super) then: Then,
}

impl Server {
    pub(super) fn new(session: i64, enforces_quota: bool) -> Self {
        let access = Access::new(Schemes::standard());
        let options = PrepOptions {
            is_standalone: true,
            enforces_quota,
            ..PrepOptions::new(access.clone())
        };
        let mut server = Self {
            tree: Tree::new(TreeOptions {
                owners: OwnerRules {
                    extended_types: true,
                    emulate_353_ttl: false,
                },
                ..TreeOptions::default()
            }),
            prep: Prep::new(options, Zxid::ZERO),
            watches: Mine(WatchTable::new(0)),
            access,
            session: SessionId::new(session),
            identities: Identities::of_peer([127, 0, 0, 1].into()),
        };
        let create = Request::CreateSession(CreateSessionRequest { timeout_ms: 4000 });
        let mut out = BytesMut::new();
        server.write(&create, Xid::new(0), &mut out);
        server
    }

    /// What is sent for a request, without events.
    pub(super) fn answer(&mut self, payload: &Bytes) -> (Bytes, Then) {
        let incoming = Incoming::decode(payload).unwrap();
        let mut out = BytesMut::new();
        let then = match incoming.class {
            Class::Read(read) => {
                let viewer = Viewer {
                    session: self.session,
                    identities: &self.identities,
                    access: &self.access,
                };
                let (tree, watches) = (&self.tree, &mut self.watches);
                answer_read(read, incoming.xid, &viewer, tree, watches, &mut out)
            }
            Class::Write(write) => {
                if let Request::Sync(sync) = write.request() {
                    let applied = self.tree.applied();
                    answer_sync(incoming.xid, applied, sync.path.as_ref(), &mut out);
                    Then::Continue
                } else {
                    self.write(write.request(), incoming.xid, &mut out)
                }
            }
            Class::Auth(_) | Class::Sasl(_) => panic!("these are answered elsewhere"),
        };
        (out.freeze(), then)
    }

    fn write(&mut self, request: &Request, xid: Xid, out: &mut BytesMut) -> Then {
        let from = Requester {
            session: self.session,
            cxid: xid,
            identities: self.identities.clone(),
            standing: Ok(SessionKind::Global),
        };
        let now = WallTime::from_millis(1);
        let prepared = self.prep.prepare(now, &from, request, &self.tree).unwrap();
        let (header, txn) = (prepared.entry.header, prepared.entry.txn);
        let applied = self.tree.apply(&header, &txn);
        let own = self.identities.clone();
        for effect in &applied.effects {
            let who = |_| Some(own.clone());
            trigger_effect(
                &mut self.watches.0,
                effect,
                &self.access,
                &who,
                &mut Vec::new(),
            );
        }
        let (op, result) = (request.op(), &applied.result);
        answer_write(op, xid, header.zxid, &txn, result, &self.tree, out)
    }

    /// Asks, and takes the reply apart.
    pub(super) fn ask(&mut self, request: &Request) -> Reply {
        let mut payload = BytesMut::new();
        RequestHeader::new(Xid::new(5), request.op()).encode(&mut payload);
        request.encode(&mut payload);
        let (frames, then) = self.answer(&payload.freeze());
        let (header, body) = last_frame(&frames);
        Reply { header, body, then }
    }

    /// Asks for what is not to fail.
    pub(super) fn ok(&mut self, request: &Request) -> Bytes {
        let reply = self.ask(request);
        assert_eq!(reply.header.err, 0, "{request:?}");
        reply.body
    }

    /// Asks for what is to fail.
    pub(super) fn err(&mut self, request: &Request) -> i32 {
        let reply = self.ask(request);
        assert!(reply.body.is_empty());
        reply.header.err
    }
}

/// The last of several frames.
pub(super) fn last_frame(frames: &Bytes) -> (ReplyHeader, Bytes) {
    let mut rest = frames.clone();
    loop {
        let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        let payload = rest.slice(4..4 + len);
        rest = rest.slice(4 + len..);
        if rest.is_empty() {
            let mut reader = Reader::shared(&payload);
            let header = ReplyHeader::decode(&mut reader).unwrap();
            return (header, payload.slice(ReplyHeader::LEN..));
        }
    }
}
