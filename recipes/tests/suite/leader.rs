//! Leader latches, elections, observers.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use zk_client::{Ace, Acl, ErrorKind, Id, Perms};
use zk_recipes::{
    Election, ElectionError, Latch, LeaderLatch, LeaderObserver, LeaderState, Leadership, Lock,
    LossPolicy, LossReason,
};
use zk_testkit::fault::Direction;

use crate::harness::{BRISK, CALM, World, children, soon, until, until_children};

async fn leads(latch: &Latch) -> Leadership {
    soon("it leads", latch.wait_leader())
        .await
        .expect("it will")
}

async fn until_state(latch: &Latch, what: &str, is_wanted: impl FnMut(&LeaderState) -> bool) {
    soon(what, latch.state().wait_for(is_wanted))
        .await
        .expect("the latch lives");
}

#[tokio::test]
async fn one_leads_and_others_follow_when_it_leaves() {
    let world = World::start().await;
    let zk = world.client().await;
    let mut latches = Vec::new();
    for id in 0..4 {
        let latch = LeaderLatch::new(&world.client().await, "/leader")
            .identity(format!("{id}"))
            .join();
        until_children(&zk, "/leader", id + 1).await;
        latches.push(latch);
    }
    let named: Vec<_> = latches[3]
        .participants()
        .await
        .unwrap()
        .into_iter()
        .map(|one| one.identity)
        .collect();
    assert_eq!(named, ["0", "1", "2", "3"]);
    for name in children(&zk, "/leader").await {
        assert!(
            name.starts_with("_c_") && name.contains("-latch-"),
            "{name}"
        );
    }
    let mut last = None;
    while !latches.is_empty() {
        let latch = latches.remove(0);
        let leadership = leads(&latch).await;
        assert!(latch.has_leadership() && latches.iter().all(|other| !other.has_leadership()));
        assert_eq!(
            *latch.state().borrow(),
            LeaderState::Leader(leadership.token())
        );
        assert!(last.is_none_or(|last| leadership.token() > last));
        last = Some(leadership.token());
        assert_eq!(
            latch.leader().await.unwrap().unwrap().path,
            leadership.node_path()
        );
        latch.leave().await;
        assert_eq!(leadership.lost().await, LossReason::Released);
    }
    assert!(children(&zk, "/leader").await.is_empty());
}

#[tokio::test]
async fn connections_that_flap_cost_no_leadership() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let latch = LeaderLatch::new(&party, "/leader").join();
    let leadership = leads(&latch).await;
    let other = LeaderLatch::new(&zk, "/leader").join();
    until_children(&zk, "/leader", 2).await;
    let names = children(&zk, "/leader").await;
    for _ in 0..5 {
        party.cut().await;
        until_state(&latch, "it is suspended", |state| {
            matches!(state, LeaderState::Suspended { .. })
        })
        .await;
        assert!(latch.has_leadership());
        party.proxy.refuse(false);
        until_state(&latch, "it leads again", |state| {
            matches!(state, LeaderState::Leader(_))
        })
        .await;
    }
    assert_eq!(leads(&latch).await.token(), leadership.token());
    assert!(leadership.is_held() && !other.has_leadership());
    assert_eq!(children(&zk, "/leader").await, names);
}

#[tokio::test]
async fn expiry_passes_the_leadership_on_and_joins_again() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let latch = LeaderLatch::new(&party, "/leader").join();
    let leadership = leads(&latch).await;
    let other = LeaderLatch::new(&zk, "/leader").join();
    until_children(&zk, "/leader", 2).await;
    party.expire().await;
    assert_eq!(
        soon("it is told", leadership.lost()).await,
        LossReason::SessionExpired
    );
    let next = leads(&other).await;
    assert!(next.token() > leadership.token());
    until_children(&zk, "/leader", 2).await;
    until_state(&latch, "it follows", |state| {
        *state == LeaderState::Follower
    })
    .await;
    other.leave().await;
    assert!(leads(&latch).await.token() > next.token());
}

