//! The server's side of client connections, around the pipeline that a server has: what comes in is
//! admitted, reads are executed a while later, and told of another while later.

use std::collections::VecDeque;
use std::net::Ipv4Addr;

use bytes::BytesMut;
use zk_core::answer::{ConnWatches, Viewer, answer_read};
use zk_core::conn::ConnId;
use zk_core::conn::auth::{Access, Identities};
use zk_core::conn::handshake::ServingMode;
use zk_core::conn::pipeline::{Answer, Drained, Pipeline, PipelineLimits, Refused, Then};
use zk_core::conn::request::{Class, Incoming, Read, Write, auth_answer};
use zk_core::peer::{Event, Origin, Submission};
use zk_core::session::SessionTimeout;
use zk_core::tree::Tree;
use zk_core::watch::{WatchKind, WatchTable};
use zk_proto::request::WatcherType;
use zk_proto::{Bytes, SessionId, Xid, Zxid};

use super::event::Happening;
use super::outside::{Heading, OUTSIDE, OutsideEnd};
use super::pipe::Pipe;
use super::stages::broke;
use super::world::World;
use crate::check::Verdict;

const LIMITS: PipelineLimits = PipelineLimits {
    waiting_max: 1_000,
    waiting_bytes_max: 1 << 20,
    outgoing_max: 10_000,
    outgoing_bytes_max: 1 << 22,
};

/// A connection between a client and a member.
#[derive(Debug)]
pub struct Conn {
    pub(crate) id: ConnId,
    pub(crate) client: usize,
    pub(crate) member: u8,
    life: u32,
    pub(crate) session: Option<SessionId>,
    pub(crate) timeout: SessionTimeout,
    /// What the client has proved to be.
    pub(crate) identities: Identities,
    /// The other end, if it is no part of the run.
    pub(crate) outside: Option<OutsideEnd>,
    pub(crate) pipeline: Pipeline<ReadJob>,
    /// Writes that wait for reads before them to be told of, and everything behind them.
    held: VecDeque<Incoming>,
    /// What the running group gave.
    answers: Option<(Zxid, BytesMut, Then)>,
    group_is_due: bool,
    to_server: Pipe<ToServer>,
    to_client: Pipe<ToClient>,
    /// Whether each side has it open.
    server_open: bool,
    pub(crate) client_open: bool,
}

/// From a client.
#[derive(Debug)]
pub(crate) enum ToServer {
    /// Asks for a session, a new one or its own.
    Hello {
        session: Option<SessionId>,
        timeout: SessionTimeout,
        last: Zxid,
    },
    /// The payload of a frame.
    Request(Bytes),
    Close,
}

/// To a client.
#[derive(Debug)]
pub(crate) enum ToClient {
    /// It has a session.
    Welcome(SessionId),
    /// The session that it claimed is over.
    Expired,
    /// Frames, whole ones.
    Frames(Bytes),
    Close,
}

/// A read on its way to be executed.
#[derive(Debug)]
pub struct ReadJob {
    xid: Xid,
    read: Read,
    session: SessionId,
    identities: Identities,
}

struct Watching<'a> {
    conn: ConnId,
    table: &'a mut WatchTable,
}

impl ConnWatches for Watching<'_> {
    fn register(&mut self, path: &str, kind: WatchKind) {
        self.table.register(self.conn, path, kind);
    }

    fn has(&self, path: &str, watcher_type: WatcherType) -> bool {
        self.table.has(self.conn, path, watcher_type)
    }

    fn remove(&mut self, path: &str, watcher_type: WatcherType) -> bool {
        self.table.remove(self.conn, path, watcher_type)
    }
}

impl ReadJob {
    /// Executes the read.
    pub(crate) fn run(
        self,
        conn: ConnId,
        access: &Access,
        tree: &Tree,
        table: &mut WatchTable,
    ) -> Answer {
        let mut bytes = BytesMut::new();
        let viewer = Viewer {
            session: self.session,
            identities: &self.identities,
            access,
        };
        let mut watches = Watching { conn, table };
        let then = answer_read(self.read, self.xid, &viewer, tree, &mut watches, &mut bytes);
        Answer {
            bytes: bytes.freeze(),
            then,
        }
    }
}

