//! What a holder is told, and when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zk_client::ErrorKind;
use zk_recipes::{HoldState, Lock, LossPolicy, LossReason, SharedGuard};
use zk_testkit::fault::Direction;

use super::kind;
use crate::harness::{BRISK, CALM, World, children, soon, until, until_children};

#[tokio::test]
async fn holder_whose_session_expires_is_told() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let guard = Lock::new(&party, "/l").acquire().await.unwrap();
    let (lost, cancelled) = (guard.lost(), guard.cancellation());
    let next = tokio::spawn({
        let lock = Lock::new(&zk, "/l");
        async move { lock.acquire().await }
    });
    until_children(&zk, "/l", 2).await;
    party.expire().await;
    assert!(!guard.is_held());
    assert_eq!(soon("it is told", lost).await, LossReason::SessionExpired);
    soon("it is cancelled", cancelled.cancelled()).await;
    assert_eq!(guard.state(), HoldState::Lost(LossReason::SessionExpired));
    let next = soon("the next has it", next).await.unwrap().unwrap();
    assert!(next.token() > guard.token());
    let lost = guard.release().await.unwrap_err();
    assert_eq!(lost.reason, LossReason::SessionExpired);
    assert!(
        next.is_held(),
        "the release of what was lost releases nothing"
    );
    assert_eq!(children(&zk, "/l").await.len(), 1);
}

#[tokio::test]
async fn holder_behind_a_dead_link_gives_up_before_others_get_in() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(BRISK).await);
    let guard = Lock::new(&party, "/l").acquire().await.unwrap();
    let timeout = guard.session().timeout();
    let next = tokio::spawn({
        let lock = Lock::new(&zk, "/l");
        async move {
            let guard = lock.acquire().await;
            (guard, Instant::now())
        }
    });
    until_children(&zk, "/l", 2).await;
    party.proxy.stall(Direction::Both, true);
    let reason = soon("it is told", guard.lost()).await;
    let told = Instant::now();
    let safe_until = guard.safe_until();
    assert_eq!(reason, LossReason::PresumedExpired);
    assert!(!guard.is_held());
    assert!(guard.run(async {}).await.is_err());
    let (next, since) = soon("the next has it", next).await.unwrap();
    let next = next.unwrap();
    assert!(
        since > told,
        "others got in while the holder believed in it"
    );
    let safe_until = safe_until.expect("the session is not known to be over");
    assert!(safe_until <= told, "told too early");
    assert!(
        since - safe_until >= timeout / 3,
        "there is time left for slow clocks"
    );
    assert!(next.token() > guard.token());
}

#[tokio::test]
async fn holder_that_was_asleep_knows_at_once_that_it_may_have_lost() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(BRISK).await);
    let guard = Lock::new(&party, "/l").acquire().await.unwrap();
    let lost = guard.lost();
    assert!(guard.is_held());
    let safe_until = guard.safe_until().expect("the session is not over");
    // Everything in this thread stands still: the client, its timers, whoever looks after the lock.
    while Instant::now() <= safe_until {
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!guard.is_held(), "no task has had a chance to notice");
    assert!(guard.check().is_err());
    // What was told once stays so, though the session goes on.
    assert_eq!(soon("it is told", lost).await, LossReason::PresumedExpired);
    party.reconnected().await;
    until_children(&zk, "/l", 0).await;
    assert!(!guard.is_held());
}

/// Who waits only reads, and that proves no session.
#[tokio::test]
async fn waiter_of_longer_than_the_session_timeout_holds_what_it_gets() {
    let world = World::start().await;
    let zk = world.client().await;
    let party = world.party(Duration::from_secs(6)).await;
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = Lock::new(&party, "/l");
        async move { lock.acquire().await }
    });
    until_children(&zk, "/l", 2).await;
    tokio::time::sleep(party.session().await.unwrap().timeout()).await;
    guard.release().await.unwrap();
    let guard = soon("its turn", waiting).await.unwrap().unwrap();
    assert!(guard.is_held());
    let safe_until = guard.safe_until();
    until("it is proven anew", async || {
        guard.safe_until() > safe_until
    })
    .await;
    assert!(guard.is_held());
    assert_eq!(children(&zk, "/l").await.len(), 1);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn presumed_loss_is_final_and_makes_way() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(BRISK).await);
    let guard = Lock::new(&party, "/l").acquire().await.unwrap();
    party.proxy.stall(Direction::ToClient, true);
    assert_eq!(
        soon("it is told", guard.lost()).await,
        LossReason::PresumedExpired
    );
    party.proxy.heal();
    party.reconnected().await;
    // Whether the session was kept or not, the znode goes, though the guard is not dropped.
    until_children(&zk, "/l", 0).await;
    assert!(!guard.is_held());
}

