//! Patience: whoever waited for longer than its session lasts holds what it gets, if nothing goes wrong.
//! While it waits it only reads, and that proves no session.

use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::sleep;
use zk_client::Client;
use zk_recipes::{
    DoubleBarrier, Election, Hold, LeaderLatch, LeaderState, Lock, ReadWriteLock, Semaphore,
};
use zk_testkit::simulation::Simulation;

use crate::{Outcome, crowd};

const PATH: &str = "/patience";
const MEMBERS: u32 = 3;

/// Each has it for twice the session timeout, and the last waits for all of them.
fn is_worth_waiting_for<G, F>(
    seeds: Range<u64>,
    acquire: impl Fn(Client) -> F + Copy + Send + Sync + 'static,
) where
    G: Deref<Target = Hold> + Send + Sync + 'static,
    F: Future<Output = Outcome<G>> + Send + 'static,
{
    let simulation = Simulation::new().without_faults();
    simulation.run(seeds, |world| async move {
        let span = world.session_timeout() * 2;
        crowd(&world, 3, move |process, _| async move {
            let held = acquire(process.client().await?).await?;
            assert!(held.is_held(), "{}: dead on arrival", process.name());
            held.run(sleep(span)).await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn whoever_waited_for_long_holds_the_lock() {
    is_worth_waiting_for(0..20, async |zk| Ok(Lock::new(&zk, PATH).acquire().await?));
}

#[test]
fn whoever_waited_for_long_holds_the_write_lock() {
    is_worth_waiting_for(10_000..10_020, async |zk| {
        Ok(ReadWriteLock::new(&zk, PATH).write().await?)
    });
}

#[test]
fn whoever_waited_for_long_holds_the_lease() {
    is_worth_waiting_for(20_000..20_020, async |zk| {
        Ok(Semaphore::new(&zk, PATH, 1).acquire().await?)
    });
}

#[test]
fn whoever_waited_for_long_leads() {
    let simulation = Simulation::new().without_faults();
    simulation.run(30_000..30_020, |world| async move {
        let span = world.session_timeout() * 2;
        crowd(&world, 3, move |process, _| async move {
            let election = Election::new(&process.client().await?, PATH);
            election.run_once(|_| sleep(span)).await?;
            Ok(())
        })
        .await
    });
}

#[test]
fn whoever_waited_for_long_leads_from_the_moment_that_it_says_so() {
    let simulation = Simulation::new().without_faults();
    simulation.run(40_000..40_020, |world| async move {
        let span = world.session_timeout() * 2;
        crowd(&world, 3, move |process, _| async move {
            let latch = LeaderLatch::new(&process.client().await?, PATH).join();
            let mut state = latch.state();
            let leads = |state: &LeaderState| matches!(state, LeaderState::Leader(_));
            state.wait_for(leads).await?;
            let leadership = latch.leadership();
            let leadership = leadership.ok_or_else(|| format!("{}: flaps", process.name()))?;
            leadership.run(sleep(span)).await?;
            latch.leave().await;
            Ok(())
        })
        .await
    });
}

/// One that is lost deletes its member, and the others get out too early.
#[test]
fn members_that_waited_for_long_are_in_and_get_out_together() {
    let simulation = Simulation::new().without_faults();
    simulation.run(50_000..50_020, |world| async move {
        let span = world.session_timeout() * 2;
        let (begun, leaving) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        crowd(&world, 3, |process, _| {
            let (begun, leaving) = (Arc::clone(&begun), Arc::clone(&leaving));
            async move {
                let zk = process.client().await?;
                let turn = begun.fetch_add(1, Ordering::SeqCst);
                sleep(span * turn).await;
                let entered = DoubleBarrier::new(&zk, PATH, 3).enter().await?;
                assert!(entered.is_held(), "{}: dead on arrival", process.name());
                entered.run(sleep(span * (MEMBERS - turn))).await?;
                leaving.fetch_add(1, Ordering::SeqCst);
                entered.leave().await?;
                assert_eq!(leaving.load(Ordering::SeqCst), MEMBERS, "out too early");
                Ok(())
            }
        })
        .await
    });
}
