//! Getting in line, waiting, and leaving the line.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use zk_client::{Ace, Acl, ErrorKind, Id, Perms};
use zk_recipes::{Lock, LockFormat, LossReason};
use zk_testkit::fault::Direction;

use super::kind;
use crate::harness::{CALM, World, children, polled, soon, until, until_children};

#[tokio::test]
async fn one_holds_and_others_follow_in_the_order_of_arrival() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Lock::new(&zk, "/locks/a").identity("first");
    let first = soon("free", lock.acquire()).await.unwrap();
    assert!(first.is_held());
    let mut waiting = Vec::new();
    for index in 0..5 {
        let lock = Lock::new(&world.client().await, "/locks/a").identity(format!("{index}"));
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_children(&zk, "/locks/a", index + 2).await;
    }
    let line = lock.contenders().await.unwrap();
    let identities: Vec<_> = line.iter().map(|one| one.identity.clone()).collect();
    assert_eq!(identities, ["first", "0", "1", "2", "3", "4"]);
    assert_eq!(line[0].path, first.node_path());
    assert_eq!(line[0].czxid.get(), first.token().czxid());
    let mut token = first.token();
    first.release().await.unwrap();
    for (index, waiting) in waiting.into_iter().enumerate() {
        let guard = soon("its turn", waiting).await.unwrap().unwrap();
        assert!(guard.token() > token, "tokens increase");
        token = guard.token();
        assert_eq!(children(&zk, "/locks/a").await.len(), 5 - index);
        guard.release().await.unwrap();
    }
    assert!(children(&zk, "/locks/a").await.is_empty());
}

/// What is left to do once a lock is acquired, as to watch the own znode, nobody waits for.
#[tokio::test]
async fn a_free_lock_takes_one_round_trip_and_its_release_another() {
    let world = World::start().await;
    let (zk, turns) = world.counted().await;
    let lock = Lock::new(&zk, "/l");
    // One that stays: a container may be gone when it is empty, and it takes answers to make another.
    zk.create("/l", "").await.unwrap();
    for _ in 0..10 {
        let before = turns.load(Ordering::Relaxed);
        let guard = lock.acquire().await.unwrap();
        assert_eq!(turns.load(Ordering::Relaxed) - before, 1, "acquired");
        zk.sync("/l").await.unwrap();
        let before = turns.load(Ordering::Relaxed);
        guard.release().await.unwrap();
        assert_eq!(turns.load(Ordering::Relaxed) - before, 1, "released");
    }
    until("no watch is left", async || zk.stats().watches == 0).await;
}

#[tokio::test]
async fn try_acquire_writes_nothing_when_held() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Lock::new(&zk, "/l");
    let guard = lock.try_acquire().await.unwrap().expect("it is free");
    let before = zk.exists("/l").await.unwrap().unwrap();
    for _ in 0..5 {
        assert!(lock.try_acquire().await.unwrap().is_none());
    }
    assert_eq!(
        zk.exists("/l").await.unwrap().unwrap().cversion,
        before.cversion
    );
    drop(guard);
    until_children(&zk, "/l", 0).await;
    assert!(lock.try_acquire().await.unwrap().is_some());
}

#[tokio::test]
async fn deadline_leaves_nothing_behind() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Lock::new(&zk, "/l");
    let guard = lock.acquire().await.unwrap();
    let begun = Instant::now();
    let error = lock
        .acquire_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(50));
    until_children(&zk, "/l", 1).await;
    guard.release().await.unwrap();
}

#[tokio::test]
async fn deadline_holds_without_a_connection() {
    let world = World::start().await;
    let party = world.party(CALM).await;
    party.cut().await;
    let lock = Lock::new(&party, "/l");
    let error = soon(
        "the deadline",
        lock.acquire_within(Duration::from_millis(100)),
    )
    .await;
    assert!(error.unwrap_err().is_timeout());
}

