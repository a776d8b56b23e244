//! Watches on a real server: what they tell, in what order, and that none is lost or left behind.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{join_all, select_all};
use zk_client::{
    Client, CloseReason, ErrorKind, EventType, Version, Watch, WatchEnd, WatchItem, WatchStream,
};
use zk_testkit::fault::Proxy;

use self::common::{
    Servers, Setup, behind_proxy, fired, next, next_event, quirks, rejected, shared, soon, told,
    until, until_connected, until_suspended,
};

async fn data_watch(zk: &Client, path: &str) -> Watch {
    zk.get(path).watch().await.unwrap().1
}

async fn exists_watch(zk: &Client, path: &str) -> Watch {
    zk.exists(path).watch().await.unwrap().1
}

async fn child_watch(zk: &Client, path: &str) -> Watch {
    zk.children(path).watch().await.unwrap().1
}

/// The next events of a stream.
async fn events(stream: &mut WatchStream, count: usize) -> Vec<String> {
    let mut events = Vec::new();
    for _ in 0..count {
        events.push(told(&next_event(stream).await));
    }
    events
}

/// Waits for what the client does by itself about its watches: at most a removal that an old server
/// does not understand, one that it does, and a registration.
async fn settled(zk: &Client) {
    for _ in 0..3 {
        zk.sync("/").await.unwrap();
    }
}

/// Asserts that a stream has nothing to tell: what was done before has been answered.
#[track_caller]
fn silent(stream: &mut WatchStream) {
    let item = stream.next().now_or_never();
    assert!(item.is_none(), "{item:?}");
}

// --- what they tell -----------------------------------------------------------------------------

#[tokio::test]
async fn one_shot_watches_fire_with_the_event_of_their_kind() {
    let zk = shared().await.client().await;
    let appears = exists_watch(&zk, "/a").await;
    zk.create("/a", "").await.unwrap();
    let event = fired(appears).await;
    assert_eq!(told(&event), "NodeCreated /a");
    assert_eq!(event.zxid.is_some(), quirks().events_have_zxids);

    let (get, exists) = (data_watch(&zk, "/a").await, exists_watch(&zk, "/a").await);
    zk.set("/a", "").await.unwrap();
    assert_eq!(told(&fired(get).await), "NodeDataChanged /a");
    assert_eq!(told(&fired(exists).await), "NodeDataChanged /a");

    let children = child_watch(&zk, "/a").await;
    let (_, _, with_stat) = zk.children("/a").with_stat().watch().await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    assert_eq!(told(&fired(children).await), "NodeChildrenChanged /a");
    assert_eq!(told(&fired(with_stat).await), "NodeChildrenChanged /a");
    let children = child_watch(&zk, "/a").await;
    zk.delete("/a/b").await.unwrap();
    assert_eq!(told(&fired(children).await), "NodeChildrenChanged /a");

    let watches = [
        data_watch(&zk, "/a").await,
        exists_watch(&zk, "/a").await,
        child_watch(&zk, "/a").await,
    ];
    zk.delete("/a").await.unwrap();
    for watch in watches {
        assert_eq!(told(&fired(watch).await), "NodeDeleted /a");
    }
    assert_eq!(zk.stats().watches, 0);
}

#[tokio::test]
async fn one_shot_watches_do_not_fire_for_what_they_do_not_watch() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let (data, children) = (data_watch(&zk, "/a").await, child_watch(&zk, "/a").await);
    zk.create("/a/b", "").await.unwrap();
    assert_eq!(told(&fired(children).await), "NodeChildrenChanged /a");
    let children = child_watch(&zk, "/a").await;
    zk.set("/a/b", "").await.unwrap();
    zk.create("/a/b/c", "").await.unwrap();
    zk.set_acl("/a", zk_client::Acl::open()).await.unwrap();
    rejected(zk.set("/a", "").version(7).await, ErrorKind::BadVersion);
    zk.get("/a").await.unwrap();
    assert!(data.now_or_never().is_none());
    zk.set("/a", "").await.unwrap();
    zk.get("/a").await.unwrap();
    assert!(children.now_or_never().is_none());
}

