//! Semaphores.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zk_client::ErrorKind;
use zk_recipes::{
    AcquireError, LossPolicy, LossReason, MaxLeases, Semaphore, SemaphoreFormat, SemaphoreMutex,
};
use zk_testkit::fault::Direction;

use crate::harness::{
    CALM, World, children, ends_with_the_connection, polled, soon, until, until_children,
};

#[tokio::test]
async fn never_more_leases_than_there_are() {
    let world = World::start().await;
    let zk = world.client().await;
    for format in [SemaphoreFormat::Curator, SemaphoreFormat::Kazoo] {
        let path = format!("/{format:?}");
        let (out, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let tasks: Vec<_> = (0..8)
            .map(|_| {
                let slots = Semaphore::new(&zk, &path, 3).format(format);
                let (out, most) = (Arc::clone(&out), Arc::clone(&most));
                tokio::spawn(async move {
                    for _ in 0..3 {
                        let lease = slots.acquire().await.unwrap();
                        let now = out.fetch_add(1, Ordering::SeqCst) + 1;
                        most.fetch_max(now, Ordering::SeqCst);
                        tokio::time::sleep(Duration::from_millis(2)).await;
                        out.fetch_sub(1, Ordering::SeqCst);
                        lease.release().await.unwrap();
                    }
                })
            })
            .collect();
        for task in tasks {
            soon("they get through", task).await.unwrap();
        }
        let most = most.load(Ordering::SeqCst);
        assert!((1..=3).contains(&most), "{most}");
    }
}

#[tokio::test]
async fn leases_are_counted_and_named() {
    let world = World::start().await;
    let zk = world.client().await;
    let slots = Semaphore::new(&zk, "/s", 2).identity("me");
    assert!(slots.participants().await.unwrap().is_empty(), "never used");
    let one = slots.acquire().await.unwrap();
    let two = slots.try_acquire().await.unwrap().expect("one is free");
    assert!(two.token() > one.token());
    assert!(slots.try_acquire().await.unwrap().is_none());
    assert!(
        slots
            .acquire_within(Duration::from_millis(50))
            .await
            .unwrap_err()
            .is_timeout()
    );
    two.set_data("busy").await.unwrap();
    // Whoever gave up leaves behind its back.
    until_children(&zk, "/s/leases", 2).await;
    let mut named = slots.participants().await.unwrap();
    named.sort();
    assert_eq!(named, ["busy", "me"]);
    for name in children(&zk, "/s/leases").await {
        assert!(
            name.starts_with("_c_") && name.contains("-lease-"),
            "{name}"
        );
    }
    one.release().await.unwrap();
    assert!(slots.try_acquire().await.unwrap().is_some());
    drop(two);
    until_children(&zk, "/s/leases", 0).await;
    until_children(&zk, "/s/locks", 0).await;
}

#[tokio::test]
async fn several_leases_are_given_together() {
    let world = World::start().await;
    let zk = world.client().await;
    // Two that each want more than half: with leases taken one by one both would wait for ever.
    let tasks: Vec<_> = (0..2)
        .map(|_| {
            let slots = Semaphore::new(&zk, "/s", 4);
            tokio::spawn(async move {
                for _ in 0..5 {
                    let lease = slots.acquire_many(3).await.unwrap();
                    assert_eq!(lease.count(), 3);
                    lease.release().await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        soon("no deadlock", task).await.unwrap();
    }
    let error = Semaphore::new(&zk, "/s", 4)
        .acquire_many(5)
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            AcquireError::TooMany {
                wanted: 5,
                max: 4,
                ..
            }
        ),
        "{error}"
    );
    let error = Semaphore::new(&zk, "/s", 4)
        .acquire_many(0)
        .await
        .unwrap_err();
    assert!(matches!(error, AcquireError::NoLeases { .. }), "{error}");
}

#[tokio::test]
async fn number_of_leases_is_followed() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/max", 1_i32.to_be_bytes().to_vec())
        .await
        .unwrap();
    let slots = Semaphore::new(&zk, "/s", MaxLeases::Shared("/max".into()));
    let one = slots.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire().await }
    });
    until_children(&zk, "/s/leases", 2).await;
    assert!(!waiting.is_finished());
    zk.set("/max", 2_i32.to_be_bytes().to_vec()).await.unwrap();
    let two = soon("there is room", waiting).await.unwrap().unwrap();
    zk.set("/max", 1_i32.to_be_bytes().to_vec()).await.unwrap();
    assert!(one.is_held() && two.is_held(), "nothing is taken away");
    two.release().await.unwrap();
    assert!(slots.try_acquire().await.unwrap().is_none());
    one.release().await.unwrap();
    for rubbish in ["", "12", "123456789"] {
        zk.set("/max", rubbish).await.unwrap();
        let error = soon("no wait", slots.acquire()).await.unwrap_err();
        assert!(matches!(error, AcquireError::Mismatch { .. }), "{error}");
    }
    zk.delete("/max").await.unwrap();
    let error = soon("no wait", slots.acquire()).await.unwrap_err();
    assert_eq!(
        error.client_error().map(zk_client::Error::kind),
        Some(ErrorKind::NoNode)
    );
    until_children(&zk, "/s/leases", 0).await;
}

