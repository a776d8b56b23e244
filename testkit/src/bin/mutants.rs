//! Plants one bug after the other, and counts the seeds until a law objects.
#![expect(
    clippy::print_stdout,
    reason = "a command that reports to whoever runs it"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use zk_core::mutation::{Mutation, with};
use zk_testkit::sim::plan::Plan;
use zk_testkit::sim::run::run;

const USAGE: &str = "\
usage: mutants [--places P] [--seconds T] [--start S] [--jobs J] [NAME...]

  --places P    look for each bug from so many places (3)
  --seconds T   at each place for at most so long (60)
  --start S     from this seed on (one that nobody chose)
  --jobs J      on so many threads (1)
  --smoke       only those that fall within seconds
  NAME          only these bugs";

/// Bugs that fall within a few seeds, of all families.
const SMOKE: &[&str] = &[
    "CurrentEpochBeforeLog",
    "HistoryAckBeforeDisk",
    "SyncedTxnsNotLogged",
    "EstablishedAlone",
    "NewLeaderBeforeHistory",
    "TruncationIgnored",
    "AckBeforeDisk",
    "CommitBelowQuorum",
    "LogToldTooEarly",
    "SnapshotNotWritten",
    "EphemeralLeftBehind",
    "WatchFiresAgain",
    "ActivatedWhenProposed",
];

/// One bug, found or not, from each place.
#[derive(Debug, Default)]
struct Found {
    seeds: Vec<u64>,
    laws: BTreeMap<&'static str, u64>,
    missed: u64,
    tried: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    std::panic::set_hook(Box::new(|_| {}));
    let (mut places, mut seconds, mut jobs) = (3, 60, 1);
    let (mut names, mut start) = (Vec::new(), None);
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = args.next().context("a number is missing")?;
            text.parse()
                .with_context(|| format!("{text:?} is no number"))
        };
        match arg.as_str() {
            "--places" => places = number()?.max(1),
            "--seconds" => seconds = number()?.max(1),
            "--start" => start = Some(number()?),
            "--jobs" => jobs = number()?.max(1),
            "--smoke" => names.extend(SMOKE.iter().map(ToString::to_string)),
            name if !name.starts_with('-') => names.push(name.to_owned()),
            _ => bail!("{USAGE}"),
        }
    }
    let known: Vec<String> = Mutation::ALL.iter().map(|bug| format!("{bug:?}")).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name)) {
        bail!("there is no bug {name}");
    }
    let is_meant = |bug: &&Mutation| names.is_empty() || names.contains(&format!("{bug:?}"));
    let bugs: Vec<Mutation> = Mutation::ALL.iter().filter(is_meant).copied().collect();
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let fresh = u64::try_from(since.as_micros() % (1 << 40))? << 22;
    let start = start.unwrap_or(fresh);
    println!("{} bugs, seeds from {start}", bugs.len());
    println!("| bug | like | seeds, median of {places} | found by |");
    println!("|---|---|---|---|");
    let next = AtomicUsize::new(0);
    let missed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(&bug) = bugs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = hunt(bug, start, places, Duration::from_secs(seconds));
                    println!("{}", row(bug, &found));
                    if found.missed > 0
                        && let Ok(mut missed) = missed.lock()
                    {
                        missed.push(bug);
                    }
                }
            });
        }
    });
    let missed = missed.into_inner().unwrap_or_default();
    println!(
        "{} of {} bugs found from every place",
        bugs.len() - missed.len(),
        bugs.len()
    );
    if missed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("missed from some place: {missed:?}");
    Ok(ExitCode::FAILURE)
}

fn hunt(bug: Mutation, start: u64, places: u64, time: Duration) -> Found {
    let mut found = Found::default();
    for place in 0..places {
        let first = start + (place << 20);
        let until = Instant::now() + time;
        let mut seed = first;
        let law = loop {
            if Instant::now() > until {
                break None;
            }
            let outcome = with(Some(bug), || run(&Plan::draw(seed), false));
            seed += 1;
            if let Some(violation) = outcome.violation {
                break Some(violation.law);
            }
        };
        found.tried += seed - first;
        match law {
            Some(law) => {
                found.seeds.push(seed - first);
                *found.laws.entry(law).or_default() += 1;
            }
            None => found.missed += 1,
        }
    }
    found.seeds.sort_unstable();
    found
}

fn row(bug: Mutation, found: &Found) -> String {
    let median = found.seeds.get(found.seeds.len() / 2);
    let median = median.map_or_else(
        || format!("not in {}", found.tried),
        |median| format!("{median}"),
    );
    let missed = match found.missed {
        0 => String::new(),
        missed => format!(", missed {missed} times"),
    };
    let laws: Vec<&str> = found.laws.keys().copied().collect();
    format!(
        "| {bug:?} | {} | {median}{missed} | {} |",
        bug.row(),
        laws.join(", ")
    )
}
