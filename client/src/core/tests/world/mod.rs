//! One client's core against a model ensemble over a network that breaks on command, in virtual time
//! with one queue of occurrences. Carries out actions as the driver does.

mod fact;
mod pipe;
mod plan;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::connect::ConnectResponse;
use zk_proto::header::{ReplyHeader, RequestHeader};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::request::{
    AddWatchRequest, AuthPacket, CreateFlags, CreateRequest, DeleteRequest, ExistsRequest,
    GetChildren2Request, GetDataRequest, MultiOp, MultiRequest, Request as Record, SetDataRequest,
    SyncRequest,
};
use zk_proto::response::{ExistsResponse, GetChildren2Response, GetDataResponse};
use zk_proto::{ErrorCode, EventType, SessionId, Version, Xid, Zxid, frame};

pub(super) use self::fact::{Fact, Held, is_answer};
use self::pipe::Pipe;
pub(super) use self::plan::{Ask, Do, Fault, Garbage, Plan, Touch, What};
use super::checks::{Checks, Violation};
use super::ensemble::{Change, ConnId, Ensemble, Output, ServerWatches};
use crate::connect_string::Server;
use crate::core::link::Stage;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, Cause, Core, CoreConfig, Delivery, Event, Failure,
    Frame, Load, NEVER, Phase, Reply, Request, Time, Transition, Waiter, WatchId, WatchKind,
    WatchRequest,
};

/// Time to get over all faults, and then to tidy up.
const SETTLE: Duration = Duration::from_secs(40);
const SETTLE_STEP: Duration = Duration::from_secs(4);
const TIDY: Duration = Duration::from_secs(3);
const CLOSE: Duration = Duration::from_secs(4);
/// Longest frame that the client takes.
const FRAME_MAX: usize = 1 << 20;
/// Turns at one moment of time; more are a loop without end.
const TURNS_MAX: u32 = 500;

/// Who waits for a request: its number, and whether the user has gone.
#[derive(Debug)]
pub(super) struct Ticket {
    id: u32,
    is_gone: Rc<Cell<bool>>,
}

impl Waiter for Ticket {
    fn is_abandoned(&self) -> bool {
        self.is_gone.get()
    }
}

type TestCore = Core<Ticket, u32>;

#[derive(Debug)]
enum Occurrence {
    Step(usize),
    ToServer(ConnId, Bytes),
    ToClient(ConnId, Bytes),
    EofServer(ConnId),
    EofClient(ConnId),
    Dialed {
        attempt: u64,
        server: usize,
    },
    DialFailed {
        attempt: u64,
        kind: AttemptErrorKind,
    },
    Process(ConnId),
    Apply(usize, usize),
    CheckSession(SessionId),
    Probed {
        server: Server,
    },
    Heal,
    Settled,
    Emptied,
    Ended,
}

/// What became of a plan.
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    /// Everything that happened, if it was asked for.
    pub(super) trace: Vec<String>,
}

#[derive(Debug)]
struct Asked {
    kind: Option<WatchKind>,
    path: &'static str,
    is_read: bool,
    is_watch: bool,
    is_gone: Rc<Cell<bool>>,
    is_resolved: bool,
}

/// The frame that is being taken in.
#[derive(Debug, Clone, Copy)]
struct Incoming {
    conn: ConnId,
    zxid: Zxid,
    /// The transaction that an event is about.
    tag: Option<i64>,
}

struct World {
    plan: Plan,
    rng: fastrand::Rng,
    now: Time,
    heap: BTreeMap<(Time, u64), Occurrence>,
    seq: u64,
    core: TestCore,
    ensemble: Ensemble,
    pipes: BTreeMap<ConnId, Pipe>,
    next_conn: ConnId,
    /// The client's connection.
    current: Option<ConnId>,
    attempt: u64,
    input: BytesMut,
    output: BytesMut,
    actions: Vec<Action<Ticket, u32>>,
    asked: Vec<Asked>,
    held: BTreeMap<u32, Held>,
    /// Session as the client was last told.
    session: Option<SessionId>,
    incoming: Option<Incoming>,
    checks: Checks,
    blackholes: BTreeSet<usize>,
    lags: BTreeMap<usize, Duration>,
    dial_delay: Duration,
    slow: Duration,
    busy: BTreeSet<ConnId>,
    watched_sessions: BTreeSet<SessionId>,
    committed: usize,
    turns: u32,
    /// After how many bytes the next connection breaks.
    next_budget: Option<usize>,
    heal_at: Time,
    /// An event that is held back, and what it is about.
    late: Option<(Bytes, Option<i64>)>,
    is_over: bool,
    is_traced: bool,
    trace: Vec<String>,
}

