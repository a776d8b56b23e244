//! Semaphores.

use std::sync::Arc;

use zk_recipes::Semaphore;
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, crowd, look, swept};

const PATH: &str = "/leases";

async fn take(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let semaphore = Semaphore::new(&zk, PATH, 2).identity(process.name().to_owned());
    for _ in 0..3 {
        let lease = Arc::new(semaphore.acquire().await?);
        let held = Arc::clone(&lease);
        let section = history
            .section("pool", process.name())
            .among(2)
            .while_held(move || held.is_held())
            .enter();
        process.work(WORK).await;
        drop(section);
        if let Some(lease) = Arc::into_inner(lease)
            && process.below(2) == 0
        {
            lease.release().await.ok();
        }
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn no_more_leases_are_out_than_there_are_and_none_is_left_behind() {
    look(Simulation::new().run(0..40, |world| async move {
        crowd(&world, 4, take).await?;
        swept(&world, "/leases/leases").await?;
        swept(&world, "/leases/locks").await
    }));
}

/// Two that ask for more than half each must not end with a part each.
async fn take_many(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let semaphore = Semaphore::new(&zk, PATH, 3);
    for _ in 0..3 {
        let lease = Arc::new(semaphore.acquire_many(2).await?);
        let held = Arc::clone(&lease);
        let section = history
            .section("pool", process.name())
            .while_held(move || held.is_held())
            .enter();
        process.work(WORK).await;
        drop(section);
        drop(lease);
    }
    Ok(())
}

#[test]
fn several_leases_are_given_together_or_not_at_all() {
    look(Simulation::new().run(10_000..10_040, |world| async move {
        crowd(&world, 3, take_many).await?;
        swept(&world, "/leases/leases").await
    }));
}