#[tokio::test]
async fn leader_behind_a_dead_link_gives_up_before_another_leads() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(BRISK).await);
    let latch = LeaderLatch::new(&party, "/leader").join();
    let leadership = leads(&latch).await;
    let other = LeaderLatch::new(&zk, "/leader").join();
    until_children(&zk, "/leader", 2).await;
    party.proxy.stall(Direction::Both, true);
    let told = async {
        assert_eq!(leadership.lost().await, LossReason::PresumedExpired);
        Instant::now()
    };
    let next = async {
        let next = leads(&other).await;
        (next, Instant::now())
    };
    let (told, (next, since)) = soon("it passes on", async { tokio::join!(told, next) }).await;
    assert!(since > told, "two leaders at a time");
    assert!(next.token() > leadership.token());
    assert!(!latch.has_leadership());
    party.proxy.heal();
    until_children(&zk, "/leader", 2).await;
}

#[tokio::test]
async fn leadership_that_was_only_presumed_lost_goes_on_with_the_same_token() {
    let world = World::start().await;
    // Longer than the client bears the silence, so that the session outlives it.
    let party = world.party(Duration::from_secs(6)).await;
    let latch = LeaderLatch::new(&party, "/leader")
        .loss_policy(LossPolicy::Strict)
        .join();
    let leadership = leads(&latch).await;
    party.proxy.cut_all();
    assert_eq!(
        soon("it is told", leadership.lost()).await,
        LossReason::PresumedExpired
    );
    let again = leads(&latch).await;
    assert_eq!(again.token(), leadership.token());
    assert_eq!(again.node_path(), leadership.node_path());
    assert!(!leadership.is_held() && again.is_held());
}

#[tokio::test]
async fn znode_deleted_by_somebody_passes_the_leadership_on() {
    let world = World::start().await;
    let zk = world.client().await;
    let latch = LeaderLatch::new(&zk, "/leader").join();
    let leadership = leads(&latch).await;
    let other = LeaderLatch::new(&zk, "/leader").join();
    until_children(&zk, "/leader", 2).await;
    zk.delete(leadership.node_path()).await.unwrap();
    assert_eq!(
        soon("it is told", leadership.lost()).await,
        LossReason::NodeDeleted
    );
    leads(&other).await;
    until_children(&zk, "/leader", 2).await;
    // The whole directory.
    zk.delete_tree("/leader").await.unwrap();
    until_children(&zk, "/leader", 2).await;
    until("one leads", async || {
        latch.has_leadership() || other.has_leadership()
    })
    .await;
}

#[tokio::test]
async fn joins_once_allowed_and_tells_why_not_before() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/leader", "")
        .acl(Acl::read_only())
        .await
        .unwrap();
    let latch = LeaderLatch::new(&zk, "/leader").join();
    until("it tells", async || latch.trouble().is_some()).await;
    let trouble = latch.trouble().unwrap();
    assert_eq!(trouble.client_error().unwrap().kind(), ErrorKind::NoAuth);
    zk.delete("/leader").await.unwrap();
    leads(&latch).await;
    assert!(latch.trouble().is_none());
}

#[tokio::test]
async fn trouble_that_has_passed_is_not_told_any_more() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let first = LeaderLatch::new(&other, "/leader").join();
    leads(&first).await;
    let latch = LeaderLatch::new(&zk, "/leader").join();
    until_children(&zk, "/leader", 2).await;
    let blind = Acl::of([Ace::new(Perms::DELETE | Perms::ADMIN, Id::ANYONE)]);
    zk.set_acl("/leader", blind).await.unwrap();
    first.leave().await;
    until("it tells", async || latch.trouble().is_some()).await;
    zk.set_acl("/leader", Acl::open()).await.unwrap();
    leads(&latch).await;
    assert!(latch.trouble().is_none());
}

