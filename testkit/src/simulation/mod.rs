//! Your own code under thousands of fault schedules: the real client, an ensemble of the real cores,
//! no time.
//!
//! A [`run`] takes a range of seeds and the body of a test. For every seed the body runs once, in a
//! runtime whose clock is virtual, against an ensemble to which happens what the seed says: members
//! die and come back, links are cut, disks are slow, connections break on one end or both, processes
//! stand still. After a while all is healed, and the body must come to its end. Runs of one seed are
//! equal, so whatever goes wrong goes wrong again.
//!
//! ```
//! use std::time::Duration;
//! use zk_testkit::simulation;
//!
//! simulation::run(0..20, |world| async move {
//!     let workers: Vec<_> = (0..3)
//!         .map(|n| {
//!             let history = world.history();
//!             world.process(format!("worker {n}"), move |process| async move {
//!                 let zk = process.client().await?;
//!                 // Counted once if it is answered, and once or not at all if it is not.
//!                 let update = history.updating("counter");
//!                 let path = format!("/counter-{n}");
//!                 match zk.create(&path, "").await {
//!                     Ok(_) => update.done(),
//!                     Err(error) if error.outcome() == zk_client::Outcome::Unknown => {}
//!                     Err(_) => update.undone(),
//!                 }
//!                 Ok::<(), zk_client::Error>(())
//!             })
//!         })
//!         .collect();
//!     for worker in workers {
//!         worker.await.ok();
//!     }
//!     world.healed().await;
//!     let zk = world.client().await?;
//!     zk.sync("/").await?;
//!     let names = zk.children("/").await?.unwrap_or_default();
//!     let count = names.iter().filter(|name| name.starts_with("counter-")).count();
//!     world.history().total("counter", count as u64);
//!     Ok::<(), zk_client::Error>(())
//! });
//! ```
//!
//! # Laws
//! The body says what it does to [`World::history`], which objects at once:
//!
//! | law | said by |
//! |---|---|
//! | mutual exclusion, or so many at most | [`History::section`] |
//! | one leader | [`History::leading`] |
//! | fencing tokens are monotone | [`Section::token`](history::SectionBuilder::token) |
//! | no lost update | [`History::updating`], [`History::total`] |
//! | whatever must hold at any moment | [`World::always`] |
//! | the body ends within 5 minutes of virtual time once all is healed ([`Simulation::patience`]) | itself |
//!
//! A panic in the body is a violation too: assert what you like. So is whatever the laws of
//! [`crate::check`] find wrong in the ensemble.
//!
//! # When it fails
//! it panics with the law that was broken, the last of what happened, and one line that does it again:
//! `ZK_SIM_SEED=17 cargo test …`. With `ZK_SIM_TRACE` set beside it, all that the ensemble did is
//! written to standard error. `ZK_SIM_SEEDS=n` runs so many seeds, whatever the range says.
//!
//! # What the body must keep to
//! It runs in one thread, on tokio's clock. What it takes from elsewhere makes runs of one seed differ,
//! which is found out and is an error: the clock of the system (`std::time::Instant::now`; use
//! [`tokio::time::Instant`]), other randomness than [`Process::random`], the order of a `HashMap`,
//! `tokio::select!` without `biased`, a `tokio::sync::watch` that several futures of one task wait for,
//! threads and sockets. Only of tasks that were spawned by [`Process::spawn`], as the recipes and the
//! client spawn theirs, the seed says whose turn it is, and they stand still when their process does.

mod engine;
mod faults;
pub mod history;
mod process;
mod report;
mod turns;
mod wire;
mod world;

use std::fmt;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use self::history::History;
pub use self::process::{Process, Running};
pub use self::report::{Failure, Report};
pub use self::world::World;

use self::engine::Outcome;
use self::report::Replay;

/// One run in so many is made twice, and compared.
const TWICE_EVERY: u64 = 32;

/// Runs the body once for every seed, on an ensemble of three; see the module's text.
///
/// # Panics
/// If a law is broken, with what there is to know about it; if there are no seeds.
pub fn run<F, Fut>(seeds: Range<u64>, body: F) -> Report
where
    F: Fn(World) -> Fut + Sync,
    Fut: Future<Output: Ending>,
{
    Simulation::new().run(seeds, body)
}

/// What a body comes to: nothing, or a result whose error is a violation.
pub trait Ending {
    /// What went wrong, if anything did.
    fn trouble(self) -> Option<String>;
}

impl Ending for () {
    fn trouble(self) -> Option<String> {
        None
    }
}

impl<E: fmt::Display> Ending for Result<(), E> {
    fn trouble(self) -> Option<String> {
        self.err().map(|error| error.to_string())
    }
}

/// How to simulate.
#[derive(Debug, Clone)]
#[must_use = "nothing is simulated until it is run"]
#[expect(
    clippy::struct_excessive_bools,
    reason = "switches that have nothing to do with each other"
)]
pub struct Simulation {
    pub(crate) servers: u8,
    pub(crate) span: Option<Duration>,
    pub(crate) patience: Duration,
    pub(crate) has_faults: bool,
    pub(crate) has_pauses: bool,
    pub(crate) has_administrators: bool,
    is_twice: bool,
    jobs: usize,
}