#[tokio::test]
async fn kazoo_format_agrees_on_the_number() {
    let world = World::start().await;
    let zk = world.client().await;
    let slots = |max: usize| Semaphore::new(&zk, "/s", max).format(SemaphoreFormat::Kazoo);
    let lease = slots(2).acquire().await.unwrap();
    assert_eq!(zk.get("/s").await.unwrap().unwrap().data, "2");
    assert_eq!(children(&zk, "/s").await.len(), 1);
    let error = soon("no wait", slots(3).acquire()).await.unwrap_err();
    assert!(matches!(error, AcquireError::Mismatch { .. }), "{error}");
    lease.release().await.unwrap();
    until_children(&zk, "/s", 0).await;
}

#[tokio::test]
async fn leases_of_an_expired_session_go_to_others() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let lease = Semaphore::new(&party, "/s", 1).acquire().await.unwrap();
    let waiting = tokio::spawn({
        let slots = Semaphore::new(&zk, "/s", 1);
        async move { slots.acquire().await }
    });
    until_children(&zk, "/s/leases", 2).await;
    party.expire().await;
    assert_eq!(
        soon("it is told", lease.lost()).await,
        LossReason::SessionExpired
    );
    soon("its turn", waiting)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
    // One that waits gets in line anew.
    let lease = Semaphore::new(&zk, "/s", 1).acquire().await.unwrap();
    let waiting = tokio::spawn({
        let slots = Semaphore::new(&party, "/s", 1);
        async move { slots.acquire().await }
    });
    until_children(&zk, "/s/leases", 2).await;
    party.expire().await;
    assert!(!waiting.is_finished());
    lease.release().await.unwrap();
    soon("its turn", waiting)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn turn_taken_away_while_waiting_begins_anew() {
    let world = World::start().await;
    let zk = world.client().await;
    let slots = Semaphore::new(&zk, "/s", 1);
    let lease = slots.acquire().await.unwrap();
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire().await }
    });
    until_children(&zk, "/s/leases", 2).await;
    for directory in ["/s/locks", "/s/leases"] {
        let before = children(&zk, directory).await;
        let own = before
            .iter()
            .find(|name| !lease.node_path().ends_with(name.as_str()));
        let own = format!("{directory}/{}", own.expect("the waiter's"));
        zk.delete(&own).await.unwrap();
        until("it is back", async || {
            let now = children(&zk, directory).await;
            now.len() == before.len() && !now.iter().any(|name| own.ends_with(name.as_str()))
        })
        .await;
        until_children(&zk, "/s/leases", 2).await;
        until_children(&zk, "/s/locks", 1).await;
    }
    lease.release().await.unwrap();
    soon("its turn", waiting)
        .await
        .unwrap()
        .unwrap()
        .release()
        .await
        .unwrap();
}

#[tokio::test]
async fn leases_whose_creation_lost_its_answer_are_found() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let slots = Semaphore::new(&party, "/s", 3);
    drop(slots.acquire_many(3).await.unwrap());
    until_children(&zk, "/s/leases", 0).await;
    until_children(&zk, "/s/locks", 0).await;
    // Everything is answered until the leases are asked for.
    let waiting = tokio::spawn({
        let slots = slots.clone();
        async move { slots.acquire_many(3).await }
    });
    party.proxy.cut_after(Direction::ToClient, 700);
    let lease = soon("it goes on", waiting).await.unwrap().unwrap();
    assert_eq!(children(&zk, "/s/leases").await.len(), 3);
    lease.release().await.unwrap();
    until_children(&zk, "/s/leases", 0).await;
}

#[tokio::test]
async fn strict_lease_survives_a_connection_lost_while_waiting_for_it() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    let one = Semaphore::new(&zk, "/s", 1).acquire().await.unwrap();
    let slots = Semaphore::new(&party, "/s", 1).loss_policy(LossPolicy::Strict);
    let waiting = tokio::spawn(async move { slots.acquire().await });
    until_children(&zk, "/s/leases", 2).await;
    party.cut().await;
    party.proxy.refuse(false);
    party.reconnected().await;
    one.release().await.unwrap();
    let lease = soon("its turn", waiting).await.unwrap().unwrap();
    ends_with_the_connection(&party, &lease).await;
}

#[tokio::test]
async fn dropped_at_any_point_it_leaves_nothing_behind() {
    let world = World::start().await;
    let zk = world.client().await;
    let slots = Semaphore::new(&zk, "/s", 2);
    for times in 0.. {
        let done = soon("it is polled", polled(times, slots.acquire_many(2))).await;
        let is_done = done.is_some();
        drop(done);
        until_children(&zk, "/s/leases", 0).await;
        until_children(&zk, "/s/locks", 0).await;
        if is_done {
            break;
        }
    }
}

#[tokio::test]
async fn mutex_of_a_semaphore_lets_one_in() {
    let world = World::start().await;
    let zk = world.client().await;
    let mutex = SemaphoreMutex::new(&zk, "/m");
    let lease = mutex.acquire().await.unwrap();
    assert!(mutex.try_acquire().await.unwrap().is_none());
    assert!(
        mutex
            .acquire_within(Duration::from_millis(50))
            .await
            .unwrap_err()
            .is_timeout()
    );
    until_children(&zk, "/m/locks", 0).await;
    // Anybody may release it.
    tokio::spawn(async move { lease.release().await.unwrap() })
        .await
        .unwrap();
    assert!(mutex.try_acquire().await.unwrap().is_some());
}
