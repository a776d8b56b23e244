//! The recipes on three servers, while the one that leads is lost: each test binary says how.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use zk_client::Client;
use zk_recipes::{Barrier, DoubleBarrier, GenerationBarrier, LeaderLatch, Lock, Semaphore};
use zk_testkit::Ensemble;

use crate::{lose_leader, three};

/// Long enough for whatever is to happen, on a machine that has a lot else to do.
pub(crate) const SOON: Duration = Duration::from_mins(2);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let output = timeout(SOON, future).await;
    output.unwrap_or_else(|_| panic!("{what}: not within {SOON:?}"))
}

async fn client(ensemble: &Ensemble) -> Client {
    ensemble.client().await.expect("a client connects")
}

/// Who is inside: so many at a time, at most.
#[derive(Debug, Default)]
struct Room {
    inside: AtomicUsize,
    visits: AtomicUsize,
}

impl Room {
    async fn visit(&self, most: usize) {
        struct Leave<'a>(&'a AtomicUsize);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let others = self.inside.fetch_add(1, Ordering::SeqCst);
        let _leave = Leave(&self.inside);
        assert!(others < most, "{others} are inside already");
        self.visits.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Runs contenders to their end while leaders are lost.
async fn contend<F>(ensemble: &Ensemble, body: impl Fn(Client) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut contenders = JoinSet::new();
    for _ in 0..4 {
        contenders.spawn(body(client(ensemble).await));
    }
    let finish = async {
        while let Some(one) = contenders.join_next().await {
            one.expect("no contender panics");
        }
    };
    let ((), ()) = tokio::join!(soon("all contenders", finish), async {
        for _ in 0..2 {
            lose_leader(ensemble).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_held_by_one_while_leaders_are_lost() {
    let ensemble = three().await;
    let room = Arc::new(Room::default());
    let last = Arc::new(AtomicI64::new(0));
    contend(&ensemble, |zk| {
        let (room, last) = (Arc::clone(&room), Arc::clone(&last));
        async move {
            let lock = Lock::new(&zk, "/lock");
            for _ in 0..10 {
                let guard = lock.acquire().await.expect("acquired");
                let token = guard.token().czxid();
                let work = async {
                    let before = last.swap(token, Ordering::SeqCst);
                    assert!(before < token, "{token} after {before}");
                    room.visit(1).await;
                };
                guard.run(work).await.ok();
                guard.release().await.ok();
            }
        }
    })
    .await;
    assert!(room.visits.load(Ordering::SeqCst) >= 20);
    let zk = client(&ensemble).await;
    zk.sync("/lock").await.expect("synced");
    let left = zk.children("/lock").await.expect("a list");
    assert_eq!(left.unwrap_or_default(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_leases_are_out_than_there_are_while_leaders_are_lost() {
    let ensemble = three().await;
    let room = Arc::new(Room::default());
    contend(&ensemble, |zk| {
        let room = Arc::clone(&room);
        async move {
            let semaphore = Semaphore::new(&zk, "/leases", 2);
            for _ in 0..5 {
                let lease = semaphore.acquire().await.expect("acquired");
                lease.run(room.visit(2)).await.ok();
                lease.release().await.ok();
            }
        }
    })
    .await;
    assert!(room.visits.load(Ordering::SeqCst) >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_leads_while_leaders_of_the_ensemble_are_lost() {
    let ensemble = three().await;
    let room = Arc::new(Room::default());
    contend(&ensemble, |zk| {
        let room = Arc::clone(&room);
        async move {
            for _ in 0..5 {
                let latch = LeaderLatch::new(&zk, "/leader").join();
                let leadership = latch.wait_leader().await.expect("it leads in the end");
                leadership.run(room.visit(1)).await.ok();
                latch.leave().await;
            }
        }
    })
    .await;
    assert!(room.visits.load(Ordering::SeqCst) >= 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_waits_at_a_barrier_goes_on_though_the_leader_was_lost() {
    let ensemble = three().await;
    let gate = client(&ensemble).await;
    let barrier = Barrier::new(&gate, "/gate");
    barrier.set().await.expect("set");
    let mut waiting = JoinSet::new();
    for _ in 0..3 {
        let zk = client(&ensemble).await;
        waiting.spawn(async move { Barrier::new(&zk, "/gate").wait().await.map(drop) });
    }
    lose_leader(&ensemble).await;
    assert!(waiting.try_join_next().is_none(), "it is up");
    barrier.lift().await.expect("lifted");
    while let Some(waited) = soon("all go on", waiting.join_next()).await {
        waited.expect("no panic").expect("it was lifted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_begin_with_all_members_though_the_leader_was_lost() {
    let ensemble = three().await;
    let begun = Arc::new(AtomicUsize::new(0));
    let enter = |zk: Client, id: u32| {
        let begun = Arc::clone(&begun);
        async move {
            begun.fetch_add(1, Ordering::SeqCst);
            let round = GenerationBarrier::new(&zk, "/rounds", 3);
            let tripped = round.wait(&format!("m{id}")).await.expect("it trips");
            assert_eq!(begun.load(Ordering::SeqCst), 3);
            assert_eq!(tripped.generation(), 0);
            let entered = DoubleBarrier::new(&zk, "/double", 3).enter().await;
            entered.expect("let in").leave().await.expect("left");
        }
    };
    let mut members = JoinSet::new();
    for id in 0..2 {
        members.spawn(enter(client(&ensemble).await, id));
    }
    lose_leader(&ensemble).await;
    members.spawn(enter(client(&ensemble).await, 2));
    while let Some(member) = soon("all members", members.join_next()).await {
        member.expect("no panic");
    }
}