#[tokio::test]
async fn joins_that_lose_their_answer_take_one_place() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.ensure_path("/leader").await.unwrap();
    party.proxy.stall(Direction::ToClient, true);
    let latch = LeaderLatch::new(&party, "/leader").join();
    until_children(&zk, "/leader", 1).await;
    let names = children(&zk, "/leader").await;
    party.proxy.cut_all();
    party.proxy.heal();
    leads(&latch).await;
    assert_eq!(children(&zk, "/leader").await, names);
}

#[tokio::test]
async fn dropped_or_closed_it_leaves() {
    let world = World::start().await;
    let (zk, other) = (world.client().await, world.client().await);
    let latch = LeaderLatch::new(&zk, "/leader").join();
    leads(&latch).await;
    drop(latch);
    until_children(&zk, "/leader", 0).await;
    drop(LeaderLatch::new(&zk, "/leader").join());
    let latch = LeaderLatch::new(&other, "/leader").join();
    leads(&latch).await;
    other.close(Duration::from_secs(5)).await;
    until_state(&latch, "it has left", |state| *state == LeaderState::Left).await;
    assert!(soon("never", latch.wait_leader()).await.is_none());
    until_children(&zk, "/leader", 0).await;
}

#[tokio::test]
async fn its_place_is_free_once_it_has_left_though_it_was_still_joining() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.ensure_path("/leader").await.unwrap();
    party
        .proxy
        .delay(Direction::ToClient, Duration::from_millis(200));
    let latch = LeaderLatch::new(&party, "/leader").join();
    until_children(&zk, "/leader", 1).await;
    latch.leave().await;
    assert!(children(&zk, "/leader").await.is_empty());
}

#[tokio::test]
async fn foreign_children_do_not_lead() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.ensure_path("/leader").await.unwrap();
    for name in ["latch-", "latch-9-x", "lock-0000000000", "é", "0"] {
        zk.create(&format!("/leader/{name}"), "").await.unwrap();
    }
    let latch = LeaderLatch::new(&zk, "/leader").join();
    leads(&latch).await;
    // One as Curator makes it, which was there before, is waited for.
    let other = zk.create(
        "/other/_c_5f2c9a00-0000-4000-8000-000000000001-latch-",
        "curator",
    );
    let other = other.parents();
    let path = other.await.unwrap().path;
    zk.delete(&path).await.unwrap();
    let made = zk.create(
        "/other/_c_5f2c9a00-0000-4000-8000-000000000001-latch-",
        "curator",
    );
    let path = made.ephemeral().sequential().await.unwrap().path;
    let latch = LeaderLatch::new(&zk, "/other").join();
    until_children(&zk, "/other", 2).await;
    assert_eq!(latch.leader().await.unwrap().unwrap().identity, "curator");
    assert!(!latch.has_leadership());
    zk.delete(&path).await.unwrap();
    leads(&latch).await;
}

#[tokio::test]
async fn observer_follows_who_leads() {
    let world = World::start().await;
    let zk = world.client().await;
    let observer = LeaderObserver::new(&zk, "/leader");
    let mut current = observer.current();
    assert!(current.borrow().is_none());
    let one = LeaderLatch::new(&zk, "/leader").identity("one").join();
    let is = |id: &'static str| {
        move |now: &Option<zk_recipes::Contender>| {
            now.as_ref().is_some_and(|now| now.identity == id)
        }
    };
    soon("one is seen", current.wait_for(is("one")))
        .await
        .unwrap();
    let two = LeaderLatch::new(&zk, "/leader").identity("two").join();
    until_children(&zk, "/leader", 2).await;
    one.leave().await;
    soon("two is seen", current.wait_for(is("two")))
        .await
        .unwrap();
    two.leave().await;
    soon("nobody is seen", current.wait_for(Option::is_none))
        .await
        .unwrap();
    let guard = Lock::new(&zk, "/leader")
        .identity("three")
        .acquire()
        .await
        .unwrap();
    soon("three is seen", current.wait_for(is("three")))
        .await
        .unwrap();
    drop(guard);
    soon("nobody is seen", current.wait_for(Option::is_none))
        .await
        .unwrap();
}