#[tokio::test]
async fn persistent_watch_tells_of_the_znode_and_its_list_of_children() {
    let zk = shared().await.client().await;
    let mut stream = zk.watch_node("/a").await.unwrap();
    zk.create("/a", "").await.unwrap();
    zk.set("/a", "").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    zk.set("/a/b", "").await.unwrap();
    zk.create("/a/b/c", "").await.unwrap();
    zk.delete_tree("/a").await.unwrap();
    zk.create("/a", "").await.unwrap();
    let told = events(&mut stream, 6).await;
    let expected = [
        "NodeCreated /a",
        "NodeDataChanged /a",
        "NodeChildrenChanged /a",
        "NodeChildrenChanged /a",
        "NodeDeleted /a",
        "NodeCreated /a",
    ];
    assert_eq!(told, expected);
    silent(&mut stream);
}

#[tokio::test]
async fn recursive_watch_tells_of_the_znode_and_all_below() {
    let zk = shared().await.client().await;
    let mut stream = zk.watch_tree("/a").await.unwrap();
    zk.create("/a", "").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    zk.create("/a/b/c", "").await.unwrap();
    zk.set("/a/b/c", "").await.unwrap();
    zk.create("/ab", "").await.unwrap();
    zk.delete("/a/b/c").await.unwrap();
    let told = events(&mut stream, 5).await;
    let expected = [
        "NodeCreated /a",
        "NodeCreated /a/b",
        "NodeCreated /a/b/c",
        "NodeDataChanged /a/b/c",
        "NodeDeleted /a/b/c",
    ];
    assert_eq!(told, expected);
    silent(&mut stream);
}

#[tokio::test]
async fn transaction_tells_of_each_operation_in_order() {
    let zk = shared().await.client().await;
    let mut stream = zk.watch_tree("/").await.unwrap();
    zk.create("/a", "").await.unwrap();
    let transaction = zk.transaction().create("/b", "").set("/a", "", 0);
    transaction.set("/b", "", 0).delete("/a", 1).await.unwrap();
    let told = events(&mut stream, 5).await;
    let expected = [
        "NodeCreated /a",
        "NodeCreated /b",
        "NodeDataChanged /a",
        "NodeDataChanged /b",
        "NodeDeleted /a",
    ];
    assert_eq!(told, expected);
}

// --- order --------------------------------------------------------------------------------------

#[tokio::test]
async fn event_comes_before_the_replies_that_show_its_effect() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let mut stream = zk.watch_tree("/a").await.unwrap();
    for round in 1..=100 {
        // All in one go: the watch is set, the change made, the change read.
        let watch = zk.exists("/a").watch().send();
        let set = zk.set("/a", "").send();
        let get = zk.get("/a").send();
        let stat = set.await.unwrap();
        // With the reply to the write itself the event is there.
        let (_, watch) = watch.now_or_never().expect("replies are in order").unwrap();
        assert!(matches!(watch.now_or_never(), Some(WatchEnd::Event(_))));
        let item = stream.next().now_or_never();
        assert!(matches!(item, Some(Some(WatchItem::Event(_)))), "{item:?}");
        assert_eq!(stat.version, Version::new(round));
        assert_eq!(get.await.unwrap().unwrap().stat, stat);
    }
}

