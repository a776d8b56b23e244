//! One client's core against a model ensemble over a network that breaks on command, in virtual time
//! with one queue of occurrences. Carries out actions as the driver does.

mod driver;
mod ending;
mod fact;
mod network;
mod pipe;
mod plan;
mod user;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::header::ReplyHeader;
use zk_proto::jute::Encode as _;
use zk_proto::{EventType, SessionId, Xid, Zxid, frame};

pub(super) use self::fact::{Fact, Held, is_answer};
use self::pipe::Pipe;
pub(super) use self::plan::{Ask, Do, Fault, Garbage, Plan, Touch, What};
use super::checks::{Checks, Violation};
use super::ensemble::{Change, ConnId, Ensemble};
use crate::connect_string::Server;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, Core, CoreConfig, Event, Time, Waiter, WatchKind,
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
            sasl: None,
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
            let at = first.unwrap_or(Time::NEVER).min(due);
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
                    self.lost(AttemptErrorKind::Ended, "the server closed the connection");
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
            Fault::Throttle(count) => self.ensemble.throttles = count,
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
