//! Several locks at once.

use std::sync::Arc;
use std::time::Duration;

use zk_client::Client;
use zk_recipes::{AcquireError, Lock, MultiGuard, MultiLock};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, crowd, objects};

const PATHS: [&str; 3] = ["/locks/a", "/locks/b", "/locks/c"];

/// Two of the locks, or all of them, in any order.
fn some(process: &Process) -> Vec<&'static str> {
    let mut paths = PATHS.to_vec();
    let turn = usize::try_from(process.below(3)).unwrap_or(0);
    paths.rotate_left(turn);
    if process.below(2) == 0 {
        paths.reverse();
    }
    if process.below(2) == 0 {
        paths.pop();
    }
    paths
}

/// Takes all by one of the ways there are; none if it gave up.
async fn take(process: &Process, locks: &MultiLock) -> Outcome<Option<MultiGuard>> {
    match process.below(4) {
        0 => Ok(locks.try_acquire().await?),
        1 => {
            let within = Duration::from_millis(process.below(3_000));
            match locks.acquire_within(within).await {
                Ok(guard) => Ok(Some(guard)),
                Err(AcquireError::Timeout { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        _ => Ok(Some(locks.acquire().await?)),
    }
}

async fn contend(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    for _ in 0..4 {
        let paths = some(&process);
        let locks = MultiLock::new(&zk, paths.iter().copied());
        if let Some(all) = take(&process, &locks).await? {
            let all = Arc::new(all);
            let mut paths = paths;
            paths.sort_unstable();
            // In all of the sections, or, if one lock was lost meanwhile, in none.
            let sections: Vec<_> = (paths.iter().zip(all.guards()))
                .map(|(path, guard)| {
                    let held = Arc::clone(&all);
                    let section = history.section(*path, process.name());
                    let section = section.token(guard.token().czxid());
                    section.while_held(move || held.is_held()).enter()
                })
                .collect();
            process.work(WORK).await;
            drop(sections);
            if let Some(all) = Arc::into_inner(all)
                && process.below(2) == 0
            {
                all.release().await.ok();
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn of_several_locks_all_are_held_by_one_or_none_is() {
    contended(&Simulation::new(), 0..40, 3, &PATHS, contend);
}

/// One after the other, as they are named.
async fn contend_in_any_order(process: Process, _: History) -> Outcome {
    let zk: Client = process.client().await?;
    for _ in 0..4 {
        let mut guards = Vec::new();
        for path in some(&process) {
            guards.push(Lock::new(&zk, path).acquire().await?);
            process.work(WORK / 4).await;
        }
        process.work(WORK).await;
    }
    Ok(())
}

#[test]
fn locks_that_are_taken_in_any_order_are_found_out() {
    let calm = Simulation::new().without_faults();
    let law = "the body ends, once all is healed";
    objects(&calm, law, |world| async move {
        crowd(&world, 3, contend_in_any_order).await
    });
}