/// Runs a plan to its end, or to the first law broken.
pub(super) fn run(plan: &Plan, is_traced: bool) -> Outcome {
    let mut world = World::new(plan, is_traced);
    world.run();
    Outcome {
        violation: world.checks.take_violation(),
        trace: world.trace,
    }
}

impl World {
    fn new(plan: &Plan, is_traced: bool) -> Self {
        let servers = (0..plan.servers).map(server_of).collect();
        let config = CoreConfig {
            servers,
            session_timeout: plan.session_timeout,
            allow_read_only: plan.allow_read_only,
            renew: plan.renew,
            in_flight_max: plan.in_flight_max,
            in_flight_bytes_max: plan.in_flight_bytes_max,
            resume: None,
            last_zxid: Zxid::ZERO,
            seed: plan.seed,
        };
        Self {
            rng: fastrand::Rng::with_seed(plan.seed),
            now: Time::default(),
            heap: BTreeMap::new(),
            seq: 0,
            core: Core::new(config),
            ensemble: Ensemble::new(plan.servers, plan.is_old),
            pipes: BTreeMap::new(),
            next_conn: 0,
            current: None,
            attempt: 0,
            input: BytesMut::new(),
            output: BytesMut::new(),
            actions: Vec::new(),
            asked: Vec::new(),
            held: BTreeMap::new(),
            session: None,
            incoming: None,
            checks: Checks::new(),
            blackholes: BTreeSet::new(),
            lags: BTreeMap::new(),
            dial_delay: Duration::ZERO,
            slow: Duration::from_millis(1),
            busy: BTreeSet::new(),
            watched_sessions: BTreeSet::new(),
            committed: 0,
            turns: 0,
            next_budget: None,
            heal_at: Time::default(),
            late: None,
            is_over: false,
            is_traced,
            trace: Vec::new(),
            plan: plan.clone(),
        }
    }

    fn run(&mut self) {
        let plan = self.plan.clone();
        self.see(&Fact::Planned(&plan));
        for (index, step) in plan.steps.iter().enumerate() {
            self.at(Time::from_start(step.at), Occurrence::Step(index));
        }
        let heal = Time::from_start(plan.span()) + Duration::from_millis(1);
        self.at(heal, Occurrence::Heal);
        self.at(heal + SETTLE_STEP, Occurrence::Settled);
        self.heal_at = heal;
        self.turn();
        while !self.is_over && !self.checks.has_violation() {
            let due = self.core.next_deadline().max(self.now);
            let first = self.heap.first_key_value().map(|(key, _)| key.0);
            let at = first.unwrap_or(NEVER).min(due);
            if at > self.now {
                self.now = at;
                self.turns = 0;
            }
            if let Some(entry) = self.heap.first_entry()
                && entry.key().0 <= self.now
            {
                let occurrence = entry.remove();
                self.note(|| format!("{occurrence:?}"));
                self.occur(occurrence);
            }
            self.turn();
        }
    }

    fn at(&mut self, at: Time, occurrence: Occurrence) {
        self.seq += 1;
        self.heap.insert((at, self.seq), occurrence);
    }

    fn after(&mut self, wait: Duration, occurrence: Occurrence) {
        self.at(self.now + wait, occurrence);
    }

    fn see(&mut self, fact: &Fact<'_>) {
        if self.is_traced
            && !matches!(
                fact,
                Fact::Turned { .. } | Fact::Idle { .. } | Fact::Planned(_)
            )
        {
            let line = format!("{:>12.6} {fact:?}", self.now.since_start().as_secs_f64());
            self.trace.push(line);
        }
        self.checks.see(self.now, fact);
    }

