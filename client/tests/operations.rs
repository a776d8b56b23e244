//! Every operation on a real server: what it does, and each error that it can end in.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::collections::BTreeSet;
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use zk_client::op::Transaction;
use zk_client::{
    Ace, Acl, Auth, Bytes, Change, Client, CreateMode, ErrorKind, EventType, Id, Perms, ReadResult,
    TransactionResult, Ttl, Update, Version,
};
use zk_proto::{Xid, frame};

use self::common::{
    Setup, fired, fresh, next_event, not_sent, quirks, rejected, shared, soon, told, until,
};

/// Longest request that servers take by default (`jute.maxbuffer`).
const REQUEST_MAX: usize = 1_048_575;

fn sorted(names: Option<Vec<String>>) -> Vec<String> {
    let mut names = names.expect("the znode exists");
    names.sort_unstable();
    names
}

fn bob() -> Auth {
    Auth::digest("bob", "secret")
}

// --- create -------------------------------------------------------------------------------------

#[tokio::test]
async fn create_answers_path_and_stat() {
    let zk = shared().await.client().await;
    let created = zk.create("/a", "data").await.unwrap();
    assert_eq!(created.path, "/a");
    let stat = created.stat.unwrap();
    assert_eq!((stat.version, stat.data_length), (Version::new(0), 4));
    assert_eq!(zk.exists("/a").await.unwrap(), Some(stat));
    let node = zk.get("/a").await.unwrap().unwrap();
    assert_eq!((&node.data[..], node.stat), (&b"data"[..], stat));
}

#[tokio::test]
async fn create_without_stat_answers_the_path_only() {
    let zk = shared().await.client().await;
    let created = zk.create("/a", "").without_stat().await.unwrap();
    assert_eq!((created.path.as_str(), created.stat), ("/a", None));
    let created = zk.create("/s-", "").sequential().without_stat().await;
    assert_eq!(created.unwrap().path, "/s-0000000001");
}

#[tokio::test]
async fn sequential_znodes_get_consecutive_numbers() {
    let zk = shared().await.client().await;
    for expected in 0..3 {
        let created = zk.create("/job-", "").sequential().await.unwrap();
        assert_eq!(created.path, format!("/job-{expected:010}"));
        assert_eq!(created.sequence("/job-"), Some(expected));
    }
    // A name may be nothing but the number.
    zk.create("/queue", "").await.unwrap();
    let created = zk.create("/queue/", "").sequential().await.unwrap();
    assert_eq!(created.path, "/queue/0000000000");
}

#[tokio::test]
async fn ephemeral_znodes_belong_to_the_session() {
    let zk = shared().await.client().await;
    let session = common::session_of(&zk);
    let one = zk.create("/e", "").ephemeral().await.unwrap();
    let two = zk.create("/e-", "").sequential().ephemeral().await.unwrap();
    assert_eq!(two.path, "/e-0000000001");
    for created in [one, two] {
        assert_eq!(created.stat.unwrap().ephemeral_owner.get(), session.get());
    }
    let other = zk.create("/p", "").await.unwrap();
    assert_eq!(other.stat.unwrap().ephemeral_owner.get(), 0);
}

#[tokio::test]
async fn containers_and_znodes_with_ttl_go_when_they_are_not_used() {
    let setup = Setup::alone().property("znode.container.checkIntervalMs", "50");
    let servers = setup.start().await;
    let zk = servers.client().await;
    zk.create("/box", "").container().await.unwrap();
    zk.create("/box/child", "").await.unwrap();
    let ttl = Ttl::new(Duration::from_millis(1)).unwrap();
    let created = zk.create("/short", "").ttl(ttl).await.unwrap();
    assert_eq!(created.path, "/short");
    let created = zk
        .create("/short-", "")
        .ttl(ttl)
        .sequential()
        .await
        .unwrap();
    assert_eq!(created.sequence("/short-"), Some(2));
    let long = Ttl::new(Duration::from_hours(1)).unwrap();
    zk.create("/long", "").ttl(long).await.unwrap();
    // A container that never had a child stays.
    zk.create("/empty", "").container().await.unwrap();
    until("what has a short time to live goes", async || {
        let left = sorted(zk.children("/").await.unwrap());
        left == ["box", "empty", "long"]
    })
    .await;
    zk.delete("/box/child").await.unwrap();
    until("the container goes", async || {
        sorted(zk.children("/").await.unwrap()) == ["empty", "long"]
    })
    .await;
}

