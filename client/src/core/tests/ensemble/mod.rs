//! A model of an ensemble: it reads the client's frames as a server does and answers them, keeps
//! trees, sessions and watches, and lets servers lag. Just enough of each to judge a client by.

mod serve;
mod tree;
mod watches;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode, Reader};
use zk_proto::{EventType, KeeperState, OpCode, SessionId, WatcherEvent, Xid, Zxid, frame};

use super::super::Time;

pub(super) use self::tree::{Change, Tree, Txn, parent};
pub(super) use self::watches::{Modes, ServerWatches};

/// Names a connection: counts up.
pub(super) type ConnId = usize;

/// Bounds of the session timeouts that servers grant.
pub(super) const TIMEOUT_MIN: Duration = Duration::from_secs(2);
pub(super) const TIMEOUT_MAX: Duration = Duration::from_secs(12);

/// See the module's text.
#[derive(Debug)]
pub(super) struct Ensemble {
    /// Whether the servers are as those before 3.9: one mode for each watched path, no removal of
    /// added watches by kind, no zxid in events.
    pub(super) is_old: bool,
    pub(super) log: Vec<Txn>,
    /// With everything in `log` applied.
    pub(super) leader: Tree,
    pub(super) sessions: BTreeMap<SessionId, Session>,
    pub(super) servers: Vec<Server>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    /// Whether the next credential is refused.
    pub(super) refuses_auth: bool,
    /// How many of the next requests are answered unexecuted, because there are too many.
    pub(super) throttles: u32,
    zxid: i64,
    next_session: i64,
    /// What is to be sent, in order.
    pub(super) out: Vec<(ConnId, Output)>,
    /// Requests answered since last looked at, in the order of execution.
    pub(super) executed: Vec<Executed>,
}

#[derive(Debug)]
pub(super) struct Session {
    pub(super) timeout: Duration,
    /// When a request of it last reached a server's pipeline.
    pub(super) touched: Time,
    pub(super) ended: Option<Time>,
    /// Whether it ended before its time.
    pub(super) was_killed: bool,
    owner: ConnId,
    /// The read-only server that alone knows it.
    pub(super) local_to: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) is_up: bool,
    pub(super) is_read_only: bool,
    /// Number of transactions of the log that are applied.
    pub(super) applied: usize,
    pub(super) tree: Tree,
    pub(super) watches: BTreeMap<ConnId, ServerWatches>,
}

/// The server's side of a connection.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) server: usize,
    pub(super) session: Option<SessionId>,
    /// Requests received and not executed.
    pub(super) pipeline: VecDeque<(RequestHeader, Bytes)>,
    pub(super) has_handshake: bool,
}

#[derive(Debug)]
pub(super) enum Output {
    /// A frame; for an event, with the transaction that it is about, which old servers do not tell.
    Frame(BytesMut, Option<i64>),
    Close,
}

/// A request that was answered.
#[derive(Debug)]
pub(super) struct Executed {
    pub(super) conn: ConnId,
    pub(super) session: SessionId,
    pub(super) xid: Xid,
    pub(super) op: OpCode,
    pub(super) err: i32,
    pub(super) body: Bytes,
}

impl Ensemble {
    pub(super) fn new(servers: usize, is_old: bool) -> Self {
        let server = || Server {
            is_up: true,
            is_read_only: false,
            applied: 0,
            tree: Tree::new(),
            watches: BTreeMap::new(),
        };
        Self {
            is_old,
            log: Vec::new(),
            leader: Tree::new(),
            sessions: BTreeMap::new(),
            servers: (0..servers).map(|_| server()).collect(),
            conns: BTreeMap::new(),
            refuses_auth: false,
            throttles: 0,
            zxid: 0,
            next_session: 0x100,
            out: Vec::new(),
            executed: Vec::new(),
        }
    }

    pub(super) fn accept(&mut self, conn: ConnId, server: usize) {
        let accepted = Conn {
            server,
            session: None,
            pipeline: VecDeque::new(),
            has_handshake: false,
        };
        self.conns.insert(conn, accepted);
    }

    /// The connection is gone, whoever ended it.
    pub(super) fn drop_conn(&mut self, conn: ConnId) {
        if let Some(gone) = self.conns.remove(&conn) {
            self.servers[gone.server].watches.remove(&conn);
        }
    }

    fn close(&mut self, conn: ConnId) {
        self.drop_conn(conn);
        self.out.push((conn, Output::Close));
    }

