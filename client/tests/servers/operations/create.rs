//! Creation: modes, parents, what exists already, and every reason to refuse it.

use std::time::Duration;

use zk_client::{Ace, Acl, ErrorKind, Id, Perms, Ttl, Version};

use crate::common::{self, Setup, fresh, not_sent, rejected, shared, until};
use crate::sorted;

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
