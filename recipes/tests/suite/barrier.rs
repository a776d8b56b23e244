//! Barriers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;
use zk_client::{Client, ErrorKind};
use zk_recipes::{
    Barrier, BarrierError, DoubleBarrier, Entered, GenerationBarrier, Lifted, LossPolicy,
    LossReason, StaleReady,
};
use zk_testkit::fault::Direction;

use crate::harness::{
    CALM, World, children, ends_with_the_connection, polled, soon, until, until_children,
};

#[tokio::test]
async fn barrier_holds_up_until_it_is_lifted() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = Barrier::new(&zk, "/deep/barrier");
    assert_eq!(barrier.wait().await.unwrap(), Lifted::WasDown);
    barrier.lift().await.unwrap();
    barrier.set().await.unwrap();
    barrier.set().await.unwrap();
    assert!(barrier.is_up().await.unwrap());
    let error = barrier
        .wait_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, BarrierError::Timeout { .. }), "{error}");
    let waiting = tokio::spawn({
        let barrier = Barrier::new(&world.client().await, "/deep/barrier");
        async move { barrier.wait().await }
    });
    tokio::task::yield_now().await;
    // A change of its data is no lift.
    zk.set("/deep/barrier", "still up").await.unwrap();
    zk.sync("/").await.unwrap();
    assert!(!waiting.is_finished());
    barrier.lift().await.unwrap();
    soon("it goes on", waiting).await.unwrap().unwrap();
    assert!(!barrier.is_up().await.unwrap());
}

#[tokio::test]
async fn barrier_lifted_and_set_again_while_away_lets_go() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let barrier = Barrier::new(&zk, "/barrier");
    barrier.set().await.unwrap();
    let waiting = tokio::spawn({
        let barrier = Barrier::new(&party, "/barrier");
        async move { barrier.wait().await }
    });
    until("it has seen it and waits", async || {
        let stats = party.stats();
        stats.watches == 1 && stats.outstanding == 0
    })
    .await;
    party.cut().await;
    barrier.lift().await.unwrap();
    barrier.set().await.unwrap();
    party.proxy.refuse(false);
    assert_eq!(
        soon("it goes on", waiting).await.unwrap().unwrap(),
        Lifted::Now
    );
    assert!(barrier.is_up().await.unwrap());
}

#[tokio::test]
async fn barrier_is_waited_for_over_sessions() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let barrier = Barrier::new(&zk, "/barrier");
    barrier.set().await.unwrap();
    let waiting = tokio::spawn({
        let barrier = Barrier::new(&party, "/barrier");
        async move { barrier.wait().await }
    });
    until("it waits", async || party.stats().watches == 1).await;
    party.expire().await;
    until("it waits again", async || party.stats().watches == 1).await;
    assert!(!waiting.is_finished());
    barrier.lift().await.unwrap();
    soon("it goes on", waiting).await.unwrap().unwrap();
    // A client that is closed is no wait.
    barrier.set().await.unwrap();
    let waiting = tokio::spawn(async move { barrier.wait().await });
    zk.close(Duration::from_secs(5)).await;
    let error = soon("it fails", waiting).await.unwrap().unwrap_err();
    assert_eq!(error.client_error().unwrap().kind(), ErrorKind::Closed);
}

#[tokio::test]
async fn barrier_whose_change_lost_its_answer_is_changed_once() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let barrier = Barrier::new(&party, "/barrier");
    party.proxy.stall(Direction::ToClient, true);
    let setting = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.set().await }
    });
    until("it is up", async || {
        zk.exists("/barrier").await.unwrap().is_some()
    })
    .await;
    party.proxy.cut_all();
    party.proxy.heal();
    soon("it is set", setting).await.unwrap().unwrap();
    party.proxy.stall(Direction::ToClient, true);
    let lifting = tokio::spawn(async move { barrier.lift().await });
    until("it is down", async || {
        zk.exists("/barrier").await.unwrap().is_none()
    })
    .await;
    party.proxy.cut_all();
    party.proxy.heal();
    soon("it is lifted", lifting).await.unwrap().unwrap();
}