    fn note(&mut self, line: impl Fn() -> String) {
        if self.is_traced {
            let at = self.now.since_start().as_secs_f64();
            self.trace.push(format!("{at:>12.6}   {}", line()));
        }
    }

    fn latency(&mut self) -> Duration {
        Duration::from_micros(self.rng.u64(500..20_000))
    }

    // --- what happens ---------------------------------------------------------------------------

    fn occur(&mut self, occurrence: Occurrence) {
        match occurrence {
            Occurrence::Step(index) => {
                let what = self.plan.steps[index].what.clone();
                self.note(|| format!("{what:?}"));
                self.step(what);
            }
            Occurrence::ToServer(conn, bytes) => {
                let Some(pipe) = self.pipes.get_mut(&conn) else {
                    return;
                };
                pipe.up.under_way -= bytes.len();
                pipe.server_input.extend_from_slice(&bytes);
                while let Some(pipe) = self.pipes.get_mut(&conn)
                    && let Ok(Some(payload)) = frame::take(&mut pipe.server_input, FRAME_MAX)
                {
                    if self.ensemble.receive(self.now, conn, payload) && self.busy.insert(conn) {
                        self.process_later(conn);
                    }
                }
            }
            Occurrence::Process(conn) => {
                self.busy.remove(&conn);
                if self.ensemble.process(self.now, conn) {
                    self.busy.insert(conn);
                    self.process_later(conn);
                }
            }
            Occurrence::ToClient(conn, bytes) => {
                if let Some(pipe) = self.pipes.get_mut(&conn) {
                    pipe.down.under_way -= bytes.len();
                }
                if self.current == Some(conn) {
                    self.input.extend_from_slice(&bytes);
                    self.take_frames(conn);
                }
            }
            Occurrence::EofServer(conn) => self.ensemble.drop_conn(conn),
            Occurrence::EofClient(conn) => {
                if self.current == Some(conn) {
                    self.lost(AttemptErrorKind::Io, "the server closed the connection");
                }
            }
            Occurrence::Dialed { attempt, server } => {
                if attempt == self.attempt {
                    self.next_conn += 1;
                    let mut pipe = Pipe::new(server);
                    pipe.down.budget = self.next_budget.take();
                    self.pipes.insert(self.next_conn, pipe);
                    self.ensemble.accept(self.next_conn, server);
                    self.current = Some(self.next_conn);
                    self.handle(Event::Dialed);
                }
            }
            Occurrence::DialFailed { attempt, kind } => {
                if attempt == self.attempt {
                    let error = AttemptError::new(kind, "no connection");
                    self.handle(Event::DialFailed(error));
                }
            }
            Occurrence::Apply(server, upto) => self.ensemble.apply(server, upto),
            Occurrence::CheckSession(id) => {
                let due = self.ensemble.expires_at(id);
                if due <= self.now {
                    self.ensemble.end_session(self.now, id, false);
                } else {
                    self.at(due, Occurrence::CheckSession(id));
                }
            }
            Occurrence::Probed { server } => {
                let state = &self.ensemble.servers[index_of(&server)];
                let writable = state.is_up && !state.is_read_only;
                self.handle(Event::Probed { server, writable });
            }
            Occurrence::Heal => self.heal(),
            Occurrence::Settled => self.settled(),
            Occurrence::Emptied => self.emptied(),
            Occurrence::Ended => self.ended(),
        }
    }

    fn process_later(&mut self, conn: ConnId) {
        let wait = self
            .rng
            .u64(0..=u64::try_from(self.slow.as_micros()).unwrap());
        self.after(Duration::from_micros(wait), Occurrence::Process(conn));
    }

