//! What a user waits for: ensembles that come and go, locks, a cache, a leader that dies.
//!
//! `cargo bench -p zk-recipes --bench measures`; with `--features bench-reference` also the lock of Curator
//! on Apache's server, and with `-- curator` behind that nothing else.
#![expect(clippy::print_stdout, reason = "figures for whoever asks for them")]

#[cfg(feature = "bench-reference")]
#[path = "measures/curator.rs"]
mod curator;

use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use zk_client::Client;
use zk_recipes::{Cache, LeaderLatch, Lock};
use zk_testkit::Ensemble;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

/// Znodes of the cache.
const ENTRIES: usize = 100_000;
/// Creations that are on their way at a time.
const BATCH: usize = 1_000;
/// Contenders of the lock.
const CONTENDERS: usize = 100;
/// Times each of them has it.
const TURNS: usize = 5;

#[tokio::main]
async fn main() -> Outcome {
    #[cfg(feature = "bench-reference")]
    if std::env::args().any(|arg| arg == "curator") {
        return curator::compare().await;
    }
    ensembles_one_by_one().await?;
    ensembles_side_by_side().await?;
    let ensemble = Ensemble::start(3).await?;
    lock_alone(&ensemble).await?;
    lock_contended(&ensemble).await?;
    leader_that_dies(&ensemble).await?;
    cache(&ensemble).await?;
    drop(ensemble);
    #[cfg(feature = "bench-reference")]
    curator::compare().await?;
    Ok(())
}

fn median(mut all: Vec<Duration>) -> Duration {
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

async fn ensembles_one_by_one() -> Outcome {
    let (mut ready, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let start = Instant::now();
        let ensemble = Ensemble::start(3).await?;
        ready.push(start.elapsed());
        let start = Instant::now();
        drop(ensemble);
        gone.push(start.elapsed());
    }
    let (ready, gone) = (median(ready), median(gone));
    println!("3 servers          ready in {ready:.1?}, torn down in {gone:.1?} (medians of 20)");
    Ok(())
}

async fn ensembles_side_by_side() -> Outcome {
    let start = Instant::now();
    let all = try_join_all((0..100).map(|_| Ensemble::start(3))).await?;
    let ready = start.elapsed();
    for ensemble in &all {
        ensemble.client().await?.create("/here", "").await?;
    }
    let used = start.elapsed();
    let start = Instant::now();
    drop(all);
    let gone = start.elapsed();
    println!(
        "100 ensembles      ready in {ready:.1?}, each used after {used:.1?}, torn down in {gone:.1?}"
    );
    Ok(())
}

/// Requests that a client was answered.
fn answered(zk: &Client) -> u64 {
    let stats = zk.stats();
    stats.succeeded + stats.rejected
}

async fn lock_alone(ensemble: &Ensemble) -> Outcome {
    let zk = ensemble.client().await?;
    let lock = Lock::new(&zk, "/alone");
    lock.acquire().await?.release().await?;
    let rounds: u32 = 500;
    let before = answered(&zk);
    let start = Instant::now();
    for _ in 0..rounds {
        lock.acquire().await?.release().await?;
    }
    let each = start.elapsed() / rounds;
    let requests = (answered(&zk) - before).div_ceil(u64::from(rounds));
    let start = Instant::now();
    for _ in 0..rounds {
        zk.set("/alone", "").await?;
    }
    let write = start.elapsed() / rounds;
    println!(
        "lock, alone        {each:.1?} for acquire and release, {requests} requests; a write takes {write:.1?}"
    );
    Ok(())
}

/// Each has the lock so many times; what a turn takes.
async fn contend(clients: &[Client], path: &str) -> Outcome<Duration> {
    let start = Instant::now();
    let contenders = clients.iter().map(|zk| {
        let lock = Lock::new(zk, path);
        tokio::spawn(async move {
            for _ in 0..TURNS {
                lock.acquire().await?.release().await.ok();
            }
            Outcome::Ok(())
        })
    });
    for contender in contenders.collect::<Vec<_>>() {
        contender.await??;
    }
    Ok(start.elapsed() / u32::try_from(clients.len() * TURNS)?)
}

async fn lock_contended(ensemble: &Ensemble) -> Outcome {
    let clients = try_join_all((0..CONTENDERS).map(|_| ensemble.client())).await?;
    let sum = |count: fn(&Client) -> u64| clients.iter().map(count).sum::<u64>();
    let (requests, wakes) = (sum(answered), sum(|zk| zk.stats().watch_events));
    let each = contend(&clients, "/contended").await?;
    let turns = u32::try_from(CONTENDERS * TURNS)?;
    let requests = (sum(answered) - requests) / u64::from(turns);
    let wakes = sum(|zk| zk.stats().watch_events) - wakes;
    println!(
        "lock, {CONTENDERS} want it  {each:.1?} a turn, {requests} requests, {:.2} wake-ups",
        f64::from(u32::try_from(wakes)?) / f64::from(turns)
    );
    Ok(())
}

async fn leader_that_dies(ensemble: &Ensemble) -> Outcome {
    let asked = Duration::from_secs(2);
    let mut took = Vec::new();
    for _ in 0..5 {
        // A runtime of its own that ends like a process: nobody closes the session.
        let process = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let connect = ensemble.connect_string();
        let (leads, is_leading) = tokio::sync::oneshot::channel();
        process.spawn(async move {
            let builder = Client::builder(&connect).session_timeout(asked);
            let zk = builder.connect().await?;
            let latch = LeaderLatch::new(&zk, "/latch").join();
            let leadership = latch.wait_leader().await;
            leads.send(leadership.is_some()).ok();
            std::future::pending::<()>().await;
            Outcome::Ok(())
        });
        is_leading.await?;
        let builder = Client::builder(&ensemble.connect_string()).session_timeout(asked);
        let zk = builder.connect().await?;
        let next = LeaderLatch::new(&zk, "/latch").join();
        while next.participants().await?.len() < 2 {}
        let killed = Instant::now();
        process.shutdown_background();
        next.wait_leader().await.ok_or("the next leads")?;
        took.push(killed.elapsed());
        next.leave().await;
    }
    let took = median(took);
    println!(
        "leader that dies   the next leads after {took:.1?}, at a session timeout of {asked:.0?}"
    );
    Ok(())
}

/// Resident memory of this process, in bytes.
fn resident() -> Outcome<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).ok_or("statm has two fields")?;
    Ok(pages.parse::<u64>()? * 4096)
}

async fn cache(ensemble: &Ensemble) -> Outcome {
    let zk = ensemble.client().await?;
    zk.create("/cached", "").await?;
    let paths: Vec<_> = (0..ENTRIES).map(|n| format!("/cached/{n:08}")).collect();
    for batch in paths.chunks(BATCH) {
        try_join_all(
            batch
                .iter()
                .map(|path| zk.create(path, "0123456789").into_future()),
        )
        .await?;
    }
    let before = resident()?;
    let start = Instant::now();
    let cache = Cache::children(&zk, "/cached").start();
    cache.ready().await?;
    let ready = start.elapsed();
    let bytes = resident()?.saturating_sub(before) / ENTRIES as u64;
    println!(
        "cache              {} entries in {ready:.1?}, {bytes} bytes resident each",
        cache.len()
    );
    Ok(())
}