impl Default for Simulation {
    fn default() -> Self {
        Self::new()
    }
}

impl Simulation {
    /// An ensemble of three, all kinds of faults.
    pub fn new() -> Self {
        Self {
            servers: 3,
            span: None,
            patience: engine::PATIENCE,
            has_faults: true,
            has_pauses: true,
            has_administrators: false,
            is_twice: false,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }

    /// Servers of the ensemble, 1 to 9.
    ///
    /// # Panics
    /// If there are fewer or more.
    pub fn servers(mut self, servers: u8) -> Self {
        assert!((1..=9).contains(&servers), "{servers} servers");
        self.servers = servers;
        self
    }

    /// For how long things go wrong, in virtual time. Drawn if it is not said: 2, 6 or 20 s.
    pub fn span(mut self, span: Duration) -> Self {
        self.span = Some(span);
        self
    }

    /// How long the body may take once all is healed, in virtual time, before that is a violation:
    /// 5 minutes unless it is said.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Nothing goes wrong; things only take their time.
    pub fn without_faults(mut self) -> Self {
        self.has_faults = false;
        self
    }

    /// Processes never stand still, as if no computer ever paused one: what a program does without
    /// looking whether it still may is then not found out.
    pub fn without_pauses(mut self) -> Self {
        self.has_pauses = false;
        self
    }

    /// Sessions are also ended by administrators, behind their clients' back: whoever holds something
    /// by such a session has lost it before it can know. Only what is fenced stands this.
    pub fn with_administrators(mut self) -> Self {
        self.has_administrators = true;
        self
    }

    /// Makes every run twice and compares them, not only one in 32.
    pub fn twice(mut self) -> Self {
        self.is_twice = true;
        self
    }

    /// Runs so many seeds at once; as many as there are processors, unless it is said.
    pub fn jobs(mut self, jobs: usize) -> Self {
        self.jobs = jobs.max(1);
        self
    }

    /// Runs the body once for every seed.
    ///
    /// # Panics
    /// If a law is broken, with what there is to know about it; if there are no seeds.
    pub fn run<F, Fut>(&self, seeds: Range<u64>, body: F) -> Report
    where
        F: Fn(World) -> Fut + Sync,
        Fut: Future<Output: Ending>,
    {
        match self.try_run(seeds, body) {
            Ok(report) => report,
            Err(failure) => panic!("{failure}"),
        }
    }

    /// Runs the body once for every seed, until a law is broken.
    ///
    /// # Errors
    /// The [`Failure`] with the lowest seed among those that were found.
    ///
    /// # Panics
    /// If there are no seeds.
    pub fn try_run<F, Fut>(&self, seeds: Range<u64>, body: F) -> Result<Report, Failure>
    where
        F: Fn(World) -> Fut + Sync,
        Fut: Future<Output: Ending>,
    {
        let replay = Replay::here();
        let seeds = replay.seeds(seeds);
        assert!(!seeds.is_empty(), "there is no seed to run in {seeds:?}");
        let next = AtomicU64::new(seeds.start);
        let sum = Mutex::new(Report::default());
        let failed: Mutex<Option<Failure>> = Mutex::new(None);
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end {
                    return;
                }
                let outcome = self.one(seed, &replay, &body);
                report::lock(&sum).add(&outcome);
                if let Some(violation) = outcome.violation {
                    next.store(seeds.end, Ordering::Relaxed);
                    let failure = Failure {
                        seed,
                        law: violation.law.to_owned(),
                        what: violation.what,
                        happened: outcome.happened,
                        replay: replay.line(seed),
                    };
                    let mut failed = report::lock(&failed);
                    if failed.as_ref().is_none_or(|known| seed < known.seed) {
                        *failed = Some(failure);
                    }
                    return;
                }
            }
        };
        let jobs = u64::try_from(self.jobs).unwrap_or(1);
        std::thread::scope(|scope| {
            // The body may be one that takes much of the stack, as tests' threads do not mind.
            for _ in 0..jobs.min(seeds.end.saturating_sub(seeds.start)) {
                scope.spawn(work);
            }
        });
        let failed = failed
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let sum = sum
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        failed.map_or(Ok(sum), Err)
    }

    fn one<F, Fut>(&self, seed: u64, replay: &Replay, body: &F) -> Outcome
    where
        F: Fn(World) -> Fut + Sync,
        Fut: Future<Output: Ending>,
    {
        let mut outcome = engine::run(self, seed, replay.has_trace, body);
        if outcome.violation.is_none()
            && (self.is_twice || replay.is_one || seed.is_multiple_of(TWICE_EVERY))
        {
            let again = engine::run(self, seed, false, body);
            outcome.compare(&again);
        }
        outcome
    }
}
