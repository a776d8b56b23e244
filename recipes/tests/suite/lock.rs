//! Exclusive locks.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use zk_client::{Ace, Acl, ErrorKind, Id, Perms};
use zk_recipes::{
    AcquireError, HoldState, Lock, LockFormat, LossPolicy, LossReason, MultiLock, ReadWriteLock,
    ReentrantLock, SharedGuard,
};
use zk_testkit::fault::Direction;

use crate::harness::{BRISK, CALM, World, children, polled, soon, until, until_children};

fn kind(error: &AcquireError) -> ErrorKind {
    error.client_error().expect("it is the client's").kind()
}

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
async fn names_are_those_of_each_format() {
    let world = World::start().await;
    let zk = world.client().await;
    for (format, suffixes) in [
        (LockFormat::Curator, &["-lock-0000000000"][..]),
        (LockFormat::Kazoo, &["__lock__0000000000"]),
        (
            LockFormat::Bridge,
            &["-lock-0000000000", "__lock__0000000001"],
        ),
    ] {
        let path = format!("/{format:?}");
        let guard = Lock::new(&zk, &path)
            .format(format)
            .acquire()
            .await
            .unwrap();
        let names = children(&zk, &path).await;
        assert_eq!(names.len(), suffixes.len());
        for (name, suffix) in names.iter().zip(suffixes) {
            assert!(name.ends_with(suffix), "{name}");
        }
        guard.release().await.unwrap();
        assert!(children(&zk, &path).await.is_empty());
    }
}

#[tokio::test]
async fn formats_exclude_each_other() {
    let world = World::start().await;
    let zk = world.client().await;
    let formats = [LockFormat::Curator, LockFormat::Kazoo, LockFormat::Bridge];
    for holder in formats {
        for waiter in formats {
            let guard = Lock::new(&zk, "/l").format(holder).acquire().await.unwrap();
            let lock = Lock::new(&zk, "/l").format(waiter);
            assert!(
                lock.try_acquire().await.unwrap().is_none(),
                "{holder:?} {waiter:?}"
            );
            let waiting = tokio::spawn(async move { lock.acquire().await });
            let count = |format| if format == LockFormat::Bridge { 2 } else { 1 };
            until_children(&zk, "/l", count(holder) + count(waiter)).await;
            assert!(!waiting.is_finished());
            guard.release().await.unwrap();
            soon("its turn", waiting)
                .await
                .unwrap()
                .unwrap()
                .release()
                .await
                .unwrap();
        }
    }
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
async fn foreign_children_do_not_matter() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.ensure_path("/l").await.unwrap();
    for name in [
        "!",
        "0",
        "readme",
        "lock-",
        "lock-x",
        "lock-1",
        "ключ-замок",
        "latch-0000000000",
    ] {
        zk.create(&format!("/l/{name}"), "").await.unwrap();
    }
    let lock = Lock::new(&zk, "/l");
    assert!(lock.contenders().await.unwrap().is_empty());
    let guard = soon("it is free", lock.acquire()).await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert_eq!(children(&zk, "/l").await.len(), 8);
}

#[tokio::test]
async fn contender_with_a_marker_asked_for_is_waited_for() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/l/x-7-", "")
        .ephemeral()
        .sequential()
        .parents()
        .await
        .unwrap();
    let other = children(&zk, "/l").await.remove(0);
    let lock = Lock::new(&zk, "/l").respect("x-7-");
    assert!(lock.try_acquire().await.unwrap().is_none());
    zk.delete(&format!("/l/{other}")).await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_some());
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
async fn blocker_that_cannot_be_read_is_waited_for() {
    let world = World::start().await;
    let zk = world.client().await;
    let secret = Acl::of([Ace::new(Perms::DELETE, Id::ANYONE)]);
    let guard = Lock::new(&zk, "/l").acl(secret).acquire().await.unwrap();
    let lock = Lock::new(&zk, "/l");
    let waiting = tokio::spawn(async move { lock.acquire().await });
    until_children(&zk, "/l", 2).await;
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
async fn lock_and_read_write_lock_refuse_each_others_path() {
    let world = World::start().await;
    let zk = world.client().await;
    let guard = Lock::new(&zk, "/l").acquire().await.unwrap();
    let error = soon("it fails", ReadWriteLock::new(&zk, "/l").read())
        .await
        .unwrap_err();
    assert!(matches!(error, AcquireError::PathInUse { .. }), "{error}");
    guard.release().await.unwrap();
    let guard = ReadWriteLock::new(&zk, "/l").write().await.unwrap();
    let error = soon("it fails", Lock::new(&zk, "/l").acquire())
        .await
        .unwrap_err();
    assert!(matches!(error, AcquireError::PathInUse { .. }), "{error}");
    guard.release().await.unwrap();
    until_children(&zk, "/l", 0).await;
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

#[tokio::test]
async fn owner_of_a_reentrant_lock_gets_in_again() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = Arc::new(ReentrantLock::<String>::new(Lock::new(&zk, "/l")));
    let outer = lock.acquire("me").await.unwrap();
    let inner = soon("at once", lock.acquire("me")).await.unwrap();
    assert_eq!(outer.token(), inner.token());
    assert_eq!(children(&zk, "/l").await.len(), 1);
    let error = lock
        .acquire_within("you", Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.is_timeout());
    until_children(&zk, "/l", 1).await;
    drop(outer);
    assert!(inner.is_held());
    // One that was lost does not let its owner in.
    zk.delete(inner.node_path()).await.unwrap();
    soon("it is told", inner.lost()).await;
    let anew = soon("it is free", lock.acquire("me")).await.unwrap();
    assert!(anew.token() > inner.token());
    drop((inner, anew));
    until_children(&zk, "/l", 0).await;
}

#[tokio::test]
async fn several_locks_are_acquired_together_or_not_at_all() {
    let world = World::start().await;
    let zk = world.client().await;
    let both = MultiLock::new(&zk, ["/b", "/a"]).acquire().await.unwrap();
    assert!(both.is_held());
    let paths: Vec<_> = both
        .guards()
        .iter()
        .map(|guard| guard.node_path().to_owned())
        .collect();
    assert!(paths[0].starts_with("/a/") && paths[1].starts_with("/b/"));
    let some = MultiLock::new(&zk, ["/b", "/c"]);
    assert!(some.try_acquire().await.unwrap().is_none());
    assert!(
        some.acquire_within(Duration::from_millis(50))
            .await
            .unwrap_err()
            .is_timeout()
    );
    until_children(&zk, "/c", 0).await;
    zk.delete(&paths[1]).await.unwrap();
    assert_eq!(
        soon("it is told", both.lost()).await,
        LossReason::NodeDeleted
    );
    assert!(both.release().await.is_err());
    until_children(&zk, "/a", 0).await;
    let error = MultiLock::new(&zk, ["/a", "/a"])
        .acquire()
        .await
        .unwrap_err();
    assert!(matches!(error, AcquireError::Duplicate { .. }), "{error}");
    // Two that want the same in different orders both get it.
    let tasks: Vec<_> = [["/x", "/y"], ["/y", "/x"]]
        .into_iter()
        .map(|paths| {
            let lock = MultiLock::new(&zk, paths);
            tokio::spawn(async move {
                for _ in 0..10 {
                    lock.acquire().await.unwrap().release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        soon("no deadlock", task).await.unwrap();
    }
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