fn entering(barrier: &DoubleBarrier) -> tokio::task::JoinHandle<Result<Entered, BarrierError>> {
    let barrier = barrier.clone();
    tokio::spawn(async move { barrier.enter().await })
}

#[tokio::test]
async fn members_enter_and_leave_together() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = DoubleBarrier::new(&zk, "/round", 3);
    for _ in 0..3 {
        let one = entering(&barrier);
        let two = entering(&barrier);
        until_children(&zk, "/round", 2).await;
        assert!(!one.is_finished() && !two.is_finished());
        let three = soon("enough", barrier.enter()).await.unwrap();
        let one = soon("enough", one).await.unwrap().unwrap();
        let two = soon("enough", two).await.unwrap().unwrap();
        assert!(one.is_held() && children(&zk, "/round").await.contains(&"ready".to_owned()));
        let leaving = tokio::spawn(one.leave());
        let also = tokio::spawn(two.leave());
        until("one has gone", async || {
            children(&zk, "/round").await.len() < 4
        })
        .await;
        tokio::task::yield_now().await;
        assert!(!leaving.is_finished() || !also.is_finished());
        soon("the last goes", three.leave()).await.unwrap();
        soon("all have gone", leaving).await.unwrap().unwrap();
        soon("all have gone", also).await.unwrap().unwrap();
        assert!(children(&zk, "/round").await.is_empty());
    }
}

#[tokio::test]
async fn entering_has_a_deadline() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = DoubleBarrier::new(&zk, "/round", 2);
    let error = barrier
        .enter_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, BarrierError::Timeout { .. }), "{error}");
    until_children(&zk, "/round", 0).await;
    // Others counted a member whose answers do not come back, and went on. A busy machine may take longer
    // to carry its last look than it may take: then it cannot know.
    for round in 0..10 {
        if knows_that_the_round_began(&world, &format!("/round-{round}")).await {
            return;
        }
    }
    panic!("it never knows that the round began");
}

/// The znode of the first attempt can be found and deleted only behind its lost answer.
#[tokio::test]
async fn member_that_tries_again_is_counted_once() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.create("/round", "").await.unwrap();
    let barrier = DoubleBarrier::new(&party, "/round", 3);
    party.proxy.stall(Direction::ToClient, true);
    let first = entering(&barrier);
    until_children(&zk, "/round", 1).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    let second = entering(&barrier);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let others = DoubleBarrier::new(&zk, "/round", 3);
    let other = entering(&others);
    until("it waits", async || {
        zk.stats().watches == 2 || other.is_finished()
    })
    .await;
    party.proxy.heal();
    until("it waits too", async || {
        party.stats().watches == 2 || second.is_finished()
    })
    .await;
    assert_eq!(children(&zk, "/round").await.len(), 2, "two and no flag");
    let _third = soon("enough", others.enter()).await.unwrap();
    let _second = soon("enough", second).await.unwrap().unwrap();
    let _other = soon("enough", other).await.unwrap().unwrap();
}

