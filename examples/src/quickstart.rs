//! An ensemble of three in this process: write, watch, lock, lead; then the leader of the ensemble is
//! killed, and everything goes on.
//!
//! `cargo run --example quickstart`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::error::Error;
use std::time::{Duration, Instant};

use zk_client::WatchEnd;
use zk_recipes::{LeaderLatch, Lock};
use zk_testkit::Ensemble;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let ensemble = Ensemble::start(3).await?;
    println!(
        "ensemble      three servers after {:?}, server {} leads",
        rounded(start.elapsed()),
        ensemble.leader().await? + 1
    );

    // Write, read, watch.
    let zk = ensemble.client().await?;
    zk.create("/greeting", "hello").await?;
    let (node, changed) = zk.get("/greeting").watch().await?;
    println!("read          /greeting {:?}", node.data);
    zk.set("/greeting", "hello again").await?;
    if let WatchEnd::Event(event) = changed.await {
        println!("watch fired   {} {}", event.path, event.kind);
    }

    // One at a time, over all processes of a fleet.
    let lock = Lock::new(&zk, "/locks/report");
    let guard = lock.acquire().await?;
    let other = ensemble.client().await?;
    let others = Lock::new(&other, "/locks/report");
    let is_free = others.try_acquire().await?.is_some();
    println!(
        "lock          held, {} for others",
        if is_free { "free" } else { "not free" }
    );
    guard.release().await?;
    others.acquire().await?.release().await?;
    println!("lock          released, and taken by the other");

    // One leader among many, and another when it goes.
    let first = LeaderLatch::new(&zk, "/leader").join();
    first.wait_leader().await.ok_or("nobody leads")?;
    let second = LeaderLatch::new(&other, "/leader").join();
    println!("leader        the first candidate");

    // Whatever happens to one server, the others go on.
    let leader = ensemble.leader().await?;
    let start = Instant::now();
    ensemble.kill(leader).await?;
    while let Err(error) = zk.set("/greeting", "still here").idempotent().await {
        if !error.is_retryable() {
            return Err(error.into());
        }
    }
    println!(
        "killed        the leading server; the next write took {:?}",
        rounded(start.elapsed())
    );
    let has_it = first.has_leadership() || second.has_leadership();
    println!(
        "leader        {}",
        if has_it { "still one" } else { "being chosen" }
    );

    ensemble.restart(leader).await?;
    ensemble.wait_for_convergence().await?;
    let zk = ensemble.client_of(leader).await?;
    let node = zk.get("/greeting").await?.ok_or("the greeting is gone")?;
    println!("came back     the killed server, and reads {:?}", node.data);
    Ok(())
}

fn rounded(duration: Duration) -> Duration {
    Duration::from_millis(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}
