//! Caches.

use std::collections::BTreeMap;
use std::time::Duration;

use zk_client::{Acl, Client, ErrorKind};
use zk_recipes::{Cache, CacheEvent, CacheEvents, CacheState};
use zk_testkit::fault::Direction;

use crate::harness::{CALM, World, soon, until};

fn told(event: &CacheEvent) -> String {
    match event {
        CacheEvent::Created(node) => format!("+{} {:?}", node.path, node.data),
        CacheEvent::Changed { old, new } => format!("~{} {:?} {:?}", new.path, old.data, new.data),
        CacheEvent::Deleted(node) => format!("-{}", node.path),
        other => format!("{other:?}"),
    }
}

async fn next(events: &mut CacheEvents) -> String {
    told(
        &soon("an event", events.next())
            .await
            .expect("the cache lives"),
    )
}

/// What the server has at and below a path, by asking it.
async fn truth(zk: &Client, path: &str) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    let mut found = BTreeMap::new();
    let mut paths = zk.list_tree(path);
    while let Some(path) = paths.next().await {
        let path = path.expect("a list");
        if let Some(node) = zk.get(&path).await.expect("a read") {
            let stat = node.stat;
            found.insert(
                path,
                (node.data.to_vec(), stat.czxid.get(), stat.mzxid.get()),
            );
        }
    }
    found
}

fn known(cache: &Cache) -> BTreeMap<String, (Vec<u8>, i64, i64)> {
    let nodes = cache.snapshot().into_iter();
    let node = |(path, node): (String, std::sync::Arc<zk_recipes::CachedNode>)| {
        (
            path,
            (
                node.data.to_vec(),
                node.stat.czxid.get(),
                node.stat.mzxid.get(),
            ),
        )
    };
    nodes.map(node).collect()
}