    /// Ends every connection of a server.
    pub(super) fn close_all(&mut self, server: usize) {
        let of_server = |(_, conn): &(&ConnId, &Conn)| conn.server == server;
        let conns: Vec<_> = self.conns.iter().filter(of_server).collect();
        for conn in conns.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(conn);
        }
    }

    /// A payload came. Returns whether something waits in the connection's pipeline.
    pub(super) fn receive(&mut self, now: Time, conn: ConnId, payload: Bytes) -> bool {
        let Some(known) = self.conns.get_mut(&conn) else {
            return false;
        };
        if !known.has_handshake {
            known.has_handshake = true;
            self.handshake(now, conn, &payload);
            return false;
        }
        let mut reader = Reader::shared(&payload);
        let Ok(header) = RequestHeader::decode(&mut reader) else {
            self.close(conn);
            return false;
        };
        if header.op() == Some(OpCode::Auth) {
            // Answered by the I/O layer at once: it overtakes what is in the pipeline, and the
            // session does not notice.
            let err = if std::mem::take(&mut self.refuses_auth) {
                -115
            } else {
                0
            };
            self.reply(conn, header.xid, 0, err, &[]);
            if err != 0 {
                self.close(conn);
            }
            return false;
        }
        if let Some(session) = known.session.and_then(|id| self.sessions.get_mut(&id)) {
            session.touched = now;
        }
        known.pipeline.push_back((header, payload));
        true
    }

    fn handshake(&mut self, now: Time, conn: ConnId, payload: &Bytes) {
        let index = self.conns[&conn].server;
        let Ok(request) = ConnectRequest::decode(&mut Reader::shared(payload)) else {
            return self.close(conn);
        };
        let (is_read_only, is_up, zxid) = {
            let server = &self.servers[index];
            (server.is_read_only, server.is_up, server.tree.zxid)
        };
        let refused_read_only = is_read_only && request.read_only != Some(true);
        if !is_up || refused_read_only || request.last_zxid_seen.get() > zxid {
            return self.close(conn);
        }
        let asked = Duration::from_millis(u64::try_from(request.timeout_ms).unwrap_or_default());
        let timeout = asked.clamp(TIMEOUT_MIN, TIMEOUT_MAX);
        if request.session_id == SessionId::NONE {
            self.next_session += 1;
            let id = SessionId::new(self.next_session);
            let session = Session {
                timeout,
                touched: now,
                ended: None,
                was_killed: false,
                owner: conn,
                local_to: is_read_only.then_some(index),
            };
            self.sessions.insert(id, session);
            if !is_read_only {
                self.commit(Vec::new());
                self.catch_up(index);
            }
            return self.grant(conn, id, timeout, is_read_only);
        }
        // A global session cannot be resumed where there is no quorum to ask.
        if is_read_only {
            return self.close(conn);
        }
        let id = request.session_id;
        let stale = match self.sessions.get_mut(&id) {
            Some(session)
                if session.ended.is_none()
                    && session.local_to.is_none()
                    && request.password.as_deref() == Some(&password(id)[..]) =>
            {
                session.timeout = timeout;
                session.touched = now;
                Some(std::mem::replace(&mut session.owner, conn))
            }
            _ => None,
        };
        let Some(stale) = stale else {
            let mut wire = BytesMut::new();
            frame::write(
                &mut wire,
                &[&ConnectResponse::refused(request.read_only.is_some())],
            );
            self.out.push((conn, Output::Frame(wire, None)));
            return self.close(conn);
        };
        if self
            .conns
            .get(&stale)
            .is_some_and(|old| old.server == index)
        {
            self.close(stale);
        }
        self.grant(conn, id, timeout, false);
    }

    fn grant(&mut self, conn: ConnId, id: SessionId, timeout: Duration, read_only: bool) {
        let Some(known) = self.conns.get_mut(&conn) else {
            return;
        };
        known.session = Some(id);
        let response = ConnectResponse {
            protocol_version: 0,
            timeout_ms: i32::try_from(timeout.as_millis()).unwrap(),
            session_id: id,
            password: Some(Bytes::copy_from_slice(&password(id))),
            read_only: Some(read_only),
        };
        let mut wire = BytesMut::new();
        frame::write(&mut wire, &[&response]);
        self.out.push((conn, Output::Frame(wire, None)));
    }

    fn reply(&mut self, conn: ConnId, xid: Xid, zxid: i64, err: i32, body: &[u8]) {
        let zxid = Zxid::new(zxid);
        let mut wire = BytesMut::new();
        frame::write(&mut wire, &[&ReplyHeader { xid, zxid, err }, &Raw(body)]);
        self.out.push((conn, Output::Frame(wire, None)));
    }

    fn event(&mut self, conn: ConnId, kind: EventType, path: &str, zxid: Option<i64>) {
        let event = WatcherEvent {
            event_type: kind.code(),
            state: KeeperState::SyncConnected.code(),
            path: Some(path.to_owned().into()),
        };
        let header = ReplyHeader {
            xid: Xid::NOTIFICATION,
            zxid: Zxid::new(zxid.filter(|_| !self.is_old).unwrap_or(-1)),
            err: 0,
        };
        let mut wire = BytesMut::new();
        frame::write(&mut wire, &[&header, &event]);
        self.out.push((conn, Output::Frame(wire, zxid)));
    }

    /// Appends a transaction of legal changes, which the leader applies at once.
    pub(super) fn commit(&mut self, changes: Vec<Change>) {
        self.zxid += 1;
        for change in &changes {
            self.leader.change(self.zxid, change);
        }
        self.leader.zxid = self.zxid;
        self.log.push(Txn {
            zxid: self.zxid,
            changes,
        });
    }

    /// As another client would do it; illegal changes come to nothing.
    pub(super) fn outside(&mut self, change: Change) {
        if self.leader.check(&change).is_ok() {
            self.commit(vec![change]);
        }
    }

    /// A server applies everything there is.
    pub(super) fn catch_up(&mut self, server: usize) {
        self.apply(server, self.log.len());
    }

    /// A server applies the log up to there, if it is behind.
    pub(super) fn apply(&mut self, index: usize, upto: usize) {
        while self.servers[index].applied < upto && !self.servers[index].is_read_only {
            let server = &mut self.servers[index];
            let txn = self.log[server.applied].clone();
            server.applied += 1;
            for change in &txn.changes {
                server.tree.change(txn.zxid, change);
            }
            server.tree.zxid = txn.zxid;
            let mut events = Vec::new();
            for change in &txn.changes {
                for (conn, watches) in &mut server.watches {
                    watches.applied(change, &mut |kind, path| {
                        events.push((*conn, kind, path.to_owned()));
                    });
                }
            }
            for (conn, kind, path) in events {
                self.event(conn, kind, &path, Some(txn.zxid));
            }
        }
    }

    /// When a session is over unless it is heard of before.
    pub(super) fn expires_at(&self, id: SessionId) -> Time {
        let session = &self.sessions[&id];
        session.ended.unwrap_or(session.touched + session.timeout)
    }

    /// Ends a session, its ephemeral znodes and its connections.
    pub(super) fn end_session(&mut self, now: Time, id: SessionId, is_kill: bool) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.ended.is_some() {
            return;
        }
        session.ended = Some(now);
        session.was_killed = is_kill;
        if session.local_to.is_none() {
            let owned = self.leader.ephemerals(id).into_iter();
            let deletions = owned.map(|path| Change::Delete { path }).collect();
            self.commit(deletions);
        }
        let of_session = |(_, conn): &(&ConnId, &Conn)| conn.session == Some(id);
        let conns: Vec<_> = self.conns.iter().filter(of_session).collect();
        for conn in conns.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            self.close(conn);
        }
    }

    /// A server is cut off from the others, or finds them again. Its clients go.
    pub(super) fn set_read_only(&mut self, now: Time, index: usize, read_only: bool) {
        if std::mem::replace(&mut self.servers[index].is_read_only, read_only) == read_only {
            return;
        }
        self.close_all(index);
        let local = |(_, session): &(&SessionId, &Session)| session.local_to == Some(index);
        let local: Vec<_> = self.sessions.iter().filter(local).collect();
        for id in local.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            self.end_session(now, id, true);
        }
    }
}

/// Bytes that are a record already.
struct Raw<'a>(&'a [u8]);

impl Encode for Raw<'_> {
    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encode(&self, out: &mut BytesMut) {
        out.extend_from_slice(self.0);
    }
}

fn password(id: SessionId) -> [u8; PASSWORD_LEN] {
    let mut password = [0x5a; PASSWORD_LEN];
    password[..8].copy_from_slice(&id.get().to_be_bytes());
    password
}
