//! Deletion and new data, by version; in which order requests take effect.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zk_client::{Acl, Bytes, ErrorKind, ReadResult, Version};
use zk_proto::{Xid, frame};

use crate::common::{rejected, shared};

#[tokio::test]
async fn delete_removes_a_leaf_of_the_version_expected() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    rejected(zk.delete("/a").await, ErrorKind::NotEmpty);
    rejected(zk.delete("/a/b").version(1).await, ErrorKind::BadVersion);
    zk.delete("/a/b").version(0).await.unwrap();
    rejected(zk.delete("/a/b").await, ErrorKind::NoNode);
    assert!(zk.delete("/a").if_exists().await.unwrap());
    assert!(!zk.delete("/a").if_exists().await.unwrap());
    let full = zk.root();
    for path in ["/zookeeper", "/zookeeper/quota", "/zookeeper/config"] {
        let error = rejected(full.delete(path).await, ErrorKind::BadArguments);
        assert_eq!(error.path(), Some(path));
    }
}

#[tokio::test]
async fn set_replaces_data_of_the_version_expected() {
    let zk = shared().await.client().await;
    rejected(zk.set("/a", "x").await, ErrorKind::NoNode);
    zk.create("/a", "0").await.unwrap();
    let stat = zk.set("/a", "1").await.unwrap();
    assert_eq!(stat.version, Version::new(1));
    let stat = zk.set("/a", "22").version(stat.version).await.unwrap();
    assert_eq!((stat.version, stat.data_length), (Version::new(2), 2));
    let late = zk.set("/a", "3").version(1).await;
    rejected(late, ErrorKind::BadVersion);
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "22");
}

#[tokio::test]
async fn requests_take_effect_in_the_order_in_which_they_are_sent() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    let sets: Vec<_> = (1..=200)
        .map(|n: i32| zk.set("/a", n.to_string()).version(n - 1).send())
        .collect();
    let get = zk.get("/a").send();
    zk.set("/a", "detached").detach().unwrap();
    for (expected, set) in (1..).zip(sets) {
        assert_eq!(set.await.unwrap().version, Version::new(expected));
    }
    assert_eq!(get.await.unwrap().unwrap().data, "200");
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "detached");
}

#[tokio::test]
async fn empty_data_and_null_data_read_as_empty() {
    let servers = shared().await;
    let zk = servers.client().await;
    zk.create("/empty", "").await.unwrap();
    let null = format!("{}/null", zk.chroot_path());
    create_without_data(servers.addr(0), &null).await;
    for path in ["/empty", "/null"] {
        let node = zk.get(path).await.unwrap().unwrap();
        assert_eq!((node.data.len(), node.stat.data_length), (0, 0), "{path}");
    }
    let read = zk.read_many().get("/null").get("/empty").await.unwrap();
    let empty =
        |result: &ReadResult| matches!(result, ReadResult::Node(node) if node.data.is_empty());
    assert!(read.iter().all(empty), "{read:?}");
    let stat = zk.set("/null", "").await.unwrap();
    assert_eq!(stat.version, Version::new(1));
}

/// Creates a znode whose data is null, which the client has no way to.
async fn create_without_data(server: std::net::SocketAddr, path: &str) {
    let mut wire = bytes::BytesMut::new();
    let connect = zk_proto::connect::ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: zk_client::Zxid::ZERO,
        timeout_ms: 5_000,
        session_id: zk_client::SessionId::NONE,
        password: Some(Bytes::from_static(&[0; 16])),
        read_only: Some(false),
    };
    frame::write(&mut wire, &[&connect]);
    let create = zk_proto::request::CreateRequest {
        path: Some(path.into()),
        data: None,
        acl: Some(Acl::open().entries().to_vec()),
        flags: 0,
    };
    let create = zk_proto::request::Request::Create(create);
    frame::write_request(&mut wire, Xid::new(1), &create);
    let close = zk_proto::request::Request::CloseSession;
    frame::write_request(&mut wire, Xid::new(2), &close);
    let mut stream = TcpStream::connect(server).await.unwrap();
    stream.write_all(&wire).await.unwrap();
    let mut answers = Vec::new();
    // The server closes the connection after the last answer.
    stream.read_to_end(&mut answers).await.unwrap();
}
