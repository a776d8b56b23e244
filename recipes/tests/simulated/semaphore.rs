//! Semaphores.

use zk_recipes::Semaphore;
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, is_held, stay};

const PATH: &str = "/leases";

async fn take(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let semaphore = Semaphore::new(&zk, PATH, 2).identity(process.name().to_owned());
    for _ in 0..3 {
        let lease = semaphore.acquire().await?;
        let section = history.section("pool", process.name()).among(2);
        let lease = stay(&process, section, lease, is_held).await;
        if let Some(lease) = lease
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
    let paths = ["/leases/leases", "/leases/locks"];
    contended(&Simulation::new(), 0..40, 4, &paths, take);
}

/// Two that ask for more than half each must not end with a part each.
async fn take_many(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let semaphore = Semaphore::new(&zk, PATH, 3);
    for _ in 0..3 {
        let lease = semaphore.acquire_many(2).await?;
        let section = history.section("pool", process.name());
        stay(&process, section, lease, is_held).await;
    }
    Ok(())
}

#[test]
fn several_leases_are_given_together_or_not_at_all() {
    let paths = ["/leases/leases"];
    contended(&Simulation::new(), 10_000..10_040, 3, &paths, take_many);
}