    fn step(&mut self, what: What) {
        match what {
            What::Ask(ask) => self.ask(&ask),
            What::Outside(touch, path) => {
                let (path, data) = (path.to_owned(), Bytes::from_static(b"outside"));
                self.ensemble.outside(match touch {
                    Touch::Create => Change::Create {
                        path,
                        data,
                        owner: SessionId::NONE,
                    },
                    Touch::Set => Change::Set { path, data },
                    Touch::Delete => Change::Delete { path },
                });
            }
            What::Unsubscribe(back) => {
                let live = self.held.iter().filter(|(_, held)| held.is_live);
                if let Some(watch) = live.map(|(id, _)| *id).rev().nth(back) {
                    self.unsubscribe(watch);
                }
            }
            What::Abandon(back) => {
                let waiting = self.asked.iter().enumerate();
                let waiting =
                    waiting.filter(|(_, asked)| !asked.is_resolved && !asked.is_gone.get());
                if let Some(id) = waiting.map(|(id, _)| id).rev().nth(back) {
                    self.abandon(u32::try_from(id).unwrap());
                }
            }
            What::AddAuth => self.add_auth(),
            What::SetServers(mask) => {
                let all = 0..self.plan.servers;
                let chosen: Vec<_> = all.filter(|index| mask & (1 << index) != 0).collect();
                if !chosen.is_empty() {
                    self.see(&Fact::ServersSet {
                        count: chosen.len(),
                    });
                    let servers = chosen.into_iter().map(server_of).collect();
                    self.handle(Event::SetServers(servers));
                }
            }
            What::Fault(fault) => self.fault(&fault),
        }
    }

    fn fault(&mut self, fault: &Fault) {
        match *fault {
            Fault::Kill(server) => {
                self.ensemble.servers[server].is_up = false;
                self.ensemble.close_all(server);
            }
            Fault::Restart(server) => self.ensemble.servers[server].is_up = true,
            Fault::Blackhole(server, true) => {
                self.blackholes.insert(server);
            }
            Fault::Blackhole(server, false) => {
                self.blackholes.remove(&server);
            }
            Fault::DialDelay(delay) => self.dial_delay = delay,
            Fault::ReadOnly(server, read_only) => {
                self.ensemble.set_read_only(self.now, server, read_only);
            }
            Fault::Lag(server, lag) => {
                self.lags.insert(server, lag);
            }
            Fault::Slow(slow) => self.slow = slow,
            Fault::Break => {
                if let Some(conn) = self.current {
                    self.cut(conn);
                    self.lost(AttemptErrorKind::Io, "the connection broke");
                }
            }
            Fault::CutSent(bytes) => {
                if let Some(pipe) = self.current_pipe() {
                    pipe.up.budget = Some(bytes);
                }
            }
            Fault::CutReceived(bytes) => {
                if let Some(pipe) = self.current_pipe() {
                    pipe.down.budget = Some(bytes);
                } else {
                    self.next_budget = Some(bytes);
                }
            }
            Fault::Stall { sent, received } => {
                if let Some(pipe) = self.current_pipe() {
                    pipe.up.is_stalled |= sent;
                    pipe.down.is_stalled |= received;
                }
            }
            Fault::Block => {
                if let Some(pipe) = self.current_pipe() {
                    pipe.up.is_blocked = true;
                }
            }
            Fault::ExpireSession => {
                if let Some(session) = self.session {
                    self.ensemble.end_session(self.now, session, true);
                }
            }
            Fault::Garbage(garbage) => self.garbage(garbage),
            Fault::RefuseAuth => self.ensemble.refuses_auth = true,
        }
    }

    fn current_pipe(&mut self) -> Option<&mut Pipe> {
        self.pipes.get_mut(&self.current?)
    }

    fn garbage(&mut self, garbage: Garbage) {
        let Some(conn) = self.current else { return };
        let mut wire = BytesMut::new();
        let header = |xid| ReplyHeader {
            xid,
            zxid: Zxid::ZERO,
            err: 0,
        };
        match garbage {
            Garbage::UnknownXid => frame::write(&mut wire, &[&header(Xid::new(77_777))]),
            Garbage::Short => frame::write(&mut wire, &[&7_i32]),
            Garbage::Length => (-5_i32).encode(&mut wire),
            Garbage::UnknownEvent => frame::write(
                &mut wire,
                &[
                    &header(Xid::NOTIFICATION),
                    &99_i32,
                    &3_i32,
                    &Some(ByteString::from("/a")),
                ],
            ),
            Garbage::BrokenEvent => frame::write(&mut wire, &[&header(Xid::NOTIFICATION), &1_i32]),
        }
        self.send_down(conn, wire, None);
    }