#[tokio::test]
async fn dropped_at_any_point_it_leaves_nothing_behind() {
    let world = World::start().await;
    let zk = world.client().await;
    for format in [LockFormat::Curator, LockFormat::Bridge] {
        let lock = Lock::new(&zk, "/l").format(format);
        for times in 0.. {
            let done = soon("it is polled", polled(times, lock.acquire())).await;
            let is_done = done.is_some();
            drop(done);
            until_children(&zk, "/l", 0).await;
            if is_done {
                assert!(times > 2, "there was something to drop");
                break;
            }
        }
        // While somebody else holds it.
        let guard = lock.acquire().await.unwrap();
        let held = children(&zk, "/l").await.len();
        for times in 0..8 {
            let waiting =
                tokio::time::timeout(Duration::from_millis(200), polled(times, lock.acquire()));
            assert!(waiting.await.ok().flatten().is_none());
            until_children(&zk, "/l", held).await;
        }
        guard.release().await.unwrap();
    }
}

#[tokio::test]
async fn dropped_without_a_connection_it_leaves_nothing_behind() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let lock = Lock::new(&party, "/l");
    // One that stays: a container may be gone when it is empty, and it takes answers to make another.
    zk.create("/l", "").await.unwrap();
    // The creation reaches the server, its answer does not come back.
    party.proxy.stall(Direction::ToClient, true);
    let waiting = tokio::spawn(async move { lock.acquire().await });
    until_children(&zk, "/l", 1).await;
    waiting.abort();
    assert!(waiting.await.unwrap_err().is_cancelled());
    party.proxy.cut_all();
    party.proxy.heal();
    until_children(&zk, "/l", 0).await;
}

#[tokio::test]
async fn creation_whose_answer_is_lost_is_found_again() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    // One that stays: a container may be gone when it is empty, and it takes answers to make another.
    zk.create("/l", "").await.unwrap();
    for format in [LockFormat::Curator, LockFormat::Bridge] {
        let lock = Lock::new(&party, "/l").format(format);
        party.proxy.stall(Direction::ToClient, true);
        let waiting = tokio::spawn({
            let lock = lock.clone();
            async move { lock.acquire().await }
        });
        let count = if format == LockFormat::Bridge { 2 } else { 1 };
        until_children(&zk, "/l", count).await;
        let names = children(&zk, "/l").await;
        party.proxy.cut_all();
        party.proxy.heal();
        let guard = soon("it is found", waiting).await.unwrap().unwrap();
        assert_eq!(
            children(&zk, "/l").await,
            names,
            "no second one was created"
        );
        guard.release().await.unwrap();
        assert!(children(&zk, "/l").await.is_empty());
    }
}

#[tokio::test]
async fn request_that_is_cut_off_is_made_again() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let lock = Lock::new(&party, "/l");
    drop(lock.acquire().await.unwrap());
    until_children(&zk, "/l", 0).await;
    // A part of the request, and no more.
    party.proxy.cut_after(Direction::ToServer, 20);
    let guard = soon("it goes on", lock.acquire()).await.unwrap();
    assert_eq!(children(&zk, "/l").await.len(), 1);
    guard.release().await.unwrap();
}

