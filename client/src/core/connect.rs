//! Finding a server, the handshake, losing the server, the end of a session, the end of the client.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::{ConnectRequest, ConnectResponse, PASSWORD_LEN};
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::{SessionId, Xid, frame};

use super::exchange;
use super::link::{Link, Stage};
use super::request::{Purpose, Queued};
use super::{
    Action, AttemptError, AttemptErrorKind, Cause, CloseReason, Core, Delivery, Failure, Granted,
    Phase, Secret, ServiceRecord, Session, Time, Transition, Urgent, Waiter,
};
use crate::connect_string::Server;

/// First and longest pause between looks for a writable server while on a read-only one.
const PROBE_MIN: Duration = Duration::from_secs(1);
const PROBE_MAX: Duration = Duration::from_mins(1);
/// Shortest time in which a server must connect, and then answer the handshake: before the first
/// session, and later, when the session is running out.
const ATTEMPT_MIN_FIRST: Duration = Duration::from_secs(1);
const ATTEMPT_MIN: Duration = Duration::from_millis(200);
/// Connections in a row that may end soon after they began before there is a pause in front of the
/// next, and before each doubling of that pause.
const BRIEF_FREE: u32 = 3;
/// Connections in a row that a server may end soon after it took up a session which others have the
/// means to go on with. Then it is certain enough that somebody does.
///
/// Servers never say that a session goes on elsewhere, they end its connection, in order and between
/// two frames. Networks and proxies that fail reset connections, break frames off, or fall silent.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ZooKeeperServer#processConnectRequest` (the former connection at the same
/// server), `FinalRequestProcessor#processRequest` on `SessionMovedException` (at another).
const FIGHTS_MAX: u32 = 12;

impl<W: Waiter, S: Clone> Core<W, S> {
    /// Time has passed.
    pub(super) fn tick(&mut self, now: Time, out: &mut Vec<Action<W, S>>) {
        if self.closing.is_some_and(|deadline| deadline <= now) {
            self.shut(CloseReason::Requested, out);
            return;
        }
        if self.requests_due <= now {
            self.time_out_requests(now, out);
        }
        let timeout = |message| AttemptError::new(AttemptErrorKind::Timeout, message);
        match &self.phase {
            Phase::Waiting { until } if *until <= now => self.dial(out),
            Phase::Handshaking { deadline, .. } if *deadline <= now => {
                self.lost(
                    now,
                    timeout("the server did not answer the handshake in time"),
                    out,
                );
            }
            Phase::Linked(link) if link.dead_at() <= now => {
                self.lost(
                    now,
                    timeout("the server has not answered for too long"),
                    out,
                );
            }
            Phase::Waiting { .. }
            | Phase::Dialing { .. }
            | Phase::Handshaking { .. }
            | Phase::Linked(_)
            | Phase::Closed(_) => {}
        }
        if let Some((at, pause)) = self.probe
            && at <= now
        {
            self.probe = Some((now + pause, (pause * 2).min(PROBE_MAX)));
            out.push(Action::Probe {
                server: self.hosts.take_next(),
            });
        }
    }

    fn dial(&mut self, out: &mut Vec<Action<W, S>>) {
        let server = self.hosts.attempt();
        self.dial_to(server, out);
    }

    /// These are the servers behind the name that was to be dialed.
    pub(super) fn found(
        &mut self,
        now: Time,
        records: &[ServiceRecord],
        out: &mut Vec<Action<W, S>>,
    ) {
        let Phase::Dialing { server: service } = &self.phase else {
            return;
        };
        if !service.is_service() {
            return;
        }
        if let Some(server) = self.hosts.found(records) {
            self.dial_to(server, out);
        } else {
            let message = format!("no server is behind {:?}", service.service_name());
            self.lost(now, AttemptError::new(AttemptErrorKind::Dns, message), out);
        }
    }

    fn dial_to(&mut self, server: Server, out: &mut Vec<Action<W, S>>) {
        let within = self.attempt_budget();
        self.phase = Phase::Dialing {
            server: server.clone(),
        };
        out.push(Action::Dial { server, within });
    }

    /// Timeout of the session that there is, or that is asked for.
    fn session_timeout(&self) -> Duration {
        match &self.session {
            Some(session) => session.granted.timeout,
            None => self.config.session_timeout,
        }
    }

