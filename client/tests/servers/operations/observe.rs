//! Following the state of a znode.

use std::time::Duration;

use zk_client::{Ace, Acl, ErrorKind, Id, Perms};

use crate::common::{self, not_sent, rejected, shared, soon, until};

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
    let node = zk.wait_for("/a", common::SOON).await.unwrap();
    assert_eq!(node.data, "x");
}
