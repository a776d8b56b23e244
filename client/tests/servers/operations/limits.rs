//! How long requests and replies may be, and which paths are legal.

use futures_util::future::join_all;
use zk_client::{Acl, Change, ErrorKind, Version};

use crate::common::{self, not_sent, shared};

/// Longest request that servers take by default (`jute.maxbuffer`).
const REQUEST_MAX: usize = 1_048_575;

#[tokio::test]
async fn requests_up_to_the_servers_limit_pass_and_longer_ones_are_not_sent() {
    let servers = shared().await;
    let zk = servers.client().await;
    zk.create("/a", "").await.unwrap();
    // What a setData has beside its data: xid, opcode, path, length of data, version.
    let rest = 4 + 4 + (4 + zk.chroot_path().len() + "/a".len()) + 4 + 4;
    let largest = vec![7; REQUEST_MAX - rest];
    let stat = zk.set("/a", largest.clone()).await.unwrap();
    assert_eq!(usize::try_from(stat.data_length).unwrap(), largest.len());
    let node = zk.get("/a").await.unwrap().unwrap();
    assert!(node.data == largest, "the data comes back");
    for more in [REQUEST_MAX - rest + 1, 1 << 20, (1 << 20) + 1] {
        let set = zk.set("/a", vec![7; more]).await;
        let error = not_sent(set, ErrorKind::DataTooLarge);
        assert_eq!(error.path(), Some("/a"));
        not_sent(
            zk.create("/b", vec![7; more]).await,
            ErrorKind::DataTooLarge,
        );
        let transaction = zk.transaction().set("/a", vec![7; more], 1).await;
        not_sent(transaction, ErrorKind::DataTooLarge);
    }
    assert_eq!(zk.stats().disconnects, 0, "no server was bothered");

    // A server that takes less than the client was told cuts the connection.
    let connect = format!("{}{}", servers.connect_string(), zk.chroot_path());
    let bold = common::builder(&connect).frame_max(2 << 20).connect();
    let bold = bold.await.unwrap();
    let error = bold.set("/a", vec![7; REQUEST_MAX - rest + 1]).await;
    let error = error.unwrap_err();
    let told = (error.kind(), error.outcome());
    assert_eq!(told, (ErrorKind::Disconnected, zk_client::Outcome::Unknown));
    assert_eq!(
        zk.get("/a").await.unwrap().unwrap().stat.version,
        Version::new(1)
    );
}

#[tokio::test]
async fn replies_may_be_longer_than_any_request() {
    let zk = shared().await.client().await;
    let long = "n".repeat(200);
    let names: Vec<_> = (0..6_000).map(|n| format!("/{n:05}{long}")).collect();
    for chunk in names.chunks(900) {
        let created = join_all(chunk.iter().map(async |path| zk.create(path, "").await));
        assert!(created.await.iter().all(Result::is_ok));
    }
    assert_eq!(zk.children("/").await.unwrap().unwrap().len(), names.len());
    assert_eq!(zk.count_descendants("/").await.unwrap(), names.len());
    assert_eq!(zk.delete_tree("/").await.unwrap(), names.len() + 1);
}

#[tokio::test]
async fn illegal_paths_are_refused_before_anything_is_sent() {
    let zk = shared().await.client().await;
    let sent = zk.stats().bytes_out;
    for path in [
        "",
        "a",
        "a/b",
        "/a/",
        "//",
        "/a//b",
        "/.",
        "/..",
        "/a/./b",
        "/a/../b",
        "/a\0b",
        "/\u{1}",
        "/\u{7f}",
        "/\u{fff0}",
        "/\u{e000}",
        "/\u{1f600}",
    ] {
        not_sent(zk.create(path, "").await, ErrorKind::BadArguments);
        not_sent(zk.get(path).await, ErrorKind::BadArguments);
        not_sent(zk.exists(path).watch().await, ErrorKind::BadArguments);
        not_sent(zk.children(path).await, ErrorKind::BadArguments);
        not_sent(zk.set(path, "").await, ErrorKind::BadArguments);
        not_sent(zk.delete(path).await, ErrorKind::BadArguments);
        not_sent(zk.get_acl(path).await, ErrorKind::BadArguments);
        not_sent(zk.set_acl(path, Acl::open()).await, ErrorKind::BadArguments);
        not_sent(zk.count_descendants(path).await, ErrorKind::BadArguments);
        not_sent(zk.watch_tree(path).await, ErrorKind::BadArguments);
        let transaction = zk.transaction().create("/ok", "").check(path, 0).await;
        let error = not_sent(transaction, ErrorKind::BadArguments);
        assert_eq!(error.path(), Some(path));
        not_sent(zk.read_many().get(path).await, ErrorKind::BadArguments);
        not_sent(zk.ensure_path(path).await, ErrorKind::BadArguments);
        not_sent(
            zk.update(path, |_| Change::Keep).await,
            ErrorKind::BadArguments,
        );
        not_sent(zk.delete_tree(path).await, ErrorKind::BadArguments);
        assert!(zk.chroot(path).is_err(), "{path:?}");
    }
    assert_eq!(zk.stats().bytes_out, sent);
    // Unusual, and legal.
    for path in [
        "/ ",
        "/a b",
        "/...",
        "/.a",
        "/\u{e4}",
        "/\u{4e2d}",
        "/a\u{a0}b",
    ] {
        assert_eq!(zk.create(path, "").await.unwrap().path, path);
        assert!(zk.exists(path).await.unwrap().is_some());
    }
}
