//! Several clients at work on three servers that are killed, paused and cut off at random, in rounds.
//!
//! After each round everything is healed and these are checked:
//!
//! - an acknowledged write is there, one that was not sent is not, and all are in order (N1, N4);
//! - no call took longer than it may (N3);
//! - whoever watches has seen the last state: every change was followed by an event or a gap;
//! - no ephemeral znode is left when its clients have closed.
//!
//! `SOAK_SECS` is how long to go on (20 by default), `SOAK_ROUND_SECS` the length of a round,
//! `SOAK_SEED` the seed of an earlier run: it draws the same faults, at about the same times.

#![expect(
    clippy::print_stdout,
    reason = "a soak reports on its way and at its end"
)]

mod common;

use std::collections::BTreeSet;
use std::env;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use futures_util::future::{join_all, select};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use zk_client::{Client, Error, EventType, Outcome, WatchEnd, WatchItem, Zxid};
use zk_testkit::fault::{Direction, Proxy};

use self::common::{Servers, Setup, until};

const CLIENTS: usize = 6;
/// The servers' bounds let it be, and a stall of all links outlasts it.
const SESSION_TIMEOUT: Duration = Duration::from_secs(3);
const OP_TIMEOUT: Duration = Duration::from_secs(5);
/// How much later than its deadline a call may end, beside what the machine makes every task late.
const LATE: Duration = Duration::from_secs(1);
/// How long everything may take to come right after a round.
const HEALED: Duration = Duration::from_mins(1);

