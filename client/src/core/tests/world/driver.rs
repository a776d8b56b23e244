//! The driver's part: carries out actions, moves bytes, keeps the clock.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use zk_proto::connect::ConnectResponse;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::AuthPacket;
use zk_proto::response::{ExistsResponse, GetChildren2Response, GetDataResponse};
use zk_proto::{ErrorCode, SessionId, Xid, Zxid, frame};

use super::super::ensemble::ConnId;
use super::{Asked, FRAME_MAX, Fact, Incoming, Occurrence, TURNS_MAX, Ticket, World, index_of};
use crate::connect_string::Server;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, Cause, Delivery, Event, Failure, Load, Phase, Reply,
    Transition, WatchKind,
};

impl World {
    pub(super) fn handle(&mut self, event: Event<Ticket, u32>) {
        self.core.handle(self.now, event, &mut self.actions);
        self.perform();
    }

    /// As the driver's turn: due timers, actions, transmission.
    pub(super) fn turn(&mut self) {
        loop {
            let mut busy = false;
            if self.core.next_deadline() <= self.now {
                busy = true;
                self.handle(Event::Tick);
            }
            busy |= self.perform();
            self.transmit();
            busy |= self.perform();
            self.flush();
            self.turns += 1;
            if self.turns > TURNS_MAX {
                self.checks.fail(
                    "timing",
                    self.now,
                    "the core is never done at one moment".into(),
                );
            }
            if !busy || self.checks.has_violation() {
                break;
            }
        }
        let unresolved = |asked: &&Asked| !asked.is_resolved && !asked.is_gone.get();
        let unresolved = self.asked.iter().filter(unresolved).count();
        let (load, output) = (self.core.load(), self.output.len());
        let in_flight = if let Phase::Linked(link) = &self.core.phase {
            link.in_flight()
        } else {
            Load::default()
        };
        self.see(&Fact::Turned {
            load,
            in_flight,
            unresolved,
            output,
        });
        self.check_idle();
    }

    pub(super) fn transmit(&mut self) {
        let Some(conn) = self.current else {
            self.core.transmit(self.now, &mut self.output);
            self.output.clear();
            return;
        };
        let start = self.output.len();
        let was_handshaking = matches!(self.core.phase, Phase::Handshaking { .. });
        self.core.transmit(self.now, &mut self.output);
        if self.output.len() > start {
            let written = Bytes::copy_from_slice(&self.output[start..]);
            self.wrote(conn, was_handshaking, &written);
        }
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if !self.output.is_empty() && !pipe.up.is_blocked {
            let bytes = self.output.split().freeze();
            self.send_up(conn, bytes);
        }
    }

    /// Looks at what the core wants to send.
    pub(super) fn wrote(&mut self, conn: ConnId, is_handshake: bool, written: &Bytes) {
        let mut facts = Vec::new();
        let (mut frames, mut pings) = (0, 0);
        let mut rest = BytesMut::from(&written[..]);
        let mut new = Vec::new();
        if let Phase::Linked(link) = &mut self.core.phase {
            for in_flight in link.in_flight_mut() {
                let waiter = in_flight.queued.request.waiter.as_ref();
                new.push((in_flight.xid.get(), waiter.map(|ticket| ticket.id)));
            }
        }
        let pipe = self
            .pipes
            .get_mut(&conn)
            .expect("the client writes to its connection");
        while let Some(payload) = frame::take(&mut rest, FRAME_MAX).expect("frames are legal") {
            frames += 1;
            if is_handshake {
                continue;
            }
            let mut reader = Reader::shared(&payload);
            let header = RequestHeader::decode(&mut reader).expect("requests have headers");
            match header.xid {
                Xid::PING => pings += 1,
                Xid::AUTH => {
                    let packet = AuthPacket::decode(&mut reader).expect("credentials decode");
                    let auth = packet.auth.expect("credentials are there");
                    let id = std::str::from_utf8(&auth).unwrap().parse().unwrap();
                    facts.push((id, true));
                }
                Xid::SET_WATCHES => {}
                xid => {
                    assert!(xid.get() > pipe.last_xid, "xids count up");
                    pipe.last_xid = xid.get();
                    let known = new.iter().find(|(known, _)| *known == xid.get());
                    if let Some((_, Some(id))) = known {
                        pipe.xids.insert(xid.get(), *id);
                        facts.push((*id, false));
                    }
                }
            }
        }
        assert!(rest.is_empty(), "the core writes whole frames");
        for (id, is_auth) in facts {
            self.see(&Fact::Sent { conn, id, is_auth });
        }
        self.see(&Fact::Wrote {
            conn,
            frames,
            pings,
        });
    }

