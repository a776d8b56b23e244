//! Requests and replies, watches and their events.

use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::{
    AddWatchMode, AddWatchRequest, AuthPacket, RemoveWatchesRequest, Request as Record,
    SyncRequest, WatcherType,
};
use zk_proto::{ErrorCode, OpCode, SessionId, WatcherEvent, Xid, Zxid};

use super::link::{InFlight, Stage};
use super::request::{Purpose, Queued};
use super::watches::{Group, Removal};
use super::{
    Action, AttemptError, AttemptErrorKind, Cause, CloseReason, Core, Credential, Delivery,
    Failure, Frame, Phase, Reply, Request, Secret, Time, Transition, Trip, Urgent, Waiter,
    WatchKind,
};

/// Bytes that one transmission puts on the wire before it lets the driver write them.
const TRANSMIT_MAX: usize = 64 * 1024;
/// The trip of a credential.
pub(super) const AUTH: Trip = Trip {
    op: Some(OpCode::Auth),
    submitted: Time::START,
    sent: None,
};
/// Requests in the queue before it is searched for those that nobody waits for any more.
pub(super) const WITHDRAW_MIN: usize = 64;
/// Shortest time between searches because there was no room.
const WITHDRAW_PAUSE: Duration = Duration::from_millis(10);

impl<W: Waiter, S: Clone> Core<W, S> {
    /// The user wants something done.
    pub(super) fn submit(
        &mut self,
        now: Time,
        request: Request<W, S>,
        out: &mut Vec<Action<W, S>>,
    ) {
        if let Some(watch) = &request.watch {
            self.watches.submitted(watch);
        }
        let cause = match (&self.phase, request.epoch) {
            (Phase::Closed(reason), _) => Some(Cause::Closed(*reason)),
            _ if self.closing.is_some() => Some(Cause::Closed(CloseReason::Requested)),
            (_, Some(epoch)) if epoch != self.epoch => Some(Cause::SessionExpired),
            _ => None,
        };
        let queued = Queued::new(request, now, Purpose::User);
        if let Some(cause) = cause {
            self.fail(queued, cause, false, out);
        } else {
            self.requests_due = self.requests_due.min(queued.deadline);
            self.queue.push_back(queued);
            if self.queue.load().requests >= self.withdraw_at {
                self.withdraw();
            }
        }
    }

    /// Forgets requests that nobody waits for any more: while nothing can be sent, nothing else would.
    /// Looks at all of them, so only when they have doubled since the last time.
    fn withdraw(&mut self) {
        for queued in self.queue.take() {
            if !queued.request.waiter.as_ref().is_some_and(W::is_abandoned) {
                self.queue.push_back(queued);
            } else if let Some(watch) = &queued.request.watch {
                let removals = self.watches.failed(watch);
                self.remove_watches(removals);
            }
        }
        self.withdraw_at = (2 * self.queue.load().requests).max(WITHDRAW_MIN);
    }

    /// There was no room for a request. While requests go, those that nobody waits for make room as it
    /// comes to them; else they are looked for, and not at every refusal of somebody who does not wait.
    pub(super) fn crowded(&mut self, now: Time) {
        let goes = matches!(&self.phase, Phase::Linked(link) if link.stage == Stage::Ready);
        if !goes && self.withdraw_due <= now {
            self.withdraw();
            self.withdraw_due = now + WITHDRAW_PAUSE;
        }
    }

    /// Queues a request of the client's own.
    pub(super) fn submit_internal(&mut self, record: &Record, purpose: Purpose) {
        self.submit_frame(Frame::of(record.op(), record), purpose);
    }

    fn submit_frame(&mut self, frame: Frame, purpose: Purpose) {
        let request = Request {
            frame,
            epoch: None,
            timeout: Duration::MAX,
            resend: false,
            watch: None,
            waiter: None,
        };
        // Nobody measures it, and it has all the time there is.
        let submitted = Time::default();
        self.queue
            .push_back(Queued::new(request, submitted, purpose));
    }