    // --- the user -------------------------------------------------------------------------------

    fn ask(&mut self, ask: &Ask) {
        let id = u32::try_from(self.asked.len()).unwrap();
        let path = Some(ByteString::from_static(ask.path));
        let data = Some(Bytes::from(id.to_string()));
        let (version, acl) = (Version::new(-1), Some(Vec::new()));
        let create = |flags: CreateFlags| CreateRequest {
            path: path.clone(),
            data: data.clone(),
            acl: acl.clone(),
            flags: flags.code(),
        };
        let set = || SetDataRequest {
            path: path.clone(),
            data: data.clone(),
            version,
        };
        let (record, kind, is_watch) = match ask.what {
            Do::Create { ephemeral: true } => {
                (Record::Create(create(CreateFlags::Ephemeral)), None, false)
            }
            Do::Create { ephemeral: false } => {
                (Record::Create(create(CreateFlags::Persistent)), None, false)
            }
            Do::Set => (Record::SetData(set()), None, false),
            Do::Delete => {
                let path = path.clone();
                (Record::Delete(DeleteRequest { path, version }), None, false)
            }
            Do::Multi => {
                let ops = vec![
                    MultiOp::SetData(set()),
                    MultiOp::Create(create(CreateFlags::Persistent)),
                ];
                (Record::Multi(MultiRequest { ops }), None, false)
            }
            Do::Sync => {
                let path = path.clone();
                (Record::Sync(SyncRequest { path }), None, false)
            }
            Do::Read(kind, watch) => {
                let path = path.clone();
                let record = match kind {
                    WatchKind::Data => Record::GetData(GetDataRequest { path, watch }),
                    WatchKind::Exists => Record::Exists(ExistsRequest { path, watch }),
                    WatchKind::Children => {
                        Record::GetChildren2(GetChildren2Request { path, watch })
                    }
                    WatchKind::Added(mode) => {
                        let mode = mode.code();
                        Record::AddWatch(AddWatchRequest { path, mode })
                    }
                };
                (record, Some(kind), watch)
            }
        };
        let resend = kind.is_some() || ask.what == Do::Sync;
        let is_gone = Rc::new(Cell::new(false));
        let pinned = self.session.filter(|_| ask.is_pinned);
        let epoch = pinned.map(|_| self.core.epoch());
        let watch = kind.filter(|_| is_watch).map(|kind| {
            let path = ByteString::from_static(ask.path);
            self.held.insert(
                id,
                Held {
                    path: path.clone(),
                    kind,
                    is_live: false,
                },
            );
            Box::new(WatchRequest {
                id: WatchId(u64::from(id)),
                kind,
                path,
                sink: id,
                epoch,
            })
        });
        self.asked.push(Asked {
            kind,
            path: ask.path,
            is_read: kind.is_some(),
            is_watch,
            is_gone: Rc::clone(&is_gone),
            is_resolved: false,
        });
        self.see(&Fact::Submitted {
            id,
            deadline: self.now + ask.timeout,
            pinned,
            resend,
        });
        if let Some(kind) = kind.filter(|_| is_watch) {
            let path = ask.path;
            self.see(&Fact::Asked { path, kind });
        }
        self.handle(Event::Submit(Request {
            frame: Frame::of(record.op(), &record),
            epoch,
            timeout: ask.timeout,
            resend,
            watch,
            waiter: Some(Ticket { id, is_gone }),
        }));
    }

    fn add_auth(&mut self) {
        let id = u32::try_from(self.asked.len()).unwrap();
        let is_gone = Rc::new(Cell::new(false));
        self.asked.push(Asked {
            kind: None,
            path: "",
            is_read: false,
            is_watch: false,
            is_gone: Rc::clone(&is_gone),
            is_resolved: false,
        });
        self.see(&Fact::Submitted {
            id,
            deadline: NEVER,
            pinned: None,
            resend: true,
        });
        self.handle(Event::AddAuth {
            scheme: "digest".into(),
            auth: Bytes::from(id.to_string()),
            waiter: Some(Ticket { id, is_gone }),
        });
    }

