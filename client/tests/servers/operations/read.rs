//! Reads, one by one and several at once.

use zk_client::{ErrorKind, ReadResult};

use crate::common::{rejected, shared};
use crate::sorted;

#[tokio::test]
async fn reads_of_what_is_not_there_are_none() {
    let zk = shared().await.client().await;
    assert_eq!(zk.get("/a").await.unwrap(), None);
    assert_eq!(zk.exists("/a").await.unwrap(), None);
    assert_eq!(zk.children("/a").await.unwrap(), None);
    assert_eq!(zk.children("/a").with_stat().await.unwrap(), None);
    assert_eq!(zk.get_acl("/a").await.unwrap(), None);
    rejected(zk.count_descendants("/a").await, ErrorKind::NoNode);
    rejected(zk.get("/a").watch().await, ErrorKind::NoNode);
    rejected(zk.children("/a").watch().await, ErrorKind::NoNode);
    rejected(
        zk.children("/a").with_stat().watch().await,
        ErrorKind::NoNode,
    );
    assert_eq!(zk.stats().watches, 0);
}

#[tokio::test]
async fn children_are_listed_counted_and_come_with_the_stat() {
    let zk = shared().await.client().await;
    for path in ["/a", "/a/b", "/a/c", "/a/c/d"] {
        zk.create(path, "").await.unwrap();
    }
    assert_eq!(sorted(zk.children("/a").await.unwrap()), ["b", "c"]);
    let (names, stat) = zk.children("/a").with_stat().await.unwrap().unwrap();
    assert_eq!((names.len(), stat.num_children), (2, 2));
    assert_eq!(Some(stat), zk.exists("/a").await.unwrap());
    assert_eq!(zk.children("/a/b").await.unwrap(), Some(Vec::new()));
    assert_eq!(zk.count_descendants("/a").await.unwrap(), 3);
    assert_eq!(zk.count_descendants("/a/b").await.unwrap(), 0);
}

#[tokio::test]
async fn ephemerals_lists_those_of_this_session_only() {
    let servers = shared().await;
    let zk = servers.client().await;
    let other = servers.client_below(zk.chroot_path()).await;
    zk.create("/p", "").await.unwrap();
    for path in ["/e1", "/e2", "/p/e3"] {
        zk.create(path, "").ephemeral().await.unwrap();
    }
    other.create("/e4", "").ephemeral().await.unwrap();
    // Of this session too, and out of this view.
    let sibling = format!("{}-sibling", zk.chroot_path());
    zk.root().create(&sibling, "").ephemeral().await.unwrap();
    let list = async |prefix| {
        let mut paths = zk.ephemerals(prefix).await.unwrap();
        paths.sort_unstable();
        paths
    };
    assert_eq!(list("/").await, ["/e1", "/e2", "/p/e3"]);
    assert_eq!(list("/e").await, ["/e1", "/e2"]);
    assert_eq!(list("/p/").await, ["/p/e3"]);
    assert_eq!(list("/none").await, [""; 0]);
    assert_eq!(other.ephemerals("/").await.unwrap(), ["/e4"]);
}

#[tokio::test]
async fn read_many_answers_each_read_on_its_own() {
    let zk = shared().await.client().await;
    zk.create("/a", "x").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    let results = zk
        .read_many()
        .get("/a")
        .get("/missing")
        .children("/a")
        .children("/missing")
        .await
        .unwrap();
    assert!(matches!(&results[0], ReadResult::Node(node) if node.data == "x"));
    assert_eq!(results[1], ReadResult::Absent);
    assert_eq!(results[2], ReadResult::Children(vec!["b".into()]));
    assert_eq!(results[3], ReadResult::Absent);
    assert_eq!(zk.read_many().await.unwrap(), []);
}
