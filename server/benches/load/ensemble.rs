//! Three servers: requests through all of them, and how long nobody is served when the leader goes.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::runtime::Runtime;
use zk_proto::request::{CreateFlags, CreateRequest, Request};
use zk_proto::{Acl, Id, Perms};
use zk_testkit::ensemble::process::ZkServer;
use zk_testkit::ensemble::reference::Reference;
use zk_testkit::ensemble::{Ensemble, Server};
use zk_testkit::load::{Load, Op, Sample, Session, cpu, prepare, run};

use crate::Plan;
use crate::subject::Which;
use crate::table::{Goal, Table};

const SERVERS: usize = 3;
const WARM_UP_FIRST: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_millis(500);
const SPAN: Duration = Duration::from_secs(2);
/// Sessions that are opened and closed at once.
const SESSIONS: usize = 32;
/// Times that a leader is killed, in all; and that one is shut down, and that all start cold.
const KILLS: usize = 20;
const SHUTDOWNS: usize = 10;
const STARTS: usize = 5;
/// How long anything may take.
const SOON: Duration = Duration::from_mins(2);

/// Which servers a load goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Through {
    All,
    Follower,
}

struct Row {
    name: &'static str,
    op: Op,
    connections: usize,
    in_flight: usize,
    through: Through,
    cpu: Goal,
    rate: Goal,
    p50: Goal,
    spread: Goal,
}

const SIXTH: f64 = 1.0 / 6.0;

const ROWS: [Row; 5] = [
    Row {
        name: "three: set, pipelined",
        op: Op::SetData,
        connections: 9,
        in_flight: 256,
        through: Through::All,
        cpu: Goal::Share(SIXTH),
        rate: Goal::Times(5.0),
        p50: Goal::None,
        spread: Goal::None,
    },
    Row {
        name: "three: set, 60 clients",
        op: Op::SetData,
        connections: 60,
        in_flight: 1,
        through: Through::All,
        cpu: Goal::Share(0.25),
        rate: Goal::Times(3.0),
        p50: Goal::None,
        spread: Goal::AtMost(3.0),
    },
    Row {
        name: "three: set, one client of a follower",
        op: Op::SetData,
        connections: 1,
        in_flight: 1,
        through: Through::Follower,
        cpu: Goal::None,
        rate: Goal::None,
        p50: Goal::AtMost(80.0),
        spread: Goal::None,
    },
    Row {
        name: "three: get, pipelined",
        op: Op::GetData,
        connections: 9,
        in_flight: 256,
        through: Through::All,
        cpu: Goal::Share(1.0 / 8.0),
        rate: Goal::None,
        p50: Goal::None,
        spread: Goal::None,
    },
    Row {
        name: "three: 9 gets : 1 set, pipelined",
        op: Op::Mixed,
        connections: 9,
        in_flight: 256,
        through: Through::All,
        cpu: Goal::Share(SIXTH),
        rate: Goal::None,
        p50: Goal::None,
        spread: Goal::None,
    },
];

/// Three servers, and what their verbs run on.
struct Three {
    runtime: Runtime,
    ensemble: Ensemble,
}