#[tokio::test]
async fn time_to_live_is_unimplemented_where_it_is_switched_off() {
    let setup = Setup::alone().config("extendedTypesEnabled", "false");
    let servers = setup.start().await;
    let zk = servers.client().await;
    let ttl = Ttl::new(Duration::from_secs(1)).unwrap();
    let created = zk.create("/a", "").ttl(ttl).await;
    rejected(created, ErrorKind::Unimplemented);
    // A container is no extended type.
    zk.create("/box", "").container().await.unwrap();
}

#[tokio::test]
async fn create_fails_for_each_reason_that_servers_have() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    zk.create("/e", "").ephemeral().await.unwrap();
    let error = rejected(zk.create("/a", "").await, ErrorKind::NodeExists);
    assert_eq!(error.path(), Some("/a"));
    assert_eq!(error.op(), Some(zk_client::OpCode::Create2));
    assert_eq!(error.session(), common::session_of(&zk));
    assert!(!error.is_retryable() && !error.is_session_fatal());
    rejected(zk.create("/b/c", "").await, ErrorKind::NoNode);
    let child = zk.create("/e/child", "").await;
    rejected(child, ErrorKind::NoChildrenForEphemerals);
    for acl in [
        Acl::of([]),
        Acl::of([Ace::new(Perms::ALL, Id::new("no-such-scheme", "x"))]),
        Acl::of([Ace::new(Perms::ALL, Id::new("world", "somebody"))]),
        Acl::of([Ace::new(Perms::ALL, Id::new("digest", "no colon"))]),
        Acl::of([Ace::new(Perms::ALL, Id::new("ip", "not an address"))]),
        // Nobody has authenticated.
        Acl::creator_all(),
    ] {
        let created = zk.create("/b", "").acl(acl.clone()).await;
        rejected(created, ErrorKind::InvalidAcl);
    }
    let closed = Acl::read_only();
    zk.create("/closed", "").acl(closed).await.unwrap();
    rejected(zk.create("/closed/x", "").await, ErrorKind::NoAuth);
}

#[tokio::test]
async fn create_with_parents_makes_what_is_missing() {
    let zk = shared().await.client().await;
    let created = zk.create("/a/b/c", "x").parents().await.unwrap();
    assert_eq!(created.path, "/a/b/c");
    assert_eq!(zk.get("/a/b").await.unwrap().unwrap().data, "");
    let again = zk.create("/a/b/c", "x").parents().await;
    rejected(again, ErrorKind::NodeExists);
    let created = zk.create("/q/n-", "").sequential().ephemeral().parents();
    assert_eq!(created.await.unwrap().path, "/q/n-0000000000");
    zk.create("/e", "").ephemeral().await.unwrap();
    let below = zk.create("/e/b/c", "").parents().await;
    rejected(below, ErrorKind::NoChildrenForEphemerals);
}

#[tokio::test]
async fn create_with_parents_makes_the_chroot_too() {
    let servers = shared().await;
    let connect = format!("{}{}/deep/er", servers.connect_string(), fresh());
    let zk = common::builder(&connect).connect().await.unwrap();
    rejected(zk.create("/a", "").await, ErrorKind::NoNode);
    assert_eq!(zk.create("/a", "").parents().await.unwrap().path, "/a");
}

#[tokio::test]
async fn create_if_absent_and_or_set_take_what_exists_for_success() {
    let zk = shared().await.client().await;
    assert!(zk.create("/a", "1").if_absent().await.unwrap().is_some());
    assert_eq!(zk.create("/a", "2").if_absent().await.unwrap(), None);
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "1");
    rejected(zk.create("/x/a", "").if_absent().await, ErrorKind::NoNode);

    let stat = zk.create("/a", "3").or_set().await.unwrap();
    assert_eq!(stat.version, Version::new(1));
    assert_eq!(zk.get("/a").await.unwrap().unwrap().data, "3");
    let stat = zk.create("/b", "4").or_set().await.unwrap();
    assert_eq!(stat.version, Version::new(0));
    rejected(zk.create("/x/a", "").or_set().await, ErrorKind::NoNode);
    let sequential = zk.create("/s-", "").sequential().or_set().await;
    not_sent(sequential, ErrorKind::BadArguments);
}

