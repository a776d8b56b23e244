//! Runs the simulator: many seeds and a summary, or one seed and everything that happened in it.
#![expect(
    clippy::print_stdout,
    reason = "a command that reports to whoever runs it"
)]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail, ensure};
use zk_testkit::sim::coverage::Coverage;
use zk_testkit::sim::plan::Plan;
use zk_testkit::sim::run::run;
use zk_testkit::sim::shrink::shrink;

const USAGE: &str = "\
usage: sim [--seeds N | --seconds T] [--start S | --fresh] [--jobs J] [--keep-going] [--changes]
       sim --seed S [--calm] [--trace] [--plan] [--shrink]

  --seeds N     run so many seeds (1000)
  --seconds T   run as many seeds as there is time for
  --start S     from this one on (0)
  --fresh       from one on that nobody chose
  --jobs J      on so many threads (1)
  --twice       run each seed twice, and compare what happened
  --voters V    only seeds that make so many voters
  --changes     only seeds in which members come and go
  --keep-going  do not stop at the first violation
  --seed S      run one seed
  --calm        without the faults and sieges that were added last
  --trace       and print all that happened
  --plan        and print the plan
  --shrink      and cut the plan down first, if it fails";

/// Lines of a trace that are printed.
const TRACE_LINES_MAX: usize = 200_000;

#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
struct Options {
    seeds: u64,
    seconds: Option<u64>,
    start: u64,
    jobs: u64,
    is_twice: bool,
    voters: Option<u8>,
    has_changes: bool,
    keeps_going: bool,
    one: Option<u64>,
    is_calm: bool,
    has_trace: bool,
    has_plan: bool,
    shrinks: bool,
}

/// What one seed came to, if it is worth telling.
struct Report {
    violation: Option<(u64, String)>,
    coverage: Coverage,
    runs: u64,
    time: u64,
    events: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    // A panic in a core is reported with its seed; its text on the way would only be noise.
    std::panic::set_hook(Box::new(|_| {}));
    let options = parse(std::env::args().skip(1))?;
    match options.one {
        Some(seed) => Ok(one(seed, &options)),
        None => many(&options),
    }
}

fn parse(mut args: impl Iterator<Item = String>) -> anyhow::Result<Options> {
    let mut options = Options {
        seeds: 1000,
        jobs: 1,
        ..Options::default()
    };
    while let Some(arg) = args.next() {
        let mut number = || -> anyhow::Result<u64> {
            let text = args.next().context("a number is missing")?;
            text.parse()
                .with_context(|| format!("{text:?} is no number"))
        };
        match arg.as_str() {
            "--seeds" => options.seeds = number()?,
            "--seconds" => options.seconds = Some(number()?),
            "--start" => options.start = number()?,
            "--jobs" => options.jobs = number()?.max(1),
            "--seed" => options.one = Some(number()?),
            "--fresh" => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
                options.start =
                    u64::try_from(now.as_nanos() / 1000 % 1_000_000_000_000)? * 1_000_000;
            }
            "--voters" => options.voters = Some(u8::try_from(number()?)?),
            "--changes" => options.has_changes = true,
            "--twice" => options.is_twice = true,
            "--keep-going" => options.keeps_going = true,
            "--calm" => options.is_calm = true,
            "--trace" => options.has_trace = true,
            "--plan" => options.has_plan = true,
            "--shrink" => options.shrinks = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            other => bail!("{other} is not an option\n{USAGE}"),
        }
    }
    Ok(options)
}

fn replay(seed: u64) -> String {
    format!("cargo run --release -p zk-testkit --bin sim -- --seed {seed} --trace --shrink")
}

/// One seed, in detail.
fn one(seed: u64, options: &Options) -> ExitCode {
    println!("{}", replay(seed));
    let mut plan = if options.is_calm {
        Plan::draw_calm(seed)
    } else {
        Plan::draw(seed)
    };
    let mut outcome = run(&plan, options.has_trace);
    if let Some(violation) = &outcome.violation
        && options.shrinks
    {
        let (small, runs) = shrink(&plan, violation.law);
        println!(
            "shrunk in {runs} runs: {} of {} faults, {} of {} requests",
            small.faults.len(),
            plan.faults.len(),
            requests(&small),
            requests(&plan)
        );
        plan = small;
        outcome = run(&plan, options.has_trace);
    }
    if options.has_plan || outcome.violation.is_some() {
        println!("{plan:#?}");
    }
    if options.has_trace {
        for line in outcome.text.lines().take(TRACE_LINES_MAX) {
            println!("{line}");
        }
    }
    print!("{}", outcome.coverage);
    println!(
        "seed {seed}: trace {:016x}, {} events, {} virtual ms",
        outcome.trace,
        outcome.events,
        outcome.time / 1000
    );
    match outcome.violation {
        None => {
            println!("all laws hold");
            ExitCode::SUCCESS
        }
        Some(violation) => {
            println!("VIOLATION {violation}");
            println!("{}", replay(seed));
            ExitCode::FAILURE
        }
    }
}