impl World {
    /// A client connects to a member; whether anybody listens there shows when it says hello.
    pub(crate) fn connect(&mut self, client: usize, member: u8) -> usize {
        let place = self.conns.len();
        let id = ConnId::new(u32::try_from(place).unwrap_or(u32::MAX));
        self.conns.push(Conn {
            id,
            client,
            member,
            life: self.peek(member).life,
            session: None,
            timeout: SessionTimeout::from_millis(0),
            identities: Identities::none(),
            outside: None,
            pipeline: Pipeline::new(&LIMITS),
            held: VecDeque::new(),
            answers: None,
            group_is_due: false,
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            server_open: true,
            client_open: true,
        });
        place
    }

    fn conn(&mut self, place: usize) -> &mut Conn {
        self.conns
            .get_mut(place)
            .expect("places of connections are those of connections that were made")
    }

    /// A connection of this member that is open on the server's side.
    pub(crate) fn live_conn(&self, member: u8, id: ConnId) -> Option<usize> {
        let place = id.get() as usize;
        let conn = self.conns.get(place)?;
        (conn.member == member && conn.server_open).then_some(place)
    }

    pub(crate) fn send_to_server(&mut self, place: usize, piece: ToServer) {
        let when = self.schedule.now() + self.latency();
        if let Some(when) = self.conn(place).to_server.send(when, piece) {
            self.schedule.at(when, Happening::ToServer(place));
        }
    }

    fn send_to_client(&mut self, place: usize, piece: ToClient) {
        let when = self.schedule.now() + self.latency();
        if let Some(when) = self.conn(place).to_client.send(when, piece) {
            self.schedule.at(when, Happening::ToClient(place));
        }
    }

    pub(crate) fn to_server_arrives(&mut self, place: usize) -> Verdict {
        if let Some(until) = self.held_up(place, Heading::In) {
            self.schedule.at(until, Happening::ToServer(place));
            return Ok(());
        }
        let conn = self.conn(place);
        let Some((piece, next)) = conn.to_server.arrive() else {
            return Ok(());
        };
        let (member, life, is_open) = (conn.member, conn.life, conn.server_open);
        if let Some(next) = next {
            self.schedule.at(next, Happening::ToServer(place));
        }
        if !is_open {
            return Ok(());
        }
        if !self.peek(member).is_up() || self.peek(member).life != life {
            self.close_conn(place);
            return Ok(());
        }
        match piece {
            ToServer::Hello {
                session,
                timeout,
                last,
            } => self.hello(place, session, timeout, last),
            ToServer::Request(payload) => self.request(place, &payload),
            ToServer::Close => {
                self.close_conn(place);
                Ok(())
            }
        }
    }

    fn hello(
        &mut self,
        place: usize,
        session: Option<SessionId>,
        timeout: SessionTimeout,
        last: Zxid,
    ) -> Verdict {
        let conn = self.conn(place);
        conn.timeout = timeout;
        let (member, id) = (conn.member, conn.id);
        let server = self.peek(member);
        if server.mode != ServingMode::Full {
            self.coverage.note("client refused: nobody serves");
            self.close_conn(place);
            return Ok(());
        }
        if last > server.tree.applied() {
            self.coverage.note("client refused: it has seen more");
            self.close_conn(place);
            return Ok(());
        }
        if let Some(session) = session {
            self.take_over(session, member);
        }
        let event = match session {
            None => Event::SessionRequested { conn: id, timeout },
            Some(session) => Event::SessionClaimed {
                conn: id,
                session,
                timeout,
            },
        };
        self.tell(member, event)
    }

    /// The transaction that gives a connection its session is applied.
    pub(crate) fn session_opened(&mut self, id: ConnId, session: SessionId) {
        self.coverage.note("session opened");
        self.welcome(id, session);
    }

    /// The leader said whether a connection may have the session that it claimed.
    pub(crate) fn session_answered(&mut self, id: ConnId, session: SessionId, is_alive: bool) {
        if is_alive {
            self.coverage.note("session resumed");
            self.welcome(id, session);
            return;
        }
        self.coverage.note("session found over");
        let place = id.get() as usize;
        if self.conns.get(place).is_some_and(|conn| conn.server_open) {
            self.send_to_client(place, ToClient::Expired);
            self.close_conn(place);
        }
    }

