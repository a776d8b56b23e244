//! One run: the simulated ensemble goes as far as the runtime's clock, and the clock as far as the next
//! thing that is to happen.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use zk_client::host;

use super::faults::{self, Fault, Mishap};
use super::history::Record;
use super::process::Proc;
use super::report::lock;
use super::turns::Turns;
use super::world::World;
use super::{Ending, Simulation};
use crate::check::{Verdict, Violation};
use crate::sim;
use crate::sim::outside::{Arrival, Heading};
use crate::sim::plan::Plan;
use crate::sim::rng::Rng;
use crate::sim::schedule::Micros;

const SECOND: Micros = 1_000_000;
/// How long a body may take once all is healed.
pub(super) const PATIENCE: Duration = Duration::from_mins(5);
/// Where in a seed the numbers of a run itself, and of its processes, begin.
const STREAM: u64 = 40;
const PROCESSES: u64 = 1_000;
/// The number of a seed that says whose turn it is.
const TURNS: u64 = 41;

/// What came of a run.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) violation: Option<Violation>,
    pub(super) trace: u64,
    pub(super) time: Duration,
    pub(super) events: u64,
    pub(super) faults: u64,
    pub(super) happened: Vec<String>,
}

impl Outcome {
    /// Objects if another run of the seed was another.
    pub(super) fn compare(&mut self, again: &Self) {
        if self.trace == again.trace && again.violation.is_none() {
            return;
        }
        let mut pairs = self.happened.iter().zip(&again.happened);
        let difference = pairs.find(|(one, other)| one != other);
        let what = match difference {
            Some((one, other)) => format!("first\n{one}\nand then\n{other}"),
            None => {
                "not in what the history was told, but in what went over connections".to_owned()
            }
        };
        let why = "something reads a clock, draws, or orders by hash beside the simulation";
        self.violation = Some(Violation {
            law: "runs of one seed are equal",
            what: format!("{what}\n{why}"),
        });
    }
}

/// Runs a body once.
pub(super) fn run<F, Fut>(simulation: &Simulation, seed: u64, has_trace: bool, body: &F) -> Outcome
where
    F: Fn(World) -> Fut,
    Fut: Future<Output: Ending>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        // What the run itself does is done when no task can run: see `turns`.
        .event_interval(u32::MAX)
        .build()
        .expect("a runtime without I/O needs nothing that could be missing");
    let shared = runtime.block_on(async { Shared::new(simulation, seed, has_trace) });
    let shared = match shared {
        Ok(shared) => Arc::new(shared),
        Err(violation) => return Outcome::failed(violation),
    };
    // Whatever is of no process is of the world itself.
    let world: Arc<dyn host::Host> = Arc::clone(&shared.world) as _;
    let _inside = host::enter(world);
    let ended = catch_unwind(AssertUnwindSafe(|| {
        runtime.block_on(async {
            tokio::select! {
                biased;
                violation = shared.drive() => Some(violation),
                never = shared.turns.give() => never,
                ended = body(World::new(Arc::clone(&shared))) => ended.trouble().map(|what| {
                    Violation { law: "the body succeeds", what }
                }),
            }
        })
    }));
    let violation = ended.unwrap_or_else(|panic| Some(panicked(panic.as_ref())));
    let outcome = shared.outcome(violation);
    drop(runtime);
    outcome
}

impl Outcome {
    fn failed(violation: Violation) -> Self {
        Self {
            violation: Some(violation),
            trace: 0,
            time: Duration::ZERO,
            events: 0,
            faults: 0,
            happened: Vec::new(),
        }
    }
}

/// A panic, as a violation.
pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Violation {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    Violation {
        law: "nothing panics",
        what: text.unwrap_or_default(),
    }
}

/// What all handles of a run share.
pub(super) struct Shared {
    start: Instant,
    seed: u64,
    pub(super) servers: u8,
    /// Session timeout that processes ask for.
    pub(super) timeout: Duration,
    inner: Mutex<Inner>,
    pub(super) record: Mutex<Record>,
    laws: Mutex<Vec<Law>>,
    /// Something is to be looked at sooner than the next thing happens by itself.
    changed: Notify,
    pub(super) healed: watch::Sender<bool>,
    /// The process that the body itself is in.
    pub(super) world: Arc<Proc>,
    turns: Arc<Turns>,
}