// --- delete, set --------------------------------------------------------------------------------

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

// --- sizes and paths ----------------------------------------------------------------------------

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

// --- ACLs and identities ------------------------------------------------------------------------

#[tokio::test]
async fn acls_keep_strangers_out() {
    let servers = shared().await;
    let chroot = fresh();
    let connect = format!("{}{chroot}", servers.connect_string());
    let owner = common::builder(&connect).auth(bob()).connect();
    let owner = owner.await.unwrap();
    owner.ensure_path("/").await.unwrap();
    let stranger = common::builder(&connect).connect().await.unwrap();
    owner
        .create("/a", "x")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    owner.create("/a/b", "").await.unwrap();

    rejected(stranger.get("/a").await, ErrorKind::NoAuth);
    rejected(stranger.get("/a").watch().await, ErrorKind::NoAuth);
    rejected(stranger.set("/a", "y").await, ErrorKind::NoAuth);
    rejected(stranger.children("/a").await, ErrorKind::NoAuth);
    rejected(stranger.children("/a").with_stat().await, ErrorKind::NoAuth);
    rejected(stranger.count_descendants("/a").await, ErrorKind::NoAuth);
    rejected(stranger.create("/a/c", "").await, ErrorKind::NoAuth);
    rejected(stranger.delete("/a/b").await, ErrorKind::NoAuth);
    rejected(stranger.get_acl("/a").await, ErrorKind::NoAuth);
    rejected(stranger.set_acl("/a", Acl::open()).await, ErrorKind::NoAuth);
    rejected(stranger.delete_tree("/a").await, ErrorKind::NoAuth);
    let check = stranger.transaction().check("/a", 0).await;
    assert_eq!(
        rejected(check, ErrorKind::NoAuth).transaction_index(),
        Some(0)
    );
    let read = stranger
        .read_many()
        .get("/a")
        .children("/a")
        .get("/a/b")
        .await;
    let read = read.unwrap();
    assert_eq!(read[0], ReadResult::Failed(ErrorKind::NoAuth));
    assert_eq!(read[1], ReadResult::Failed(ErrorKind::NoAuth));
    assert!(matches!(&read[2], ReadResult::Node(_)), "{read:?}");
    let exists = stranger.exists("/a").await;
    if quirks().exists_needs_read {
        rejected(exists, ErrorKind::NoAuth);
    } else {
        assert!(exists.unwrap().is_some());
    }
    // Deleting asks for a permission of the parent, not of the znode.
    owner
        .create("/c", "")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    stranger.delete("/c").await.unwrap();
    assert_eq!(owner.get("/a").await.unwrap().unwrap().data, "x");
}

#[tokio::test]
async fn acls_are_read_and_set_by_their_version() {
    let zk = shared().await.client().await;
    let all = Acl::of([
        Ace::new(Perms::ALL, Id::ANYONE),
        Ace::new(Perms::READ | Perms::WRITE, Id::new("ip", "10.0.0.0/8")),
    ]);
    zk.create("/a", "").await.unwrap();
    let (acl, stat) = zk.get_acl("/a").await.unwrap().unwrap();
    assert_eq!((acl, stat.aversion), (Acl::open(), Version::new(0)));
    let stat = zk.set_acl("/a", all.clone()).version(0).await.unwrap();
    assert_eq!(
        (stat.aversion, stat.version),
        (Version::new(1), Version::new(0))
    );
    assert_eq!(zk.get_acl("/a").await.unwrap().unwrap().0, all);
    let late = zk.set_acl("/a", Acl::open()).version(0).await;
    rejected(late, ErrorKind::BadVersion);
    rejected(zk.set_acl("/a", Acl::of([])).await, ErrorKind::InvalidAcl);
    rejected(
        zk.set_acl("/a", Acl::creator_all()).await,
        ErrorKind::InvalidAcl,
    );
    rejected(zk.set_acl("/b", Acl::open()).await, ErrorKind::NoNode);
    assert_eq!(zk.get_acl("/b").await.unwrap(), None);
}