#[tokio::test]
async fn tree_follows_what_happens() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/t/a/b", "1").parents().await.unwrap();
    let cache = Cache::tree(&zk, "/t").start();
    let mut events = cache.events();
    soon("it is ready", cache.ready()).await.unwrap();
    assert_eq!(known(&cache), truth(&zk, "/t").await);
    while next(&mut events).await != "Initialized" {}
    zk.set("/t/a/b", "2").await.unwrap();
    assert_eq!(next(&mut events).await, r#"~/t/a/b b"1" b"2""#);
    zk.create("/t/c", "x").await.unwrap();
    assert_eq!(next(&mut events).await, r#"+/t/c b"x""#);
    zk.delete("/t/c").await.unwrap();
    assert_eq!(next(&mut events).await, "-/t/c");
    zk.delete_tree("/t").await.unwrap();
    assert_eq!(next(&mut events).await, "-/t/a/b");
    assert_eq!(next(&mut events).await, "-/t/a");
    assert_eq!(next(&mut events).await, "-/t");
    assert!(cache.is_empty() && cache.root().is_none());
    // Both at once: what is above is told of first.
    let both = zk.transaction().create("/t", "").create("/t/again", "");
    both.await.unwrap();
    assert_eq!(next(&mut events).await, r#"+/t b"""#);
    assert_eq!(next(&mut events).await, r#"+/t/again b"""#);
}

#[tokio::test]
async fn node_and_children_see_no_further() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/n/a/deep", "").parents().await.unwrap();
    let (node, children) = (
        Cache::node(&zk, "/n").start(),
        Cache::children(&zk, "/n").start(),
    );
    soon("ready", node.ready()).await.unwrap();
    soon("ready", children.ready()).await.unwrap();
    assert_eq!((node.len(), children.len()), (1, 2));
    zk.create("/n/b", "b").await.unwrap();
    zk.create("/n/b/deep", "").await.unwrap();
    zk.set("/n", "root").await.unwrap();
    until("both have seen it", async || {
        let seen = |cache: &Cache| cache.root().is_some_and(|root| root.data == "root");
        seen(&node) && seen(&children)
    })
    .await;
    assert_eq!((node.len(), children.len()), (1, 3));
    let names: Vec<_> = children.children_of("/n").into_keys().collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(children.get("/n/b").unwrap().data, "b");
}

#[tokio::test]
async fn missing_root_is_ready_and_appears() {
    let world = World::start().await;
    let zk = world.client().await;
    for cache in [
        Cache::node(&zk, "/x"),
        Cache::children(&zk, "/x"),
        Cache::tree(&zk, "/x"),
    ] {
        let cache = cache.start();
        soon("ready", cache.ready()).await.unwrap();
        assert!(cache.is_empty());
        zk.create("/x", "here").await.unwrap();
        until("it appears", async || cache.root().is_some()).await;
        zk.delete("/x").await.unwrap();
        until("it goes", async || cache.root().is_none()).await;
    }
}

#[tokio::test]
async fn changes_while_away_are_told_afterwards() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    for name in ["same", "changed", "deleted", "replaced"] {
        zk.create(&format!("/t/{name}"), "")
            .parents()
            .await
            .unwrap();
    }
    zk.create("/t/replaced/below", "").await.unwrap();
    let cache = Cache::tree(&party, "/t").start();
    soon("ready", cache.ready()).await.unwrap();
    let mut events = cache.events();
    for expire in [false, true] {
        party.cut().await;
        zk.set("/t/changed", "new").await.unwrap();
        zk.delete("/t/deleted").await.unwrap();
        // Another znode with the same version and data.
        zk.delete("/t/replaced/below").await.unwrap();
        zk.delete("/t/replaced").await.unwrap();
        zk.create("/t/replaced", "").await.unwrap();
        zk.create("/t/replaced/below", "").await.unwrap();
        zk.create("/t/new", "").await.unwrap();
        if expire {
            party.proxy.refuse(false);
            party.reconnected().await;
            party.expire().await;
        } else {
            party.proxy.refuse(false);
        }
        let mut seen = Vec::new();
        loop {
            let event = next(&mut events).await;
            if event == "Resynced" && known(&cache) == truth(&zk, "/t").await {
                break;
            }
            seen.push(event);
        }
        for event in ["Stale", "-/t/deleted", "-/t/replaced", "-/t/replaced/below"] {
            assert!(
                seen.iter().any(|told| told == event),
                "{event} is not in {seen:?}"
            );
        }
        for event in [
            "+/t/replaced ",
            "+/t/replaced/below ",
            "+/t/new ",
            "~/t/changed ",
        ] {
            assert!(
                seen.iter().any(|told| told.starts_with(event)),
                "{event} is not in {seen:?}"
            );
        }
        assert!(!seen.iter().any(|told| told.contains("same")), "{seen:?}");
        assert!(matches!(*cache.state().borrow(), CacheState::Ready));
        zk.set("/t/changed", "").await.unwrap();
        zk.create("/t/deleted", "").await.unwrap();
        zk.delete("/t/new").await.unwrap();
        until("it is up to date", async || {
            known(&cache) == truth(&zk, "/t").await
        })
        .await;
        // What was told of that is of no interest to the next round.
        events = cache.events();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn cache_is_what_the_server_has_under_writes_and_faults() {
    let world = World::start().await;
    let (zk, party) = (world.client().await, world.party(CALM).await);
    zk.ensure_path("/t").await.unwrap();
    let cache = Cache::tree(&party, "/t").start();
    let (start, mut events) = cache.snapshot_and_events();
    let mut rng = 7_u64;
    let mut draw = move |below: u64| {
        rng = rng
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (rng >> 33) % below
    };
    let writing = async {
        for step in 0..600 {
            let path = match draw(3) {
                0 => format!("/t/{}", draw(4)),
                1 => format!("/t/{}/{}", draw(4), draw(3)),
                _ => format!("/t/{}/{}/{}", draw(4), draw(3), draw(2)),
            };
            match draw(4) {
                0 => drop(zk.delete(&path).await),
                1 => drop(zk.set(&path, step.to_string()).await),
                _ => drop(zk.create(&path, step.to_string()).await),
            }
            match draw(60) {
                0 => party.proxy.cut_all(),
                1 => party.proxy.cut_after(Direction::ToClient, draw(2_000)),
                _ => {}
            }
        }
    };
    writing.await;
    party.proxy.heal();
    until("it is up to date", async || {
        known(&cache) == truth(&zk, "/t").await
    })
    .await;
    // The events lead from the first state to the last.
    let mut rebuilt = start;
    let last = cache.snapshot();
    while rebuilt != last {
        match soon("all events", events.next()).await.unwrap() {
            CacheEvent::Created(node) => {
                assert!(rebuilt.insert(node.path.clone(), node).is_none());
            }
            CacheEvent::Changed { old, new } => {
                let before = rebuilt.insert(new.path.clone(), std::sync::Arc::clone(&new));
                let before = before.expect("it was there");
                assert_eq!(
                    (before.stat.czxid, before.stat.mzxid),
                    (old.stat.czxid, old.stat.mzxid)
                );
                assert!(new.stat.mzxid > old.stat.mzxid);
            }
            CacheEvent::Deleted(node) => assert!(rebuilt.remove(&node.path).is_some()),
            CacheEvent::Missed(_) => {
                // Its rest is not to be had any more.
                return;
            }
            _ => {}
        }
        // Stats of children are not told of: those do not count here.
        for (path, node) in &last {
            if let Some(mine) = rebuilt.get_mut(path)
                && mine.stat.mzxid == node.stat.mzxid
                && mine.stat.czxid == node.stat.czxid
            {
                *mine = std::sync::Arc::clone(node);
            }
        }
    }
}

#[tokio::test]
async fn dropped_it_leaves_no_watch() {
    let world = World::start().await;
    let zk = world.client().await;
    let cache = Cache::tree(&zk, "/t").start();
    soon("ready", cache.ready()).await.unwrap();
    assert_eq!(zk.stats().watches, 1);
    drop(cache);
    until("no watch is left", async || zk.stats().watches == 0).await;
}

#[tokio::test]
async fn what_may_not_be_read_is_left_out() {
    let world = World::start().await;
    let zk = world.client().await;
    zk.create("/t/open", "").parents().await.unwrap();
    let secret = Acl::of([zk_client::Ace::new(
        zk_client::Perms::CREATE,
        zk_client::Id::ANYONE,
    )]);
    zk.create("/t/secret", "").acl(secret).await.unwrap();
    let cache = Cache::tree(&zk, "/t").start();
    soon("ready", cache.ready()).await.unwrap();
    let names: Vec<_> = cache.children_of("/t").into_keys().collect();
    assert_eq!(names, ["open"]);
    zk.close(Duration::from_secs(5)).await;
    let failed = |state: &CacheState| matches!(state, CacheState::Failed(_));
    soon("it fails", cache.state().wait_for(failed))
        .await
        .unwrap();
    let cache = Cache::tree(&zk, "/t").start();
    assert_eq!(
        soon("it fails", cache.ready()).await.unwrap_err().kind(),
        ErrorKind::Closed
    );
    assert_eq!(cache.len(), 0);
}

#[tokio::test]
async fn slow_reader_is_told_that_it_missed_something() {
    let world = World::start().await;
    let zk = world.client().await;
    let cache = Cache::children(&zk, "/t").start();
    soon("ready", cache.ready()).await.unwrap();
    let mut events = cache.events();
    zk.create("/t", "").await.unwrap();
    for batch in 0..30 {
        let creates = (0..50).map(|index| {
            let (zk, path) = (zk.clone(), format!("/t/{batch}-{index}"));
            async move { zk.create(&path, "").await.unwrap() }
        });
        futures_util::future::join_all(creates).await;
    }
    until("all are there", async || cache.len() == 1_501).await;
    assert!(matches!(events.next().await, Some(CacheEvent::Missed(_))));
}