/// What must hold at any moment.
type Law = (&'static str, Box<dyn FnMut() -> Result<(), String> + Send>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// The ensemble, and what is between it and the processes.
pub(super) struct Inner {
    pub(super) sim: sim::world::World,
    violation: Option<Violation>,
    faults: VecDeque<Fault>,
    /// Of processes.
    faults_done: u64,
    /// When all is healed, and whether it is.
    end: Micros,
    is_healed: bool,
    /// How long the body may take after that.
    patience: Micros,
    /// Clients' ends of connections.
    pub(super) ends: BTreeMap<usize, End>,
    pub(super) processes: Vec<Arc<Proc>>,
    /// When a process that stands still goes on.
    resumes: Vec<(Micros, u32)>,
    /// What happened meanwhile, for the record.
    said: Vec<(Micros, String)>,
}

/// A client's end of a connection.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) arrived: VecDeque<Bytes>,
    pub(super) is_over: bool,
    pub(super) reader: Option<Waker>,
}

impl Shared {
    fn new(simulation: &Simulation, seed: u64, has_trace: bool) -> Result<Self, Violation> {
        let mut rng = Rng::new(seed, STREAM);
        let span = rng.pick(&[2, 6, 6, 20]) * SECOND;
        let span = simulation.span.map_or(span, micros);
        let mut plan = Plan::without_clients(seed, simulation.servers, span);
        let tick = plan.members.tick_ms;
        let timeout_ms = (tick * rng.pick(&[10, 20])).max(1_000.min(tick * 20));
        let mut faults = faults::draw(simulation, seed, timeout_ms * 1000, span);
        if !simulation.has_faults {
            plan.faults.clear();
            plan.net.reset_per_mille = 0;
            // Nor does a leader go because its epoch has no number left.
            plan.members.counter_max = u32::MAX - 1;
            faults.clear();
        }
        let sim = sim::world::World::new(&plan, has_trace)?;
        let turns = Arc::new(Turns::new(Rng::new(seed, TURNS)));
        let rng = Rng::new(seed, PROCESSES);
        let world = Proc::new(0, "world".to_owned(), rng, Arc::clone(&turns));
        Ok(Self {
            start: Instant::now(),
            seed,
            servers: simulation.servers,
            timeout: Duration::from_millis(timeout_ms),
            inner: Mutex::new(Inner {
                sim,
                violation: None,
                faults: faults.into(),
                faults_done: 0,
                end: if simulation.has_faults { span } else { 0 },
                is_healed: false,
                patience: micros(simulation.patience),
                ends: BTreeMap::new(),
                processes: Vec::new(),
                resumes: Vec::new(),
                said: Vec::new(),
            }),
            record: Mutex::new(Record::default()),
            laws: Mutex::default(),
            changed: Notify::new(),
            healed: watch::Sender::new(false),
            world: Arc::new(world),
            turns,
        })
    }

    /// Time since the run began.
    pub(super) fn now(&self) -> Micros {
        micros(self.start.elapsed())
    }

