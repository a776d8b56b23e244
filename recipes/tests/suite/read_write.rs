//! Read/write locks.

use std::time::Duration;

use zk_recipes::{AcquireError, Lock, ReadWriteLock, RwFormat};

use crate::harness::{CALM, World, children, polled, soon, until_children};
use zk_testkit::fault::Direction;

#[tokio::test]
async fn readers_share_and_writers_do_not() {
    let world = World::start().await;
    let zk = world.client().await;
    for format in [RwFormat::Curator, RwFormat::Kazoo] {
        let lock = ReadWriteLock::new(&zk, format!("/{format:?}")).format(format);
        let one = lock.read().await.unwrap();
        let two = soon("together", lock.read()).await.unwrap();
        assert!(one.token() != two.token());
        assert!(lock.try_write().await.unwrap().is_none());
        one.release().await.unwrap();
        assert!(lock.try_write().await.unwrap().is_none());
        two.release().await.unwrap();
        let writer = lock.try_write().await.unwrap().expect("nobody is there");
        assert!(lock.try_read().await.unwrap().is_none());
        assert!(lock.try_write().await.unwrap().is_none());
        writer.release().await.unwrap();
        until_children(&zk, lock.path(), 0).await;
    }
}

#[tokio::test]
async fn arrival_decides() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = ReadWriteLock::new(&zk, "/rw");
    let reader = lock.read().await.unwrap();
    let writing = tokio::spawn({
        let lock = lock.clone();
        async move { lock.write().await }
    });
    until_children(&zk, "/rw", 2).await;
    let reading = tokio::spawn({
        let lock = lock.clone();
        async move { lock.read().await }
    });
    until_children(&zk, "/rw", 3).await;
    let error = lock
        .read_within(Duration::from_millis(50))
        .await
        .unwrap_err();
    assert!(error.is_timeout(), "a reader behind a writer waits");
    assert!(!writing.is_finished() && !reading.is_finished());
    reader.release().await.unwrap();
    let writer = soon("the writer's turn", writing).await.unwrap().unwrap();
    assert!(!reading.is_finished());
    writer.release().await.unwrap();
    soon("the reader's turn", reading)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn reader_gets_on_when_the_writer_in_front_gives_up() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = ReadWriteLock::new(&zk, "/rw");
    let reader = lock.read().await.unwrap();
    let writing = tokio::spawn({
        let lock = lock.clone();
        async move { lock.write().await }
    });
    until_children(&zk, "/rw", 2).await;
    let reading = tokio::spawn({
        let lock = lock.clone();
        async move { lock.read().await }
    });
    until_children(&zk, "/rw", 3).await;
    writing.abort();
    let other = soon("nobody is in front", reading).await.unwrap().unwrap();
    assert!(reader.is_held() && other.is_held());
}

#[tokio::test]
async fn writer_becomes_a_reader_and_nobody_gets_in_between() {
    let world = World::start().await;
    let zk = world.client().await;
    for format in [RwFormat::Curator, RwFormat::Kazoo] {
        let lock = ReadWriteLock::new(&zk, format!("/{format:?}")).format(format);
        let writer = lock.write().await.unwrap();
        let writing = tokio::spawn({
            let lock = lock.clone();
            async move { lock.write().await }
        });
        until_children(&zk, lock.path(), 2).await;
        let (token, lost) = (writer.token(), writer.lost());
        let reader = soon("it is done", writer.downgrade()).await.unwrap();
        assert_eq!(
            reader.token().sequence(),
            token.sequence(),
            "in the writer's place"
        );
        assert!(reader.token() > token);
        assert_eq!(
            soon("it is told", lost).await,
            zk_recipes::LossReason::Released
        );
        assert!(reader.is_held() && !writing.is_finished());
        // A second reader is behind the writer that waits.
        assert!(lock.try_read().await.unwrap().is_none());
        reader.release().await.unwrap();
        soon("the writer's turn", writing)
            .await
            .unwrap()
            .unwrap()
            .release()
            .await
            .unwrap();
        until_children(&zk, lock.path(), 0).await;
    }
}

#[tokio::test]
async fn downgrade_whose_answer_is_lost_is_found_out() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let lock = ReadWriteLock::new(&party, "/rw");
    let writer = lock.write().await.unwrap();
    let write = children(&zk, "/rw").await;
    party.proxy.stall(Direction::ToClient, true);
    let downgrading = tokio::spawn(writer.downgrade());
    crate::harness::until("it is done", async || {
        let now = children(&zk, "/rw").await;
        now.len() == 1 && now != write
    })
    .await;
    party.proxy.cut_all();
    party.proxy.heal();
    let reader = soon("it is found out", downgrading).await.unwrap().unwrap();
    assert!(reader.is_held());
    reader.release().await.unwrap();
    until_children(&zk, "/rw", 0).await;
}