#[tokio::test]
async fn reconnect_within_the_session_costs_nothing() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let guard = Lock::new(&party, "/l").acquire().await.unwrap();
    let (token, names) = (guard.token(), children(&zk, "/l").await);
    party.cut().await;
    let mut states = guard.states();
    let is_suspect = |state: &HoldState| matches!(state, HoldState::Suspect { .. });
    soon("it is suspect", states.wait_for(is_suspect))
        .await
        .unwrap();
    assert!(guard.is_held(), "it may be relied on for a while");
    party.proxy.refuse(false);
    soon(
        "it is trusted",
        states.wait_for(|state| *state == HoldState::Held),
    )
    .await
    .unwrap();
    assert_eq!((guard.token(), children(&zk, "/l").await), (token, names));
    guard.release().await.unwrap();
}

#[tokio::test]
async fn strict_holder_gives_up_with_the_connection() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let lock = Lock::new(&party, "/l").loss_policy(LossPolicy::Strict);
    let guard = lock.acquire().await.unwrap();
    party.cut().await;
    assert_eq!(
        soon("it is told", guard.lost()).await,
        LossReason::PresumedExpired
    );
    party.proxy.refuse(false);
    until_children(&zk, "/l", 0).await;
}

#[tokio::test]
async fn znode_deleted_by_somebody_is_a_loss() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Lock::new(&zk, "/l");
    let guard = lock.acquire().await.unwrap();
    zk.delete(guard.node_path()).await.unwrap();
    assert_eq!(
        soon("it is told", guard.lost()).await,
        LossReason::NodeDeleted
    );
    // A change of its data is none.
    let guard = lock.acquire().await.unwrap();
    zk.set(guard.node_path(), "somebody was here")
        .await
        .unwrap();
    zk.sync("/").await.unwrap();
    assert!(
        guard
            .run(tokio::time::sleep(Duration::from_millis(50)))
            .await
            .is_ok()
    );
    // Nor is it the end of who waits.
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    until_children(&zk, "/l", 2).await;
    let line = lock.contenders().await.unwrap();
    zk.delete(&line[1].path).await.unwrap();
    until("it is in line again", async || {
        let again = lock.contenders().await.unwrap();
        again.len() == 2 && again[1].path != line[1].path
    })
    .await;
    guard.release().await.unwrap();
    soon("its turn", waiting)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn closing_the_client_is_a_loss() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = Lock::new(&zk, "/l");
        async move { lock.acquire().await }
    });
    until_children(&other, "/l", 2).await;
    let lost = guard.lost();
    zk.close(Duration::from_secs(5)).await;
    assert_eq!(soon("it is told", lost).await, LossReason::ClientClosed);
    let error = soon("it fails", waiting).await.unwrap().unwrap_err();
    assert_eq!(kind(&error), ErrorKind::Closed);
    until_children(&other, "/l", 0).await;
}

#[tokio::test]
async fn transaction_of_a_guard_fails_when_the_lock_is_lost() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/register", "0").await.unwrap();
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    guard.transaction().set("/register", "1", -1).await.unwrap();
    zk.delete(guard.node_path()).await.unwrap();
    let error = guard
        .transaction()
        .set("/register", "2", -1)
        .await
        .unwrap_err();
    assert!(zk_recipes::Hold::is_loss(&error), "{error}");
    assert_eq!(zk.get("/register").await.unwrap().unwrap().data, "1");
}