#[tokio::test]
async fn event_of_anothers_write_comes_before_the_first_read_that_shows_it() {
    let servers = shared().await;
    let zk = servers.client().await;
    let other = servers.client_below(zk.chroot_path()).await;
    zk.create("/a", "").await.unwrap();
    for round in 1..=50 {
        let mut watch = data_watch(&zk, "/a").await;
        let set = tokio::spawn({
            let other = other.clone();
            async move { other.set("/a", "").await }
        });
        // Many reads on their way at any time.
        let mut seen = false;
        while !seen {
            let reads: Vec<_> = (0..20).map(|_| zk.get("/a").send()).collect();
            for read in reads {
                let node = read.await.unwrap().unwrap();
                if node.stat.version == Version::new(round) && !seen {
                    seen = true;
                    let end = (&mut watch).now_or_never();
                    assert!(matches!(end, Some(WatchEnd::Event(_))), "{end:?}");
                }
            }
        }
        set.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn event_that_comes_before_the_first_poll_is_kept() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let watch = data_watch(&zk, "/a").await;
    let mut stream = zk.watch_node("/a").await.unwrap();
    for _ in 0..3 {
        zk.set("/a", "").await.unwrap();
    }
    assert_eq!(told(&fired(watch).await), "NodeDataChanged /a");
    assert_eq!(events(&mut stream, 3).await, ["NodeDataChanged /a"; 3]);
}

// --- several on one path ------------------------------------------------------------------------

#[tokio::test]
async fn holders_of_the_same_watch_come_and_go_on_their_own() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let (one, two) = (data_watch(&zk, "/a").await, data_watch(&zk, "/a").await);
    let mut first = zk.watch_node("/a").await.unwrap();
    let second = zk.watch_node("/a").await.unwrap();
    drop(one);
    drop(second);
    until("they are gone", async || zk.stats().watches == 2).await;
    zk.set("/a", "").await.unwrap();
    assert_eq!(told(&fired(two).await), "NodeDataChanged /a");
    assert_eq!(events(&mut first, 1).await, ["NodeDataChanged /a"]);
}

#[tokio::test]
async fn one_shot_and_persistent_watches_share_a_path() {
    let zk = shared().await.client().await;
    for persistent_first in [true, false] {
        let path = &format!("/{persistent_first}");
        let of = |kind: &str| format!("{kind} {path}");
        zk.create(path, "").await.unwrap();
        let mut early = None;
        if persistent_first {
            early = Some(zk.watch_node(path).await.unwrap());
        }
        let (data, children) = (data_watch(&zk, path).await, child_watch(&zk, path).await);
        let mut stream = match early {
            Some(stream) => stream,
            None => zk.watch_node(path).await.unwrap(),
        };
        zk.set(path, "").await.unwrap();
        zk.create(&format!("{path}/b"), "").await.unwrap();
        assert_eq!(told(&fired(data).await), of("NodeDataChanged"));
        assert_eq!(told(&fired(children).await), of("NodeChildrenChanged"));
        // The one-shot watches are spent; the persistent one goes on.
        zk.set(path, "").await.unwrap();
        zk.create(&format!("{path}/c"), "").await.unwrap();
        let kinds = ["NodeDataChanged", "NodeChildrenChanged"];
        let expected: Vec<_> = kinds.iter().chain(&kinds).map(|kind| of(kind)).collect();
        assert_eq!(events(&mut stream, 4).await, expected);
        // A one-shot watch outlives the persistent one that was there with it.
        let (data, children) = (data_watch(&zk, path).await, child_watch(&zk, path).await);
        drop(stream);
        until("it is gone", async || zk.stats().watches == 2).await;
        zk.set(path, "").await.unwrap();
        zk.create(&format!("{path}/d"), "").await.unwrap();
        assert_eq!(told(&fired(data).await), of("NodeDataChanged"));
        assert_eq!(told(&fired(children).await), of("NodeChildrenChanged"));
        // And a persistent one the one-shot.
        let mut stream = zk.watch_node(path).await.unwrap();
        drop((data_watch(&zk, path).await, child_watch(&zk, path).await));
        until("they are gone", async || zk.stats().watches == 1).await;
        zk.set(path, "").await.unwrap();
        zk.create(&format!("{path}/e"), "").await.unwrap();
        assert_eq!(events(&mut stream, 2).await, kinds.map(of));
    }
}