    fn abandon(&mut self, id: u32) {
        let asked = &self.asked[id as usize];
        asked.is_gone.set(true);
        let is_watch = asked.is_watch;
        self.see(&Fact::Abandoned { id });
        if is_watch {
            self.unsubscribe(id);
        }
    }

    fn unsubscribe(&mut self, watch: u32) {
        if self.held.remove(&watch).is_some() {
            self.see(&Fact::Disarmed { watch });
        }
        self.handle(Event::Unsubscribe(WatchId(u64::from(watch))));
    }

    // --- the driver -----------------------------------------------------------------------------

    fn handle(&mut self, event: Event<Ticket, u32>) {
        self.core.handle(self.now, event, &mut self.actions);
        self.perform();
    }

    /// As the driver's turn: due timers, actions, transmission.
    fn turn(&mut self) {
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

    fn transmit(&mut self) {
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
    fn wrote(&mut self, conn: ConnId, is_handshake: bool, written: &Bytes) {
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

    fn take_frames(&mut self, conn: ConnId) {
        while self.core.is_connected() && self.current == Some(conn) {
            match frame::take(&mut self.input, FRAME_MAX) {
                Ok(None) => return,
                Ok(Some(payload)) => self.take_in_order(conn, payload),
                Err(err) => self.lost(AttemptErrorKind::Protocol, &err.to_string()),
            }
        }
    }

    /// Takes in a frame; under a planted bug of the driver's, an event only behind the next reply.
    fn take_in_order(&mut self, conn: ConnId, payload: Bytes) {
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

    fn take_frame(&mut self, conn: ConnId, payload: Bytes) {
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

    fn lost(&mut self, kind: AttemptErrorKind, message: &str) {
        self.hang_up();
        self.handle(Event::Lost(AttemptError::new(kind, message)));
    }

    fn hang_up(&mut self) {
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

    fn perform(&mut self) -> bool {
        let mut busy = false;
        let mut lost = Vec::new();
        for action in std::mem::take(&mut self.actions) {
            busy = true;
            match action {
                Action::Dial { server, within } => self.dial(&server, within),
                Action::HangUp => self.hang_up(),
                Action::Complete(ticket, result) => {
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

    fn dial(&mut self, server: &Server, within: Duration) {
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
    fn complete(&mut self, ticket: &Ticket, result: Result<&Reply, &Failure>) -> Option<u32> {
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

    fn deliver(&mut self, watch: u32, delivery: &Delivery) {
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

    fn transition(&mut self, transition: Transition) {
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
                let ended = |known: &super::ensemble::Session| {
                    known.ended.is_some() || known.local_to.is_some()
                };
                let is_true = known.is_some_and(ended);
                self.see(&Fact::Expired { session, is_true });
            }
            Transition::Closed { reason } => self.see(&Fact::Closed(reason)),
            Transition::Closing | Transition::Ignored { .. } => {}
        }
    }

    // --- the network ----------------------------------------------------------------------------

    fn send_up(&mut self, conn: ConnId, mut bytes: Bytes) {
        let latency = self.latency();
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if pipe.up.is_stalled {
            return;
        }
        let at = pipe.up.free_at.max(self.now + latency);
        pipe.up.free_at = at;
        let mut is_cut = false;
        if let Some(budget) = &mut pipe.up.budget {
            is_cut = bytes.len() >= *budget;
            bytes.truncate(*budget);
            *budget -= bytes.len();
        }
        if !bytes.is_empty() {
            pipe.up.under_way += bytes.len();
            self.at(at, Occurrence::ToServer(conn, bytes));
        }
        if is_cut {
            self.cut(conn);
        }
    }

    fn send_down(&mut self, conn: ConnId, wire: BytesMut, tag: Option<i64>) {
        let latency = self.latency();
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        if pipe.down.is_stalled {
            return;
        }
        let at = pipe.down.free_at.max(self.now + latency);
        pipe.down.free_at = at;
        pipe.tags.push_back(tag);
        let mut bytes = wire.freeze();
        let mut is_cut = false;
        if let Some(budget) = &mut pipe.down.budget {
            is_cut = bytes.len() >= *budget;
            bytes.truncate(*budget);
            *budget -= bytes.len();
        }
        if !bytes.is_empty() {
            pipe.down.under_way += bytes.len();
            self.at(at, Occurrence::ToClient(conn, bytes));
        }
        if is_cut {
            self.cut(conn);
        }
    }

    /// The connection breaks: what is on its way arrives, and nothing after it.
    fn cut(&mut self, conn: ConnId) {
        let Some(pipe) = self.pipes.get_mut(&conn) else {
            return;
        };
        pipe.up.is_stalled = true;
        pipe.down.is_stalled = true;
        let tick = Duration::from_micros(1);
        let (up, down) = (pipe.up.free_at, pipe.down.free_at);
        let (up, down) = (up.max(self.now) + tick, down.max(self.now) + tick);
        self.at(up, Occurrence::EofServer(conn));
        self.at(down, Occurrence::EofClient(conn));
    }

    /// Passes on what the ensemble has done.
    fn flush(&mut self) {
        for executed in std::mem::take(&mut self.ensemble.executed) {
            let pipe = self.pipes.get(&executed.conn);
            if let Some(id) = pipe.and_then(|pipe| pipe.id_of(executed.xid)) {
                self.see(&Fact::Executed {
                    conn: executed.conn,
                    session: executed.session,
                    id,
                    err: executed.err,
                    body: &executed.body,
                });
            } else {
                self.note(|| {
                    let (op, err) = (executed.op, executed.err);
                    format!("internal {op:?} on {} answered {err}", executed.conn)
                });
            }
        }
        for (conn, output) in std::mem::take(&mut self.ensemble.out) {
            match output {
                Output::Frame(wire, tag) => self.send_down(conn, wire, tag),
                Output::Close => {
                    let Some(pipe) = self.pipes.get(&conn) else {
                        continue;
                    };
                    if !pipe.down.is_stalled {
                        let at = pipe.down.free_at.max(self.now) + Duration::from_micros(1);
                        self.at(at, Occurrence::EofClient(conn));
                    }
                }
            }
        }
        while self.committed < self.ensemble.log.len() {
            let txn = self.ensemble.log[self.committed].clone();
            self.committed += 1;
            self.see(&Fact::Committed(&txn));
            for server in 0..self.plan.servers {
                let lag = self.lags.get(&server).copied().unwrap_or_default();
                let wait = lag + self.latency();
                self.after(wait, Occurrence::Apply(server, self.committed));
            }
        }
        let sessions = &self.ensemble.sessions;
        let new = sessions
            .iter()
            .filter(|(_, session)| session.ended.is_none());
        let new = new.filter(|(id, _)| !self.watched_sessions.contains(id));
        for id in new.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.watched_sessions.insert(id);
            let due = self.ensemble.expires_at(id);
            self.at(due, Occurrence::CheckSession(id));
        }
    }

    // --- the end --------------------------------------------------------------------------------

    /// Whether the client is connected and everything has come to rest.
    fn resting(&self) -> Option<ConnId> {
        let conn = self.current?;
        let (pipe, server) = (self.pipes.get(&conn)?, self.ensemble.conns.get(&conn)?);
        let Phase::Linked(link) = &self.core.phase else {
            return None;
        };
        let is_resting = pipe.is_reliable()
            && pipe.is_quiet()
            && server.pipeline.is_empty()
            && link.stage == Stage::Ready
            && link.watches_sent.is_empty()
            && link.auth_sent.is_empty()
            && self.core.urgent.is_empty()
            && self.core.load().requests == 0
            && self.output.is_empty()
            && self.input.is_empty();
        is_resting.then_some(conn)
    }

    fn check_idle(&mut self) {
        let Some(conn) = self.resting() else { return };
        let server = &self.ensemble.servers[self.pipes[&conn].server];
        let none = ServerWatches::default();
        let server = server.watches.get(&conn).unwrap_or(&none);
        let held = &self.held;
        self.checks.see(self.now, &Fact::Idle { held, server });
    }

    fn heal(&mut self) {
        for index in 0..self.plan.servers {
            self.ensemble.servers[index].is_up = true;
            self.ensemble.set_read_only(self.now, index, false);
        }
        self.blackholes.clear();
        self.lags.clear();
        self.dial_delay = Duration::ZERO;
        self.slow = Duration::from_millis(1);
        self.ensemble.refuses_auth = false;
        self.next_budget = None;
        for pipe in self.pipes.values_mut() {
            (pipe.up.budget, pipe.down.budget) = (None, None);
        }
        for index in 0..self.plan.servers {
            let upto = self.ensemble.log.len();
            self.after(Duration::from_millis(5), Occurrence::Apply(index, upto));
        }
    }

    fn settled(&mut self) {
        let is_connected = self.resting().is_some();
        let is_closed = self.core.is_closed();
        let is_late = self.now >= self.heal_at + SETTLE;
        if !is_late && !is_closed && !is_connected {
            // A ping may be under way, or much more.
            self.after(SETTLE_STEP / 10, Occurrence::Settled);
            return;
        }
        self.after(TIDY, Occurrence::Emptied);
        self.after(TIDY + CLOSE, Occurrence::Ended);
        let last_zxid = self.core.last_zxid();
        let leader = self.ensemble.leader.clone();
        self.see(&Fact::Settled {
            is_connected,
            is_closed,
            leader: &leader,
            last_zxid,
        });
        for watch in self.held.keys().copied().collect::<Vec<_>>() {
            self.unsubscribe(watch);
        }
    }

    fn emptied(&mut self) {
        let none = ServerWatches::default();
        let conn = self
            .current
            .and_then(|conn| self.pipes.get(&conn).map(|pipe| (conn, pipe)));
        let server = conn.map(|(conn, pipe)| {
            let server = &self.ensemble.servers[pipe.server];
            server.watches.get(&conn).unwrap_or(&none)
        });
        let (load, watches) = (self.core.load(), self.core.watches());
        let fact = Fact::Emptied {
            load,
            watches,
            server,
        };
        self.checks.see(self.now, &fact);
        self.handle(Event::Close { within: CLOSE / 2 });
    }

    fn ended(&mut self) {
        self.is_over = true;
        let sessions = &self.ensemble.sessions;
        let ended = |id| {
            sessions
                .get(&id)
                .is_some_and(|session| session.ended.is_some())
        };
        let session_ended = self.session.is_none_or(ended);
        self.see(&Fact::Ended { session_ended });
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
                WatchKind::Data => {
                    let response = GetDataResponse::decode(&mut reader).expect("the reply decodes");
                    Some(response.stat.mzxid)
                }
                WatchKind::Exists => {
                    let response = ExistsResponse::decode(&mut reader).expect("the reply decodes");
                    Some(response.stat.mzxid)
                }
                WatchKind::Children => {
                    let response = GetChildren2Response::decode(&mut reader);
                    Some(response.expect("the reply decodes").stat.pzxid)
                }
                WatchKind::Added(_) => None,
            })
        }
        Err(failure) if failure.cause == Cause::Server(ErrorCode::NoNode) => Some(None),
        Err(_) => None,
    }
}

fn server_of(index: usize) -> Server {
    Server::new("zk", u16::try_from(index).unwrap())
}

fn index_of(server: &Server) -> usize {
    usize::from(server.port())
}

/// Kinds of events, for checkers.
pub(super) fn reaches(stream: &Held, kind: EventType, path: &str) -> bool {
    use zk_proto::request::AddWatchMode;
    match stream.kind {
        WatchKind::Added(AddWatchMode::Persistent) => path == &*stream.path,
        WatchKind::Added(AddWatchMode::PersistentRecursive) => {
            let below = path
                .strip_prefix(&*stream.path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            kind != EventType::NodeChildrenChanged && below
        }
        WatchKind::Data | WatchKind::Exists | WatchKind::Children => false,
    }
}