    fn welcome(&mut self, id: ConnId, session: SessionId) {
        let place = id.get() as usize;
        let Some(conn) = self.conns.get_mut(place).filter(|conn| conn.server_open) else {
            return;
        };
        conn.session = Some(session);
        self.send_to_client(place, ToClient::Welcome(session));
    }

    /// A session ran out: its connections are closed without a word.
    pub(crate) fn session_expired(&mut self, member: u8, session: SessionId) {
        self.coverage.note("session expired, seen by a member");
        for place in 0..self.conns.len() {
            let conn = self.conn(place);
            if conn.member == member && conn.server_open && conn.session == Some(session) {
                self.close_conn(place);
            }
        }
    }

    fn request(&mut self, place: usize, payload: &Bytes) -> Verdict {
        let now = self.schedule.now();
        let conn = self.conn(place);
        let (Some(session), timeout, member) = (conn.session, conn.timeout, conn.member) else {
            self.close_conn(place);
            return Ok(());
        };
        let at = self.peek(member).clock.read(now).time;
        self.tell(
            member,
            Event::SessionHeard {
                session,
                timeout,
                at,
            },
        )?;
        let Ok(incoming) = Incoming::decode(payload) else {
            self.close_conn(place);
            return Ok(());
        };
        self.conn(place).held.push_back(incoming);
        self.admit(place)
    }

    /// Takes in what can be taken in.
    fn admit(&mut self, place: usize) -> Verdict {
        loop {
            let conn = self.conn(place);
            if !conn.server_open {
                return Ok(());
            }
            let (Some(incoming), Some(session)) = (conn.held.pop_front(), conn.session) else {
                return Ok(());
            };
            let (xid, reply_xid) = (incoming.xid, incoming.reply_xid());
            match incoming.class {
                Class::Read(read) => {
                    let job = ReadJob {
                        xid: reply_xid,
                        read,
                        session,
                        identities: conn.identities.clone(),
                    };
                    if conn.pipeline.admit_read(job, 1).is_err() {
                        self.close_conn(place);
                        return Ok(());
                    }
                    self.schedule_group(place);
                }
                Class::Write(write) => match conn.pipeline.admit_write(1) {
                    Ok(ticket) => {
                        let origin = Origin {
                            conn: conn.id,
                            ticket,
                            xid,
                        };
                        let member = conn.member;
                        let identities = conn.identities.clone();
                        self.submit(member, session, origin, identities, write)?;
                    }
                    Err(Refused::GroupFirst) => {
                        let class = Class::Write(write);
                        conn.held.push_front(Incoming { xid, class });
                        return Ok(());
                    }
                    Err(Refused::Full | Refused::Closed) => {
                        self.close_conn(place);
                        return Ok(());
                    }
                },
                Class::Auth(packet) => {
                    let peer = Ipv4Addr::LOCALHOST.into();
                    let schemes = &self.access.schemes;
                    let conn = self.conns.get_mut(place);
                    let conn = conn.expect("it was there a moment ago");
                    let outcome = schemes.authenticate(&packet, peer, &conn.identities);
                    if let Ok(more) = &outcome {
                        conn.identities = more.clone();
                    }
                    conn.pipeline.answer_now(auth_answer(reply_xid, &outcome));
                    self.drain(place);
                }
                Class::Sasl(_) => {}
            }
        }
    }

    fn submit(
        &mut self,
        member: u8,
        session: SessionId,
        origin: Origin,
        identities: Identities,
        write: Box<Write>,
    ) -> Verdict {
        let submission = Submission {
            origin,
            session,
            identities,
            write,
        };
        self.tell(member, Event::Submitted(Box::new(submission)))
    }

    fn schedule_group(&mut self, place: usize) {
        let delay = self.net_rng.between((1, 200));
        let conn = self.conn(place);
        if !conn.group_is_due && conn.answers.is_none() {
            conn.group_is_due = true;
            self.schedule.after(delay, Happening::Group(place));
        }
    }

