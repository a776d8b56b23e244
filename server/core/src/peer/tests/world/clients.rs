//! What clients ask of members.

use bytes::BytesMut;
use bytestring::ByteString;
use zk_proto::header::RequestHeader;
use zk_proto::jute::Encode as _;
use zk_proto::request::{CreateFlags, CreateRequest, ReconfigRequest, Request};
use zk_proto::{Acl, Id, Perms, SessionId, Xid};

use crate::conn::auth::Identities;
use crate::conn::request::{Class, Incoming};
use crate::peer::*;
use crate::session::SessionTimeout;
use crate::tree::TxnResult;

use super::{CONN, World};

impl World {
    /// Asks for other members, and lets it happen.
    pub(crate) fn reconfig(&mut self, id: i64, session: SessionId, joining: &str, leaving: &str) {
        self.ask_reconfig(id, session, 9, joining, leaving);
        self.settle();
    }

    /// Asks for other members; nothing happens yet.
    pub(crate) fn ask_reconfig(
        &mut self,
        id: i64,
        session: SessionId,
        xid: i32,
        joining: &str,
        leaving: &str,
    ) {
        let some = |text: &str| Some(text.into()).filter(|_| !text.is_empty());
        let request = Request::Reconfig(ReconfigRequest {
            joining_servers: some(joining),
            leaving_servers: some(leaving),
            new_members: None,
            cur_config_id: -1,
        });
        self.ask(id, session, xid, &request);
    }

    pub(crate) fn open(&mut self, id: i64) -> SessionId {
        let timeout = SessionTimeout::from_millis(4000);
        let conn = CONN;
        self.feed(id, Event::SessionRequested { conn, timeout });
        self.settle();
        let member = self.members.get_mut(&id).unwrap();
        let answer = member.answers.pop().unwrap();
        assert_eq!(answer.1, TxnResult::SessionCreated);
        assert_eq!(answer.0, Asker::Handshake(CONN));
        let is_here = |id_: &SessionId| i64::from(id_.get().to_be_bytes()[0]) == id;
        let sessions = member.tree.sessions().map(|(id, _)| id);
        sessions.filter(is_here).max().unwrap()
    }

    /// Asks for a session at a member; nothing happens yet.
    pub(crate) fn request_session(&mut self, id: i64) {
        let (conn, timeout) = (CONN, SessionTimeout::from_millis(4000));
        self.feed(id, Event::SessionRequested { conn, timeout });
    }

    /// Asks on behalf of a client of a member; nothing happens yet.
    pub(crate) fn ask(&mut self, id: i64, session: SessionId, xid: i32, request: &Request) {
        let mut wire = BytesMut::new();
        RequestHeader::new(Xid::new(xid), request.op()).encode(&mut wire);
        request.encode(&mut wire);
        let Class::Write(write) = Incoming::decode(&wire.freeze()).unwrap().class else {
            panic!("{request:?} is no write");
        };
        let submission = Submission {
            origin: Origin {
                conn: CONN,
                ticket: self.tickets.admit_write(0).unwrap(),
                xid: Xid::new(xid),
            },
            session,
            identities: Identities::none(),
            write,
        };
        self.feed(id, Event::Submitted(Box::new(submission)));
    }

    /// Creates a znode through a member.
    pub(crate) fn create(&mut self, id: i64, session: SessionId, path: &'static str) {
        self.ask(id, session, 5, &create(path));
        self.settle();
    }

    /// Whether a member that was cut off has logged more than it has committed.
    pub(crate) fn open_at_isolated(&mut self, id: i64) -> bool {
        let (conn, timeout) = (CONN, SessionTimeout::from_millis(4000));
        self.feed(id, Event::SessionRequested { conn, timeout });
        self.settle();
        let status = self.status(id);
        status.logged > status.committed
    }
}

/// Creates an ephemeral znode.
pub(crate) fn create_ephemeral(path: impl Into<ByteString>) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::Ephemeral.code(),
    })
}

pub(crate) fn create(path: impl Into<ByteString>) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: CreateFlags::Persistent.code(),
    })
}