#[tokio::test]
async fn one_shot_and_recursive_watches_share_a_path() {
    let servers = shared().await;
    let chroot = common::fresh();
    let zk = servers.client_below(&chroot).await;
    let (proxy, cut) = behind_proxy(servers, 0, &chroot).await;
    for recursive_first in [true, false] {
        for reconnects in [false, true] {
            let path = &format!("/{recursive_first}-{reconnects}");
            zk.create(path, "").await.unwrap();
            let mut early = None;
            if recursive_first {
                early = Some(cut.watch_tree(path).await.unwrap());
            }
            let (data, children) = (data_watch(&cut, path).await, child_watch(&cut, path).await);
            let mut stream = match early {
                Some(stream) => stream,
                None => cut.watch_tree(path).await.unwrap(),
            };
            if reconnects {
                proxy.cut_all();
                until_suspended(&cut).await;
                until_connected(&cut).await;
                settled(&cut).await;
            }
            zk.create(&format!("{path}/b"), "").await.unwrap();
            zk.set(path, "").await.unwrap();
            let expected = [
                format!("NodeCreated {path}/b"),
                format!("NodeDataChanged {path}"),
            ];
            assert_eq!(events(&mut stream, 2).await, expected);
            assert_eq!(told(&fired(data).await), format!("NodeDataChanged {path}"));
            let event = fired(children).await;
            assert_eq!(told(&event), format!("NodeChildrenChanged {path}"));
            // And again, with the recursive one there before.
            let (data, children) = (data_watch(&cut, path).await, child_watch(&cut, path).await);
            drop(stream);
            until("it is gone", async || cut.stats().watches == 2).await;
            settled(&cut).await;
            zk.delete(&format!("{path}/b")).await.unwrap();
            zk.set(path, "").await.unwrap();
            let event = fired(children).await;
            assert_eq!(told(&event), format!("NodeChildrenChanged {path}"));
            assert_eq!(told(&fired(data).await), format!("NodeDataChanged {path}"));
        }
    }
}

#[tokio::test]
async fn persistent_and_recursive_watches_share_a_path() {
    let servers = shared().await;
    let chroot = common::fresh();
    let zk = servers.client_below(&chroot).await;
    let (proxy, cut) = behind_proxy(servers, 0, &chroot).await;
    for recursive_first in [true, false] {
        for reconnects in [false, true] {
            let path = &format!("/{recursive_first}-{reconnects}");
            let (mut tree, mut node);
            if recursive_first {
                tree = cut.watch_tree(path).await.unwrap();
                node = cut.watch_node(path).await.unwrap();
            } else {
                node = cut.watch_node(path).await.unwrap();
                tree = cut.watch_tree(path).await.unwrap();
            }
            if reconnects {
                proxy.cut_all();
                until_suspended(&cut).await;
                until_connected(&cut).await;
            }
            // Whatever the client had to repair is done before this is answered.
            settled(&cut).await;
            zk.create(path, "").await.unwrap();
            zk.create(&format!("{path}/b"), "").await.unwrap();
            zk.set(&format!("{path}/b"), "").await.unwrap();
            zk.delete(&format!("{path}/b")).await.unwrap();
            zk.set(path, "").await.unwrap();
            let expected = [
                format!("NodeCreated {path}"),
                format!("NodeCreated {path}/b"),
                format!("NodeDataChanged {path}/b"),
                format!("NodeDeleted {path}/b"),
                format!("NodeDataChanged {path}"),
            ];
            assert_eq!(events(&mut tree, 5).await, expected);
            let expected = [
                format!("NodeCreated {path}"),
                format!("NodeChildrenChanged {path}"),
                format!("NodeChildrenChanged {path}"),
                format!("NodeDataChanged {path}"),
            ];
            assert_eq!(events(&mut node, expected.len()).await, expected);
            // Each outlives the other.
            drop(node);
            until("it is gone", async || cut.stats().watches == 1).await;
            settled(&cut).await;
            zk.create(&format!("{path}/c"), "").await.unwrap();
            let expected = [format!("NodeCreated {path}/c")];
            assert_eq!(events(&mut tree, 1).await, expected);
            let mut node = cut.watch_node(path).await.unwrap();
            drop(tree);
            until("it is gone", async || cut.stats().watches == 1).await;
            settled(&cut).await;
            zk.create(&format!("{path}/d"), "").await.unwrap();
            let expected = [format!("NodeChildrenChanged {path}")];
            assert_eq!(events(&mut node, 1).await, expected);
        }
    }
}

