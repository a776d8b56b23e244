//! This client beside the crate `zookeeper-client` and beside clients without an API, on one
//! Apache server, on loopback, in one run.
//!
//! ```sh
//! cargo bench -p zk-client --bench compare --features bench-reference           # 7 rounds, 4 minutes
//! cargo bench -p zk-client --bench compare --features bench-reference -- 3      # 3 rounds
//! ```
//!
//! It needs Debian's `zookeeper` package. See `README.md` beside this file for how to read the table.

#![expect(clippy::print_stdout, reason = "a program that prints a table")]

#[path = "compare/raw.rs"]
mod raw;
#[path = "compare/table.rs"]
mod table;

use std::alloc::System;
use std::collections::VecDeque;
use std::future::Future;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use hdrhistogram::Histogram;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::{TimeVal, TimeValLike as _};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};
use tokio::runtime::{Builder, Runtime};
use zk_client::Client;
use zk_testkit::ensemble::reference::Reference;

use self::table::Table;

/// Counts for all threads: `zookeeper-client` polls its sockets on a thread of its own.
#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Odd, so that the median is a measurement.
const ROUNDS: usize = 7;
/// How long one client runs one workload before it is measured, and then while it is.
const WARM_UP: Duration = Duration::from_millis(400);
const SPAN: Duration = Duration::from_millis(1_600);
/// How long the server is loaded before anything is measured, for its compiler to finish.
const WARM_UP_SERVER: Duration = Duration::from_secs(12);
/// Requests kept in flight by the pipelined workloads.
const WINDOW: usize = 256;

const PATH: &str = "/bench";
const DATA: [u8; 100] = [b'x'; 100];

/// What is done, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Workload {
    op: Op,
    window: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Get,
    Set,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Subject {
    Ours,
    Theirs,
    /// No API, on a socket of tokio's.
    RawTask,
    /// No API, on a blocking socket.
    Raw,
}

const WORKLOADS: [Workload; 4] = [
    Workload {
        op: Op::Get,
        window: 1,
    },
    Workload {
        op: Op::Get,
        window: WINDOW,
    },
    Workload {
        op: Op::Set,
        window: 1,
    },
    Workload {
        op: Op::Set,
        window: WINDOW,
    },
];

const SUBJECTS: [Subject; 4] = [
    Subject::Ours,
    Subject::Theirs,
    Subject::RawTask,
    Subject::Raw,
];

/// What one client did in one round of one workload.
#[derive(Debug, Clone, Copy)]
struct Sample {
    ops_per_s: f64,
    /// User and system time of this process, all threads.
    cpu_us: f64,
    /// The part of it outside the kernel.
    user_us: f64,
    /// Latency; none where it is not taken.
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    allocations: f64,
}

fn main() -> anyhow::Result<()> {
    let rounds = rounds()?;
    let server = runtime()?;
    let ensemble = server.block_on(
        Reference::builder()
            .jvm_tuned()
            // The speed of the disk is not what is compared.
            .jvm_flag("-Dzookeeper.forceSync=no")
            .session_timeouts(Duration::from_secs(4), Duration::from_mins(1))
            .start(),
    )?;
    let address = ensemble.connect_string();
    prepare(&address)?;

    let mut table = Table::new();
    for round in 0..rounds {
        for workload in WORKLOADS {
            for turn in 0..SUBJECTS.len() {
                // Whoever comes first, last and after whom: every round another.
                let Some(&subject) = SUBJECTS.get((turn + round) % SUBJECTS.len()) else {
                    continue;
                };
                let sample = measure(subject, workload, &address)
                    .with_context(|| format!("{subject:?}, {workload:?}, round {round}"))?;
                table.add(workload, subject, sample);
            }
        }
    }
    println!(
        "{rounds} rounds of {SPAN:?} each, medians; Apache ZooKeeper on loopback without fsync, \
         current-thread tokio runtime, {} cores\n",
        std::thread::available_parallelism()?
    );
    println!("{table}");
    server.block_on(ensemble.shutdown());
    Ok(())
}

/// The number of rounds asked for. Cargo adds `--bench` of its own.
fn rounds() -> anyhow::Result<usize> {
    let given = std::env::args().skip(1).find(|arg| arg != "--bench");
    let rounds = given.map_or(Ok(ROUNDS), |arg| arg.parse().context("number of rounds"))?;
    ensure!(rounds > 0, "no rounds, no table");
    Ok(rounds)
}

/// The same for every client.
fn runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_current_thread().enable_all().build()?)
}

/// Makes the znode and warms the server.
fn prepare(address: &str) -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let client = Client::connect(address).await?;
        client.create(PATH, DATA.to_vec()).await?;
        client.close(Duration::from_secs(5)).await;
        anyhow::Ok(())
    })?;
    let start = Instant::now();
    while start.elapsed() < WARM_UP_SERVER {
        for workload in WORKLOADS {
            raw::blocking(workload, address)?;
        }
    }
    Ok(())
}