    pub(super) fn take_frames(&mut self, conn: ConnId) {
        while self.core.is_connected() && self.current == Some(conn) {
            match frame::take(&mut self.input, FRAME_MAX) {
                Ok(None) => return,
                Ok(Some(payload)) => self.take_in_order(conn, payload),
                Err(err) => self.lost(AttemptErrorKind::Protocol, &err.to_string()),
            }
        }
    }

    /// Takes in a frame; under a planted bug of the driver's, an event only behind the next reply.
    pub(super) fn take_in_order(&mut self, conn: ConnId, payload: Bytes) {
        let is_event = payload.starts_with(&Xid::NOTIFICATION.get().to_be_bytes());
        if mutated!(EventsAfterReplies) && is_event && self.late.is_none() {
            let pipe = self.pipes.get_mut(&conn);
            let tag = pipe.and_then(|pipe| pipe.tags.pop_front()).flatten();
            self.late = Some((payload, tag));
            return;
        }
        self.take_frame(conn, payload);
        if let Some((payload, tag)) = self.late.take()
            && let Some(pipe) = self.pipes.get_mut(&conn)
            && self.current == Some(conn)
        {
            pipe.tags.push_front(tag);
            self.take_frame(conn, payload);
        }
    }

    pub(super) fn take_frame(&mut self, conn: ConnId, payload: Bytes) {
        let pipe = self
            .pipes
            .get_mut(&conn)
            .expect("the client reads from its connection");
        let tag = pipe.tags.pop_front().flatten();
        let last_xid = pipe.last_xid;
        let is_handshake = matches!(self.core.phase, Phase::Handshaking { .. });
        let response = ConnectResponse::decode(&mut Reader::shared(&payload)).ok();
        let header = ReplyHeader::decode(&mut Reader::shared(&payload)).ok();
        let (xid, zxid) = header.map_or((Xid::new(0), Zxid::ZERO), |header| {
            (header.xid, header.zxid)
        });
        let reserved = [Xid::PING, Xid::AUTH, Xid::SET_WATCHES];
        let answers = reserved.contains(&xid) || (1..=last_xid).contains(&xid.get());
        self.see(&Fact::Received {
            conn,
            answers: is_handshake || answers,
            is_pong: !is_handshake && xid == Xid::PING,
        });
        self.incoming = Some(Incoming { conn, zxid, tag });
        self.core.frame(self.now, payload, &mut self.actions);
        if is_handshake && let Phase::Linked(_) = self.core.phase {
            let timeout = response.expect("the core took it").timeout_ms;
            let timeout = Duration::from_millis(u64::try_from(timeout).unwrap());
            self.see(&Fact::Linked { conn, timeout });
        } else if is_handshake
            && let Some(response) = response
            && response.session_id == SessionId::NONE
            && self.session.is_some()
        {
            self.see(&Fact::Refused);
        }
        self.perform();
        self.incoming = None;
    }

    pub(super) fn lost(&mut self, kind: AttemptErrorKind, message: &str) {
        self.hang_up();
        self.handle(Event::Lost(AttemptError::new(kind, message)));
    }

    pub(super) fn hang_up(&mut self) {
        self.attempt += 1;
        self.input.clear();
        self.output.clear();
        if let Some(conn) = self.current.take() {
            self.see(&Fact::HungUp);
            if let Some(pipe) = self.pipes.get_mut(&conn)
                && !pipe.up.is_stalled
            {
                let at = pipe.up.free_at.max(self.now) + Duration::from_micros(1);
                self.at(at, Occurrence::EofServer(conn));
            }
        }
    }

    pub(super) fn perform(&mut self) -> bool {
        let mut busy = false;
        let mut lost = Vec::new();
        for action in std::mem::take(&mut self.actions) {
            busy = true;
            match action {
                Action::Dial { server, within } => self.dial(&server, within),
                Action::HangUp => self.hang_up(),
                Action::Complete(ticket, result, _) => {
                    lost.extend(self.complete(&ticket, result.as_ref()));
                }
                Action::Deliver(watch, delivery) => self.deliver(watch, &delivery),
                Action::Probe { server } => {
                    let wait = self.latency() * 4;
                    self.after(wait, Occurrence::Probed { server });
                }
                Action::Transition(transition) => self.transition(transition),
            }
        }
        // A request for a watch that failed is dropped, and with it the watch that it never left.
        for watch in lost {
            self.unsubscribe(watch);
        }
        busy
    }

    pub(super) fn dial(&mut self, server: &Server, within: Duration) {
        self.hang_up();
        self.attempt += 1;
        let (attempt, index) = (self.attempt, index_of(server));
        self.see(&Fact::Dialed { within });
        let latency = self.latency();
        let delay = self.dial_delay + latency;
        if !self.ensemble.servers[index].is_up {
            let kind = AttemptErrorKind::Io;
            self.after(latency, Occurrence::DialFailed { attempt, kind });
        } else if self.blackholes.contains(&index) || delay > within {
            let kind = AttemptErrorKind::Timeout;
            self.after(within, Occurrence::DialFailed { attempt, kind });
        } else {
            let server = index;
            self.after(delay, Occurrence::Dialed { attempt, server });
        }
    }