#[tokio::test]
async fn watch_sent_right_before_an_added_one_misses_nothing() {
    let servers = shared().await;
    let zk = servers.client().await;
    zk.create("/a", "").await.unwrap();
    for _ in 0..100 {
        let get = zk.get("/a").watch().send();
        let set = zk.set("/a", "").send();
        let stream = zk.watch_node("/a").send();
        let (_, watch) = get.await.unwrap();
        set.await.unwrap();
        drop(stream.await.unwrap());
        assert_eq!(told(&fired(watch).await), "NodeDataChanged /a");
    }
}

// --- leaving ------------------------------------------------------------------------------------

#[tokio::test]
async fn server_forgets_watches_that_are_dropped() {
    let servers = Setup::alone().start().await;
    let zk = servers.builder().connect().await.unwrap();
    let session = common::session_of(&zk);
    zk.create("/a", "").await.unwrap();
    let forgotten = async |what: &str| {
        until(what, async || servers.watch_count(0).await == 0).await;
        assert_eq!(zk.stats().watches, 0, "{what}");
    };
    let watch = data_watch(&zk, "/a").await;
    assert_eq!(servers.watched(0, session).await, ["/a"]);
    drop(watch);
    forgotten("a data watch").await;
    let watch = exists_watch(&zk, "/missing").await;
    assert_eq!(servers.watched(0, session).await, ["/missing"]);
    drop(watch);
    forgotten("an exist watch").await;
    let watch = child_watch(&zk, "/a").await;
    assert_eq!(servers.watch_count(0).await, 1);
    drop(watch);
    forgotten("a child watch").await;
    let stream = zk.watch_node("/a").await.unwrap();
    assert_eq!(servers.watched(0, session).await, ["/a"]);
    drop(stream);
    forgotten("a persistent watch").await;
    let stream = zk.watch_tree("/a").await.unwrap();
    assert_eq!(servers.watched(0, session).await, ["/a"]);
    drop(stream);
    forgotten("a recursive watch").await;

    // All on one path, dropped in every order that starts elsewhere.
    for first in 0..5 {
        let mut all: Vec<Box<dyn Send>> = vec![
            Box::new(data_watch(&zk, "/a").await),
            Box::new(exists_watch(&zk, "/a").await),
            Box::new(child_watch(&zk, "/a").await),
            Box::new(zk.watch_node("/a").await.unwrap()),
            Box::new(zk.watch_tree("/a").await.unwrap()),
        ];
        all.rotate_left(first);
        for watch in all {
            drop(watch);
            zk.sync("/").await.unwrap();
        }
        forgotten("watches of all kinds").await;
    }

    // Futures dropped before the watch was there, at once and while the request is on its way.
    drop(zk.get("/a").watch().send());
    drop(zk.watch_tree("/a").send());
    let mut pending = zk.children("/a").watch().send();
    assert!((&mut pending).now_or_never().is_none());
    tokio::task::yield_now().await;
    drop(pending);
    zk.sync("/").await.unwrap();
    forgotten("watches of dropped futures").await;
    drop(zk.observe("/a"));
    let mut states = zk.observe("/a");
    states.next().await.unwrap().unwrap();
    drop(states);
    forgotten("observers").await;
}

#[tokio::test]
async fn server_has_no_more_watches_than_the_client_after_reconnects() {
    let servers = Setup::alone().start().await;
    let (proxy, zk) = behind_proxy(&servers, 0, "").await;
    zk.create("/a", "").await.unwrap();
    let (keep, leave) = (data_watch(&zk, "/a").await, exists_watch(&zk, "/b").await);
    let (kept, left) = (
        zk.watch_tree("/c").await.unwrap(),
        zk.watch_node("/d").await.unwrap(),
    );
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    drop((leave, left));
    proxy.heal();
    until_connected(&zk).await;
    zk.sync("/").await.unwrap();
    let mut watched = servers.watched(0, common::session_of(&zk)).await;
    watched.sort_unstable();
    assert_eq!(watched, ["/a", "/c"]);
    drop((keep, kept));
    until("none is left", async || servers.watch_count(0).await == 0).await;
}

