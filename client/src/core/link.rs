use std::collections::VecDeque;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use zk_proto::request::{GetSaslRequest, Request as Record};
use zk_proto::{Xid, frame};

use super::request::{Frame, Queued};
use super::sasl::Exchange;
use super::{Load, Time};
use crate::connect_string::Server;

/// Longest time without a byte to the server, whatever the session timeout.
///
/// # Source
/// Apache `ZooKeeper` 3.9, `ClientCnxn.SendThread#run`, `MAX_SEND_PING_INTERVAL`.
const PING_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// Requests on their way from which on a few more wait for each other: a write for each of them would cost
/// this client and its server more than the request itself does.
const GATHER_MIN: usize = 32;
/// The part of those on their way that goes in one write then.
pub(crate) const GATHER_PART: usize = 8;

/// One connection on which the handshake succeeded.
///
/// Everything that was sent and not answered is here; the order of replies is checked against it.
#[derive(Debug)]
pub(super) struct Link<W, S> {
    pub(super) server: Server,
    pub(super) read_only: bool,
    /// When the session was granted.
    pub(super) since: Time,
    /// Session timeout.
    timeout: Duration,
    /// Longest silence of the server, and longest while it owes an answer.
    silence_max: Duration,
    answer_max: Duration,
    /// Longest time without a byte to the server: spread, so that many clients do not ping at once.
    ping_interval: Duration,
    /// What it is when something depends on the session, and when nothing does.
    ping_intervals: (Duration, Duration),
    /// Whether something depends on the session.
    is_hurried: bool,
    /// When the last request was sent that the leader has to do with.
    leader_asked: Time,
    /// Ordinary requests, oldest first.
    in_flight: VecDeque<InFlight<W, S>>,
    /// Bytes of them.
    in_flight_bytes: usize,
    /// When each unanswered ping was sent; `None` in between.
    ping_sent: Option<Time>,
    /// Set until both sides have proved who they are, if the client is to.
    pub(super) sasl: Option<Exchange>,
    /// Credentials sent, by their position in the client's list, oldest first.
    pub(super) auth_sent: VecDeque<(usize, Time)>,
    /// When each unanswered registration of watches was sent.
    pub(super) watches_sent: VecDeque<Time>,
    /// When the last byte came.
    last_received: Time,
    /// When the last byte went.
    last_sent: Time,
    pub(super) stage: Stage,
    /// Whether a reply came: only then is the server known to be of use.
    pub(super) is_proven: bool,
}

/// What a connection is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Credentials are not confirmed: no request goes.
    Authenticating,
    /// Requests go.
    Ready,
    /// The client goes elsewhere once nothing is in flight.
    Leaving,
}

#[derive(Debug)]
pub(super) struct InFlight<W, S> {
    pub(super) xid: Xid,
    pub(super) sent: Time,
    /// Length of its frame.
    len: usize,
    pub(super) queued: Queued<W, S>,
}

impl<W, S> Link<W, S> {
    pub(super) fn new(
        server: Server,
        read_only: bool,
        timeout: Duration,
        jitter: f64,
        now: Time,
    ) -> Self {
        let ping_intervals = (
            (timeout / 6).min(PING_INTERVAL_MAX).mul_f64(jitter * 0.9),
            (timeout / 3).min(PING_INTERVAL_MAX).mul_f64(jitter * 0.9),
        );
        Self {
            server,
            read_only,
            since: now,
            timeout,
            silence_max: timeout * 2 / 3,
            answer_max: timeout / 4,
            ping_interval: ping_intervals.1,
            ping_intervals,
            is_hurried: false,
            leader_asked: now,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            ping_sent: None,
            sasl: None,
            auth_sent: VecDeque::new(),
            watches_sent: VecDeque::new(),
            last_received: now,
            last_sent: now,
            stage: Stage::Authenticating,
            is_proven: false,
        }
    }

    /// Pings at least every sixth of the session timeout instead of every third: then a quarter of it
    /// is left for another server between noticing a silent one and two thirds of it.
    pub(super) fn hurry(&mut self, hurry: bool) {
        self.is_hurried = hurry;
        let (quick, calm) = self.ping_intervals;
        self.ping_interval = if hurry { quick } else { calm };
    }

    /// A connection that lives for less has come to nothing.
    pub(super) fn brief_max(&self) -> Duration {
        self.timeout / 3
    }

    /// How many requests, and how many replies, wait for each other: none, unless many are on their way.
    pub(super) fn gathered(&self) -> usize {
        let in_flight = self.in_flight.len();
        if in_flight < GATHER_MIN {
            return 0;
        }
        in_flight / GATHER_PART
    }

    /// Whether another ordinary request may be sent.
    pub(super) fn has_room(&self, requests_max: usize, bytes_max: usize) -> bool {
        self.in_flight.len() < requests_max && self.in_flight_bytes < bytes_max
    }

    /// Sends an ordinary request.
    pub(super) fn send(
        &mut self,
        now: Time,
        xid: Xid,
        mut queued: Queued<W, S>,
        wire: &mut BytesMut,
    ) {
        queued.request.frame.write(xid, wire);
        if queued.request.frame.asks_leader() {
            self.leader_asked = now;
        }
        let len = queued.request.frame.len();
        self.in_flight_bytes += len;
        self.last_sent = now;
        self.in_flight.push_back(InFlight {
            xid,
            sent: now,
            len,
            queued,
        });
    }