    /// Puts on the wire what may go, in this order: the handshake; what a fresh connection begins
    /// with; a ping or a sync if one is due; the queue, as far as the limits allow, and as soon as there
    /// is enough of it for one write.
    ///
    /// Returns whether it stopped because that is enough to be written at once.
    pub(crate) fn transmit(&mut self, now: Time, wire: &mut BytesMut) -> bool {
        self.transmit_handshake(now, wire);
        let Phase::Linked(link) = &mut self.phase else {
            return false;
        };
        while let Some(urgent) = self.urgent.pop_front() {
            match urgent {
                Urgent::Sasl(token) => {
                    self.xid = self.xid.next();
                    link.send_sasl(now, self.xid, token, wire);
                }
                Urgent::Auth(index) => {
                    if let Some(credential) = self.credentials.get_mut(index) {
                        credential.was_sent = true;
                        let packet = AuthPacket {
                            auth_type: 0,
                            scheme: Some(credential.scheme.clone()),
                            auth: Some(credential.auth.reveal().clone()),
                        };
                        link.send_auth(now, index, &Record::Auth(packet), wire);
                    }
                }
                Urgent::Watches(chunk) => link.send_watches(now, chunk, wire),
            }
        }
        if link.proof_due().is_some_and(|due| due <= now) {
            self.xid = self.xid.next();
            link.send(now, self.xid, proof(), wire);
        }
        link.ping_if_due(now, wire);
        // Credentials are confirmed before anything is done with them.
        if link.stage != Stage::Ready || !link.auth_sent.is_empty() {
            return false;
        }
        // What is on its way keeps the server at work, and its next replies wake this client.
        if self.queue.load().requests < link.gathered() {
            return false;
        }
        while wire.len() < TRANSMIT_MAX {
            let Phase::Linked(link) = &mut self.phase else {
                return false;
            };
            if !link.has_room(self.config.in_flight_max, self.config.in_flight_bytes_max)
                && !mutated!(InFlightUnlimited)
            {
                return false;
            }
            let Some(mut queued) = self.queue.pop_front() else {
                return false;
            };
            if queued.request.waiter.as_ref().is_some_and(W::is_abandoned) {
                if let Some(watch) = &queued.request.watch {
                    let removals = self.watches.failed(watch);
                    self.remove_watches(removals);
                }
                continue;
            }
            if let Purpose::Rearm(path) = &queued.purpose {
                // What is being added would be undone by servers that keep one mode per path.
                if self.watches.is_adding(path) {
                    self.postponed.push(path.clone());
                    continue;
                }
                // Made now: it is to hold what is wanted now.
                let Some(frame) = self.watches.rearm_one(path, self.watched_zxid) else {
                    self.rearmed_none();
                    continue;
                };
                queued.request.frame = frame;
            }
            if let Purpose::RearmList(path) = &queued.purpose {
                let Some(frame) = self.watches.rearm_list_of(path, self.watched_zxid) else {
                    self.rearmed_none();
                    continue;
                };
                queued.request.frame = frame;
            }
            if let Some(watch) = &queued.request.watch {
                if !matches!(watch.kind, WatchKind::Added(_)) {
                    queued.is_covered = self.watches.is_covered(watch);
                    queued.request.frame.set_watch_flag(!queued.is_covered);
                }
                self.watches.sent(watch, queued.is_covered);
            }
            queued.was_resent = queued.was_sent;
            queued.was_sent = !mutated!(WasSentNotSet);
            self.xid = self.xid.next();
            link.send(now, self.xid, queued, wire);
        }
        true
    }

    /// How many replies are worth a wake-up.
    pub(crate) fn replies_worthwhile(&self) -> usize {
        let Phase::Linked(link) = &self.phase else {
            return 0;
        };
        link.gathered()
    }

    /// Tells whoever waits for a request that it failed.
    pub(super) fn fail(
        &mut self,
        queued: Queued<W, S>,
        cause: Cause,
        unknown: bool,
        out: &mut Vec<Action<W, S>>,
    ) {
        self.fail_in(self.session_id(), queued, cause, unknown, out);
    }