fn requests(plan: &Plan) -> u32 {
    plan.clients.iter().map(|client| client.requests).sum()
}

/// Many seeds, and what they covered.
fn many(options: &Options) -> anyhow::Result<ExitCode> {
    let seeds = options.seconds.map_or(options.seeds, |_| u64::MAX / 4);
    let end = options.start + seeds;
    let next = AtomicU64::new(options.start);
    let is_over = AtomicBool::new(false);
    let (reports, inbox) = mpsc::channel();
    let began = Instant::now();
    let mut total = Coverage::default();
    let (mut runs, mut time, mut events) = (0, 0, 0);
    let mut violations: BTreeMap<String, (u64, u64, String)> = BTreeMap::new();
    println!("seeds from {} on {} threads", options.start, options.jobs);
    std::thread::scope(|scope| {
        for _ in 0..options.jobs {
            let (reports, next, is_over) = (reports.clone(), &next, &is_over);
            scope.spawn(move || work(options, end, next, is_over, &reports));
        }
        drop(reports);
        let mut told = Instant::now();
        for report in inbox {
            total.merge(&report.coverage);
            runs += report.runs;
            time += report.time;
            events += report.events;
            if let Some((seed, what)) = report.violation {
                let law = what.split(": ").next().unwrap_or_default().to_owned();
                let seen = violations
                    .entry(law)
                    .or_insert_with(|| (0, seed, what.clone()));
                if seen.0 == 0 {
                    println!("{}", replay(seed));
                    println!("seed {seed}: VIOLATION {what}");
                }
                seen.0 += 1;
                if !options.keeps_going {
                    is_over.store(true, Ordering::Relaxed);
                }
            }
            if told.elapsed() > Duration::from_secs(10) {
                told = Instant::now();
                progress(runs, time, began);
            }
        }
    });
    progress(runs, time, began);
    print!("{total}");
    println!(
        "{runs} seeds, {events} events, {:.1} virtual hours, {:.0} times real time, {} violations",
        hours(time),
        hours(time) * 3600.0 / began.elapsed().as_secs_f64(),
        violations.values().map(|(count, ..)| count).sum::<u64>()
    );
    ensure!(runs > 0, "no seed was run");
    if violations.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for (law, (count, seed, what)) in &violations {
        println!("{count} × {law}; first: {what}");
        println!("{}", replay(*seed));
    }
    Ok(ExitCode::FAILURE)
}

fn work(
    options: &Options,
    end: u64,
    next: &AtomicU64,
    is_over: &AtomicBool,
    reports: &mpsc::Sender<Report>,
) {
    let until = options
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    while !is_over.load(Ordering::Relaxed) && until.is_none_or(|until| Instant::now() < until) {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= end {
            return;
        }
        let plan = Plan::draw(seed);
        if options.voters.is_some_and(|voters| voters != plan.voters)
            || options.has_changes && plan.changes.is_none()
        {
            continue;
        }
        let outcome = run(&plan, false);
        let mut violation = outcome.violation.map(|violation| violation.to_string());
        if options.is_twice && violation.is_none() {
            let again = run(&plan, false);
            if again.trace != outcome.trace {
                violation = Some("determinism: a second run differs".to_owned());
            }
        }
        let report = Report {
            violation: violation.map(|what| (seed, what)),
            coverage: outcome.coverage,
            runs: 1,
            time: outcome.time,
            events: outcome.events,
        };
        if reports.send(report).is_err() {
            return;
        }
    }
}

fn progress(runs: u64, time: u64, began: Instant) {
    let elapsed = began.elapsed().as_secs_f64();
    println!(
        "{runs} seeds, {:.0} a second, {:.1} virtual hours",
        per(runs, elapsed),
        hours(time)
    );
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn per(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds.max(0.001)
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn hours(micros: u64) -> f64 {
    micros as f64 / 3.6e9
}