#[tokio::test]
async fn digests_are_masked_for_those_who_may_not_administer() {
    let servers = shared().await;
    let chroot = fresh();
    let connect = format!("{}{chroot}", servers.connect_string());
    let owner = common::builder(&connect).auth(bob()).connect();
    let owner = owner.await.unwrap();
    owner.ensure_path("/").await.unwrap();
    let acl = Acl::of([
        Ace::new(Perms::ALL, Id::AUTH),
        Ace::new(Perms::READ, Id::ANYONE),
    ]);
    owner.create("/a", "").acl(acl).await.unwrap();
    let (seen, _) = owner.get_acl("/a").await.unwrap().unwrap();
    // sha1("bob:secret") in base64.
    let full = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=";
    let stranger = common::builder(&connect).connect().await.unwrap();
    let (masked, _) = stranger.get_acl("/a").await.unwrap().unwrap();
    let digest = |acl: &Acl| acl.entries()[0].id.id.as_ref().unwrap().to_string();
    assert_eq!(digest(&seen), full);
    assert_eq!(digest(&masked), "bob:x");
}

#[tokio::test]
async fn default_acl_applies_to_every_creation() {
    let zk = shared().await.client().await;
    let read_only = zk.with_default_acl(Acl::read_only());
    read_only.create("/a", "").await.unwrap();
    read_only.transaction().create("/b", "").await.unwrap();
    read_only
        .update("/c", |_| Change::Set("".into()))
        .await
        .unwrap();
    for path in ["/a", "/b", "/c"] {
        let (acl, _) = zk.get_acl(path).await.unwrap().unwrap();
        assert_eq!(acl, Acl::read_only(), "{path}");
    }
}

#[tokio::test]
async fn who_am_i_tells_all_identities() {
    let zk = shared().await.client().await;
    let schemes = async || {
        let identities = zk.who_am_i().await.unwrap();
        let schemes = identities.iter().map(|identity| {
            identity
                .auth_scheme
                .as_deref()
                .unwrap_or_default()
                .to_owned()
        });
        schemes.collect::<Vec<_>>()
    };
    assert_eq!(schemes().await, quirks().identities);
    zk.add_auth(bob()).await.unwrap();
    let identities = zk.who_am_i().await.unwrap();
    assert!(
        identities
            .iter()
            .any(|identity| identity.user.as_deref() == Some("bob")),
        "{identities:?}"
    );
    assert_eq!(schemes().await.len(), quirks().identities.len() + 1);
}

// --- reads --------------------------------------------------------------------------------------

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

// --- transactions -------------------------------------------------------------------------------

#[tokio::test]
async fn transaction_does_everything_in_order() {
    let zk = shared().await.client().await;
    zk.create("/a", "0").await.unwrap();
    zk.create("/old", "").await.unwrap();
    let ttl = Ttl::new(Duration::from_hours(1)).unwrap();
    let results = zk
        .transaction()
        .check("/a", 0)
        .set("/a", "1", 0)
        .check("/a", 1)
        .create("/b", "x")
        .create_with("/b/s-", "", CreateMode::PersistentSequential, None)
        .create_with("/e", "", CreateMode::Ephemeral, None)
        .create_with("/box", "", CreateMode::Container, None)
        .create_with(
            "/t",
            "",
            CreateMode::PersistentWithTtl(ttl),
            Some(&Acl::read_only()),
        )
        .delete("/old", Version::ANY)
        .set("/b", "y", Version::ANY)
        .await
        .unwrap();
    assert_eq!(results.len(), 10);
    assert_eq!(results[0], TransactionResult::Checked);
    assert!(matches!(&results[1], TransactionResult::Set(stat) if stat.version == Version::new(1)));
    assert_eq!(results[2], TransactionResult::Checked);
    let paths: Vec<_> = results[3..8].iter().map(made).collect();
    assert_eq!(paths, ["/b", "/b/s-0000000000", "/e", "/box", "/t"]);
    assert_eq!(results[8], TransactionResult::Deleted);
    assert!(matches!(&results[9], TransactionResult::Set(_)));
    assert_eq!(zk.get("/b").await.unwrap().unwrap().data, "y");
    assert_eq!(zk.exists("/old").await.unwrap(), None);
    assert_eq!(zk.get_acl("/t").await.unwrap().unwrap().0, Acl::read_only());
    assert_eq!(zk.ephemerals("/").await.unwrap(), ["/e"]);
    assert_eq!(zk.transaction().await.unwrap(), []);
}

/// The path of a znode that was created; what else was done.
fn made(result: &TransactionResult) -> String {
    if let TransactionResult::Created(created) = result {
        created.path.clone()
    } else {
        format!("{result:?}")
    }
}