    /// As [`Core::fail`], of a session that may be over.
    pub(super) fn fail_in(
        &mut self,
        session: SessionId,
        queued: Queued<W, S>,
        cause: Cause,
        unknown: bool,
        out: &mut Vec<Action<W, S>>,
    ) {
        let Queued {
            request,
            purpose,
            submitted,
            ..
        } = queued;
        if let Some(watch) = &request.watch {
            let removals = self.watches.failed(watch);
            self.remove_watches(removals);
        }
        if let Some(waiter) = request.waiter {
            let trip = Trip {
                op: request.frame.op(),
                submitted,
                sent: None,
            };
            let failure = Failure {
                cause,
                unknown,
                session,
                frame: Some(request.frame),
            };
            out.push(Action::Complete(waiter, Err(failure), trip));
        } else if purpose == Purpose::CloseSession {
            self.shut(CloseReason::Requested, out);
        }
    }

    /// Id of the session, or of none.
    pub(super) fn session_id(&self) -> SessionId {
        self.session
            .as_ref()
            .map_or(SessionId::NONE, |session| session.granted.id)
    }

    /// Fails the requests whose time is over. Those in flight keep their place, so that the order of
    /// replies can still be checked.
    pub(super) fn time_out_requests(&mut self, now: Time, out: &mut Vec<Action<W, S>>) {
        let session = self.session_id();
        let mut due = Time::NEVER;
        let mut gone = Vec::new();
        if let Phase::Linked(link) = &mut self.phase {
            for in_flight in link.in_flight_mut() {
                let queued = &mut in_flight.queued;
                if queued.request.waiter.is_none() {
                    continue;
                }
                if queued.deadline > now || mutated!(TimeoutsNotCancelled) {
                    due = due.min(queued.deadline);
                } else if let Some(waiter) = queued.request.waiter.take() {
                    // The answer will find nobody who holds the watch, and undo it.
                    gone.extend(queued.request.watch.as_ref().map(|watch| watch.id));
                    let trip = Trip {
                        op: queued.request.frame.op(),
                        submitted: queued.submitted,
                        sent: None,
                    };
                    let frame = Some(std::mem::take(&mut queued.request.frame));
                    let failure = Failure {
                        cause: Cause::Timeout,
                        unknown: true,
                        session,
                        frame,
                    };
                    out.push(Action::Complete(waiter, Err(failure), trip));
                }
            }
        }
        for id in gone {
            let removals = self.watches.unsubscribe(id);
            self.remove_watches(removals);
        }
        for queued in self.queue.take() {
            if queued.deadline <= now {
                let unknown = queued.was_sent;
                self.fail(queued, Cause::Timeout, unknown, out);
            } else {
                due = due.min(queued.deadline);
                self.queue.push_back(queued);
            }
        }
        self.requests_due = due;
    }

    /// The user adds a credential.
    pub(super) fn add_auth(
        &mut self,
        scheme: ByteString,
        auth: Secret,
        waiter: Option<W>,
        out: &mut Vec<Action<W, S>>,
    ) {
        if let Phase::Closed(reason) = self.phase {
            if let Some(waiter) = waiter {
                let session = self.session_id();
                let cause = Cause::Closed(reason);
                let failure = Failure {
                    cause,
                    unknown: false,
                    session,
                    frame: None,
                };
                out.push(Action::Complete(waiter, Err(failure), AUTH));
            }
            return;
        }
        if let Phase::Linked(link) = &self.phase
            && link.sasl.is_none()
        {
            self.urgent.push_back(Urgent::Auth(self.credentials.len()));
        }
        self.credentials.push(Credential {
            scheme,
            auth,
            waiter,
            was_sent: false,
        });
    }

    /// Bytes came, whether they complete a frame or not: the server is there.
    pub(crate) fn received(&mut self, now: Time) {
        if let Phase::Linked(link) = &mut self.phase {
            link.received(now);
        }
    }