    /// Executes the reads of a connection against the tree as it is now.
    pub(crate) fn run_group(&mut self, place: usize) -> Verdict {
        let Self {
            members,
            conns,
            access,
            ..
        } = self;
        let Some(conn) = conns.get_mut(place) else {
            return Ok(());
        };
        conn.group_is_due = false;
        let Some(member) = members.get_mut(usize::from(conn.member)) else {
            return Ok(());
        };
        if !conn.server_open {
            return Ok(());
        }
        let Some(group) = conn.pipeline.start_group() else {
            return Ok(());
        };
        let mut bytes = BytesMut::new();
        let mut then = Then::Continue;
        for job in group {
            let answer = job.run(conn.id, access, &member.tree, &mut member.watches);
            bytes.extend_from_slice(&answer.bytes);
            if answer.then == Then::Close {
                then = Then::Close;
                break;
            }
        }
        conn.answers = Some((member.tree.applied(), bytes, then));
        let delay = self.net_rng.between((1, 200));
        self.schedule.after(delay, Happening::Answer(place));
        Ok(())
    }

    /// Tells what the reads of a connection gave.
    pub(crate) fn finish_group(&mut self, place: usize) -> Verdict {
        let conn = self.conn(place);
        let member = conn.member;
        let Some((zxid, bytes, then)) = conn.answers.take() else {
            return Ok(());
        };
        if !conn.server_open {
            return Ok(());
        }
        let finished = conn.pipeline.finish_group(zxid, [bytes.freeze()], then);
        finished.map_err(|broken| broke(member, &broken))?;
        self.drain(place);
        self.admit(place)?;
        if self.conn(place).pipeline.waiting() > 0 {
            self.schedule_group(place);
        }
        Ok(())
    }

    /// A watch of a connection fires.
    pub(crate) fn push_event(&mut self, id: ConnId, zxid: Zxid, frame: Bytes) -> Verdict {
        let place = id.get() as usize;
        let Some(conn) = self.conns.get_mut(place).filter(|conn| conn.server_open) else {
            return Ok(());
        };
        let member = conn.member;
        let pushed = conn.pipeline.push_event(zxid, frame);
        pushed.map_err(|broken| broke(member, &broken))?;
        self.drain(place);
        Ok(())
    }

    /// Sends what is to be sent.
    pub(crate) fn drain(&mut self, place: usize) {
        let conn = self.conn(place);
        let mut pieces = Vec::new();
        let drained = conn.pipeline.drain(1 << 16, &mut pieces);
        for piece in pieces {
            self.send_to_client(place, ToClient::Frames(piece));
        }
        match drained {
            Drained::More => self.drain(place),
            Drained::Close => self.close_conn(place),
            Drained::Empty | Drained::GroupRunning => {}
        }
    }

    /// The server closes a connection, behind what it sent.
    pub(crate) fn close_conn(&mut self, place: usize) {
        let conn = self.conn(place);
        if !std::mem::replace(&mut conn.server_open, false) {
            return;
        }
        conn.pipeline.abort();
        conn.held.clear();
        conn.answers = None;
        let (member, id) = (conn.member, conn.id);
        self.member(member).watches.drop_connection(id);
        self.send_to_client(place, ToClient::Close);
    }

    /// A server closes all its connections.
    pub(crate) fn close_conns_of(&mut self, member: u8) {
        for place in 0..self.conns.len() {
            if self.conn(place).member == member {
                self.close_conn(place);
            }
        }
    }

    pub(crate) fn to_client_arrives(&mut self, place: usize) -> Verdict {
        if let Some(until) = self.held_up(place, Heading::Out) {
            self.schedule.at(until, Happening::ToClient(place));
            return Ok(());
        }
        let conn = self.conn(place);
        let Some((piece, next)) = conn.to_client.arrive() else {
            return Ok(());
        };
        let (client, is_open) = (conn.client, conn.client_open);
        if let Some(next) = next {
            self.schedule.at(next, Happening::ToClient(place));
        }
        if !is_open {
            return Ok(());
        }
        if client == OUTSIDE {
            self.arrives_outside(place, piece);
            return Ok(());
        }
        match piece {
            ToClient::Welcome(session) => self.welcomed(client, session),
            ToClient::Expired => {
                self.found_expired(client);
                Ok(())
            }
            ToClient::Frames(bytes) => self.told(client, bytes),
            ToClient::Close => {
                self.conn(place).client_open = false;
                self.lost_conn(client);
                Ok(())
            }
        }
    }

    /// A client closes its connection.
    pub(crate) fn leave(&mut self, place: usize) {
        let conn = self.conn(place);
        if std::mem::replace(&mut conn.client_open, false) {
            self.send_to_server(place, ToServer::Close);
        }
    }
}
