//! Exclusive locks.

use std::time::Duration;

use zk_client::{ErrorKind, Outcome as Effect, Version};
use zk_recipes::{AcquireError, Hold, Lock, LockFormat, LockGuard};
use zk_testkit::simulation::{History, Process, Simulation};

use crate::{Outcome, WORK, contended, crowd, holds, is_held, stay, swept};

const PATH: &str = "/locks/stock";

/// Takes the lock by one of the ways there are; none if it gave up.
async fn take(process: &Process, lock: &Lock) -> Outcome<Option<LockGuard>> {
    match process.below(4) {
        0 => Ok(lock.try_acquire().await?),
        1 => {
            let within = Duration::from_millis(process.below(2_000));
            match lock.acquire_within(within).await {
                Ok(guard) => Ok(Some(guard)),
                Err(AcquireError::Timeout { .. }) => Ok(None),
                Err(error) => Err(error.into()),
            }
        }
        _ => Ok(Some(lock.acquire().await?)),
    }
}

async fn contend(process: Process, history: History, format: LockFormat) -> Outcome {
    let zk = process.client().await?;
    let lock = Lock::new(&zk, PATH)
        .format(format)
        .identity(process.name().to_owned());
    for _ in 0..5 {
        if let Some(guard) = take(&process, &lock).await? {
            let section = history.section("stock", process.name());
            let section = section.token(guard.token().czxid());
            let guard = stay(&process, section, guard, is_held).await;
            // Given back, or dropped: both let go of it.
            if let Some(guard) = guard
                && process.below(2) == 0
            {
                guard.release().await.ok();
            }
        }
        process.work(WORK).await;
    }
    Ok(())
}

fn is_held_by_one(format: LockFormat) {
    contended(&Simulation::new(), 0..40, 3, &[PATH], |process, history| {
        contend(process, history, format)
    });
}

#[test]
fn a_lock_is_held_by_one_and_leaves_nothing_behind() {
    is_held_by_one(LockFormat::Curator);
}

#[test]
fn a_lock_in_kazoos_format_is_held_by_one_and_leaves_nothing_behind() {
    is_held_by_one(LockFormat::Kazoo);
}

#[test]
fn a_lock_in_both_formats_is_held_by_one_and_leaves_nothing_behind() {
    is_held_by_one(LockFormat::Bridge);
}

/// Work under [`Hold::run`] is dropped in time: nobody has to ask.
async fn run_under(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let lock = Lock::new(&zk, PATH);
    for _ in 0..5 {
        let guard = lock.acquire().await?;
        let token = guard.token().czxid();
        let work = async {
            let section = history
                .section("stock", process.name())
                .token(token)
                .enter();
            process.work(WORK * 3).await;
            drop(section);
        };
        guard.run(work).await.ok();
        drop(guard);
    }
    Ok(())
}

#[test]
fn work_under_a_lock_is_over_before_anybody_else_has_it() {
    let simulation = Simulation::new().without_pauses();
    contended(&simulation, 10_000..10_040, 3, &[PATH], run_under);
}

/// Adds one to a number without a version, fenced by the lock.
async fn add(process: Process, history: History) -> Outcome {
    let zk = process.client().await?;
    let lock = Lock::new(&zk, PATH);
    for _ in 0..4 {
        let guard = lock.acquire().await?;
        // The answer is of the time that the lock is held, but writing may come much later.
        let Ok(Some(node)) = guard.session().get("/number").await else {
            continue;
        };
        let number: u64 = std::str::from_utf8(&node.data)?.parse()?;
        process.work(WORK).await;
        let update = history.updating("number");
        let fenced = guard
            .transaction()
            .set("/number", (number + 1).to_string(), Version::ANY);
        match fenced.await {
            Ok(_) => update.done(),
            Err(error) if error.outcome() == Effect::Unknown => drop(update),
            Err(error) => {
                let is_lost = Hold::is_loss(&error) || error.kind() == ErrorKind::Timeout;
                assert!(is_lost || error.is_retryable(), "{error}");
                update.undone();
            }
        }
        guard.release().await.ok();
    }
    Ok(())
}

#[test]
fn what_is_fenced_by_a_lock_loses_no_update() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 20_000..20_040, |world| async move {
        let zk = world.client().await?;
        while zk.create("/number", "0").if_absent().await.is_err() {}
        crowd(&world, 3, add).await?;
        world.healed().await;
        swept(&world, PATH).await?;
        zk.sync("/number").await?;
        let node = zk.get("/number").await?.ok_or("it was created")?;
        let found = std::str::from_utf8(&node.data)?.parse()?;
        world.history().total("number", found);
        Outcome::Ok(())
    });
}