    /// Takes in the payload of a frame.
    pub(crate) fn frame(&mut self, now: Time, payload: Bytes, out: &mut Vec<Action<W, S>>) {
        let result = match &self.phase {
            Phase::Handshaking { .. } => self.handshake(now, &payload, out),
            Phase::Linked(_) => self.reply(now, payload, out),
            Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Closed(_) => Ok(()),
        };
        if let Err(error) = result {
            self.lost(now, error, out);
        }
    }

    fn reply(
        &mut self,
        now: Time,
        mut payload: Bytes,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        let broken = |message: String| AttemptError::new(AttemptErrorKind::Protocol, message);
        let header = ReplyHeader::decode(&mut Reader::new(&payload))
            .map_err(|err| broken(format!("a reply does not decode: {err}")))?;
        payload.advance(ReplyHeader::LEN);
        let Phase::Linked(link) = &mut self.phase else {
            return Ok(());
        };
        link.received(now);
        // Until both sides have proved who they are, nothing that a server says of its data counts.
        let is_authenticating = link.stage == Stage::Authenticating;
        if header.xid == Xid::NOTIFICATION {
            if is_authenticating {
                let message = "a watch event came before credentials were answered";
                return Err(broken(message.to_owned()));
            }
            return self.notification(header.zxid, &payload, out);
        }
        // Answers to credentials come from elsewhere in a server, at any time.
        if header.xid != Xid::AUTH {
            self.watches.replied();
        }
        let unasked = |what| broken(format!("{what} is answered where none was sent"));
        match header.xid {
            Xid::PING => {
                let after = now - link.pong().ok_or_else(|| unasked("a ping"))?;
                if !is_authenticating {
                    self.served();
                }
                out.push(Action::Transition(Transition::Pinged { after }));
                self.refused_without_sasl(header.error(), out);
            }
            Xid::AUTH => {
                // Else it could stand in for the proof that the server owes.
                let (index, sent) = link
                    .auth_sent
                    .pop_front()
                    .ok_or_else(|| unasked("a credential"))?;
                self.served();
                // Answered where the bytes come in: the session's timer does not hear of it.
                if mutated!(ProvenByAuth) {
                    self.prove(sent);
                }
                self.auth_answered(index, header.error(), out);
            }
            Xid::SET_WATCHES => {
                link.watches_sent
                    .pop_front()
                    .ok_or_else(|| unasked("a registration of watches"))?;
                self.served();
                if self.refused_without_sasl(header.error(), out) {
                    return Ok(());
                }
                self.rearmed(header.zxid, header.error(), out)?;
            }
            xid if link.sasl_asked().is_some_and(|(asked, _)| asked == xid) => {
                self.sasl_answered(&header, &payload, out)?;
            }
            xid => {
                let expected = link.expected();
                let in_flight = link.answered(xid).ok_or_else(|| {
                    broken(match expected {
                        Some(expected) => format!("a reply has xid {xid} where {expected} is due"),
                        None => format!("a reply has xid {xid} where none is due"),
                    })
                })?;
                self.served();
                let is_proof = in_flight.queued.request.frame.asks_leader();
                if is_proof && header.error().is_none() {
                    self.prove(if mutated!(ProvenOnReceipt) {
                        now
                    } else {
                        in_flight.sent
                    });
                }
                self.last_zxid = self.last_zxid.max(header.zxid);
                self.follow_zxid();
                self.answered(in_flight, &header, payload, out)?;
            }
        }
        if !is_authenticating {
            self.last_zxid = self.last_zxid.max(header.zxid);
            self.follow_zxid();
        }
        self.leave_if_idle(now, out);
        Ok(())
    }

    /// Moves on the zxid that watches are registered anew with, unless they are just being: what
    /// changed before they all are has not been told.
    fn follow_zxid(&mut self) {
        if let Phase::Linked(link) = &self.phase
            && link.stage != Stage::Authenticating
            && (link.watches_sent.is_empty() || mutated!(RearmMovesZxidEarly))
            && self.urgent.is_empty()
            && self.exposed == 0
        {
            self.watched_zxid = self.last_zxid;
        }
    }

