//! Barriers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use zk_recipes::{Barrier, BarrierError, DoubleBarrier, GenerationBarrier};
use zk_testkit::simulation::Simulation;

use crate::{Outcome, WORK, crowd, holds};

const MEMBERS: usize = 3;

#[test]
fn whoever_waits_goes_on_once_the_barrier_is_lifted_and_not_before() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 0..40, |world| async move {
        let lifted = Arc::new(AtomicUsize::new(0));
        let zk = world.client().await?;
        let barrier = Barrier::new(&zk, "/barrier");
        barrier.set().await?;
        let seen = Arc::clone(&lifted);
        let waiters = crowd(&world, MEMBERS, move |process, _| {
            let seen = Arc::clone(&seen);
            async move {
                let zk = process.client().await?;
                // One that was down is found down: the flag is seen from a state that is old.
                while zk.sync("/").await.is_err() {}
                let barrier = Barrier::new(&zk, "/barrier");
                barrier.wait().await?;
                assert!(seen.load(Ordering::SeqCst) > 0, "nobody has lifted it");
                Ok(())
            }
        });
        let lift = async {
            let own = world.own();
            own.work(WORK * 20).await;
            // From here on it may be lifted.
            lifted.store(1, Ordering::SeqCst);
            barrier.lift().await?;
            // A pulse: whoever looks away now must notice all the same.
            barrier.set().await?;
            own.work(WORK * 20).await;
            barrier.lift().await?;
            Outcome::Ok(())
        };
        let (waited, lifted) = futures_util::future::join(waiters, lift).await;
        lifted?;
        waited
    });
}

/// A member whose session ends after it was counted finds the round over: then it waits in vain, and
/// only then.
#[test]
fn a_double_barrier_lets_nobody_in_before_all_are_there() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 10_000..10_040, |world| async move {
        let begun = Arc::new(AtomicUsize::new(0));
        let let_in = Arc::new(AtomicUsize::new(0));
        crowd(&world, MEMBERS, |process, history| {
            let (begun, let_in) = (Arc::clone(&begun), Arc::clone(&let_in));
            async move {
                let zk = process.client().await?;
                process.work(WORK * 3).await;
                begun.fetch_add(1, Ordering::SeqCst);
                let barrier = DoubleBarrier::new(&zk, "/round", MEMBERS);
                let entered = barrier.enter_within(Duration::from_mins(1)).await;
                let count = begun.load(Ordering::SeqCst);
                assert_eq!(count, MEMBERS, "{} goes on with {count}", process.name());
                match entered {
                    Ok(entered) => {
                        history.note(format_args!("{} is in", process.name()));
                        let_in.fetch_add(1, Ordering::SeqCst);
                        process.work(WORK).await;
                        entered.leave().await?;
                        history.note(format_args!("{} is out", process.name()));
                    }
                    Err(BarrierError::Timeout { .. } | BarrierError::TimedOutAfterTrip { .. }) => {
                        assert!(let_in.load(Ordering::SeqCst) > 0, "all wait in vain");
                    }
                    Err(error) => return Err(error.into()),
                }
                Ok(())
            }
        })
        .await
    });
}

#[test]
fn whoever_was_too_late_for_a_double_barrier_is_gone_when_it_says_so() {
    Simulation::new()
        .without_faults()
        .run(0..1, |world| async move {
            let (zk, other) = (world.client().await?, world.client().await?);
            zk.create("/double", "").await?;
            for micros in (0..30_000).step_by(200) {
                let barrier = DoubleBarrier::new(&zk, "/double", 2);
                let entered = barrier.enter_within(Duration::from_micros(micros)).await;
                assert!(
                    matches!(entered, Err(BarrierError::Timeout { .. })),
                    "{entered:?}"
                );
                other.sync("/double").await?;
                let names = other.children("/double").await?.unwrap_or_default();
                assert!(names.is_empty(), "{names:?} after {micros} us");
            }
            Outcome::Ok(())
        });
}

#[test]
fn every_round_of_a_generation_barrier_has_all_its_members_and_strands_none() {
    let simulation = Simulation::new().with_administrators();
    holds(&simulation, 20_000..20_040, |world| async move {
        let rounds: Arc<Mutex<BTreeMap<u64, BTreeSet<String>>>> = Arc::default();
        let begun: Arc<Mutex<BTreeMap<String, u64>>> = Arc::default();
        crowd(&world, MEMBERS, |process, history| {
            let (rounds, begun) = (Arc::clone(&rounds), Arc::clone(&begun));
            async move {
                let zk = process.client().await?;
                let barrier = GenerationBarrier::new(&zk, "/rounds", MEMBERS);
                let id = process.name().replace(' ', "-");
                for round in 1..=4 {
                    process.work(WORK).await;
                    begun.lock().unwrap().insert(id.clone(), round);
                    let tripped = barrier.wait(&id).await?;
                    let generation = tripped.generation();
                    history.note(format_args!("{id} is in round {generation}"));
                    let all_there = begun
                        .lock()
                        .unwrap()
                        .values()
                        .filter(|at| **at >= round)
                        .count();
                    assert_eq!(all_there, MEMBERS, "round {generation} of {all_there}");
                    let is_new = rounds
                        .lock()
                        .unwrap()
                        .entry(generation)
                        .or_default()
                        .insert(id.clone());
                    assert!(is_new, "{id} twice in round {generation}");
                }
                Ok(())
            }
        })
        .await?;
        for (generation, members) in rounds.lock().unwrap().iter() {
            assert_eq!(members.len(), MEMBERS, "round {generation}: {members:?}");
        }
        Outcome::Ok(())
    });
}