#[tokio::test]
async fn body_runs_while_it_leads_and_never_twice() {
    let world = World::start().await;
    let zk = world.client().await;
    let (inside, turns) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let candidates: Vec<_> = (0..3)
        .map(|id: usize| {
            let election = Election::new(&zk, "/leader").identity(id.to_string());
            let (inside, turns) = (Arc::clone(&inside), Arc::clone(&turns));
            tokio::spawn(async move {
                election
                    .run(|leadership| {
                        let (inside, turns) = (Arc::clone(&inside), Arc::clone(&turns));
                        async move {
                            assert!(leadership.is_held());
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            tokio::task::yield_now().await;
                            inside.fetch_sub(1, Ordering::SeqCst);
                            if turns.fetch_add(1, Ordering::SeqCst) < 12 {
                                ControlFlow::Continue(())
                            } else {
                                ControlFlow::Break(id)
                            }
                        }
                    })
                    .await
            })
        })
        .collect();
    for (id, candidate) in candidates.into_iter().enumerate() {
        assert_eq!(soon("it ends", candidate).await.unwrap().unwrap(), id);
    }
    until_children(&zk, "/leader", 0).await;
}

#[tokio::test]
async fn body_and_its_tasks_are_dropped_with_the_leadership() {
    struct Flag(Arc<AtomicUsize>);
    impl Drop for Flag {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(BRISK).await);
    let dropped = Arc::new(AtomicUsize::new(0));
    let (sender, mut told) = mpsc::channel(1);
    let running = tokio::spawn({
        let (dropped, election) = (Arc::clone(&dropped), Election::new(&party, "/leader"));
        async move {
            election
                .run_once(|leadership| async move {
                    let flag = Flag(Arc::clone(&dropped));
                    leadership.spawn(async move {
                        let _flag = flag;
                        std::future::pending::<()>().await;
                    });
                    let _flag = Flag(Arc::clone(&dropped));
                    sender.send(leadership.clone()).await.unwrap();
                    std::future::pending::<()>().await;
                })
                .await
        }
    });
    let leadership = soon("it leads", told.recv()).await.unwrap();
    let next = tokio::spawn({
        let (dropped, lock) = (Arc::clone(&dropped), Lock::new(&zk, "/leader"));
        async move {
            let guard = lock.acquire().await;
            guard.map(|guard| (guard, dropped.load(Ordering::SeqCst)))
        }
    });
    until_children(&zk, "/leader", 2).await;
    party.proxy.stall(Direction::Both, true);
    soon("it is lost", leadership.lost()).await;
    let (guard, dropped) = soon("the next leads", next).await.unwrap().unwrap();
    assert_eq!(dropped, 2, "both are dropped before");
    assert!(guard.token() > leadership.token());
    party.proxy.heal();
    let error = soon("it ends", running).await.unwrap().unwrap_err();
    assert!(
        matches!(error, ElectionError::Lost(lost) if lost.reason == LossReason::PresumedExpired)
    );
}

#[tokio::test]
async fn panic_gives_the_leadership_back() {
    let world = World::start().await;
    let zk = world.client().await;
    let election = Election::new(&zk, "/leader");
    let running = tokio::spawn({
        let election = election.clone();
        async move {
            election
                .run_once(|_| async { panic!("the body panics, as it is to") })
                .await
                .map(|(): ()| ())
        }
    });
    assert!(soon("it ends", running).await.unwrap_err().is_panic());
    until_children(&zk, "/leader", 0).await;
    let turns = Arc::new(AtomicUsize::new(0));
    let election = election.survive_panics();
    let output = election.run(|_| {
        let turns = Arc::clone(&turns);
        async move {
            assert!(
                turns.fetch_add(1, Ordering::SeqCst) > 1,
                "the body panics, as it is to"
            );
            ControlFlow::Break("done")
        }
    });
    assert_eq!(soon("it ends", output).await.unwrap(), "done");
    assert_eq!(turns.load(Ordering::SeqCst), 3);
    until_children(&zk, "/leader", 0).await;
}