    /// The server has answered something: it is of use.
    fn served(&mut self) {
        if let Phase::Linked(link) = &mut self.phase
            && !std::mem::replace(&mut link.is_proven, true)
        {
            self.hosts.succeeded();
        }
    }

    /// The leader has answered what was sent then: the session lives at least its timeout from there.
    fn prove(&mut self, sent: Time) {
        if let Some(session) = &mut self.session {
            session.proven = session.proven.max(sent);
        }
    }

    /// Ends the client if the server takes nothing from who has not logged in by SASL: the next one
    /// would not either. Returns whether it did.
    fn refused_without_sasl(
        &mut self,
        error: Option<ErrorCode>,
        out: &mut Vec<Action<W, S>>,
    ) -> bool {
        let is_refused = error == Some(ErrorCode::SessionClosedRequireSaslAuth);
        if is_refused {
            self.shut(CloseReason::AuthFailed, out);
        }
        is_refused
    }

    fn answered(
        &mut self,
        in_flight: InFlight<W, S>,
        header: &ReplyHeader,
        body: Bytes,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        let (xid, sent) = (in_flight.xid, in_flight.sent);
        let Queued {
            mut request,
            purpose,
            submitted,
            was_resent,
            is_covered,
            ..
        } = in_flight.queued;
        let error = header.error();
        let (mut is_broken, mut sink, mut unwatched_by) = (false, None, None);
        if let Some(watch) = request.watch.take() {
            let is_exist = watch.kind == WatchKind::Exists && error == Some(ErrorCode::NoNode);
            let is_left = error.is_none() || is_exist;
            let removals = if is_left {
                self.watches.registered(&watch, is_exist, !is_covered)
            } else {
                self.watches.refused(&watch, is_covered)
            };
            self.remove_watches(removals);
            if watch.kind == WatchKind::Added(AddWatchMode::Persistent) && error.is_none() {
                self.keep_recursive(&watch.path, out);
            }
            if watch.kind == WatchKind::Added(AddWatchMode::PersistentRecursive) && error.is_none()
            {
                self.keep_list(&watch.path);
            }
            // What was to tell in its place has gone meanwhile; or what is on its way to the server
            // takes it along.
            let is_exposed =
                is_covered && !self.watches.is_covered(&watch) && !mutated!(CoveredByQueued);
            let is_wiped = self.wiping.contains(&watch.path) && !mutated!(WipedNotRearmed);
            if is_left && (is_exposed || is_wiped) {
                self.keep_rest(&watch.path);
                if is_exposed {
                    self.exposed = self.rearming;
                }
            }
            // Each counts, also where there are several of one path.
            while !self.watches.is_adding(&watch.path)
                && let Some(index) = self.postponed.iter().position(|path| *path == watch.path)
            {
                let path = self.postponed.swap_remove(index);
                self.submit_frame(Frame::default(), Purpose::Rearm(path));
            }
            // Watches behind it count on what the server refuses. Reads may not have asked to leave
            // any, and what they miss would be told only after what else is on its way; or they
            // have, and servers before 3.9 have that one in the place of another.
            let is_counted_on = matches!(watch.kind, WatchKind::Added(_))
                && self.watches.is_counted_on(&watch.path);
            unwatched_by = error.filter(|_| is_counted_on && !mutated!(RefusedWatchesIgnored));
            is_broken = is_left && is_wiped && matches!(watch.kind, WatchKind::Added(_));
            sink = Some(watch.sink);
        }
        let trip = Trip {
            op: request.frame.op(),
            submitted,
            sent: Some((xid, sent)),
        };
        match (request.waiter, error) {
            (Some(waiter), None) => {
                let frame = request.frame;
                out.push(Action::Complete(waiter, Ok(Reply { body, frame }), trip));
            }
            (Some(waiter), Some(code)) => {
                let failure = Failure {
                    cause: Cause::Server(code),
                    // What is in the way may be what the first attempt did.
                    unknown: was_resent && request.frame.is_write(),
                    session: self.session_id(),
                    frame: Some(request.frame),
                };
                out.push(Action::Complete(waiter, Err(failure), trip));
            }
            (None, Some(ErrorCode::SessionClosedRequireSaslAuth)) => {}
            (None, _) => self.internal_answered(purpose, header, out)?,
        }
        // A stream that the server is about to lose for a moment.
        if let Some(sink) = sink.filter(|_| is_broken) {
            let since = header.zxid;
            out.push(Action::Deliver(sink, Delivery::Gap { since }));
        }
        self.refused_without_sasl(error, out);
        unwatched_by.map_or(Ok(()), |code| Err(unwatched(code)))
    }