#[tokio::test]
async fn waiter_whose_session_expires_gets_in_line_anew() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    let lock = Lock::new(&party, "/l");
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    let strict = tokio::spawn(async move { lock.no_requeue().acquire().await });
    until_children(&zk, "/l", 3).await;
    party.expire().await;
    let error = soon("it fails", strict).await.unwrap().unwrap_err();
    assert_eq!(kind(&error), ErrorKind::SessionExpired);
    until_children(&zk, "/l", 2).await;
    assert!(!waiting.is_finished());
    guard.release().await.unwrap();
    let guard = soon("its turn", waiting).await.unwrap().unwrap();
    assert_eq!(guard.session().id(), party.session_id());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn directory_deleted_while_waiting_is_made_again() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Lock::new(&zk, "/deep/down/l");
    let guard = lock.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let lock = lock.clone();
        async move { lock.acquire().await }
    });
    until_children(&zk, "/deep/down/l", 2).await;
    zk.delete_tree("/deep").await.unwrap();
    assert_eq!(
        soon("it is told", guard.lost()).await,
        LossReason::NodeDeleted
    );
    // It may have had its turn in between, and lost it with the rest.
    drop(soon("its turn", waiting).await.unwrap().unwrap());
    let guard = soon("the directory is back", lock.acquire()).await.unwrap();
    assert!(guard.is_held());
    guard.release().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_acquired_is_an_error_and_no_wait() {
    let world = World::start().await;
    let zk = world.client().await;
    // A parent that can have no children.
    zk.create("/ephemeral", "").ephemeral().await.unwrap();
    let error = soon("it fails", Lock::new(&zk, "/ephemeral").acquire())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NoChildrenForEphemerals);
    let error = soon("it fails", Lock::new(&zk, "/ephemeral/below").acquire())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NoChildrenForEphemerals);
    // Paths that are none.
    for path in ["", "relative", "/a//b", "/a/", "/a/../b"] {
        let error = soon("it fails", Lock::new(&zk, path).acquire())
            .await
            .unwrap_err();
        assert_eq!(kind(&error), ErrorKind::BadArguments, "{path:?}");
    }
    // A directory that may not be written to, and one that may not be listed.
    let read = Acl::of([Ace::new(Perms::READ, Id::ANYONE)]);
    zk.create("/read", "").acl(read).await.unwrap();
    let error = soon("it fails", Lock::new(&zk, "/read").acquire())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NoAuth);
    let blind = Acl::of([Ace::new(Perms::CREATE | Perms::DELETE, Id::ANYONE)]);
    zk.create("/blind", "").acl(blind).await.unwrap();
    let error = soon("it fails", Lock::new(&zk, "/blind").acquire())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NoAuth);
    // An identity that is too large.
    let lock = Lock::new(&zk, "/l").identity(vec![0; 2 << 20]);
    let error = soon("it fails", lock.acquire()).await.unwrap_err();
    assert_eq!(kind(&error), ErrorKind::DataTooLarge);
    // No directory, and none to be made.
    let lock = Lock::new(&zk, "/missing").parents(zk_recipes::Parents::MustExist);
    let error = soon("it fails", lock.acquire()).await.unwrap_err();
    assert_eq!(kind(&error), ErrorKind::NoNode);
    // A client that is closed.
    zk.close(Duration::from_secs(5)).await;
    let error = soon("it fails", Lock::new(&zk, "/l").acquire())
        .await
        .unwrap_err();
    assert_eq!(kind(&error), ErrorKind::Closed);
}

#[tokio::test]
async fn release_wakes_one_waiter() {
    let world = World::start().await;
    let zk = world.client().await;
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    let crowd = world.client().await;
    let mut waiting = Vec::new();
    for index in 0..20 {
        let lock = Lock::new(&crowd, "/l");
        waiting.push(tokio::spawn(async move { lock.acquire().await }));
        until_children(&zk, "/l", index + 2).await;
    }
    // All of them wait: one watch of the one in front and one of the own znode each.
    until("all wait", async || crowd.stats().watches == 40).await;
    let before = crowd.stats().succeeded;
    guard.release().await.unwrap();
    let first = soon("its turn", waiting.remove(0)).await.unwrap().unwrap();
    let requests = crowd.stats().succeeded - before;
    // One of them is a sync, if the last proof of the session is old by now.
    assert!(requests <= 4, "{requests} requests for one release");
    drop(first);
    for waiting in waiting {
        drop(soon("its turn", waiting).await.unwrap().unwrap());
    }
    until_children(&zk, "/l", 0).await;
    until("no watch is left", async || crowd.stats().watches == 0).await;
}