impl Three {
    /// Starts them, with the ticks of the sample configuration.
    fn start(which: Which) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let (least, most) = (Duration::from_secs(4), Duration::from_hours(1));
        let tick = Duration::from_secs(2);
        let ensemble = runtime.block_on(async {
            match which {
                Which::Apache => {
                    let builder = Reference::builder().jvm_tuned().servers(SERVERS);
                    let builder = builder.tick_time(tick).session_timeouts(least, most);
                    builder
                        .config("initLimit", 10)
                        .config("syncLimit", 5)
                        .start()
                        .await
                }
                Which::Ours => {
                    let program = Path::new(env!("CARGO_BIN_EXE_zkserver"));
                    let builder = ZkServer::builder(program).servers(SERVERS);
                    let builder = builder.tick_time(tick).session_timeouts(least, most);
                    builder
                        .config("initLimit", 10)
                        .config("syncLimit", 5)
                        .start()
                        .await
                }
            }
        })?;
        Ok(Self { runtime, ensemble })
    }

    /// Waits until one leads and all others follow; the leader.
    fn settled(&self) -> anyhow::Result<usize> {
        let begun = Instant::now();
        loop {
            let (leader, followers) = self.runtime.block_on(async {
                (
                    self.ensemble.leader().await,
                    self.ensemble.followers().await,
                )
            });
            if let Ok(leader) = leader
                && followers.len() + 1 == SERVERS
            {
                return Ok(leader);
            }
            if begun.elapsed() > SOON {
                bail!("the ensemble does not settle");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        let servers = self.ensemble.servers().iter();
        servers.map(Server::client_addr).collect()
    }

    fn pids(&self) -> anyhow::Result<Vec<u32>> {
        let servers = self.ensemble.servers().iter();
        let pids: Option<Vec<u32>> = servers.map(Server::pid).collect();
        pids.context("a server does not run")
    }

    fn follower(&self) -> anyhow::Result<SocketAddr> {
        let leader = self.settled()?;
        let mut others = self.addresses().into_iter().enumerate();
        let other = others.find(|(index, _)| *index != leader);
        Ok(other.context("a follower")?.1)
    }
}

pub(crate) fn measure(plan: &Plan, table: &mut Table) -> anyhow::Result<()> {
    {
        let mut subjects = Vec::new();
        for &which in &plan.subjects {
            let three = Three::start(which)?;
            three.settled()?;
            prepare(three.follower()?)?;
            subjects.push((which, three));
        }
        for round in 0..plan.rounds {
            for row in &ROWS {
                for which in plan.in_round(round) {
                    if let Some((_, three)) = subjects.iter().find(|(each, _)| *each == which) {
                        measure_row(row, round, which, three, table)?;
                    }
                }
            }
            for which in plan.in_round(round) {
                if let Some((_, three)) = subjects.iter().find(|(each, _)| *each == which) {
                    measure_sessions(which, three, table)?;
                }
            }
        }
    }
    for &which in &plan.subjects {
        let three = Three::start(which)?;
        measure_gaps(which, &three, table)?;
    }
    Ok(())
}

fn measure_row(
    row: &Row,
    round: usize,
    which: Which,
    three: &Three,
    table: &mut Table,
) -> anyhow::Result<()> {
    let load = Load {
        op: row.op,
        connections: row.connections,
        in_flight: row.in_flight,
        warm_up: if round == 0 && which == Which::Apache {
            WARM_UP_FIRST
        } else {
            WARM_UP
        },
        span: SPAN,
    };
    let servers = match row.through {
        Through::All => three.addresses(),
        Through::Follower => vec![three.follower()?],
    };
    let sample: Sample = run(&load, &servers, &three.pids()?)?;
    let name = row.name;
    let (p50, p99) = (sample.latency_us(0.5), sample.latency_us(0.99));
    println!(
        "{which:?} {name}: {:.0} a second, {:.2} µs of processor, p50 {p50:.1} µs, p99 {p99:.1} µs",
        sample.rate(),
        sample.server_us(),
    );
    table.add(which, name, ("k/s", sample.rate() / 1e3), row.rate);
    table.add(which, name, ("processor µs", sample.server_us()), row.cpu);
    table.add(which, name, ("p50 µs", p50), row.p50);
    table.add(which, name, ("p99 µs", p99), Goal::None);
    if row.spread != Goal::None {
        table.add(which, name, ("p99 / p50", p99 / p50), row.spread);
    }
    Ok(())
}

/// Sessions that create an ephemeral znode each, and close.
fn measure_sessions(which: Which, three: &Three, table: &mut Table) -> anyhow::Result<()> {
    let pids = three.pids()?;
    let total = || -> anyhow::Result<Duration> {
        let mut total = Duration::ZERO;
        for pid in &pids {
            total += cpu(*pid)?.total();
        }
        Ok(total)
    };
    let is_over = AtomicBool::new(false);
    let count = AtomicU64::new(0);
    let servers = three.addresses();
    let before = total()?;
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let mut threads = Vec::new();
        for (number, server) in (0..SESSIONS).zip(servers.iter().cycle()) {
            let (is_over, count) = (&is_over, &count);
            threads.push(scope.spawn(move || -> anyhow::Result<()> {
                while !is_over.load(Ordering::Relaxed) {
                    let mut session = Session::open(*server)?;
                    session.call(&create(&format!("/own-{number}"), CreateFlags::Ephemeral))?;
                    session.close()?;
                    count.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }));
        }
        std::thread::sleep(SPAN);
        is_over.store(true, Ordering::Relaxed);
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a session's thread panicked"),
            }
        }
        Ok(())
    })?;
    let took = total()?.saturating_sub(before);
    #[expect(clippy::cast_precision_loss, reason = "a count of sessions")]
    let count = count.load(Ordering::Relaxed).max(1) as f64;
    let name = "three: session, ephemeral, close";
    let rate = count / SPAN.as_secs_f64() / 1e3;
    let each = took.as_secs_f64() * 1e6 / count;
    table.add(which, name, ("k/s", rate), Goal::None);
    table.add(which, name, ("processor µs", each), Goal::Share(0.2));
    println!(
        "{which:?} {name}: {:.0} a second, {each:.1} µs of processor",
        rate * 1e3
    );
    Ok(())
}

fn create(path: &str, flags: CreateFlags) -> Request {
    Request::Create(CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(vec![Acl::new(Perms::ALL, Id::ANYONE)]),
        flags: flags.code(),
    })
}