    /// A request of the client's own was answered.
    ///
    /// # Errors
    /// The server did not do it, because it is overloaded for one: it does not have the watches that
    /// it should have by now, and a fresh connection is the way to be sure that it has.
    fn internal_answered(
        &mut self,
        purpose: Purpose,
        header: &ReplyHeader,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        if let Some(code) = header.error()
            && !is_harmless(&purpose, code)
            && !mutated!(RefusedWatchesIgnored)
        {
            return Err(unwatched(code));
        }
        match purpose {
            Purpose::CloseSession => self.shut(CloseReason::Requested, out),
            // Servers before 3.9 do not know the removal of added watches by kind.
            Purpose::RemoveWatch(path) if header.error() == Some(ErrorCode::MarshallingError) => {
                self.remove_any(&path, out);
            }
            Purpose::RemoveAny(path) => {
                self.watches.left(&path);
                self.exposed = self.rearming;
                if let Some(index) = self.wiping.iter().position(|wiped| *wiped == path) {
                    self.wiping.swap_remove(index);
                }
            }
            Purpose::KeepRecursive(path) if header.error().is_none() => {
                self.keep_list(&path);
                // Else it is told when the path has been registered anew.
                if !self.wiping.contains(&path) {
                    self.tell_armed(&path, &[Group::Recursive], header.zxid, out);
                }
            }
            Purpose::Rearm(path) => {
                self.rearmed_one(&path);
                self.keep_list(&path);
                if header.error().is_none() && !self.wiping.contains(&path) {
                    self.tell_armed(&path, &Group::ADDED, header.zxid, out);
                }
            }
            Purpose::RearmList(path) => self.rearmed_one(&path),
            Purpose::RemoveWatch(path) => self.watches.left(&path),
            Purpose::Tidy => {
                // The server closes the connection too: the next removal would cost the next one.
                self.knows_removal &= header.error() != Some(ErrorCode::Unimplemented);
            }
            Purpose::User | Purpose::Prove | Purpose::KeepRecursive(_) => {}
        }
        Ok(())
    }

    fn auth_answered(
        &mut self,
        index: usize,
        error: Option<ErrorCode>,
        out: &mut Vec<Action<W, S>>,
    ) {
        let session = self.session_id();
        let credential = self.credentials.get_mut(index);
        if let Some(waiter) = credential.and_then(|credential| credential.waiter.take()) {
            let result = match error {
                None => Ok(Reply {
                    body: Bytes::new(),
                    frame: Frame::default(),
                }),
                Some(code) => {
                    let cause = Cause::Server(code);
                    Err(Failure {
                        cause,
                        unknown: false,
                        session,
                        frame: None,
                    })
                }
            };
            out.push(Action::Complete(waiter, result, AUTH));
        }
        if error.is_some() {
            self.shut(CloseReason::AuthFailed, out);
            return;
        }
        if let Phase::Linked(link) = &self.phase
            && link.stage == Stage::Authenticating
            && link.auth_sent.is_empty()
        {
            self.authenticated(out);
        }
    }

    // --- watches --------------------------------------------------------------------------------

