//! Whole trees: made, listed, moved, deleted.

use std::task::Poll;

use futures_util::future::join_all;
use futures_util::poll;
use zk_client::{Ace, Acl, ErrorKind, Id, Perms};

use crate::common::{rejected, shared};
use crate::sorted;

#[tokio::test]
async fn ensure_path_makes_what_is_missing_and_leaves_the_rest() {
    let zk = shared().await.client().await;
    zk.create("/a", "x").await.unwrap();
    zk.ensure_path("/a/b/c/d").await.unwrap();
    zk.ensure_path("/a/b/c/d").await.unwrap();
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "x");
    assert_eq!(zk.count_descendants("/a").await.unwrap(), 3);
    let races = join_all((0..10).map(async |_| zk.ensure_path("/r/a/c/e").await));
    assert!(races.await.iter().all(Result::is_ok));
    zk.create("/e", "").ephemeral().await.unwrap();
    let below = zk.ensure_path("/e/x").await;
    rejected(below, ErrorKind::NoChildrenForEphemerals);
    zk.create("/closed", "")
        .acl(Acl::read_only())
        .await
        .unwrap();
    rejected(zk.ensure_path("/closed/x/y").await, ErrorKind::NoAuth);
}

#[tokio::test]
async fn delete_tree_deletes_everything_below() {
    let zk = shared().await.client().await;
    assert_eq!(zk.delete_tree("/a").await.unwrap(), 0);
    for path in ["/a", "/a/b", "/a/b/c", "/a/d", "/ab"] {
        zk.create(path, "").await.unwrap();
    }
    let many: Vec<_> = (0..300).map(|n| format!("/a/b/{n}")).collect();
    let created = join_all(many.iter().map(async |path| zk.create(path, "").await)).await;
    assert!(created.iter().all(Result::is_ok));
    assert_eq!(zk.delete_tree("/a").await.unwrap(), 304);
    assert_eq!(sorted(zk.children("/").await.unwrap()), ["ab"]);
}

#[tokio::test]
async fn list_tree_tells_every_path_below_ancestors_first() {
    let zk = shared().await.client().await;
    for path in ["/a", "/a/b", "/a/b/c", "/a/d", "/ab"] {
        zk.create(path, "").await.unwrap();
    }
    let many: Vec<_> = (0..200).map(|n| format!("/a/d/{n}")).collect();
    let created = join_all(many.iter().map(async |path| zk.create(path, "").await)).await;
    assert!(created.iter().all(Result::is_ok));
    let mut tree = zk.list_tree("/a");
    let mut paths = Vec::new();
    // A future that is dropped takes nothing along.
    for polls in 0.. {
        let mut next = Box::pin(tree.next());
        let found = match poll!(&mut next) {
            Poll::Ready(found) => found,
            Poll::Pending if polls % 2 == 0 => continue,
            Poll::Pending => next.await,
        };
        match found {
            Some(path) => paths.push(path.unwrap()),
            None => break,
        }
    }
    assert_eq!(paths[0], "/a");
    let place = |wanted: &str| paths.iter().position(|path| path == wanted).unwrap();
    assert!(place("/a/b") < place("/a/b/c") && place("/a/d") < place("/a/d/7"));
    let mut wanted: Vec<_> = ["/a", "/a/b", "/a/b/c", "/a/d"].map(String::from).into();
    wanted.extend(many);
    assert_eq!(sorted(Some(paths)), sorted(Some(wanted)));
    assert!(zk.list_tree("/none").next().await.is_none());
}

#[tokio::test]
async fn move_node_moves_data_and_acl_or_nothing() {
    let zk = shared().await.client().await;
    let acl = Acl::of([
        Ace::new(Perms::ALL, Id::ANYONE),
        Ace::new(Perms::READ, Id::new("ip", "10.0.0.1")),
    ]);
    zk.create("/from", "data").acl(acl.clone()).await.unwrap();
    zk.create("/taken", "").await.unwrap();
    rejected(zk.move_node("/from", "/taken").await, ErrorKind::NodeExists);
    rejected(zk.move_node("/from", "/no/parent").await, ErrorKind::NoNode);
    rejected(zk.move_node("/none", "/to").await, ErrorKind::NoNode);
    zk.create("/from/child", "").await.unwrap();
    rejected(zk.move_node("/from", "/to").await, ErrorKind::NotEmpty);
    assert_eq!(zk.get("/from").await.unwrap().unwrap().data, "data");
    zk.delete("/from/child").await.unwrap();
    zk.move_node("/from", "/to").await.unwrap();
    assert!(zk.exists("/from").await.unwrap().is_none());
    assert_eq!(zk.get("/to").await.unwrap().unwrap().data, "data");
    assert_eq!(zk.get_acl("/to").await.unwrap().unwrap().0, acl);
}