    /// The ensemble, at the moment that the clock shows.
    pub(super) fn enter(&self) -> MutexGuard<'_, Inner> {
        let mut inner = lock(&self.inner);
        let now = self.now();
        if inner.violation.is_none()
            && let Err(violation) = inner.advance(now)
        {
            inner.violation = Some(violation);
        }
        if !inner.said.is_empty() {
            let mut record = lock(&self.record);
            for (at, line) in inner.said.drain(..) {
                record.say(at, &line);
            }
        }
        inner
    }

    /// Something was put in: it may come before what was to happen next.
    pub(super) fn nudge(&self) {
        self.changed.notify_one();
    }

    /// A law is broken.
    pub(super) fn object(&self, law: &'static str, what: String) {
        let mut inner = lock(&self.inner);
        inner.violation.get_or_insert(Violation { law, what });
        drop(inner);
        self.changed.notify_one();
    }

    /// Notes something that happened.
    pub(super) fn say(&self, line: &str) {
        lock(&self.record).say(self.now(), line);
    }

    /// A new process.
    pub(super) fn process(&self, name: String) -> Arc<Proc> {
        let mut inner = lock(&self.inner);
        let number = u32::try_from(inner.processes.len() + 1).unwrap_or(u32::MAX);
        let rng = Rng::new(self.seed, PROCESSES + u64::from(number));
        let process = Arc::new(Proc::new(number, name, rng, Arc::clone(&self.turns)));
        inner.processes.push(Arc::clone(&process));
        process
    }

    /// The process that this is called in; none in the body itself.
    pub(super) fn here(&self) -> Option<Arc<Proc>> {
        let host = Arc::as_ptr(&host::current()?).cast::<()>();
        let inner = lock(&self.inner);
        let is_host = |process: &&Arc<Proc>| std::ptr::eq(Arc::as_ptr(process).cast(), host);
        inner.processes.iter().find(is_host).map(Arc::clone)
    }

    /// Adds what must hold at any moment.
    pub(super) fn always(&self, law: Law) {
        lock(&self.laws).push(law);
    }

    /// Lets something go wrong with a process.
    pub(super) fn hit(&self, process: u32, what: Mishap) {
        let now = self.now();
        self.enter().mishap(now, process, what);
        self.nudge();
    }

    /// Lets everything happen, until a law is broken.
    async fn drive(&self) -> Violation {
        loop {
            let (next, is_healed) = {
                let mut inner = self.enter();
                if let Some(violation) = inner.violation.take() {
                    return violation;
                }
                (inner.next_at(), inner.is_healed)
            };
            if is_healed {
                self.healed
                    .send_if_modified(|healed| !std::mem::replace(healed, true));
            }
            for (law, holds) in lock(&self.laws).iter_mut() {
                if let Err(what) = holds() {
                    return Violation { law, what };
                }
            }
            let next = next.map(|next| self.start + Duration::from_micros(next));
            tokio::select! {
                biased;
                () = self.changed.notified() => {}
                () = sleep_until(next.unwrap_or_else(|| Instant::now() + Duration::from_secs(1))) => {}
            }
        }
    }

    fn outcome(&self, violation: Option<Violation>) -> Outcome {
        let inner = lock(&self.inner);
        let mut record = lock(&self.record);
        let violation = violation.or_else(|| inner.violation.clone());
        if inner.sim.trace.has_text() {
            write_trace(&inner.sim);
        }
        Outcome {
            violation,
            trace: inner.sim.trace.hash() ^ record.trace(),
            time: Duration::from_micros(inner.sim.schedule.now()),
            events: inner.sim.events,
            faults: inner.faults_done + inner.sim.faults_done,
            happened: record.take_lines(),
        }
    }
}

impl Inner {
    /// Lets happen what is to happen until `now`, and that included.
    fn advance(&mut self, now: Micros) -> Verdict {
        loop {
            let at = self.next_own().filter(|at| *at <= now).unwrap_or(now);
            self.sim_until(at + 1)?;
            self.deliver();
            if !self.own(at) && at == now {
                break;
            }
        }
        if now > self.end.saturating_add(self.patience) {
            return Err(Violation {
                law: "the body ends, once all is healed",
                what: format!("not within {:?}", Duration::from_micros(self.patience)),
            });
        }
        Ok(())
    }

    fn sim_until(&mut self, end: Micros) -> Verdict {
        if self.sim.next_at().is_none_or(|next| next >= end) && self.sim.schedule.now() >= end {
            return Ok(());
        }
        let sim = &mut self.sim;
        // A panic in a core is a violation like any other; nothing is done with it any more.
        let done = catch_unwind(AssertUnwindSafe(|| sim.run_until(end)));
        done.unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    }