    fn notification(
        &mut self,
        zxid: Zxid,
        body: &Bytes,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        let event = WatcherEvent::decode(&mut Reader::shared(body)).map_err(|err| {
            let message = format!("a watch event does not decode: {err}");
            AttemptError::new(AttemptErrorKind::Protocol, message)
        })?;
        let (Some(kind), Some(path)) = (event.event_type(), event.path) else {
            let ignored = Transition::Ignored {
                what: "watch event",
                code: event.event_type,
            };
            out.push(Action::Transition(ignored));
            return Ok(());
        };
        // Not for the next registration of watches: others of the same transaction may be on their way.
        self.event_zxid = self.event_zxid.max(zxid);
        // Copied: a held event must not hold the buffer that it came in.
        let path = ByteString::from(path.to_string());
        let zxid = (zxid > Zxid::ZERO).then_some(zxid);
        if mutated!(EventLost) {
            return Ok(());
        }
        self.watches.event(kind, &path, &mut |sink, kind, at| {
            let is_same = path == at;
            let path = if is_same {
                path.clone()
            } else {
                ByteString::from(at)
            };
            let event = Delivery::Event { kind, path, zxid };
            out.push(Action::Deliver(sink.clone(), event));
        });
        Ok(())
    }

    /// A registration of watches was answered; when it is the last, streams miss nothing any more.
    ///
    /// # Errors
    /// The server did not register them, because it is overloaded for one: they would be lost in
    /// silence.
    fn rearmed(
        &mut self,
        zxid: Zxid,
        error: Option<ErrorCode>,
        out: &mut Vec<Action<W, S>>,
    ) -> Result<(), AttemptError> {
        if let Some(code) = error.filter(|_| !mutated!(RefusedWatchesIgnored)) {
            return Err(unwatched(code));
        }
        if let Phase::Linked(link) = &self.phase
            && link.watches_sent.is_empty()
            && !mutated!(ArmedMissing)
        {
            self.watches.each_stream(&mut |sink| {
                out.push(Action::Deliver(sink.clone(), Delivery::Armed { zxid }));
            });
        }
        Ok(())
    }

    /// Tells the server what watches of a path are not wanted any more.
    pub(super) fn remove_watches(&mut self, removals: Vec<Removal>) {
        if !matches!(self.phase, Phase::Linked(_)) || !self.knows_removal {
            return;
        }
        // An added watch may have told in the place of one-shot watches, which come first.
        let is_added = |removal: &&Removal| Group::ADDED.contains(&removal.group);
        if let Some(exposing) = removals.iter().find(is_added) {
            self.keep_rest(&exposing.path);
        }
        for Removal { path, group } in removals {
            let (watcher_type, purpose) = match group {
                Group::Data => (WatcherType::Data, Purpose::Tidy),
                Group::Children => (WatcherType::Children, Purpose::Tidy),
                Group::Persistent => (WatcherType::Persistent, Purpose::RemoveWatch(path.clone())),
                Group::Recursive => (
                    WatcherType::PersistentRecursive,
                    Purpose::RemoveWatch(path.clone()),
                ),
            };
            let request = RemoveWatchesRequest {
                path: Some(path),
                watcher_type: watcher_type.code(),
            };
            self.submit_internal(&Record::RemoveWatches(request), purpose);
        }
    }

    /// Removes every watch of a path, the only way to be rid of an added one on servers before 3.9,
    /// and registers anew what is still wanted there. Streams may miss something between.
    fn remove_any(&mut self, path: &ByteString, out: &mut Vec<Action<W, S>>) {
        let request = RemoveWatchesRequest {
            path: Some(path.clone()),
            watcher_type: WatcherType::Any.code(),
        };
        self.wiping.push(path.clone());
        let purpose = Purpose::RemoveAny(path.clone());
        self.submit_internal(&Record::RemoveWatches(request), purpose);
        let since = self.watched_zxid;
        self.watches.each_of(path, &Group::ADDED, &mut |sink| {
            out.push(Action::Deliver(sink.clone(), Delivery::Gap { since }));
        });
        self.keep_rest(path);
    }