type Add = for<'a> fn(Transaction<'a>) -> Transaction<'a>;

#[tokio::test]
async fn transaction_fails_as_a_whole_and_says_where() {
    let zk = shared().await.client().await;
    zk.create("/a", "").await.unwrap();
    zk.create("/a/b", "").await.unwrap();
    zk.create("/e", "").ephemeral().await.unwrap();
    let closed = Acl::read_only();
    zk.create("/closed", "").acl(closed).await.unwrap();
    let failing: [(Add, ErrorKind); 11] = [
        (|t| t.create("/a", ""), ErrorKind::NodeExists),
        (|t| t.create("/x/y", ""), ErrorKind::NoNode),
        (|t| t.create("/e/x", ""), ErrorKind::NoChildrenForEphemerals),
        (|t| t.create("/closed/x", ""), ErrorKind::NoAuth),
        (
            |t| t.create_with("/x", "", CreateMode::Persistent, Some(&Acl::creator_all())),
            ErrorKind::InvalidAcl,
        ),
        (|t| t.delete("/a", 0), ErrorKind::NotEmpty),
        (|t| t.delete("/x", 0), ErrorKind::NoNode),
        (|t| t.set("/a", "", 7), ErrorKind::BadVersion),
        (|t| t.set("/closed", "", 0), ErrorKind::NoAuth),
        (|t| t.check("/a", 7), ErrorKind::BadVersion),
        (|t| t.check("/x", Version::ANY), ErrorKind::NoNode),
    ];
    for (number, (add, kind)) in failing.into_iter().enumerate() {
        for position in [0, 1, 3] {
            let before = |t, count| {
                (0..count).fold(t, |t: Transaction<'_>, n| {
                    t.create(&format!("/new-{n}"), "")
                })
            };
            let transaction = before(zk.transaction(), position);
            let transaction = add(transaction).create("/after", "").check("/x", 1);
            let error = rejected(transaction.await, kind);
            assert_eq!(error.transaction_index(), Some(position), "case {number}");
            assert_eq!(error.op(), Some(zk_client::OpCode::Multi));
        }
    }
    let left = sorted(zk.children("/").await.unwrap());
    assert_eq!(
        left,
        ["a", "closed", "e"],
        "nothing of a failed transaction stays"
    );
}

// --- helpers ------------------------------------------------------------------------------------

#[tokio::test]
async fn update_loses_nothing_under_concurrency() {
    let servers = shared().await;
    let first = servers.client().await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..3 {
        let zk = servers.client_below(first.chroot_path()).await;
        for _ in 0..4 {
            let zk = zk.clone();
            tasks.spawn(async move {
                for _ in 0..25 {
                    let update = zk.update("/counter", |node| {
                        let text = node.map_or_else(|| "0".into(), |node| node.data.clone());
                        let count: u32 = std::str::from_utf8(&text).unwrap().parse().unwrap();
                        Change::Set((count + 1).to_string().into())
                    });
                    assert_eq!(update.await.unwrap(), Update::Done);
                }
            });
        }
    }
    soon("all are done", tasks.join_all()).await;
    let node = first.get("/counter").await.unwrap().unwrap();
    assert_eq!(node.data, "300");
    assert_eq!(node.stat.version, Version::new(299));
}

#[tokio::test]
async fn update_creates_keeps_and_deletes() {
    let zk = shared().await.client().await;
    let update = zk.update("/a", |node| {
        assert!(node.is_none());
        Change::Delete
    });
    assert_eq!(update.await.unwrap(), Update::Kept);
    let update = zk.update("/a", |_| Change::Set("x".into())).await;
    assert_eq!(update.unwrap(), Update::Done);
    let update = zk.update("/a", |node| {
        assert_eq!(node.unwrap().data, "x");
        Change::Keep
    });
    assert_eq!(update.await.unwrap(), Update::Kept);
    assert_eq!(
        zk.update("/a", |_| Change::Delete).await.unwrap(),
        Update::Done
    );
    assert_eq!(zk.exists("/a").await.unwrap(), None);
    let orphan = zk.update("/b/c", |_| Change::Set("".into())).await;
    rejected(orphan, ErrorKind::NoNode);
}

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