async fn knows_that_the_round_began(world: &World, path: &str) -> bool {
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let (quick, slow) = (
        DoubleBarrier::new(&zk, path, 2),
        DoubleBarrier::new(&party, path, 2),
    );
    let (begun, within) = (Instant::now(), Duration::from_secs(5));
    let slow = tokio::spawn(async move { slow.enter_within(within).await });
    until("it waits", async || {
        party.stats().watches == 2 || slow.is_finished()
    })
    .await;
    party.proxy.stall(Direction::ToClient, true);
    let quick = quick.enter_within(within).await;
    tokio::time::sleep_until(begun + within + Duration::from_millis(100)).await;
    party.proxy.heal();
    // It heard of the flag at last, or its time was over: either way it knows that the round began.
    let slow = soon("it ends", slow).await.expect("it does not panic");
    match slow {
        Ok(_) | Err(BarrierError::TimedOutAfterTrip { .. }) => quick.is_ok(),
        Err(BarrierError::Timeout { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn late_member_is_let_in_by_the_flag_though_others_have_left() {
    let world = World::start().await;
    let zk = world.client().await;
    let party = world.party(CALM).await;
    let slow = entering(&DoubleBarrier::new(&party, "/round", 2));
    until_children(&zk, "/round", 1).await;
    until("it waits", async || party.stats().watches == 2).await;
    // It hears of nothing while the round comes and goes but for its own member.
    party.proxy.stall(Direction::ToClient, true);
    let quick = soon("enough", DoubleBarrier::new(&zk, "/round", 2).enter())
        .await
        .unwrap();
    drop(quick);
    until("it has gone", async || {
        children(&zk, "/round").await.len() == 2
    })
    .await;
    party.proxy.heal();
    let slow = soon("it is let in", slow).await.unwrap().unwrap();
    soon("it leaves", slow.leave()).await.unwrap();
    assert!(children(&zk, "/round").await.is_empty());
}

#[tokio::test]
async fn more_members_than_needed_get_in_and_out() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = DoubleBarrier::new(&zk, "/round", 2);
    let mut entered = Vec::new();
    for member in [
        entering(&barrier),
        entering(&barrier),
        entering(&barrier),
        entering(&barrier),
    ] {
        entered.push(soon("enough", member).await.unwrap().unwrap());
    }
    let leaving: Vec<_> = entered
        .into_iter()
        .map(|member| tokio::spawn(member.leave()))
        .collect();
    for leaving in leaving {
        soon("all have gone", leaving).await.unwrap().unwrap();
    }
    assert!(children(&zk, "/round").await.is_empty());
}

#[tokio::test]
async fn member_that_dies_is_no_member() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    // Before the round: the member enters anew.
    let doomed = entering(&DoubleBarrier::new(&party, "/round", 2));
    until_children(&zk, "/round", 1).await;
    let names = children(&zk, "/round").await;
    party.expire().await;
    until("it is back", async || {
        let now = children(&zk, "/round").await;
        now.len() == 1 && now != names
    })
    .await;
    let other = soon("enough", DoubleBarrier::new(&zk, "/round", 2).enter())
        .await
        .unwrap();
    let doomed = soon("enough", doomed).await.unwrap().unwrap();
    // After it: others need not wait for it.
    let leaving = tokio::spawn(other.leave());
    party.expire().await;
    assert_eq!(
        soon("it is told", doomed.lost()).await,
        LossReason::SessionExpired
    );
    soon("nobody is left", leaving).await.unwrap().unwrap();
    soon("it has left already", doomed.leave()).await.unwrap();
    assert!(children(&zk, "/round").await.is_empty());
}

#[tokio::test]
async fn strict_member_survives_a_connection_lost_while_waiting() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let strict = DoubleBarrier::new(&party, "/round", 2).loss_policy(LossPolicy::Strict);
    let waiting = entering(&strict);
    until("it waits", async || party.stats().watches == 2).await;
    party.cut().await;
    party.proxy.refuse(false);
    party.reconnected().await;
    let other = soon("enough", DoubleBarrier::new(&zk, "/round", 2).enter())
        .await
        .unwrap();
    let member = soon("enough", waiting).await.unwrap().unwrap();
    ends_with_the_connection(&party, &member).await;
    drop(other);
}

#[tokio::test]
async fn flag_of_a_round_that_was_broken_off() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/round/ready", "").parents().await.unwrap();
    let barrier = DoubleBarrier::new(&zk, "/round", 2);
    soon("as others do", barrier.enter())
        .await
        .unwrap()
        .leave()
        .await
        .unwrap();
    zk.create("/round/ready", "").await.unwrap();
    let barrier = barrier.stale_ready(StaleReady::Clear);
    // Who has not come as far as to be counted was not passed by others.
    let error = barrier.enter_within(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, BarrierError::Timeout { .. }), "{error}");
    let waiting = entering(&barrier);
    until("the flag makes way for a member", async || {
        let names = children(&zk, "/round").await;
        names.len() == 1 && names != ["ready"]
    })
    .await;
    zk.sync("/round").await.unwrap();
    assert!(!waiting.is_finished(), "one is not enough");
    waiting.abort();
    until_children(&zk, "/round", 0).await;
}