    /// Sends a token of the SASL exchange.
    pub(super) fn send_sasl(&mut self, now: Time, xid: Xid, token: Bytes, wire: &mut BytesMut) {
        let Some(exchange) = &mut self.sasl else {
            return;
        };
        exchange.asked = Some((xid, now));
        let token = Some(token);
        frame::write_request(wire, xid, &Record::Sasl(GetSaslRequest { token }));
        self.last_sent = now;
    }

    /// What the server's next SASL token answers.
    pub(super) fn sasl_asked(&self) -> Option<(Xid, Time)> {
        self.sasl.as_ref()?.asked
    }

    /// Sends one credential.
    pub(super) fn send_auth(
        &mut self,
        now: Time,
        index: usize,
        packet: &Record,
        wire: &mut BytesMut,
    ) {
        frame::write_request(wire, Xid::AUTH, packet);
        self.auth_sent.push_back((index, now));
        self.last_sent = now;
    }

    /// Sends a registration of watches.
    pub(super) fn send_watches(&mut self, now: Time, mut chunk: Frame, wire: &mut BytesMut) {
        chunk.write(Xid::SET_WATCHES, wire);
        self.watches_sent.push_back(now);
        self.last_sent = now;
    }

    /// Sends a ping if one is due and none is unanswered.
    pub(super) fn ping_if_due(&mut self, now: Time, wire: &mut BytesMut) {
        if self.ping_sent.is_none() && self.ping_due() <= now && !mutated!(PingNeverSent) {
            wire.reserve(12);
            wire.put_i32(8);
            wire.put_i32(Xid::PING.get());
            wire.put_i32(zk_proto::OpCode::Ping.code());
            self.ping_sent = Some(now);
            self.last_sent = now;
        }
    }

    /// When the leader is to be asked, if something depends on the session: a ping is answered by the
    /// server, which may not know yet that the session is over.
    pub(super) fn proof_due(&self) -> Option<Time> {
        let is_ready = self.stage == Stage::Ready && self.auth_sent.is_empty();
        let due = self.leader_asked + self.ping_interval;
        (self.is_hurried && is_ready && !mutated!(PingNeverSent)).then_some(due)
    }

    fn ping_due(&self) -> Time {
        self.last_sent + self.ping_interval
    }

    /// A frame came.
    pub(super) fn received(&mut self, now: Time) {
        self.last_received = now;
    }

    /// The answer to the ping came. Returns when the ping was sent.
    pub(super) fn pong(&mut self) -> Option<Time> {
        self.ping_sent.take()
    }

    /// Takes the oldest ordinary request, if a reply with this xid answers it.
    pub(super) fn answered(&mut self, xid: Xid) -> Option<InFlight<W, S>> {
        self.in_flight
            .front()
            .filter(|oldest| oldest.xid == xid || mutated!(ReplyOrderUnchecked))?;
        let oldest = self.in_flight.pop_front()?;
        self.in_flight_bytes -= oldest.len;
        Some(oldest)
    }

    /// Xid that the next reply to an ordinary request must have, if one is owed.
    pub(super) fn expected(&self) -> Option<Xid> {
        self.in_flight.front().map(|oldest| oldest.xid)
    }

    /// The unanswered ordinary requests, oldest first.
    pub(super) fn in_flight_mut(&mut self) -> impl Iterator<Item = &mut InFlight<W, S>> {
        self.in_flight.iter_mut()
    }

    /// The unanswered ordinary requests, counted.
    pub(super) fn in_flight(&self) -> Load {
        Load {
            requests: self.in_flight.len(),
            bytes: self.in_flight_bytes,
        }
    }

    /// Ends the connection: the unanswered requests, oldest first.
    pub(super) fn into_in_flight(self) -> VecDeque<InFlight<W, S>> {
        self.in_flight
    }

    /// When the server counts as dead: nothing came for two thirds of the session timeout, or for a
    /// quarter of it while it owes an answer.
    ///
    /// A server that answers, however slowly, is not dead: what counts is the last byte that came.
    pub(super) fn dead_at(&self) -> Time {
        if mutated!(DeathUnnoticed) {
            return Time::NEVER;
        }
        let silent = self.last_received + self.silence_max;
        // Asked for at every turn: none is as good as never.
        let sent = |request: Option<Time>| request.unwrap_or(Time::NEVER);
        let oldest = sent(self.in_flight.front().map(|request| request.sent))
            .min(sent(self.ping_sent))
            .min(sent(self.sasl_asked().map(|(_, sent)| sent)))
            .min(sent(self.auth_sent.front().map(|(_, sent)| *sent)))
            .min(sent(self.watches_sent.front().copied()));
        silent.min(self.last_received.max(oldest) + self.answer_max)
    }

    /// The next moment at which something is to be done.
    pub(super) fn deadline(&self) -> Time {
        let due = match self.ping_sent {
            Some(_) => self.dead_at(),
            None => self.dead_at().min(self.ping_due()),
        };
        self.proof_due().map_or(due, |proof| proof.min(due))
    }
}
