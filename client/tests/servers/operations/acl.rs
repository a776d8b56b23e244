//! Who may do what, and who a client is.

use zk_client::{Ace, Acl, Change, ErrorKind, Id, Perms, ReadResult, Version};

use crate::bob;
use crate::common::{self, fresh, quirks, rejected, shared};

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
    // A copy of that would lock everybody out.
    let moved = stranger.move_node("/a", "/b").await;
    rejected(moved, ErrorKind::NoAuth);
    owner.move_node("/a", "/b").await.unwrap();
    let (kept, _) = owner.get_acl("/b").await.unwrap().unwrap();
    assert_eq!(digest(&kept), full);
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
