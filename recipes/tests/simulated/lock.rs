//! Exclusive locks.

use std::sync::Arc;
use std::time::Duration;

use zk_recipes::Lock;
use zk_testkit::simulation::{History, Process, Simulation};

use crate::Outcome;

/// What one of many does: takes the lock several times, and works under it.
async fn contend(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let lock = Lock::new(&zk, "/locks/stock").identity(process.name().to_owned());
    for _ in 0..4 {
        let guard = Arc::new(lock.acquire().await?);
        let held = Arc::clone(&guard);
        let section = history
            .section("stock", process.name())
            .token(guard.token().czxid())
            .while_held(move || held.is_held())
            .enter();
        process.work(Duration::from_millis(300)).await;
        drop(section);
        if let Some(guard) = Arc::into_inner(guard) {
            guard.release().await.ok();
        }
        process.work(Duration::from_millis(300)).await;
    }
    Ok(())
}

#[test]
fn a_lock_is_held_by_one() {
    let report = Simulation::new().twice().run(0..60, |world| async move {
        let contenders: Vec<_> = (0..3)
            .map(|n| {
                let history = world.history();
                world.process(format!("worker {n}"), |process| contend(process, history))
            })
            .collect();
        for contender in contenders {
            contender.await?;
        }
        Outcome::Ok(())
    });
    println!("{report}");
}