#[tokio::test]
async fn closing_ends_all_watches() {
    let zk = shared().await.client().await;
    let watch = exists_watch(&zk, "/a").await;
    let mut stream = zk.watch_node("/a").await.unwrap();
    zk.close(common::SOON).await;
    let closed = CloseReason::Requested;
    assert_eq!(soon("it ends", watch).await, WatchEnd::Closed(closed));
    assert_eq!(next(&mut stream).await, WatchItem::Closed(closed));
    assert_eq!(stream.next().await, None);
    assert_eq!(zk.stats().watches, 0);
}

// --- lost connections ---------------------------------------------------------------------------

#[tokio::test]
async fn watch_survives_the_kill_of_its_server() {
    let servers = Setup::alone().start().await;
    let zk = servers.builder().connect().await.unwrap();
    zk.create("/a", "").await.unwrap();
    let mut streams = [
        zk.watch_node("/a").await.unwrap(),
        zk.watch_tree("/a").await.unwrap(),
    ];
    let watch = data_watch(&zk, "/a").await;
    servers.kill(0).await;
    servers.start(0).await;
    until_suspended(&zk).await;
    until_connected(&zk).await;
    zk.set("/a", "").await.unwrap();
    assert_eq!(told(&fired(watch).await), "NodeDataChanged /a");
    for stream in &mut streams {
        assert_eq!(events(stream, 1).await, ["NodeDataChanged /a"]);
    }
}

#[tokio::test]
async fn changes_missed_during_a_disconnect_fire_when_it_is_over() {
    let servers = shared().await;
    let other = servers.client().await;
    let (proxy, zk) = behind_proxy(servers, 0, other.chroot_path()).await;
    for path in ["/set", "/deleted", "/parent", "/gone", "/again", "/kept"] {
        other.create(path, "").await.unwrap();
    }
    let set = data_watch(&zk, "/set").await;
    let deleted = data_watch(&zk, "/deleted").await;
    let parent = child_watch(&zk, "/parent").await;
    let gone = child_watch(&zk, "/gone").await;
    let again = data_watch(&zk, "/again").await;
    let created = exists_watch(&zk, "/created").await;
    let kept = data_watch(&zk, "/kept").await;
    let missing = exists_watch(&zk, "/missing").await;
    zk.sync("/").await.unwrap();
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    other.set("/set", "").await.unwrap();
    other.delete("/deleted").await.unwrap();
    other.create("/parent/child", "").await.unwrap();
    other.delete("/gone").await.unwrap();
    other.delete("/again").await.unwrap();
    other.create("/again", "").await.unwrap();
    other.create("/created", "").await.unwrap();
    proxy.heal();
    assert_eq!(told(&fired(set).await), "NodeDataChanged /set");
    assert_eq!(told(&fired(deleted).await), "NodeDeleted /deleted");
    assert_eq!(told(&fired(parent).await), "NodeChildrenChanged /parent");
    assert_eq!(told(&fired(gone).await), "NodeDeleted /gone");
    assert_eq!(told(&fired(again).await), "NodeDataChanged /again");
    assert_eq!(told(&fired(created).await), "NodeCreated /created");
    // What did not change did not fire, and does when it changes.
    zk.sync("/").await.unwrap();
    let (mut kept, mut missing) = (kept, missing);
    assert!((&mut kept).now_or_never().is_none());
    assert!((&mut missing).now_or_never().is_none());
    other.set("/kept", "").await.unwrap();
    other.create("/missing", "").await.unwrap();
    assert_eq!(told(&fired(kept).await), "NodeDataChanged /kept");
    assert_eq!(told(&fired(missing).await), "NodeCreated /missing");
}