    /// How long one address may take to connect, and then again to answer the handshake.
    fn attempt_budget(&self) -> Duration {
        let servers = u32::try_from(self.hosts.len()).unwrap_or(u32::MAX);
        match &self.session {
            None => (self.config.session_timeout / servers).max(ATTEMPT_MIN_FIRST),
            Some(session) => (session.granted.timeout / 3 / servers).max(ATTEMPT_MIN),
        }
    }

    /// The connection is there: the handshake goes out with the next transmission.
    pub(super) fn dialed(&mut self, now: Time) {
        let deadline = now + self.attempt_budget();
        if let Phase::Dialing { server } = &self.phase {
            let server = server.clone();
            self.phase = Phase::Handshaking {
                server,
                deadline,
                sent: None,
            };
        }
    }

    pub(super) fn transmit_handshake(&mut self, now: Time, wire: &mut BytesMut) {
        if let Phase::Handshaking { sent, .. } = &mut self.phase
            && sent.is_none()
        {
            *sent = Some(now);
            frame::write(wire, &[&self.connect_request()]);
        }
    }

    fn connect_request(&self) -> ConnectRequest {
        let resumed = self.session.as_ref().filter(|session| session.is_resumable);
        let none = || Bytes::from_static(&[0; PASSWORD_LEN]);
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.last_zxid(),
            timeout_ms: i32::try_from(self.config.session_timeout.as_millis()).unwrap_or(i32::MAX),
            session_id: resumed.map_or(SessionId::NONE, |session| session.granted.id),
            password: Some(
                resumed.map_or_else(none, |session| session.granted.password.reveal().clone()),
            ),
            read_only: Some(self.config.allow_read_only),
        }
    }

    /// The answer to the handshake came.
    pub(super) fn handshake(
        &mut self,
        now: Time,
        payload: &Bytes,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        let Phase::Handshaking { server, sent, .. } = &self.phase else {
            return Ok(());
        };
        let (server, sent) = (server.clone(), sent.unwrap_or(now));
        let refused = |message: String| Err(AttemptError::new(AttemptErrorKind::Refused, message));
        // A read-only server refuses a new session with the header of a reply, which is shorter.
        if payload.len() == ReplyHeader::LEN {
            let header = ReplyHeader::decode(&mut Reader::shared(payload));
            let code = header.ok().and_then(|header| header.error());
            let code = code.map_or_else(String::new, |code| format!(" with {code}"));
            return refused(format!("the server refused the session{code}"));
        }
        let response = ConnectResponse::decode(&mut Reader::shared(payload)).map_err(|err| {
            let message = format!("the answer to the handshake does not decode: {err}");
            AttemptError::new(AttemptErrorKind::Protocol, message)
        })?;
        let read_only = response.read_only.unwrap_or(false);
        let resumed = self.session.as_ref().filter(|session| session.is_resumable);
        if !response.is_granted() {
            if resumed.is_none() || mutated!(RefusalIgnored) {
                return refused("the server refused to begin a session".to_owned());
            }
            out.push(Action::HangUp);
            self.hosts.prefer(&server);
            self.phase = Phase::Waiting { until: now };
            self.session_ended(out);
            return Ok(());
        }
        if read_only && !self.config.allow_read_only {
            return refused("the server is read-only".to_owned());
        }
        if read_only && !self.hosts.is_last_resort() {
            let message = "the server is read-only, and there are others to be tried first";
            return refused(message.to_owned());
        }
        let is_resumed = resumed.is_some();
        if resumed.is_some_and(|session| session.granted.id != response.session_id) {
            let message = "the server granted another session than was asked for";
            return Err(AttemptError::new(AttemptErrorKind::Protocol, message));
        }
        let timeout_ms = u64::try_from(response.timeout_ms).unwrap_or_default();
        let granted = Granted {
            id: response.session_id,
            password: Secret::new(Bytes::copy_from_slice(
                &response.password.unwrap_or_default(),
            )),
            timeout: Duration::from_millis(timeout_ms),
        };
        let jitter = self.hosts.jitter();
        let mut link = Link::new(server, read_only, granted.timeout, jitter, now);
        link.hurry(self.holds > 0);
        if mutated!(XidsBeginAnew) {
            self.xid = Xid::new(0);
        }
        self.phase = Phase::Linked(Box::new(link));
        // What a read-only server grants lives there only.
        let is_resumable = is_resumed || !read_only;
        self.session = Some(Session {
            granted,
            is_resumable,
            // Those that take part in the ensemble ask the leader.
            proven: if read_only { Time::default() } else { sent },
        });
        self.probe = read_only.then_some((now + PROBE_MIN, PROBE_MIN * 2));
        self.authenticate(out);
        Ok(())
    }

    /// The connection is ready for requests: watches first.
    pub(super) fn authenticated(&mut self, out: &mut Vec<Action<W, S>>) {
        let (Phase::Linked(link), Some(session)) = (&mut self.phase, &self.session) else {
            return;
        };
        link.stage = Stage::Ready;
        out.push(Action::Transition(Transition::Connected {
            server: link.server.clone(),
            session: session.granted.id,
            timeout: session.granted.timeout,
            read_only: link.read_only,
        }));
        // Not the last one seen: what a connection before this missed may not have been told since.
        let since = self.watched_zxid;
        if !mutated!(GapMissing) {
            self.watches.each_stream(&mut |sink| {
                out.push(Action::Deliver(sink.clone(), Delivery::Gap { since }));
            });
        }
        let chunks = if mutated!(RearmWithWrongZxid) {
            self.watches.rearm(zk_proto::Zxid::new(i64::MAX))
        } else {
            self.watches.rearm(self.watched_zxid)
        };
        self.urgent.extend(chunks.into_iter().map(Urgent::Watches));
    }

    /// An attempt failed, or the connection is gone.
    pub(super) fn lost(&mut self, now: Time, error: AttemptError, out: &mut Vec<Action<W, S>>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Waiting { until: now });
        match phase {
            Phase::Closed(reason) => self.phase = Phase::Closed(reason),
            Phase::Waiting { until } => self.phase = Phase::Waiting { until },
            Phase::Dialing { server } | Phase::Handshaking { server, .. } => {
                out.push(Action::HangUp);
                self.fights = 0;
                self.phase = Phase::Waiting {
                    until: self.hosts.failed(now, self.session_timeout()),
                };
                let passed = self.hosts.passed();
                out.push(Action::Transition(Transition::AttemptFailed {
                    server,
                    error,
                    passed,
                }));
                if self.closing.is_some() && self.session.is_none() {
                    self.shut(CloseReason::Requested, out);
                }
            }
            Phase::Linked(link) => {
                out.push(Action::HangUp);
                let was_moved = error.kind == AttemptErrorKind::Moved;
                let until = if !link.is_proven && !was_moved {
                    // A server that grants sessions and then leaves is no better than one that is
                    // not there.
                    self.hosts.failed(now, self.session_timeout())
                } else {
                    now
                };
                let was_of_use = link.stage != Stage::Authenticating;
                let was_brief = was_of_use && !was_moved && now - link.since < link.brief_max();
                self.brief = if was_brief { self.brief + 1 } else { 0 };
                let timeout = self.session_timeout();
                let pause = self.hosts.pause(self.brief / BRIEF_FREE, timeout);
                let until = until.max(now + pause.min(link.brief_max() / 2));
                self.phase = Phase::Waiting { until };
                // Whoever else goes on with the session makes its server end this connection. One that
                // broke says nothing about others, for or against.
                if !was_brief || !self.is_shared {
                    self.fights = 0;
                } else if error.kind == AttemptErrorKind::Ended {
                    self.fights += 1;
                }
                self.unlink(now, *link, error, out);
                if self.fights >= FIGHTS_MAX {
                    self.shut(CloseReason::SessionHijacked, out);
                }
            }
        }
    }

    fn unlink(
        &mut self,
        now: Time,
        link: Link<W, S>,
        error: AttemptError,
        out: &mut Vec<Action<W, S>>,
    ) {
        self.probe = None;
        self.urgent.clear();
        self.rearming = 0;
        self.exposed = 0;
        self.postponed.clear();
        self.wiping.clear();
        self.watches.disconnected();
        let too_long = (error.kind == AttemptErrorKind::TooLong).then(|| error.message.clone());
        let is_resumable = self
            .session
            .as_ref()
            .is_some_and(|session| session.is_resumable);
        if link.stage == Stage::Authenticating {
            // Nobody was told that there was a connection, and one that was not wanted did not fail.
            if error.kind != AttemptErrorKind::Moved {
                out.push(Action::Transition(Transition::AttemptFailed {
                    server: link.server.clone(),
                    error,
                    passed: self.hosts.passed(),
                }));
            }
        } else if let Some(session) = &self.session {
            out.push(Action::Transition(Transition::Suspended {
                session: session.granted.id,
                since: now,
                // On a server that is cut off from the leader nobody knows.
                safe_until: if session.proven == Time::default() {
                    now
                } else {
                    session.proven + session.granted.timeout
                },
                cause: error,
            }));
        }
        // What was in flight comes before what was queued; what the client wanted for its own
        // bookkeeping on that connection is pointless on another.
        let queued = self.queue.take();
        // A reply that is too long is that to the oldest: all others are short. It would be as long
        // once more.
        let mut too_long = too_long;
        for in_flight in link.into_in_flight() {
            let queued = in_flight.queued;
            if let Some(message) = too_long.take() {
                self.fail(queued, Cause::ReplyTooLong(message), true, out);
                continue;
            }
            let resend = queued.request.resend || mutated!(WritesSentAgain);
            // Whether the session was closed, only a server can say: one that refuses it, or that
            // answers.
            let is_closing = queued.purpose == Purpose::CloseSession;
            // Nobody ever waited for what was let go of; whoever waited too long was told.
            let is_wanted = queued.request.waiter.is_some()
                || queued.purpose == Purpose::User && queued.deadline > now;
            if is_closing || resend && is_wanted {
                self.requests_due = self.requests_due.min(queued.deadline);
                self.queue.push_back(queued);
            } else {
                let unknown = !mutated!(InFlightFailsAsNotSent);
                self.fail(queued, Cause::Disconnected, unknown, out);
            }
        }
        let kept =
            |queued: &Queued<W, S>| matches!(queued.purpose, Purpose::User | Purpose::CloseSession);
        for queued in queued.into_iter().filter(kept) {
            self.queue.push_back(queued);
        }
        if mutated!(RequeueReversed) {
            let requeued = self.queue.take();
            requeued
                .into_iter()
                .rev()
                .for_each(|queued| self.queue.push_back(queued));
        }
        if self.is_closed() {
            self.fail_all(out);
        } else if !is_resumable {
            self.session_ended(out);
        }
    }

    /// The session is over: a server said so, or it lived on a read-only server that is gone.
    fn session_ended(&mut self, out: &mut Vec<Action<W, S>>) {
        let Some(session) = self.session.take() else {
            return;
        };
        let ended = self.epoch;
        self.epoch += 1;
        let id = session.granted.id;
        out.push(Action::Transition(Transition::Expired { session: id }));
        if !mutated!(WatchesOutliveSession) {
            self.watches.session_ended(ended, &mut |sink| {
                out.push(Action::Deliver(sink, Delivery::SessionEnded(id)));
            });
        }
        for queued in self.queue.take() {
            let is_bound = queued.request.epoch.is_some_and(|epoch| epoch == ended)
                && !mutated!(EpochUnchecked);
            if is_bound || queued.was_sent {
                let unknown = queued.was_sent;
                self.fail_in(id, queued, Cause::SessionExpired, unknown, out);
            } else {
                self.queue.push_back(queued);
            }
        }
        if self.closing.is_some() {
            self.shut(CloseReason::Requested, out);
        } else if !self.config.renew && session.is_resumable {
            self.shut(CloseReason::SessionExpired, out);
        }
    }

    /// The user wants to close.
    pub(super) fn close(&mut self, now: Time, within: Duration, out: &mut Vec<Action<W, S>>) {
        if self.is_closed() {
            return;
        }
        let deadline = now + within;
        // Once the handshake was sent the server may begin a session, which is to be closed too.
        let may_begin = matches!(&self.phase, Phase::Handshaking { sent: Some(_), .. });
        if let Some(earlier) = self.closing {
            self.closing = Some(earlier.min(deadline));
        } else if self.session.is_none() && !may_begin {
            self.shut(CloseReason::Requested, out);
        } else {
            self.closing = Some(deadline);
            out.push(Action::Transition(Transition::Closing));
            if mutated!(SessionNotClosed) {
                self.shut(CloseReason::Requested, out);
                return;
            }
            let request = zk_proto::request::Request::CloseSession;
            self.submit_internal(&request, Purpose::CloseSession);
        }
    }

    /// Ends the client: whatever is open fails.
    pub(super) fn shut(&mut self, reason: CloseReason, out: &mut Vec<Action<W, S>>) {
        if self.is_closed() {
            return;
        }
        let phase = std::mem::replace(&mut self.phase, Phase::Closed(reason));
        out.push(Action::HangUp);
        self.probe = None;
        self.urgent.clear();
        if let Phase::Linked(link) = phase {
            for in_flight in link.into_in_flight() {
                self.fail(in_flight.queued, Cause::Closed(reason), true, out);
            }
        }
        self.fail_all(out);
        self.watches.close(&mut |sink| {
            out.push(Action::Deliver(sink, Delivery::Closed(reason)));
        });
        let session = self.session_id();
        for credential in &mut self.credentials {
            if let Some(waiter) = credential.waiter.take() {
                let cause = Cause::Closed(reason);
                let failure = Failure {
                    cause,
                    unknown: credential.was_sent,
                    session,
                    frame: None,
                };
                out.push(Action::Complete(waiter, Err(failure), exchange::AUTH));
            }
        }
        self.requests_due = Time::NEVER;
        self.closing = None;
        out.push(Action::Transition(Transition::Closed { reason }));
    }

    /// Fails everything queued: the client is closed.
    fn fail_all(&mut self, out: &mut Vec<Action<W, S>>) {
        let Phase::Closed(reason) = self.phase else {
            return;
        };
        for queued in self.queue.take() {
            let unknown = queued.was_sent;
            self.fail(queued, Cause::Closed(reason), unknown, out);
        }
    }

    /// Something that must not outlive the session came or went.
    pub(super) fn hold(&mut self, change: i32) {
        self.holds = self.holds.saturating_add(change);
        if let Phase::Linked(link) = &mut self.phase {
            link.hurry(self.holds > 0);
        }
    }

    /// The user has a new list of servers.
    pub(super) fn set_servers(
        &mut self,
        now: Time,
        servers: Vec<Server>,
        out: &mut Vec<Action<W, S>>,
    ) {
        if servers.is_empty() {
            return;
        }
        let (current, is_vain) = match &self.phase {
            Phase::Linked(link) => (Some(&link.server), false),
            Phase::Dialing { server } | Phase::Handshaking { server, .. } => {
                (None, !self.hosts.is_wanted(server, &servers))
            }
            Phase::Waiting { .. } | Phase::Closed(_) => (None, false),
        };
        if self.hosts.replace(servers, current) {
            self.leave(now, out);
        }
        if is_vain {
            // Nobody wants to hear what comes of it: of a look-up neither, which would bring the former
            // servers back.
            out.push(Action::HangUp);
            self.phase = Phase::Waiting { until: now };
            if self.closing.is_some() && self.session.is_none() {
                self.shut(CloseReason::Requested, out);
            }
        }
    }

    /// The look for a writable server is over.
    pub(super) fn probed(
        &mut self,
        now: Time,
        server: &Server,
        writable: bool,
        out: &mut Vec<Action<W, S>>,
    ) {
        if writable && self.probe.is_some() {
            self.hosts.prefer(server);
            self.leave(now, out);
        }
    }

    /// Leaves the server as soon as nothing is in flight.
    fn leave(&mut self, now: Time, out: &mut Vec<Action<W, S>>) {
        let Phase::Linked(link) = &mut self.phase else {
            return;
        };
        if link.stage == Stage::Authenticating {
            self.lost(now, moved(), out);
        } else {
            link.stage = Stage::Leaving;
            self.leave_if_idle(now, out);
        }
    }

    pub(super) fn leave_if_idle(&mut self, now: Time, out: &mut Vec<Action<W, S>>) {
        if let Phase::Linked(link) = &self.phase
            && link.stage == Stage::Leaving
            && link.in_flight().requests == 0
        {
            self.lost(now, moved(), out);
        }
    }
}

fn moved() -> AttemptError {
    AttemptError::new(AttemptErrorKind::Moved, "the client moves on")
}