    /// Returns the watch that never came to be.
    pub(super) fn complete(
        &mut self,
        ticket: &Ticket,
        result: Result<&Reply, &Failure>,
    ) -> Option<u32> {
        let id = ticket.id;
        let conn = self.incoming.map(|incoming| incoming.conn);
        self.see(&Fact::Resolved { conn, id, result });
        let asked = &mut self.asked[id as usize];
        asked.is_resolved = true;
        let (path, is_watch) = (asked.path, asked.is_watch);
        if asked.is_gone.get() || !asked.is_read {
            return None;
        }
        let kind = asked.kind?;
        let seen = observation(kind, result);
        let Some(state) = seen else {
            return is_watch.then_some(id);
        };
        let is_added = matches!(kind, WatchKind::Added(_));
        // Servers before 3.9 remove all watches of a path to be rid of one: until the others are
        // registered anew, a read in the same pipeline may show a change before one of them fires.
        if !is_added && (self.core.rearming == 0 || !self.plan.is_old) {
            self.see(&Fact::Observed {
                path,
                children: kind == WatchKind::Children,
                state,
            });
        }
        let is_left = result.is_ok() || kind == WatchKind::Exists;
        if is_watch && is_left {
            let zxid = self.incoming.map_or(Zxid::ZERO, |incoming| incoming.zxid);
            let held = self.held.get_mut(&id).expect("it was asked for");
            held.is_live = true;
            let held = held.clone();
            self.see(&Fact::Armed {
                watch: id,
                held: &held,
                zxid,
                state,
            });
            None
        } else {
            is_watch.then_some(id)
        }
    }

    pub(super) fn deliver(&mut self, watch: u32, delivery: &Delivery) {
        let zxid = self.incoming.and_then(|incoming| incoming.tag);
        self.see(&Fact::Told {
            watch,
            delivery,
            zxid,
        });
        let is_end = match delivery {
            Delivery::Event { .. } => self
                .held
                .get(&watch)
                .is_some_and(|held| !matches!(held.kind, WatchKind::Added(_))),
            Delivery::Gap { .. } | Delivery::Armed { .. } => false,
            Delivery::SessionEnded(_) | Delivery::Closed(_) => true,
        };
        if is_end && self.held.remove(&watch).is_some() {
            self.see(&Fact::Disarmed { watch });
        }
    }

    pub(super) fn transition(&mut self, transition: Transition) {
        match transition {
            Transition::AttemptFailed { passed, .. } => self.see(&Fact::AttemptFailed { passed }),
            Transition::Connected { session, .. } => {
                self.session = Some(session);
                self.see(&Fact::Connected { session });
            }
            Transition::Suspended {
                session,
                safe_until,
                cause,
                ..
            } => {
                let known = self.ensemble.sessions.get(&session);
                let is_killed = known.is_none_or(|known| known.was_killed);
                let truth = (!is_killed).then(|| self.ensemble.expires_at(session));
                self.see(&Fact::Suspended {
                    safe_until,
                    cause: &cause,
                    truth,
                });
            }
            Transition::Expired { session } => {
                self.session = None;
                let known = self.ensemble.sessions.get(&session);
                let ended = |known: &super::super::ensemble::Session| {
                    known.ended.is_some() || known.local_to.is_some()
                };
                let is_true = known.is_some_and(ended);
                self.see(&Fact::Expired { session, is_true });
            }
            Transition::Closed { reason } => self.see(&Fact::Closed(reason)),
            Transition::Pinged { .. } | Transition::Closing | Transition::Ignored { .. } => {}
        }
    }
}

/// Last change of what a watch tells of; `None` for a znode that is not there.
type State = Option<Zxid>;

/// What a read says of a znode, if it says anything: the last change of its data, or of its list of
/// children, or that it is not there.
fn observation(kind: WatchKind, result: Result<&Reply, &Failure>) -> Option<State> {
    match result {
        Ok(reply) => {
            let mut reader = Reader::shared(&reply.body);
            Some(match kind {
                WatchKind::Data => Some(GetDataResponse::decode(&mut reader).ok()?.stat.mzxid),
                WatchKind::Exists => Some(ExistsResponse::decode(&mut reader).ok()?.stat.mzxid),
                WatchKind::Children => {
                    Some(GetChildren2Response::decode(&mut reader).ok()?.stat.pzxid)
                }
                WatchKind::Added(_) => None,
            })
        }
        Err(failure) if failure.cause == Cause::Server(ErrorCode::NoNode) => Some(None),
        Err(_) => None,
    }
}
