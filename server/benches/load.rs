//! `zkserver` beside Apache `ZooKeeper`, under the same load on the same machine in the same run.
//!
//! ```sh
//! cargo bench -p zk-server --features bench-reference --bench load                # all, 3 rounds
//! cargo bench -p zk-server --features bench-reference --bench load -- 5 requests  # one part, 5 rounds
//! cargo bench -p zk-server --features bench-reference --bench load -- ours get    # without Apache
//! ```
//!
//! Parts: `requests`, `watches`, `state`, `start`, and `ensemble`, which is three servers; any other
//! word picks rows of `requests` by name. It needs Debian's `zookeeper` package. Both servers are
//! durable: each write is on disk before it is answered.

#![expect(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "load/ensemble.rs"]
mod ensemble;
#[path = "load/requests.rs"]
mod requests;
#[path = "load/slow_sync.rs"]
mod slow_sync;
#[path = "load/start.rs"]
mod start;
#[path = "load/state.rs"]
mod state;
#[path = "load/subject.rs"]
mod subject;
#[path = "load/table.rs"]
mod table;
#[path = "load/watches.rs"]
mod watches;

use std::time::Instant;

use self::subject::Which;
use self::table::Table;

/// What is measured, and how often.
struct Plan {
    rounds: usize,
    subjects: Vec<Which>,
    words: Vec<String>,
}

const PARTS: [&str; 5] = ["requests", "watches", "state", "start", "ensemble"];

impl Plan {
    fn new() -> Self {
        let mut plan = Self {
            rounds: 3,
            subjects: vec![Which::Apache, Which::Ours],
            words: Vec::new(),
        };
        // Cargo adds `--bench` of its own.
        for arg in std::env::args().skip(1).filter(|arg| arg != "--bench") {
            if let Ok(rounds) = arg.parse() {
                plan.rounds = rounds;
            } else if arg == "ours" {
                plan.subjects = vec![Which::Ours];
            } else {
                plan.words.push(arg);
            }
        }
        plan
    }

    /// Whether a part is to be measured.
    fn wants(&self, part: &str) -> bool {
        let names_rows = |word: &String| !PARTS.contains(&word.as_str());
        self.words.is_empty()
            || self.words.iter().any(|word| word == part)
            || (part == "requests" && self.words.iter().any(names_rows))
    }

    /// Whether a row of the requests is.
    fn wants_row(&self, name: &str) -> bool {
        self.words.is_empty()
            || self
                .words
                .iter()
                .any(|word| word == "requests" || name.contains(word.as_str()))
    }

    /// The subjects in the order of a round: another one begins each time.
    fn in_round(&self, round: usize) -> impl Iterator<Item = Which> {
        let count = self.subjects.len();
        (0..count).filter_map(move |at| self.subjects.get((at + round) % count).copied())
    }
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::new();
    let begun = Instant::now();
    let mut table = Table::default();
    if plan.wants("requests") {
        requests::measure(&plan, &mut table)?;
    }
    if plan.wants("watches") {
        watches::measure(&plan, &mut table)?;
    }
    if plan.wants("state") {
        state::measure(&plan, &mut table)?;
    }
    if plan.wants("start") {
        start::measure(&plan, &mut table)?;
    }
    if plan.wants("ensemble") {
        ensemble::measure(&plan, &mut table)?;
    }
    println!(
        "\n{} rounds, medians; {} cores; load average of the machine at the end: {}; {:.0} s\n",
        plan.rounds,
        std::thread::available_parallelism()?,
        std::fs::read_to_string("/proc/loadavg")?.trim(),
        begun.elapsed().as_secs_f64(),
    );
    println!("{table}");
    Ok(())
}