#[tokio::test]
async fn streams_tell_of_a_gap_and_when_it_is_over() {
    let servers = shared().await;
    let other = servers.client().await;
    let (proxy, zk) = behind_proxy(servers, 0, other.chroot_path()).await;
    let mut streams = [
        zk.watch_node("/a").await.unwrap(),
        zk.watch_tree("/a").await.unwrap(),
    ];
    other.create("/a", "").await.unwrap();
    for stream in &mut streams {
        assert_eq!(told(&next_event(stream).await), "NodeCreated /a");
    }
    let seen = zk.exists("/a").await.unwrap().unwrap().czxid;
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    for stream in &mut streams {
        silent(stream);
    }
    let missed = other.set("/a", "").await.unwrap().mzxid;
    proxy.heal();
    for stream in &mut streams {
        let WatchItem::Gap { since } = next(stream).await else {
            panic!("a gap comes first");
        };
        assert!(since >= seen && since < missed, "{since} {seen} {missed}");
        let WatchItem::Armed { zxid } = next(stream).await else {
            panic!("then all is well again");
        };
        assert!(zxid >= missed, "{zxid} {missed}");
    }
    other.delete("/a").await.unwrap();
    for stream in &mut streams {
        assert_eq!(told(&next_event(stream).await), "NodeDeleted /a");
    }
}

#[tokio::test]
async fn slow_reader_gets_one_gap_for_all_that_it_missed_and_its_end() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let mut slow = zk.watch_node("/a").buffer(10).await.unwrap();
    let mut quick = zk.watch_node("/a").buffer(10_000).await.unwrap();
    let sets: Vec<_> = (0..500).map(|_| zk.set("/a", "").send()).collect();
    for set in sets {
        set.await.unwrap();
    }
    assert_eq!(zk.stats().watch_overflows, 490);
    assert_eq!(events(&mut slow, 10).await, ["NodeDataChanged /a"; 10]);
    assert!(matches!(next(&mut slow).await, WatchItem::Gap { .. }));
    assert!(matches!(next(&mut slow).await, WatchItem::Armed { .. }));
    silent(&mut slow);
    assert_eq!(events(&mut quick, 500).await.len(), 500);
    // It goes on as if nothing had been.
    zk.delete("/a").await.unwrap();
    assert_eq!(events(&mut slow, 1).await, ["NodeDeleted /a"]);
    silent(&mut slow);
}

#[tokio::test]
async fn reader_that_never_reads_holds_no_more_than_its_buffer() {
    let servers = shared().await;
    let (proxy, zk) = behind_proxy(servers, 0, "").await;
    let path = common::fresh();
    zk.create(&path, "").await.unwrap();
    let mut stream = zk.watch_node(&path).buffer(2).await.unwrap();
    for _ in 0..5 {
        for _ in 0..5 {
            zk.set(&path, "").await.unwrap();
        }
        proxy.cut_all();
        until_suspended(&zk).await;
        until_connected(&zk).await;
    }
    zk.sync("/").await.unwrap();
    let mut items = Vec::new();
    while let Some(Some(item)) = stream.next().now_or_never() {
        items.push(item);
    }
    // Two events, and one gap over all that came later.
    assert_eq!(items.len(), 4, "{items:?}");
    assert!(matches!(items[2], WatchItem::Gap { .. }), "{items:?}");
    assert!(matches!(items[3], WatchItem::Armed { .. }), "{items:?}");
}

// --- many ---------------------------------------------------------------------------------------

/// Runs calls with some of them on their way at any time.
async fn in_batches<T>(
    count: usize,
    mut call: impl AsyncFnMut(std::ops::Range<usize>) -> Vec<T>,
) -> Vec<T> {
    let mut results = Vec::new();
    for start in (0..count).step_by(500) {
        results.extend(call(start..count.min(start + 500)).await);
    }
    results
}

