//! What is told of many runs, and of the one that failed.

use std::fmt;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::engine::Outcome;

/// Lines of what happened that a failure tells.
const LINES_MAX: usize = 60;

/// What many runs came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Runs that were made.
    pub runs: u64,
    /// Virtual time that passed in all of them.
    pub time: Duration,
    /// Things that happened in the ensembles.
    pub events: u64,
    /// Faults that happened, of the ensembles and of processes.
    pub faults: u64,
    /// What all runs together are known by: equal for equal seeds and an equal body.
    pub trace: u64,
}

impl Report {
    pub(super) fn add(&mut self, outcome: &Outcome) {
        self.runs += 1;
        self.time += outcome.time;
        self.events += outcome.events;
        self.faults += outcome.faults;
        // In whichever order runs end.
        self.trace = self.trace.wrapping_add(outcome.trace);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} runs, {} faults, {:.0?} of virtual time, {} events",
            self.runs, self.faults, self.time, self.events
        )
    }
}

/// A run in which a law was broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The law that was broken.
    pub law: String,
    /// How.
    pub what: String,
    /// What had happened, a line each: faults, and what the body told its history.
    pub happened: Vec<String>,
    /// The command that does it again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.replay)?;
        let skipped = self.happened.len().saturating_sub(LINES_MAX);
        if skipped > 0 {
            writeln!(f, "… {skipped} lines before")?;
        }
        for line in self.happened.iter().skip(skipped) {
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "seed {} breaks a law: {}: {}",
            self.seed, self.law, self.what
        )?;
        write!(f, "{}", self.replay)
    }
}

/// How this run is repeated, and whether it is one that repeats another.
#[derive(Debug)]
pub(super) struct Replay {
    command: String,
    seed: Option<u64>,
    count: Option<u64>,
    pub(super) is_one: bool,
    pub(super) has_trace: bool,
}

impl Replay {
    /// What the environment says.
    ///
    /// # Panics
    /// If it says what is no number.
    pub(super) fn here() -> Self {
        let number = |name: &str| {
            let text = std::env::var(name).ok()?;
            let number = text.parse::<u64>();
            Some(number.unwrap_or_else(|_| panic!("{name}={text} is no number")))
        };
        let seed = number("ZK_SIM_SEED");
        Self {
            command: command(),
            seed,
            count: number("ZK_SIM_SEEDS"),
            is_one: seed.is_some(),
            has_trace: std::env::var_os("ZK_SIM_TRACE").is_some(),
        }
    }

    /// The seeds to run instead of these.
    pub(super) fn seeds(&self, seeds: Range<u64>) -> Range<u64> {
        match (self.seed, self.count) {
            (Some(seed), _) => seed..seed.saturating_add(1),
            (None, Some(count)) => seeds.start..seeds.start.saturating_add(count),
            (None, None) => seeds,
        }
    }

    pub(super) fn line(&self, seed: u64) -> String {
        format!("ZK_SIM_SEED={seed} {}", self.command)
    }
}

/// The command that starts this program, or this test of it alone.
fn command() -> String {
    let thread = std::thread::current();
    let test = thread.name().filter(|name| *name != "main");
    let program = std::env::args().next().unwrap_or_default();
    match (test, std::env::var("CARGO_PKG_NAME")) {
        (Some(test), Ok(package)) => format!("cargo test -p {package} -- --exact {test}"),
        (Some(test), Err(_)) => format!("{program} --exact {test}"),
        (None, _) => program,
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