#[tokio::test]
async fn double_barrier_dropped_at_any_point_leaves_no_member() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = DoubleBarrier::new(&zk, "/round", 1);
    for times in 0.. {
        let done = soon("it is polled", polled(times, barrier.enter())).await;
        let is_done = done.is_some();
        drop(done);
        until("no member", async || {
            children(&zk, "/round")
                .await
                .iter()
                .all(|name| name == "ready")
        })
        .await;
        zk.delete("/round/ready").if_exists().await.unwrap();
        if is_done {
            break;
        }
    }
}

#[tokio::test]
async fn leaving_has_a_deadline() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = DoubleBarrier::new(&zk, "/round", 2);
    let other = entering(&barrier);
    let one = soon("enough", barrier.enter()).await.unwrap();
    let other = soon("enough", other).await.unwrap().unwrap();
    let error = one
        .leave_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(matches!(error, BarrierError::Timeout { .. }), "{error}");
    soon("it has left all the same", other.leave())
        .await
        .unwrap();
}

#[tokio::test]
async fn generations_follow_each_other() {
    let world = World::start().await;
    let zk = world.client().await;
    let tasks: Vec<_> = (0..3)
        .map(|id| {
            let barrier = GenerationBarrier::new(&zk, "/rounds", 3);
            tokio::spawn(async move {
                let mut rounds = Vec::new();
                for _ in 0..5 {
                    rounds.push(barrier.wait(&id.to_string()).await.unwrap().generation());
                }
                rounds
            })
        })
        .collect();
    for task in tasks {
        assert_eq!(
            soon("they get through", task).await.unwrap(),
            [0, 1, 2, 3, 4]
        );
    }
    until("rounds are cleaned up", async || {
        children(&zk, "/rounds").await == ["state"]
    })
    .await;
    let state = zk.get("/rounds/state").await.unwrap().unwrap();
    assert_eq!(state.data, r#"{"gen":5,"n":3,"counted":["0","1","2"]}"#);
}

#[tokio::test]
async fn member_that_restarts_is_counted_once() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let barrier = GenerationBarrier::new(&zk, "/rounds", 2);
    let before = tokio::spawn({
        let barrier = GenerationBarrier::new(&party, "/rounds", 2);
        async move { barrier.wait("a").await }
    });
    until_children(&zk, "/rounds/gen-0", 1).await;
    // The process is gone, its session is not yet.
    before.abort();
    party.detach().await;
    let after = tokio::spawn({
        let barrier = barrier.clone();
        async move { barrier.wait("a").await }
    });
    let session = zk.session().await.unwrap().id();
    until("it has taken over", async || {
        let member = zk.exists("/rounds/gen-0/m-a").await.unwrap();
        member.is_some_and(|stat| stat.ephemeral_owner == session)
    })
    .await;
    assert!(!after.is_finished(), "one member is not two");
    assert_eq!(
        soon("enough", barrier.wait("b"))
            .await
            .unwrap()
            .generation(),
        0
    );
    assert_eq!(
        soon("enough", after).await.unwrap().unwrap().generation(),
        0
    );
}

#[tokio::test]
async fn member_that_was_not_counted_is_in_the_next_round() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let wait = |zk: &Client, id: &'static str| {
        let barrier = GenerationBarrier::new(zk, "/rounds", 2);
        tokio::spawn(async move { barrier.wait(id).await.unwrap().generation() })
    };
    let away = wait(&party, "a");
    until_children(&zk, "/rounds/gen-0", 1).await;
    until("it waits", async || party.stats().watches == 3).await;
    party.end_session().await;
    until_children(&zk, "/rounds/gen-0", 0).await;
    let (b, c) = (wait(&zk, "b"), wait(&zk, "c"));
    assert_eq!(soon("enough", b).await.unwrap(), 0);
    assert_eq!(soon("enough", c).await.unwrap(), 0);
    party.proxy.refuse(false);
    until("it is in the next one", async || {
        let names = zk.children("/rounds/gen-1").await.unwrap();
        away.is_finished() || names.is_some_and(|names| names == ["m-a"])
    })
    .await;
    let b = wait(&zk, "b");
    assert_eq!(soon("enough", away).await.unwrap(), 1);
    assert_eq!(soon("enough", b).await.unwrap(), 1);
}