/// What is done to the ensemble before the next write is waited for.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Kill,
    Shutdown,
    ColdStart,
}

fn measure_gaps(which: Which, three: &Three, table: &mut Table) -> anyhow::Result<()> {
    // Cold starts come first: what they read is what a new ensemble has.
    for (deed, times, name, unit, goal) in [
        (
            Deed::ColdStart,
            STARTS,
            "three cold processes to first write",
            "ms",
            Goal::AtMost(150.0),
        ),
        (
            Deed::Kill,
            KILLS,
            "leader killed to next write",
            "ms",
            Goal::AtMost(60.0),
        ),
        (
            Deed::Shutdown,
            SHUTDOWNS,
            "leader shut down to next write",
            "ms",
            Goal::AtMost(10.0),
        ),
    ] {
        let mut gaps = Vec::new();
        for _ in 0..times {
            let gap = three.gap(deed)?.as_secs_f64() * 1e3;
            println!("{which:?} {name}: {gap:.1} ms");
            gaps.push(gap);
        }
        gaps.sort_by(f64::total_cmp);
        let median = gaps.get(gaps.len() / 2).copied().unwrap_or_default();
        let worst = gaps.last().copied().unwrap_or_default();
        table.add(which, &format!("{name}, p50"), (unit, median), goal);
        table.add(which, &format!("{name}, worst"), (unit, worst), goal);
    }
    Ok(())
}

impl Three {
    /// The longest time without an acknowledged write, by any server, after a deed.
    fn gap(&self, deed: Deed) -> anyhow::Result<Duration> {
        let leader = self.settled()?;
        let mut writers = self.addresses();
        if !matches!(deed, Deed::ColdStart) {
            writers.remove(leader);
        }
        if matches!(deed, Deed::ColdStart) {
            for index in 0..SERVERS {
                self.runtime.block_on(self.ensemble.kill(index))?;
            }
        }
        let is_over = AtomicBool::new(false);
        let acks = Mutex::new(Vec::new());
        let begun = std::thread::scope(|scope| -> anyhow::Result<Instant> {
            for address in writers {
                let (is_over, acks) = (&is_over, &acks);
                scope.spawn(move || write_on(address, is_over, acks));
            }
            let done = self.inflict(deed, leader, &acks);
            is_over.store(true, Ordering::Relaxed);
            done
        })?;
        if !matches!(deed, Deed::ColdStart) {
            self.runtime.block_on(self.ensemble.start_server(leader))?;
        }
        let mut acks = acks.into_inner().unwrap_or_else(PoisonError::into_inner);
        acks.retain(|ack| *ack > begun);
        acks.sort_unstable();
        if matches!(deed, Deed::ColdStart) {
            acks.truncate(1);
        }
        let befores = std::iter::once(&begun).chain(&acks);
        let gaps = befores.zip(&acks).map(|(before, ack)| *ack - *before);
        gaps.max().context("no write was acknowledged")
    }

    /// Does it, and waits until writes go on after it; when it began.
    fn inflict(
        &self,
        deed: Deed,
        leader: usize,
        acks: &Mutex<Vec<Instant>>,
    ) -> anyhow::Result<Instant> {
        let until_written = |since: Instant| {
            let deadline = Instant::now() + SOON;
            let last = || {
                let acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
                acks.iter().max().copied()
            };
            while last().is_none_or(|last| last < since) {
                if Instant::now() > deadline {
                    bail!("no write is acknowledged");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(())
        };
        if !matches!(deed, Deed::ColdStart) {
            until_written(Instant::now())?;
        }
        let begun = Instant::now();
        self.runtime.block_on(async {
            match deed {
                Deed::Kill => self.ensemble.kill(leader).await?,
                Deed::Shutdown => self.ensemble.stop(leader).await?,
                Deed::ColdStart => {
                    for index in 0..SERVERS {
                        self.ensemble.start_server(index).await?;
                    }
                }
            }
            anyhow::Ok(())
        })?;
        // One that began before may have been acknowledged by who is gone.
        until_written(Instant::now() + Duration::from_millis(100))?;
        Ok(begun)
    }
}

/// Writes to one server as long as it may, one write at a time, in a session after the other.
fn write_on(server: SocketAddr, is_over: &AtomicBool, acks: &Mutex<Vec<Instant>>) {
    let write = create("/gap-", CreateFlags::PersistentSequential);
    while !is_over.load(Ordering::Relaxed) {
        let session = Session::open(server);
        if let Ok(mut session) = session {
            while session.call(&write).is_ok() {
                let mut acks = acks.lock().unwrap_or_else(PoisonError::into_inner);
                acks.push(Instant::now());
                drop(acks);
                if is_over.load(Ordering::Relaxed) {
                    // An error means that the server is gone, and the session with it or soon.
                    session.close().ok();
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