/// Runs one workload with a client of its own.
fn measure(subject: Subject, workload: Workload, address: &str) -> anyhow::Result<Sample> {
    match subject {
        Subject::Raw => raw::blocking(workload, address),
        // Spawned, as in a server: the runtime treats the future that it blocks on differently.
        Subject::Ours => runtime()?.block_on(async {
            let task = ours(workload, address.to_owned());
            tokio::spawn(task).await?
        }),
        Subject::Theirs => runtime()?.block_on(async {
            let task = theirs(workload, address.to_owned());
            tokio::spawn(task).await?
        }),
        Subject::RawTask => runtime()?.block_on(async {
            let task = raw::task(workload, address.to_owned());
            tokio::spawn(task).await?
        }),
    }
}

async fn ours(Workload { op, window }: Workload, address: String) -> anyhow::Result<Sample> {
    let client = Client::connect(&address).await?;
    let sample = match op {
        Op::Get => drive(window, || client.get(PATH).send()).await?,
        Op::Set => drive(window, || client.set(PATH, &DATA[..]).send()).await?,
    };
    client.close(Duration::from_secs(5)).await;
    Ok(sample)
}

async fn theirs(Workload { op, window }: Workload, address: String) -> anyhow::Result<Sample> {
    let client = zookeeper_client::Client::connect(&address).await?;
    match op {
        Op::Get => drive(window, || client.get_data(PATH)).await,
        Op::Set => drive(window, || client.set_data(PATH, &DATA, None)).await,
    }
}

/// Keeps `window` requests in flight: both clients send when the future is made, and answer in order.
async fn drive<F, T, E>(window: usize, submit: impl Fn() -> F + Send) -> anyhow::Result<Sample>
where
    F: Future<Output = Result<T, E>> + Send,
    E: std::error::Error + Send + Sync + 'static,
{
    let mut in_flight = VecDeque::with_capacity(window);
    let mut now = Instant::now();
    for _ in 0..window {
        in_flight.push_back((now, submit()));
    }
    let mut meter = Meter::start()?;
    let mut is_warm = false;
    while let Some((sent, reply)) = in_flight.pop_front() {
        reply.await?;
        now = Instant::now();
        meter.answered(sent, now);
        if meter.has_run(if is_warm { SPAN } else { WARM_UP }, now) {
            if is_warm {
                break;
            }
            is_warm = true;
            meter = Meter::start()?;
        }
        in_flight.push_back((now, submit()));
    }
    let sample = meter.stop()?;
    for (_, reply) in in_flight {
        reply.await?;
    }
    Ok(sample)
}

/// Longest latency told from longer ones: a minute.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// Takes time, CPU time and allocations from its start on.
struct Meter {
    start: Instant,
    cpu: Cpu,
    allocations: u32,
    ops: u32,
    /// Of latencies in nanoseconds.
    latencies: Histogram<u64>,
}

impl Meter {
    fn start() -> anyhow::Result<Self> {
        Ok(Self {
            latencies: Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3)?,
            ops: 0,
            allocations: allocations(),
            cpu: cpu()?,
            start: Instant::now(),
        })
    }

    fn answered(&mut self, sent: Instant, now: Instant) {
        self.ops += 1;
        self.latencies
            .saturating_record(u64::try_from((now - sent).as_nanos()).unwrap_or(u64::MAX));
    }

    /// Answers whose latency is not taken.
    fn counted(&mut self, answers: usize) {
        self.ops += u32::try_from(answers).unwrap_or(u32::MAX);
    }

    fn has_run(&self, span: Duration, now: Instant) -> bool {
        now - self.start >= span
    }

    fn stop(&self) -> anyhow::Result<Sample> {
        let wall = self.start.elapsed();
        let end = cpu()?;
        let user = end.user.saturating_sub(self.cpu.user);
        let system = end.system.saturating_sub(self.cpu.system);
        let allocations = allocations().wrapping_sub(self.allocations);
        let ops = f64::from(self.ops);
        ensure!(self.ops > 0, "nothing was answered");
        let quantile = |quantile| {
            let nanos = self.latencies.value_at_quantile(quantile);
            (!self.latencies.is_empty()).then(|| Duration::from_nanos(nanos).as_secs_f64() * 1e6)
        };
        Ok(Sample {
            ops_per_s: ops / wall.as_secs_f64(),
            cpu_us: (user + system).as_secs_f64() * 1e6 / ops,
            user_us: user.as_secs_f64() * 1e6 / ops,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            allocations: f64::from(allocations) / ops,
        })
    }
}

/// Of this process so far, all threads.
struct Cpu {
    user: Duration,
    system: Duration,
}

fn cpu() -> anyhow::Result<Cpu> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let micros =
        |time: TimeVal| anyhow::Ok(Duration::from_micros(time.num_microseconds().try_into()?));
    Ok(Cpu {
        user: micros(usage.user_time())?,
        system: micros(usage.system_time())?,
    })
}

/// By this process so far, all threads; wraps.
#[expect(
    clippy::cast_possible_truncation,
    reason = "only differences are of use"
)]
fn allocations() -> u32 {
    let stats = ALLOCATOR.stats();
    (stats.allocations + stats.reallocations) as u32
}