#[tokio::test]
async fn interrupt_ends_this_leadership_and_no_other() {
    let world = World::start().await;
    let zk = world.client().await;
    let election = Election::new(&zk, "/leader").grace(Duration::from_millis(50));
    election.interrupt();
    let (sender, mut told) = mpsc::channel(1);
    let stopped = Arc::new(AtomicUsize::new(0));
    let running = tokio::spawn({
        let (election, stopped) = (election.clone(), Arc::clone(&stopped));
        async move {
            election
                .run(|leadership| {
                    let (sender, stopped) = (sender.clone(), Arc::clone(&stopped));
                    async move {
                        sender.send(leadership.token()).await.unwrap();
                        leadership.stopping().cancelled().await;
                        stopped.fetch_add(1, Ordering::SeqCst);
                        std::future::pending::<ControlFlow<()>>().await
                    }
                })
                .await
        }
    });
    let first = soon("it leads", told.recv()).await.unwrap();
    election.interrupt();
    let second = soon("it leads again", told.recv()).await.unwrap();
    assert!(second > first);
    assert_eq!(
        stopped.load(Ordering::SeqCst),
        1,
        "it was told before it was dropped"
    );
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    until_children(&zk, "/leader", 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn interrupt_reaches_a_clone_that_leads_before_the_last_one_has_ended() {
    let world = World::start().await;
    let zk = world.client().await;
    let election = Election::new(&zk, "/leader");
    let (sender, mut told) = mpsc::channel(1);
    let lead = |task: Box<dyn FnOnce() + Send>| {
        let (election, sender) = (election.clone(), sender.clone());
        tokio::spawn(async move {
            let body = async |leadership: Leadership| {
                leadership.spawn(async move { task() });
                sender.send(leadership.node_path().to_owned()).await.ok();
                std::future::pending::<()>().await;
            };
            election.run_once(body).await
        })
    };
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let first = lead(Box::new(move || {
        ended.recv().ok();
    }));
    let path = soon("it leads", told.recv()).await.unwrap();
    zk.delete(&path).await.unwrap();
    let second = lead(Box::new(|| {}));
    soon("the other leads", told.recv()).await.unwrap();
    drop(end);
    let lost = soon("it ends", first).await.unwrap();
    assert!(matches!(lost, Err(ElectionError::Lost(_))), "{lost:?}");
    election.interrupt();
    let lost = soon("it is interrupted", second).await.unwrap();
    assert!(
        matches!(&lost, Err(ElectionError::Lost(lost)) if lost.reason == LossReason::Released),
        "{lost:?}"
    );
}

#[tokio::test]
async fn each_end_of_a_leader_wakes_one() {
    let world = World::start().await;
    let zk = world.client().await;
    let crowd = world.client().await;
    let leader = LeaderLatch::new(&zk, "/leader").join();
    leads(&leader).await;
    let mut latches = Vec::new();
    for index in 0..20 {
        latches.push(LeaderLatch::new(&crowd, "/leader").join());
        until_children(&zk, "/leader", index + 2).await;
    }
    until("all wait", async || crowd.stats().watches == 40).await;
    let before = crowd.stats().succeeded;
    leader.leave().await;
    until("another leads", async || {
        latches.iter().any(Latch::has_leadership)
    })
    .await;
    let requests = crowd.stats().succeeded - before;
    // One of them is a sync, if the last proof of the session is old by now.
    assert!(requests <= 4, "{requests} requests for one change");
}