    /// Registers anew what is wanted on a path by then. The server tells what changed since.
    fn keep_rest(&mut self, path: &ByteString) {
        if matches!(self.phase, Phase::Linked(_)) && !mutated!(RemovalWithoutRearm) {
            self.rearming += 1;
            self.submit_frame(Frame::default(), Purpose::Rearm(path.clone()));
        }
    }

    /// Registers the child watch of a path anew if the recursive watch that was just registered there
    /// may have replaced it.
    fn keep_list(&mut self, path: &ByteString) {
        if self.watches.is_list_replaced(path) {
            self.rearming += 1;
            self.exposed = self.rearming;
            self.submit_frame(Frame::default(), Purpose::RearmList(path.clone()));
        }
    }

    /// A request that registers anew what is wanted on a path was answered.
    fn rearmed_one(&mut self, path: &ByteString) {
        self.rearming -= 1;
        self.exposed = self.exposed.saturating_sub(1);
        let removals = self.watches.rearmed_one(path);
        self.remove_watches(removals);
    }

    /// There is nothing to register anew.
    fn rearmed_none(&mut self) {
        self.rearming -= 1;
        self.exposed = self.exposed.min(self.rearming);
    }

    fn tell_armed(&self, path: &str, groups: &[Group], zxid: Zxid, out: &mut Vec<Action<W, S>>) {
        self.watches.each_of(path, groups, &mut |sink| {
            out.push(Action::Deliver(sink.clone(), Delivery::Armed { zxid }));
        });
    }

    /// Adds a recursive watch once more, because servers before 3.9 keep one mode per path and the
    /// persistent watch that was just added has replaced it. Its holders may miss something between.
    fn keep_recursive(&mut self, path: &ByteString, out: &mut Vec<Action<W, S>>) {
        let since = self.watched_zxid;
        let mut is_held = false;
        self.watches
            .each_of(path, &[Group::Recursive], &mut |sink| {
                is_held = true;
                out.push(Action::Deliver(sink.clone(), Delivery::Gap { since }));
            });
        if is_held {
            let mode = AddWatchMode::PersistentRecursive.code();
            let request = AddWatchRequest {
                path: Some(path.clone()),
                mode,
            };
            let purpose = Purpose::KeepRecursive(path.clone());
            self.submit_internal(&Record::AddWatch(request), purpose);
        }
    }
}

/// Has the leader show that the session lives. It waits for no limit: what it proves cannot wait.
fn proof<W, S>() -> Queued<W, S> {
    let record = Record::Sync(SyncRequest {
        path: Some(ByteString::from_static("/")),
    });
    let request = Request {
        frame: Frame::of(OpCode::Sync, &record),
        epoch: None,
        timeout: Duration::MAX,
        resend: false,
        watch: None,
        waiter: None,
    };
    Queued::new(request, Time::default(), Purpose::Prove)
}

/// Whether a request of the client's own may fail so without leaving the server with other watches
/// than it should have.
fn is_harmless(purpose: &Purpose, code: ErrorCode) -> bool {
    match purpose {
        Purpose::User | Purpose::Prove | Purpose::CloseSession => true,
        // Servers before 3.9 do not know the removal of added watches by kind.
        Purpose::RemoveWatch(_) => {
            matches!(code, ErrorCode::NoWatcher | ErrorCode::MarshallingError)
        }
        Purpose::RemoveAny(_) => code == ErrorCode::NoWatcher,
        // Servers before 3.5 know no removal at all.
        Purpose::Tidy => matches!(code, ErrorCode::NoWatcher | ErrorCode::Unimplemented),
        Purpose::Rearm(_) | Purpose::RearmList(_) | Purpose::KeepRecursive(_) => false,
    }
}

/// The server does not have the watches that it should.
fn unwatched(code: ErrorCode) -> AttemptError {
    let message = format!("the server did not do what watches need: {code}");
    AttemptError::new(AttemptErrorKind::Refused, message)
}
