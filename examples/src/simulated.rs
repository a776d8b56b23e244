//! A simulated test: thousands of fault schedules in seconds, and a bug found in a lock that looks right.
//!
//! `cargo run -p zk-examples --example simulated`
#![expect(
    clippy::print_stdout,
    reason = "telling what happens is what it is for"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use zk_client::{Client, ErrorKind};
use zk_recipes::Lock;
use zk_testkit::simulation::{History, Process, Simulation, World};

type Outcome = Result<(), Box<dyn Error + Send + Sync>>;

const WORK: Duration = Duration::from_millis(500);

/// A lock as one would write it on a good day. It asks again when an answer is lost, knows its own
/// znode, watches instead of polling. What it does not know is that a session can end: then the znode
/// goes, and whoever comes next has the lock too.
async fn naive_acquire(zk: &Client) {
    while zk.create("/lock", "").ephemeral().await.is_err() {
        if let Ok((Some(stat), gone)) = zk.exists("/lock").watch().await {
            if zk.state().borrow().session() == Some(stat.ephemeral_owner) {
                return;
            }
            gone.await;
        }
    }
}

async fn naive_release(zk: &Client) {
    while let Err(error) = zk.delete("/lock").await {
        if error.kind() == ErrorKind::NoNode {
            return;
        }
    }
}

async fn naive_worker(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    for _ in 0..3 {
        naive_acquire(&zk).await;
        let section = history.section("stock", process.name()).enter();
        process.work(WORK).await;
        drop(section);
        naive_release(&zk).await;
    }
    Ok(())
}

/// The same with a lock that can tell, at any moment, whether it is still held.
async fn worker(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let lock = Lock::new(&zk, "/lock");
    for _ in 0..3 {
        let guard = Arc::new(lock.acquire().await?);
        let held = Arc::clone(&guard);
        let section = history
            .section("stock", process.name())
            .token(guard.token().czxid())
            .while_held(move || held.is_held())
            .enter();
        process.work(WORK).await;
        drop(section);
    }
    Ok(())
}

async fn three<F>(world: World, body: impl Fn(Process, History) -> F) -> Outcome
where
    F: Future<Output = Outcome> + Send + 'static,
{
    let running: Vec<_> = (1..=3)
        .map(|n| {
            let history = world.history();
            world.process(format!("worker {n}"), |process| body(process, history))
        })
        .collect();
    for one in running {
        one.await?;
    }
    Ok(())
}

fn main() -> Outcome {
    let simulation = Simulation::new().jobs(1);
    let found = simulation.try_run(0..1_000, |world| three(world, naive_worker));
    let failure = found.err().ok_or("the bug was not found")?;
    println!("naive lock    breaks a law: {}", failure.law);
    for line in failure.happened.iter().rev().take(4).rev() {
        println!("              {line}");
    }
    println!("              {}", failure.what);

    // Whatever went wrong goes wrong again: with more output, a debugger, a fix.
    let seeds = failure.seed..failure.seed + 1;
    let again = simulation.try_run(seeds, |world| three(world, naive_worker));
    let again = again.err().ok_or("the run was another")?;
    println!(
        "again         {}",
        if again.happened == failure.happened {
            "the same, line by line"
        } else {
            "something else"
        }
    );
    println!("in a test     {}", failure.replay);

    let report = Simulation::new().run(0..100, |world| three(world, worker));
    println!("zk-recipes    no law broken: {report}");
    Ok(())
}