fn main() -> ExitCode {
    let length = Duration::from_secs(setting("SOAK_SECS").unwrap_or(20));
    let round = Duration::from_secs(setting("SOAK_ROUND_SECS").unwrap_or(20)).min(length);
    let seed = setting("SOAK_SEED").unwrap_or_else(|| Rng::new().u64(..));
    let replay = format!(
        "SOAK_SEED={seed} SOAK_SECS={} SOAK_ROUND_SECS={} cargo test -p zk-client --test reference_soak",
        length.as_secs(),
        round.as_secs()
    );
    println!("soak: {replay}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let passed = runtime.block_on(soak(length, round, seed));
    println!("soak: {}: {replay}", if passed { "ok" } else { "FAILED" });
    if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    env::var(name).ok()?.parse().ok()
}

/// How late tasks were woken at worst, in milliseconds: the machine may have other things to do.
static LAG_MS: AtomicU64 = AtomicU64::new(0);

async fn measure_lag() {
    let pause = Duration::from_millis(20);
    loop {
        let begun = Instant::now();
        sleep(pause).await;
        let lag = begun.elapsed().saturating_sub(pause).as_millis();
        LAG_MS.fetch_max(u64::try_from(lag).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

async fn soak(length: Duration, round: Duration, seed: u64) -> bool {
    let mut lag = JoinSet::new();
    lag.spawn(measure_lag());
    let start = Instant::now();
    let world = World::new().await;
    let mut rng = Rng::with_seed(seed);
    let mut rounds = 0;
    while rounds == 0 || start.elapsed() < length {
        rounds += 1;
        let failures = world.round(rounds, rng.fork(), round).await;
        println!("soak: round {rounds} after {:?}: {}", start.elapsed(), {
            world.totals.line()
        });
        if !failures.is_empty() {
            for failure in &failures {
                println!("soak: round {rounds}: {failure}");
            }
            let faults = world.faults.lock().unwrap_or_else(PoisonError::into_inner);
            println!("soak: round {rounds}: faults: {}", faults.join("; "));
            return false;
        }
    }
    true
}

/// Servers, each behind a proxy of its own.
struct World {
    servers: Servers,
    proxies: Vec<Proxy>,
    start: Instant,
    totals: Totals,
    /// The faults of this round.
    faults: Mutex<Vec<String>>,
}

/// Counts over all rounds.
#[derive(Default)]
struct Totals {
    acknowledged: AtomicU64,
    rejected: AtomicU64,
    unknown: AtomicU64,
    not_sent: AtomicU64,
    events: AtomicU64,
    gaps: AtomicU64,
    faults: AtomicU64,
    connects: AtomicU64,
    expirations: AtomicU64,
}

impl Totals {
    fn line(&self) -> String {
        let get = |count: &AtomicU64| count.load(Ordering::Relaxed);
        format!(
            "{} faults, {} connects, {} expirations; writes: {} acknowledged, {} rejected, \
             {} unknown, {} not sent; watches: {} events, {} gaps",
            get(&self.faults),
            get(&self.connects),
            get(&self.expirations),
            get(&self.acknowledged),
            get(&self.rejected),
            get(&self.unknown),
            get(&self.not_sent),
            get(&self.events),
            get(&self.gaps),
        )
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl World {
    async fn new() -> Self {
        let limits = (Duration::from_millis(400), Duration::from_mins(1));
        let setup = Setup::ensemble().session_timeouts(limits.0, limits.1);
        let servers = setup.start().await;
        let mut proxies = Vec::new();
        for i in 0..servers.count() {
            let proxy = Proxy::start(servers.addr(i)).await;
            proxies.push(proxy.expect("a proxy starts"));
        }
        Self {
            servers,
            proxies,
            start: Instant::now(),
            totals: Totals::default(),
            faults: Mutex::default(),
        }
    }

    fn note(&self, fault: String) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        faults.push(fault);
    }

    /// One round. Returns what was wrong.
    async fn round(&self, number: u32, mut rng: Rng, length: Duration) -> Vec<String> {
        let chroot = format!("/soak-{number}");
        self.faults
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        let judge = self.servers.client_below(&chroot).await;
        // Servers that come back from the round before may still look for a leader.
        let set_up = async |path: &str| {
            let is_there = async || judge.ensure_path(path).await.is_ok();
            until("the round is set up", is_there).await;
        };
        for name in ["/log", "/count", "/ephemeral"] {
            set_up(name).await;
        }
        let (stop, stopped) = watch::channel(false);
        let addrs: Vec<_> = self.proxies.iter().map(|p| p.addr().to_string()).collect();
        let mut workers = Vec::new();
        for index in 0..CLIENTS {
            for name in [format!("/log/{index}"), format!("/count/{index}")] {
                set_up(&name).await;
            }
            let client = Client::builder(&format!("{}{chroot}", addrs.join(",")))
                .session_timeout(SESSION_TIMEOUT)
                .op_timeout(OP_TIMEOUT)
                .seed(rng.u64(..))
                .start()
                .expect("the client starts");
            workers.push(Arc::new(Worker::new(index, client)));
        }
        let mut writers = JoinSet::new();
        let mut watchers = JoinSet::new();
        for worker in &workers {
            let (writer, rng) = (Arc::clone(worker), rng.fork());
            writers.spawn(writer.write(rng, stopped.clone()));
            watchers.spawn(Arc::clone(worker).follow_count());
            watchers.spawn(Arc::clone(worker).follow_log());
        }

        let end = Instant::now() + length;
        while Instant::now() < end {
            self.fault(&mut rng).await;
            count(&self.totals.faults);
        }
        self.heal().await;
        stop.send_replace(true);
        let mut failures = Vec::new();
        if timeout(HEALED, async {
            while writers.join_next().await.is_some() {}
        })
        .await
        .is_err()
        {
            failures.push(format!("writers have not ended within {HEALED:?}"));
        }
        for worker in &workers {
            failures.extend(
                worker
                    .client
                    .wait_connected(HEALED)
                    .await
                    .err()
                    .map(|err| format!("client {} does not connect any more: {err}", worker.index)),
            );
        }
        if failures.is_empty() {
            for worker in &workers {
                worker.check_writes(&judge, &mut failures).await;
            }
            for worker in &workers {
                worker.check_watches(&judge, &mut failures).await;
            }
        }
        self.add_up(&workers);
        watchers.abort_all();
        while let Some(ended) = watchers.join_next().await {
            if ended.is_err_and(|err| err.is_panic()) {
                failures.push("a watcher panicked".to_owned());
            }
        }
        check_ephemerals(workers, &judge, &mut failures).await;
        while let Err(err) = judge.delete_tree("/").await {
            if !err.is_retryable() {
                failures.push(format!("cannot tidy up: {err}"));
                break;
            }
        }
        judge.close(HEALED).await;
        failures
    }

    /// Does something bad to servers or links for a while.
    async fn fault(&self, rng: &mut Rng) {
        let i = rng.usize(..self.proxies.len());
        let Some(proxy) = self.proxies.get(i) else {
            return;
        };
        let while_bad = Duration::from_millis(rng.u64(100..2_500));
        let way = *rng
            .choice(&[Direction::ToServer, Direction::ToClient, Direction::Both])
            .unwrap_or(&Direction::Both);
        let kind = rng.u32(..10);
        let now = self.start.elapsed();
        self.note(format!(
            "{now:.1?} kind {kind} server {i} {way:?} {while_bad:?}"
        ));
        match kind {
            0 => proxy.cut_all(),
            1 => {
                self.servers.pause(i).await;
                sleep(while_bad).await;
                self.servers.resume(i).await;
            }
            2 => {
                self.servers.kill(i).await;
                sleep(while_bad).await;
                self.servers.start(i).await;
                self.servers.serving(i).await;
            }
            3 => {
                let leader = self.servers.leader().await;
                self.note(format!("server {leader} leads"));
                self.servers.kill(leader).await;
                self.servers.start(leader).await;
                self.servers.serving(leader).await;
            }
            4 => {
                proxy.stall(way, true);
                sleep(while_bad).await;
                proxy.heal();
            }
            5 if rng.u32(..4) == 0 => {
                for proxy in &self.proxies {
                    proxy.stall(way, true);
                }
                sleep(SESSION_TIMEOUT + while_bad).await;
                for proxy in &self.proxies {
                    proxy.heal();
                }
            }
            5 | 6 => {
                proxy.delay(way, Duration::from_millis(rng.u64(1..150)));
                sleep(while_bad).await;
                proxy.heal();
            }
            7 => {
                // A stream with a hole in it is nothing that TCP lets happen: it ends cut.
                proxy.drop_bytes(way, true);
                sleep(while_bad).await;
                proxy.cut_all();
                proxy.heal();
            }
            8 => {
                proxy.refuse(true);
                proxy.cut_all();
                sleep(while_bad).await;
                proxy.heal();
            }
            _ => {
                proxy.cut_after(way, rng.u64(..3_000));
                sleep(while_bad).await;
                proxy.heal();
            }
        }
        sleep(Duration::from_millis(rng.u64(..1_000))).await;
    }

    async fn heal(&self) {
        for proxy in &self.proxies {
            proxy.heal();
        }
        for i in 0..self.servers.count() {
            if self.servers.is_paused(i) {
                self.servers.resume(i).await;
            }
            if !self.servers.is_running(i) {
                self.servers.start(i).await;
            }
        }
        for i in 0..self.servers.count() {
            self.servers.serving(i).await;
        }
    }

    fn add_up(&self, workers: &[Arc<Worker>]) {
        for worker in workers {
            let stats = worker.client.stats();
            let journal = worker.journal();
            for (total, more) in [
                (&self.totals.acknowledged, journal.acknowledged),
                (&self.totals.rejected, journal.rejected),
                (&self.totals.unknown, journal.unknown),
                (&self.totals.not_sent, journal.not_sent),
                (&self.totals.events, stats.watch_events),
                (&self.totals.gaps, journal.gaps),
                (&self.totals.connects, stats.connects),
                (&self.totals.expirations, stats.expirations),
            ] {
                total.fetch_add(more, Ordering::Relaxed);
            }
        }
    }
}

/// One client, what it did, and what it saw.
struct Worker {
    index: usize,
    client: Client,
    journal: Mutex<Journal>,
}

#[derive(Default)]
struct Journal {
    acknowledged: u64,
    rejected: u64,
    unknown: u64,
    not_sent: u64,
    gaps: u64,
    /// Numbers of the znodes of its log, by what is known of them.
    log_acknowledged: BTreeSet<u64>,
    log_absent: BTreeSet<u64>,
    /// Sets of its counter, by what is known of them.
    sets_acknowledged: i32,
    sets_unknown: i32,
    /// Values that its counter may have: the last that was acknowledged, and what came after.
    values: BTreeSet<u64>,
    /// Version and zxid that the last acknowledged set was answered with.
    last_set: Option<(i32, Zxid)>,
    /// Last value seen of the counter of its neighbour.
    seen_value: u64,
    /// Paths seen in all logs.
    seen_paths: BTreeSet<String>,
    failures: Vec<String>,
}

enum Known {
    Done,
    Undone,
    Unknown,
}

impl Worker {
    fn new(index: usize, client: Client) -> Self {
        let journal = Mutex::default();
        Self {
            index,
            client,
            journal,
        }
    }

    fn journal(&self) -> std::sync::MutexGuard<'_, Journal> {
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sorts the result of a write.
    fn known<T>(&self, begun: Instant, result: &Result<T, Error>) -> Known {
        let mut journal = self.journal();
        let elapsed = begun.elapsed();
        let lag = Duration::from_millis(LAG_MS.load(Ordering::Relaxed));
        if elapsed > OP_TIMEOUT + LATE + 3 * lag {
            let index = self.index;
            journal.failures.push(format!(
                "client {index}: a write took {elapsed:?} of {OP_TIMEOUT:?}, and tasks were \
                 late by {lag:?} at most"
            ));
        }
        match result.as_ref().map_err(Error::outcome) {
            Ok(_) => {
                journal.acknowledged += 1;
                Known::Done
            }
            Err(Outcome::NotSent) => {
                journal.not_sent += 1;
                Known::Undone
            }
            Err(Outcome::Rejected) => {
                journal.rejected += 1;
                Known::Undone
            }
            Err(Outcome::Unknown) => {
                journal.unknown += 1;
                Known::Unknown
            }
        }
    }

    /// Writes until it is told to stop: a log of new znodes in bursts, a counter, ephemeral znodes.
    async fn write(self: Arc<Self>, mut rng: Rng, stop: watch::Receiver<bool>) {
        let index = self.index;
        let mut number = 0;
        while !*stop.borrow() {
            let burst = rng.u64(1..12);
            let begun = Instant::now();
            let pending: Vec<_> = (number..number + burst)
                .map(|n| (n, format!("/log/{index}/{n:08}")))
                .map(|(n, path)| (n, self.client.create(&path, "x").send()))
                .collect();
            number += burst;
            for (n, pending) in pending {
                let known = self.known(begun, &pending.await);
                let mut journal = self.journal();
                match known {
                    Known::Done => _ = journal.log_acknowledged.insert(n),
                    Known::Undone => _ = journal.log_absent.insert(n),
                    Known::Unknown => {}
                }
            }
            self.set_count(number).await;
            let path = format!("/ephemeral/{index}-{number}");
            let begun = Instant::now();
            let created = self.client.create(&path, "").ephemeral().await;
            self.known(begun, &created);
            if rng.bool() {
                let begun = Instant::now();
                let deleted = self.client.delete(&path).await;
                self.known(begun, &deleted);
            }
            sleep(Duration::from_millis(rng.u64(..60))).await;
        }
    }

    async fn set_count(&self, value: u64) {
        let path = format!("/count/{}", self.index);
        self.journal().values.insert(value);
        let begun = Instant::now();
        let set = self.client.set(&path, value.to_string()).await;
        let known = self.known(begun, &set);
        let mut journal = self.journal();
        match known {
            Known::Done => {
                journal.sets_acknowledged += 1;
                journal.values = BTreeSet::from([value]);
                // Tells a write that the servers lost from one that never was: they count anew.
                let set = set.map(|stat| (stat.version.get(), stat.mzxid)).ok();
                if let (Some(last), Some(set)) = (journal.last_set, set)
                    && set.0 <= last.0
                {
                    let index = self.index;
                    journal.failures.push(format!(
                        "client {index}: the servers answered a set with version {} at {}, and \
                         one before with version {} at {}: they lost a write",
                        set.0, set.1, last.0, last.1
                    ));
                }
                journal.last_set = set;
            }
            Known::Undone => _ = journal.values.remove(&value),
            Known::Unknown => journal.sets_unknown += 1,
        }
    }

    fn neighbour(&self) -> String {
        format!("/count/{}", (self.index + 1) % CLIENTS)
    }

    /// Follows the neighbour's counter by one-shot watches.
    async fn follow_count(self: Arc<Self>) {
        let path = self.neighbour();
        loop {
            match self.client.get(&path).watch().await {
                Ok((node, watch)) => {
                    let value = value(&node.data);
                    self.journal().seen_value = value;
                    if let WatchEnd::Closed(_) = watch.await {
                        return;
                    }
                }
                Err(err) if err.is_client_fatal() => return,
                // The deadline is over without a connection: the next call waits again.
                Err(_) => {}
            }
        }
    }

    /// Follows all logs by a watch of the tree, one client in three with a buffer that overflows.
    async fn follow_log(self: Arc<Self>) {
        let buffer = if self.index.is_multiple_of(3) { 3 } else { 256 };
        'stream: loop {
            let mut stream = match self.client.watch_tree("/log").buffer(buffer).await {
                Ok(stream) => stream,
                Err(err) if err.is_client_fatal() => return,
                Err(_) => continue,
            };
            self.read_logs().await;
            loop {
                match stream.next().await {
                    Some(WatchItem::Event(event)) => {
                        if event.kind == EventType::NodeCreated {
                            self.journal().seen_paths.insert(event.path.to_string());
                        }
                    }
                    Some(WatchItem::Gap { .. }) => {
                        self.journal().gaps += 1;
                        self.read_logs().await;
                    }
                    Some(WatchItem::Armed { .. }) => {}
                    Some(WatchItem::Closed(_)) | None => return,
                    Some(_) => continue 'stream,
                }
            }
        }
    }

    /// Reads what the stream may not have told.
    async fn read_logs(&self) {
        for index in 0..CLIENTS {
            let path = format!("/log/{index}");
            let names = loop {
                // What is written by then is seen by the read behind the sync.
                let synced = self.client.sync(&path).await;
                match self.client.children(&path).await {
                    Ok(names) if synced.is_ok() => break names.unwrap_or_default(),
                    Err(err) if err.is_client_fatal() => return,
                    _ => {}
                }
            };
            let paths = names.into_iter().map(|name| format!("{path}/{name}"));
            self.journal().seen_paths.extend(paths);
        }
    }

    async fn check_writes(&self, judge: &Client, failures: &mut Vec<String>) {
        let index = self.index;
        let (log, count) = (format!("/log/{index}"), format!("/count/{index}"));
        judge.sync("/").await.expect("the judge syncs");
        let names = judge.children(&log).await.expect("the judge lists");
        let mut names = names.unwrap_or_default();
        names.sort_unstable();
        let there: BTreeSet<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let node = judge.get(&count).await.expect("the judge reads");
        let node = node.expect("the counter exists");
        {
            let journal = self.journal();
            failures.extend(journal.failures.iter().cloned());
            for lost in journal.log_acknowledged.difference(&there) {
                failures.push(format!("client {index}: acknowledged write {lost} is lost"));
            }
            for undead in journal.log_absent.intersection(&there) {
                failures.push(format!(
                    "client {index}: write {undead} was said not to be done, and is there"
                ));
            }
            let (least, most) = (
                journal.sets_acknowledged,
                journal.sets_acknowledged + journal.sets_unknown,
            );
            let version = node.stat.version.get();
            if !(least..=most).contains(&version) {
                failures.push(format!(
                    "client {index}: the counter was set {version} times, not {least} to {most}"
                ));
            }
            let value = value(&node.data);
            if version > 0 && !journal.values.contains(&value) {
                failures.push(format!(
                    "client {index}: the counter is {value}, not one of {:?}",
                    journal.values
                ));
            }
        }
        // In the order in which they were submitted.
        let mut last = None;
        for chunk in names.chunks(500) {
            let paths: Vec<_> = chunk.iter().map(|name| format!("{log}/{name}")).collect();
            let stats = join_all(
                paths
                    .iter()
                    .map(|path| async move { judge.exists(path).await.expect("the judge reads") }),
            );
            for (path, stat) in paths.iter().zip(stats.await) {
                let stat = stat.expect("nobody deletes");
                if last.is_some_and(|last| stat.czxid <= last) {
                    failures.push(format!("{path} was created before one submitted earlier"));
                }
                last = Some(stat.czxid);
            }
        }
    }

    /// One more change: everybody must come to see the last state.
    async fn check_watches(&self, judge: &Client, failures: &mut Vec<String>) {
        let index = self.index;
        let count = self.neighbour();
        let value = u64::MAX;
        let set = judge.set(&count, value.to_string()).idempotent().await;
        set.expect("the judge writes");
        let mut paths = BTreeSet::new();
        for other in 0..CLIENTS {
            let names = judge.children(&format!("/log/{other}")).await;
            let names = names.expect("the judge lists").unwrap_or_default();
            paths.extend(names.iter().map(|name| format!("/log/{other}/{name}")));
        }
        let deadline = Instant::now() + HEALED;
        loop {
            let (seen_value, missing) = {
                let journal = self.journal();
                let missing = paths.difference(&journal.seen_paths).count();
                (journal.seen_value, missing)
            };
            if seen_value == value && missing == 0 {
                return;
            }
            if Instant::now() > deadline {
                failures.push(format!(
                    "client {index}: saw its neighbour's counter at {seen_value} last, \
                     and not {missing} of {} znodes: {:?}",
                    paths.len(),
                    self.client
                ));
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn value(data: &[u8]) -> u64 {
    std::str::from_utf8(data)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Every client but one closes, that one is dropped; nothing of them may stay.
async fn check_ephemerals(
    mut workers: Vec<Arc<Worker>>,
    judge: &Client,
    failures: &mut Vec<String>,
) {
    workers.pop();
    join_all(workers.iter().map(|worker| worker.client.close(HEALED))).await;
    for worker in &workers {
        let stats = worker.client.stats();
        if (stats.outstanding, stats.watches) != (0, 0) {
            failures.push(format!("client {}: leaks: {stats:?}", worker.index));
        }
    }
    let gone = async {
        loop {
            judge.sync("/").await.expect("the judge syncs");
            let names = judge.children("/ephemeral").watch().await;
            let (names, watch) = names.expect("the judge lists");
            if names.is_empty() {
                return;
            }
            // The server tells, unless it goes down between.
            select(Box::pin(watch), Box::pin(sleep(Duration::from_secs(1)))).await;
        }
    };
    if timeout(HEALED, gone).await.is_err() {
        let names = judge.children("/ephemeral").await;
        failures.push(format!("ephemeral znodes are left: {names:?}"));
    }
}