#[tokio::test]
async fn observe_tells_the_latest_state_after_every_change() {
    let zk = shared().await.client().await;
    let mut states = zk.observe("/a");
    let mut data = async || {
        let state = soon("a state comes", states.next()).await.unwrap().unwrap();
        state.map(|node| node.data)
    };
    assert_eq!(data().await, None);
    zk.create("/a", "1").await.unwrap();
    assert_eq!(data().await.unwrap(), "1");
    zk.set("/a", "2").await.unwrap();
    assert_eq!(data().await.unwrap(), "2");
    zk.delete("/a").await.unwrap();
    assert_eq!(data().await, None);
    // Of many changes at once the last is told.
    zk.create("/a", "").await.unwrap();
    for n in 0..20 {
        zk.set("/a", n.to_string()).await.unwrap();
    }
    while data().await.unwrap() != "19" {}
    drop(states);
    until("the watch is gone", async || zk.stats().watches == 0).await;
}

#[tokio::test]
async fn observe_ends_with_the_reason_it_cannot_go_on() {
    let zk = shared().await.client().await;
    let owner = zk.root().chroot(zk.chroot_path()).unwrap();
    let hidden = Acl::of([Ace::new(Perms::WRITE, Id::ANYONE)]);
    owner.create("/hidden", "").acl(hidden).await.unwrap();
    let mut states = zk.observe("/hidden");
    let state = soon("a state comes", states.next()).await.unwrap();
    rejected(state, ErrorKind::NoAuth);
    assert!(states.next().await.is_none());
    let mut states = zk.observe("/missing");
    assert_eq!(states.next().await.unwrap().unwrap(), None);
    zk.close(common::SOON).await;
    let state = soon("the end comes", states.next()).await.unwrap();
    not_sent(state, ErrorKind::Closed);
    assert!(states.next().await.is_none());
}

#[tokio::test]
async fn wait_for_waits_until_the_znode_appears_or_time_is_over() {
    let zk = shared().await.client().await;
    let short = Duration::from_millis(50);
    let error = not_sent(zk.wait_for("/a", short).await, ErrorKind::Timeout);
    assert_eq!(error.path(), Some("/a"));
    let waiter = tokio::spawn({
        let zk = zk.clone();
        async move { zk.wait_for("/a", common::SOON).await }
    });
    until("it waits", async || zk.stats().watches == 1).await;
    zk.create("/a", "x").await.unwrap();
    assert_eq!(waiter.await.unwrap().unwrap().data, "x");
    assert_eq!(zk.wait_for("/a", short).await.unwrap().data, "x");
}

// --- quotas, members ----------------------------------------------------------------------------

#[tokio::test]
async fn hard_quotas_are_enforced() {
    let servers = Setup::alone().config("enforceQuota", "true").start().await;
    let zk = servers.builder().connect().await.unwrap();
    zk.create("/q", "").await.unwrap();
    zk.ensure_path("/zookeeper/quota/q").await.unwrap();
    let limits = "count=-1,bytes=-1;byteHardLimit=10;countHardLimit=3";
    let path = "/zookeeper/quota/q/zookeeper_limits";
    zk.create(path, limits).await.unwrap();
    let path = "/zookeeper/quota/q/zookeeper_stats";
    zk.create(path, "count=0,bytes=0").await.unwrap();
    zk.create("/q/a", "12345").await.unwrap();
    zk.create("/q/b", "12345").await.unwrap();
    rejected(zk.create("/q/c", "").await, ErrorKind::QuotaExceeded);
    rejected(zk.set("/q/a", "123456").await, ErrorKind::QuotaExceeded);
    zk.set("/q/a", "1").await.unwrap();
    zk.delete("/q/b").await.unwrap();
    let transaction = zk
        .transaction()
        .check("/q", 0)
        .create("/q/c", "1234567890123");
    let error = rejected(transaction.await, ErrorKind::QuotaExceeded);
    assert_eq!(error.transaction_index(), Some(1));
    zk.create("/q/c", "").await.unwrap();
}

#[tokio::test]
async fn server_that_stands_alone_has_no_members_to_change() {
    let zk = shared().await.client().await;
    let config = zk.get_config().await.unwrap();
    assert_eq!(config.data, "");
    let reconfig = zk.reconfig().leaving("2").await;
    let kind = reconfig.as_ref().unwrap_err().kind();
    assert!(
        matches!(kind, ErrorKind::Unimplemented | ErrorKind::ReconfigDisabled),
        "{reconfig:?}"
    );
    rejected(reconfig, kind);
    zk.get_config().await.expect("the client goes on");
}