    /// When the next thing happens that is not the ensemble's.
    fn next_own(&self) -> Option<Micros> {
        let fault = self.faults.front().map(|fault| fault.at);
        let resume = self.resumes.iter().map(|(at, _)| *at).min();
        let heal = (!self.is_healed).then_some(self.end);
        [fault, resume, heal].into_iter().flatten().min()
    }

    fn next_at(&self) -> Option<Micros> {
        [self.next_own(), self.sim.next_at()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Lets happen what is due and is not the ensemble's. Whether there was anything.
    fn own(&mut self, now: Micros) -> bool {
        let mut was_due = false;
        while let Some(place) = self.resumes.iter().position(|(at, _)| *at <= now) {
            let (_, process) = self.resumes.swap_remove(place);
            self.resume(now, process);
            was_due = true;
        }
        while let Some(fault) = self.faults.pop_front_if(|fault| fault.at <= now) {
            was_due = true;
            let count = self.processes.len() as u64;
            if count > 0 {
                let process = u32::try_from(fault.process % count).unwrap_or(0) + 1;
                self.mishap(now, process, fault.what);
            }
        }
        if !self.is_healed && self.end <= now {
            self.is_healed = true;
            was_due = true;
            self.sim.heal();
            for process in 1..=u32::try_from(self.processes.len()).unwrap_or(0) {
                self.sim.heal_outside(process);
                self.resume(now, process);
            }
            self.resumes.clear();
            self.said.push((now, "all is healed".to_owned()));
        }
        was_due
    }

    fn named(&self, process: u32) -> Option<&Arc<Proc>> {
        self.processes
            .get(usize::try_from(process.checked_sub(1)?).ok()?)
    }

    /// Lets something go wrong with a process.
    pub(super) fn mishap(&mut self, now: Micros, process: u32, what: Mishap) {
        let Some(hit) = self.named(process).map(Arc::clone) else {
            return;
        };
        self.faults_done += 1;
        self.said.push((now, format!("{}: {what}", hit.name)));
        match what {
            Mishap::Cut {
                member,
                heading,
                span,
            } => {
                let until = if self.is_healed {
                    now + span
                } else {
                    (now + span).min(self.end)
                };
                for place in 0..self.sim.plan.count() {
                    for way in [Heading::In, Heading::Out] {
                        if member.is_none_or(|member| member == place)
                            && heading.is_none_or(|heading| heading == way)
                        {
                            self.sim.cut_outside(process, place, way, until);
                        }
                    }
                }
            }
            Mishap::Reset { tells_server } => {
                self.sim.reset_outside(process, tells_server);
                self.deliver();
            }
            Mishap::Pause { span } => {
                hit.pause();
                self.resumes.retain(|(_, paused)| *paused != process);
                self.resumes.push((now + span, process));
            }
            Mishap::Expire => {
                for (session, member) in self.sim.sessions_outside(process) {
                    self.sim.expire_outside(session, member);
                }
            }
            Mishap::Death => {
                hit.kill();
                self.sim.reset_outside(process, true);
                self.deliver();
            }
        }
    }

    fn resume(&mut self, now: Micros, process: u32) {
        let Some(stood) = self.named(process).map(Arc::clone) else {
            return;
        };
        let Some(waiting) = stood.resume() else {
            return;
        };
        self.said.push((now, format!("{}: goes on", stood.name)));
        for task in waiting {
            task.wake();
        }
    }

    /// Lets clients have what arrived for them.
    fn deliver(&mut self) {
        for (place, arrival) in self.sim.take_arrived() {
            let Some(end) = self.ends.get_mut(&place) else {
                continue;
            };
            match arrival {
                Arrival::Bytes(bytes) => end.arrived.push_back(bytes),
                Arrival::End => end.is_over = true,
            }
            if let Some(reader) = end.reader.take() {
                reader.wake();
            }
        }
    }
}

/// A duration in microseconds.
pub(super) fn micros(duration: Duration) -> Micros {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[expect(
    clippy::print_stderr,
    reason = "asked for by whoever looks into one run"
)]
fn write_trace(sim: &sim::world::World) {
    eprintln!("{}", sim.trace.text());
}
