//! Whom a lock meets at its path: names of each format, other recipes, what is foreign.

use std::sync::Arc;
use std::time::Duration;

use zk_client::{Ace, Acl, Id, Perms};
use zk_recipes::{
    AcquireError, Lock, LockFormat, LossReason, MultiLock, ReadWriteLock, ReentrantLock,
};

use crate::harness::{World, children, soon, until_children};

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