#[tokio::test]
async fn downgrade_dropped_at_any_point_leaves_nothing() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = ReadWriteLock::new(&zk, "/rw");
    for times in 0.. {
        let writer = lock.write().await.unwrap();
        let done = soon("it is polled", polled(times, writer.downgrade())).await;
        let is_done = done.is_some();
        drop(done);
        until_children(&zk, "/rw", 0).await;
        if is_done {
            break;
        }
    }
}

#[tokio::test]
async fn owner_is_told_that_it_would_wait_for_itself() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = ReadWriteLock::new(&zk, "/rw").for_owner();
    let reader = lock.read().await.unwrap();
    let error = soon("no wait", lock.write()).await.unwrap_err();
    assert!(
        matches!(error, AcquireError::WouldDeadlock { .. }),
        "{error}"
    );
    let more = soon("a second read", lock.read()).await.unwrap();
    drop((reader, more));
    until_children(&zk, "/rw", 0).await;
    let writer = lock.write().await.unwrap();
    assert!(matches!(
        lock.read().await,
        Err(AcquireError::WouldDeadlock { .. })
    ));
    let reader = writer.downgrade().await.unwrap();
    assert!(matches!(
        lock.write().await,
        Err(AcquireError::WouldDeadlock { .. })
    ));
    drop(reader);
    until_children(&zk, "/rw", 0).await;
    let (writer, refused) =
        soon("no wait", async { tokio::join!(lock.write(), lock.read()) }).await;
    assert!(
        matches!(refused, Err(AcquireError::WouldDeadlock { .. })),
        "{refused:?}"
    );
    drop(writer.unwrap());
    // One that was given up does not count.
    let other = ReadWriteLock::new(&zk, "/rw").write().await.unwrap();
    assert!(polled(1, lock.read()).await.is_none());
    other.release().await.unwrap();
    assert!(lock.write().await.is_ok());
}

#[tokio::test]
async fn kazoo_format_and_locks_exclude_each_other() {
    let world = World::start().await;
    let zk = world.client().await;
    let readers = ReadWriteLock::new(&zk, "/l").format(RwFormat::Kazoo);
    let lock = Lock::new(&zk, "/l");
    let reader = readers.read().await.unwrap();
    assert!(lock.try_acquire().await.unwrap().is_none());
    reader.release().await.unwrap();
    let guard = lock.acquire().await.unwrap();
    assert!(readers.try_read().await.unwrap().is_none());
    guard.release().await.unwrap();
    assert!(readers.try_read().await.unwrap().is_some());
}

#[tokio::test]
async fn readers_znode_under_its_own_writers_as_curator_leaves_it_is_no_obstacle() {
    let world = World::start().await;
    let zk = world.client().await;
    // Curator: the writer takes a read lock too, with the number of its own.
    let guid = "_c_5f2c9a00-0000-4000-8000-000000000001-";
    let write = zk
        .create(&format!("/rw/{guid}__WRIT__"), "")
        .ephemeral()
        .sequential()
        .parents()
        .await
        .unwrap();
    let number = &write.path[write.path.len() - 10..];
    let read = format!("/rw/{guid}__READ__{number}");
    zk.create(&read, "").ephemeral().await.unwrap();
    let lock = ReadWriteLock::new(&zk, "/rw");
    assert!(lock.try_read().await.unwrap().is_none());
    zk.delete(&write.path).await.unwrap();
    let reader = lock.try_read().await.unwrap().expect("readers share");
    assert!(lock.try_write().await.unwrap().is_none());
    zk.delete(&read).await.unwrap();
    reader.release().await.unwrap();
    assert!(lock.try_write().await.unwrap().is_some());
}

#[tokio::test]
async fn waiting_reader_is_not_woken_by_other_readers() {
    let world = World::start().await;
    let zk = world.client().await;
    let lock = ReadWriteLock::new(&zk, "/rw");
    let writer = lock.write().await.unwrap();
    let crowd = world.client().await;
    let lock = ReadWriteLock::new(&crowd, "/rw");
    let one = tokio::spawn({
        let lock = lock.clone();
        async move { lock.read().await }
    });
    let two = tokio::spawn(async move { lock.read().await });
    until_children(&zk, "/rw", 3).await;
    crate::harness::until("both wait", async || crowd.stats().watches >= 3).await;
    let before = crowd.stats().watch_events;
    one.abort();
    until_children(&zk, "/rw", 2).await;
    let events = crowd.stats().watch_events - before;
    assert!(
        events <= 1,
        "{events} events for one reader that gave up: its own at most"
    );
    writer.release().await.unwrap();
    soon("its turn", two)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
}