// --- chroot -------------------------------------------------------------------------------------

#[tokio::test]
async fn same_program_has_the_same_results_at_the_root_and_below_a_chroot() {
    let servers = Setup::alone().start().await;
    let at_root = soon(
        "the program ends",
        program(servers.builder().connect().await.unwrap()),
    );
    let at_root = at_root.await;
    let below = servers.client_below("/some/where").await;
    let below = soon("the program ends", program(below)).await;
    assert_eq!(at_root, below);
    let nested = servers.client_below("/nest").await.chroot("/ed").unwrap();
    nested.ensure_path("/").await.unwrap();
    assert_eq!(nested.chroot_path(), "/nest/ed");
    assert_eq!(at_root, soon("the program ends", program(nested)).await);
}

/// Uses everything that has a path in its result, its error or its event, and tells what it saw.
async fn program(zk: Client) -> Vec<String> {
    let mut seen = Vec::new();
    let mut stream = zk.watch_tree("/").await.unwrap();
    let mut node = zk.watch_node("/n").await.unwrap();
    let (_, exists) = zk.exists("/p").watch().await.unwrap();
    seen.push(zk.create("/p", "x").await.unwrap().path);
    seen.push(told(&fired(exists).await));
    let (_, children) = zk.children("/p").watch().await.unwrap();
    let created = zk.create("/p/s-", "").sequential().ephemeral().await;
    seen.push(created.unwrap().path);
    seen.push(told(&fired(children).await));
    let (_, get) = zk.get("/p").watch().await.unwrap();
    zk.set("/p", "y").await.unwrap();
    seen.push(told(&fired(get).await));
    for _ in 0..3 {
        seen.push(told(&next_event(&mut stream).await));
    }
    zk.create("/n", "").await.unwrap();
    seen.push(told(&next_event(&mut node).await));
    seen.extend(zk.ephemerals("/").await.unwrap());
    seen.extend(zk.ephemerals("/p/").await.unwrap());
    let results = zk.transaction().create("/p/t", "").check("/p", 1).await;
    seen.extend(results.unwrap().iter().map(made));
    let errors = [
        zk.create("/p", "").await.unwrap_err(),
        zk.delete("/p").await.unwrap_err(),
        zk.set("/q", "").await.unwrap_err(),
        zk.get("/q").watch().await.unwrap_err(),
        zk.transaction().create("/q/r", "").await.unwrap_err(),
        zk.create("/p/./x", "").await.unwrap_err(),
    ];
    seen.extend(
        errors
            .iter()
            .map(|error| format!("{error} {:?}", error.path())),
    );
    seen.push(format!(
        "{:?}",
        zk.children("/p").await.unwrap().map(|mut names| {
            names.sort_unstable();
            names
        })
    ));
    seen.push(zk.count_descendants("/p").await.unwrap().to_string());
    seen.push(zk.delete_tree("/p").await.unwrap().to_string());
    seen
}

#[tokio::test]
async fn chroot_itself_is_the_root_of_its_view() {
    let zk = shared().await.client().await;
    let view = zk.chroot("/view").unwrap();
    let (none, exists) = view.exists("/").watch().await.unwrap();
    assert_eq!(none, None);
    assert_eq!(view.create("/", "x").await.unwrap().path, "/");
    assert_eq!(told(&fired(exists).await), "NodeCreated /");
    let (_, watch) = view.children("/").watch().await.unwrap();
    view.create("/b", "").await.unwrap();
    assert_eq!(told(&fired(watch).await), "NodeChildrenChanged /");
    let mut stream = view.watch_tree("/").await.unwrap();
    view.create("/a", "").await.unwrap();
    let event = next_event(&mut stream).await;
    assert_eq!((event.kind, &*event.path), (EventType::NodeCreated, "/a"));
    assert_eq!(zk.get("/view").await.unwrap().unwrap().data, "x");
    assert_eq!(view.root().chroot_path(), "/");
    let names: BTreeSet<_> = view
        .root()
        .children("/")
        .await
        .unwrap()
        .unwrap()
        .into_iter()
        .collect();
    assert!(names.contains("zookeeper"), "{names:?}");
}