#[tokio::test]
async fn shared_guard_releases_with_the_last() {
    let world = World::start().await;
    let zk = world.client().await;
    let one = Lock::new(&zk, "/l").acquire().await.unwrap().share();
    let two = one.clone();
    drop(one);
    assert!(two.is_held());
    assert_eq!(children(&zk, "/l").await.len(), 1);
    drop(two);
    until_children(&zk, "/l", 0).await;
}

/// Those who went in by a guard. Who is late to leave must not believe that it still holds the lock.
#[derive(Default)]
struct Room(Mutex<Vec<SharedGuard>>);

impl Room {
    fn enter(&self, guard: &SharedGuard) {
        let mut inside = self.0.lock().expect("nobody panics in it");
        // In this order: what the others hold now, this one has held since before.
        let others = inside.iter().filter(|other| other.is_held()).count();
        assert!(others == 0 || !guard.is_held(), "two hold it at once");
        inside.push(guard.clone());
    }

    fn leave(&self, guard: &SharedGuard) {
        let mut inside = self.0.lock().expect("nobody panics in it");
        inside.retain(|other| other.token() != guard.token());
    }
}

/// The register takes a write only with the lock's znode in place, and only with a token that is not
/// lower than the last.
#[tokio::test(flavor = "multi_thread")]
async fn at_most_one_holds_under_faults() {
    const ROUNDS: usize = 6;
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/register", "0").await.unwrap();
    let (room, done) = (Arc::new(Room::default()), Arc::new(AtomicBool::new(false)));
    let mut parties = Vec::new();
    let mut workers = Vec::new();
    for seed in 0..4_u64 {
        let party = Arc::new(world.party(BRISK).await);
        parties.push(Arc::clone(&party));
        let (room, done) = (Arc::clone(&room), Arc::clone(&done));
        workers.push(tokio::spawn(async move {
            let lock = Lock::new(&party, "/l").identity(seed.to_string());
            let mut won = 0;
            while won < ROUNDS && !done.load(Ordering::Relaxed) {
                let guard = lock.acquire().await.expect("acquired in the end").share();
                if guard.is_held() {
                    room.enter(&guard);
                    tokio::task::yield_now().await;
                    room.leave(&guard);
                }
                let token = guard.token();
                let written = guard
                    .transaction()
                    .set("/register", token.to_string(), -1)
                    .timeout(Duration::from_secs(5))
                    .await;
                if written.is_ok() {
                    won += 1;
                }
                drop(guard);
            }
            won
        }));
    }
    let faults = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            // Every party comes to every kind of fault.
            for round in 0_usize.. {
                if done.load(Ordering::Relaxed) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
                let party = &parties[round % parties.len()];
                if !party.state().borrow().is_connected() {
                    // It pauses for longer each time that it fails: what hits it as soon as it
                    // is back would keep it away for ever, and the others wait for it.
                    continue;
                }
                match round % 9 {
                    2 => {
                        // Until the session is over.
                        party.proxy.refuse(true);
                        party.proxy.cut_all();
                        tokio::time::sleep(BRISK + Duration::from_millis(600)).await;
                        party.proxy.refuse(false);
                    }
                    0 | 4 | 6 => party.proxy.cut_all(),
                    1 | 5 | 7 => party.proxy.cut_after(Direction::ToClient, 40),
                    _ => party.proxy.cut_after(Direction::ToServer, 60),
                }
            }
        }
    });
    // What the register was set to, in the order in which that happened.
    let mut last = 0_i64;
    let mut states = zk.observe("/register");
    let watching = async {
        while let Some(state) = states.next().await {
            let node = state.unwrap().unwrap();
            let token: i64 = std::str::from_utf8(&node.data).unwrap().parse().unwrap();
            assert!(token >= last, "token {token} after {last}");
            last = token;
        }
    };
    let working = async {
        for worker in workers {
            assert_eq!(soon("they get through", worker).await.unwrap(), ROUNDS);
        }
    };
    tokio::select! {
        () = watching => panic!("the register is gone"),
        () = working => {}
    }
    done.store(true, Ordering::Relaxed);
    faults.await.unwrap();
    until_children(&zk, "/l", 0).await;
}