#[tokio::test]
async fn twenty_thousand_watches_survive_a_disconnect() {
    const EACH: usize = 4_000;
    let servers: Servers = Setup::alone().start().await;
    let other = servers.client_below("/many").await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let zk = common::builder(&format!("{}/many", proxy.addr()));
    let zk = zk
        .session_timeout(Duration::from_mins(1))
        .connect()
        .await
        .unwrap();
    let long = "x".repeat(80);
    let path = |kind: &str, n: usize| format!("/{kind}-{n}-{long}");
    for kind in ["data", "children", "node", "tree"] {
        in_batches(EACH, async |range| {
            join_all(
                range
                    .map(|n| (path(kind, n), &other))
                    .map(async |(path, zk)| zk.create(&path, "").await.unwrap()),
            )
            .await
        })
        .await;
    }
    let mut watches = BTreeMap::new();
    for kind in ["data", "children", "exists"] {
        let set = in_batches(EACH, async |range| {
            join_all(range.map(|n| (path(kind, n), &zk)).map(async |(path, zk)| {
                let watch = match kind {
                    "data" => data_watch(zk, &path).await,
                    "children" => child_watch(zk, &path).await,
                    _ => exists_watch(zk, &path).await,
                };
                (path, watch)
            }))
            .await
        });
        watches.extend(set.await);
    }
    let mut streams = Vec::new();
    for kind in ["node", "tree"] {
        let set = in_batches(EACH, async |range| {
            join_all(range.map(|n| (path(kind, n), &zk)).map(async |(path, zk)| {
                let stream = match kind {
                    "node" => zk.watch_node(&path).await.unwrap(),
                    _ => zk.watch_tree(&path).await.unwrap(),
                };
                (path, stream)
            }))
            .await
        });
        streams.extend(set.await);
    }
    assert_eq!(zk.stats().watches, 5 * EACH as u64);

    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    for kind in ["data", "children", "exists"] {
        in_batches(EACH, async |range| {
            join_all(
                range
                    .map(|n| (path(kind, n), &other))
                    .map(async |(path, zk)| match kind {
                        "data" => drop(zk.set(&path, "").await.unwrap()),
                        "children" => drop(zk.create(&format!("{path}/c"), "").await.unwrap()),
                        _ => drop(zk.create(&path, "").await.unwrap()),
                    }),
            )
            .await
        })
        .await;
    }
    proxy.heal();
    until_connected(&zk).await;
    let mut waiting: Vec<_> = watches
        .into_iter()
        .map(|(path, watch)| {
            Box::pin(async move {
                let event = fired(watch).await;
                assert_eq!(&*event.path, path);
                event.kind
            })
        })
        .collect();
    let mut kinds = BTreeMap::new();
    for fired in join_all(waiting.drain(..)).await {
        *kinds.entry(fired.code()).or_insert(0) += 1;
    }
    let expected = [
        EventType::NodeCreated,
        EventType::NodeDataChanged,
        EventType::NodeChildrenChanged,
    ];
    assert_eq!(kinds, expected.map(|kind| (kind.code(), EACH)).into());
    assert_eq!(zk.stats().watches, 2 * EACH as u64);

    in_batches(streams.len(), async |range| {
        let paths = streams[range].iter().map(|(path, _)| path);
        join_all(paths.map(async |path| other.set(path, "").await.unwrap())).await
    })
    .await;
    for (path, stream) in &mut streams {
        assert!(matches!(next(stream).await, WatchItem::Gap { .. }));
        assert!(matches!(next(stream).await, WatchItem::Armed { .. }));
        assert_eq!(events(stream, 1).await, [format!("NodeDataChanged {path}")]);
    }
    drop(streams);
    until("the server forgets them", async || {
        servers.watch_count(0).await == 0
    })
    .await;
}

#[tokio::test]
async fn first_of_several_watches_to_fire_can_be_selected() {
    let zk = shared().await.client().await;
    let watches = join_all(["/a", "/b", "/c"].map(|path| exists_watch(&zk, path))).await;
    zk.create("/b", "").await.unwrap();
    let (end, index, rest) = soon("one fires", select_all(watches)).await;
    assert_eq!(index, 1);
    assert!(matches!(end, WatchEnd::Event(event) if told(&event) == "NodeCreated /b"));
    assert_eq!(rest.len(), 2);
}