#[tokio::test]
async fn id_that_is_used_twice_is_an_error_for_the_first() {
    let world = World::start().await;
    let zk = world.client().await;
    let other = world.client().await;
    let one = tokio::spawn({
        let barrier = GenerationBarrier::new(&other, "/rounds", 2);
        async move { barrier.wait("a").await }
    });
    until_children(&zk, "/rounds/gen-0", 1).await;
    until("it waits", async || other.stats().watches == 3).await;
    let two = tokio::spawn({
        let barrier = GenerationBarrier::new(&zk, "/rounds", 2);
        async move { barrier.wait("a").await }
    });
    let error = soon("it is told", one).await.unwrap().unwrap_err();
    assert!(matches!(error, BarrierError::Mismatch { .. }), "{error}");
    two.abort();
}

#[tokio::test]
async fn generations_go_on_under_crashes() {
    let world = World::start().await;
    let zk = world.client().await;
    let rounds = Arc::new(std::sync::Mutex::new(vec![BTreeSet::new(); 8]));
    let faults = Arc::new(AtomicUsize::new(0));
    let (mut tasks, mut parties) = (Vec::new(), Vec::new());
    for id in 0..3_usize {
        let party = Arc::new(world.party(CALM).await);
        // What members clean up in the background goes through it.
        parties.push(Arc::clone(&party));
        let (rounds, faults) = (Arc::clone(&rounds), Arc::clone(&faults));
        tasks.push(tokio::spawn(async move {
            let barrier = GenerationBarrier::new(&party, "/rounds", 3);
            loop {
                let name = id.to_string();
                let waiting = barrier.wait(&name);
                tokio::pin!(waiting);
                let tripped = loop {
                    let pause = tokio::time::sleep(Duration::from_millis(7 + 3 * id as u64));
                    tokio::select! {
                        tripped = &mut waiting => break tripped.unwrap(),
                        // What hits it as soon as it is back keeps it away for longer each time.
                        () = pause => if party.state().borrow().is_connected() {
                            match faults.fetch_add(1, Ordering::Relaxed) {
                                0..20 => party.proxy.cut_all(),
                                20..24 => party.expire().await,
                                _ => {}
                            }
                        },
                    }
                };
                let round = usize::try_from(tripped.generation()).unwrap();
                if round < 8 {
                    rounds.lock().unwrap()[round].insert(id);
                }
                if round >= 7 {
                    return;
                }
            }
        }));
    }
    for task in tasks {
        soon("they get through", task).await.unwrap();
    }
    for round in rounds.lock().unwrap().iter() {
        assert_eq!(round.len(), 3, "each round had its three members");
    }
    until("rounds are cleaned up", async || {
        children(&zk, "/rounds").await == ["state"]
    })
    .await;
}

#[tokio::test]
async fn number_of_members_changes() {
    let world = World::start().await;
    let zk = world.client().await;
    let barrier = GenerationBarrier::new(&zk, "/rounds", 2);
    barrier.set_count(1).await.unwrap();
    assert_eq!(
        soon("enough", barrier.wait("a"))
            .await
            .unwrap()
            .generation(),
        0
    );
    barrier.set_count(2).await.unwrap();
    let error = barrier
        .wait_within("a", Duration::from_millis(100))
        .await
        .unwrap_err();
    assert!(matches!(error, BarrierError::Timeout { .. }), "{error}");
    for id in ["", "a/b"] {
        assert!(matches!(
            barrier.wait(id).await,
            Err(BarrierError::Mismatch { .. })
        ));
    }
    zk.set("/rounds/state", "rubbish").await.unwrap();
    let error = soon("no wait", barrier.wait("a")).await.unwrap_err();
    assert!(matches!(error, BarrierError::Mismatch { .. }), "{error}");
}
