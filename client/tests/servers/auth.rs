//! Credentials on real servers: what is accepted, what is refused, and how soon it is known.

mod common;

use std::time::Duration;

use tokio::time::Instant;
use zk_client::{Acl, Auth, CloseReason, ConnState, Credentials, ErrorKind, Outcome};
use zk_testkit::fault::Proxy;

use self::common::rotated::Rotated;
use self::common::{
    Setup, behind_proxy, fired, fresh, not_sent, rejected, session_of, shared, soon,
    until_connected, until_suspended, until_trouble,
};

/// How soon a trouble that does not go away by itself is told.
const AT_ONCE: Duration = Duration::from_secs(5);

fn bob() -> Auth {
    Auth::digest("bob", "secret")
}

#[tokio::test]
async fn credentials_are_sent_before_anything_else_on_every_connection() {
    let servers = shared().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{}", proxy.addr(), fresh());
    let zk = common::builder(&connect).auth(bob()).start().unwrap();
    // Before there is a connection.
    zk.create("/", "").await.unwrap();
    zk.create("/a", "").acl(Acl::creator_all()).await.unwrap();
    let (_, watch) = zk.get("/a").watch().await.unwrap();
    for _ in 0..3 {
        proxy.cut_all();
        until_suspended(&zk).await;
        let set = zk.set("/a", "").send();
        soon("it may", set).await.unwrap();
    }
    fired(watch).await;
}

#[tokio::test]
async fn credentials_can_be_added_later_and_stay() {
    let servers = shared().await;
    let owner = servers.client().await;
    owner.add_auth(bob()).await.unwrap();
    owner
        .create("/a", "")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    let (proxy, zk) = behind_proxy(servers, 0, owner.chroot_path()).await;
    rejected(zk.get("/a").await, ErrorKind::NoAuth);
    zk.add_auth(Auth::digest("alice", "other")).await.unwrap();
    rejected(zk.get("/a").await, ErrorKind::NoAuth);
    zk.add_auth(bob()).await.unwrap();
    zk.get("/a").await.unwrap();
    proxy.cut_all();
    until_suspended(&zk).await;
    zk.get("/a").await.unwrap();
    let identities = zk.who_am_i().await.unwrap();
    for user in ["alice", "bob"] {
        let is_there = identities.iter().any(|id| id.user.as_deref() == Some(user));
        assert!(is_there, "{identities:?}");
    }
    // And while there is no connection.
    proxy.refuse(true);
    proxy.cut_all();
    until_suspended(&zk).await;
    let carol = tokio::spawn({
        let zk = zk.clone();
        async move { zk.add_auth(Auth::digest("carol", "third")).await }
    });
    proxy.heal();
    soon("it is added", carol).await.unwrap().unwrap();
}

#[tokio::test]
async fn wrong_password_is_another_identity() {
    let servers = shared().await;
    let owner = servers.client().await;
    owner.add_auth(bob()).await.unwrap();
    owner
        .create("/a", "")
        .acl(Acl::creator_all())
        .await
        .unwrap();
    let connect = format!("{}{}", servers.connect_string(), owner.chroot_path());
    let wrong = Auth::digest("bob", "wrong");
    assert!(!format!("{wrong:?}").contains("wrong\""), "{wrong:?}");
    let zk = common::builder(&connect)
        .auth(wrong)
        .connect()
        .await
        .unwrap();
    rejected(zk.get("/a").await, ErrorKind::NoAuth);
}

#[tokio::test]
async fn credentials_of_a_provider_hold_for_one_connection() {
    let servers = shared().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{}", proxy.addr(), fresh());
    let old = Credentials::new().auth(bob());
    let new = Credentials::new().auth(Auth::digest("bob", "rotated"));
    let provider = Rotated::new(Ok(old.clone()));
    let zk = common::builder(&connect).credentials(provider.clone());
    let zk = zk.connect().await.unwrap();
    let session = session_of(&zk);
    zk.create("/", "").await.unwrap();
    zk.create("/old", "").acl(Acl::creator_all()).await.unwrap();
    zk.get("/old").await.unwrap();
    for (credentials, may) in [(new, false), (old, true)] {
        let asked = provider.asked();
        provider.set(Ok(credentials));
        // The connection that there is goes on as what it is.
        zk.sync("/").await.unwrap();
        assert_eq!(provider.asked(), asked);
        proxy.cut_all();
        until_suspended(&zk).await;
        until_connected(&zk).await;
        assert!(provider.asked() > asked);
        let got = zk.get("/old").await;
        if may {
            got.unwrap();
        } else {
            rejected(got, ErrorKind::NoAuth);
            zk.create("/new", "").acl(Acl::creator_all()).await.unwrap();
        }
    }
    rejected(zk.get("/new").await, ErrorKind::NoAuth);
    // What is added to the client stays.
    zk.add_auth(Auth::digest("bob", "rotated")).await.unwrap();
    zk.get("/new").await.unwrap();
    proxy.cut_all();
    until_suspended(&zk).await;
    zk.get("/new").await.unwrap();
    zk.get("/old").await.unwrap();
    assert_eq!(session_of(&zk), session);
}

#[tokio::test]
async fn provider_that_fails_is_told_of_and_asked_again_with_pauses() {
    let servers = shared().await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{}", proxy.addr(), fresh());
    let provider = Rotated::new(Err("nobody has the key"));
    let within = Duration::from_secs(1);
    let builder = || {
        let builder = common::builder(&connect).credentials(provider.clone());
        builder.connect_timeout(within)
    };
    let begun = Instant::now();
    let error = not_sent(builder().connect().await, ErrorKind::Credentials);
    assert!(begun.elapsed() >= within && error.is_retryable());
    let chain = "the vault does not open: nobody has the key";
    assert!(error.to_string().contains(chain), "{error}");
    let asked = provider.asked();
    assert!(
        (2..20).contains(&asked),
        "asked {asked} times in {within:?}"
    );
    assert_eq!(proxy.accepted(), 0, "nothing to say, and connected");

    provider.set(Ok(Credentials::new().auth(bob())));
    let zk = builder().connect().await.unwrap();
    let session = session_of(&zk);
    zk.create("/", "").acl(Acl::creator_all()).await.unwrap();
    assert!(zk.trouble().is_none());
    provider.set(Err("the key is lost"));
    proxy.cut_all();
    let trouble = until_trouble(&zk, ErrorKind::Credentials).await;
    assert!(trouble.to_string().contains("the key is lost"), "{trouble}");
    assert_eq!(zk.state().borrow().session(), Some(session));
    let short = zk.with_timeout(Duration::from_millis(100));
    let error = not_sent(short.get("/").await, ErrorKind::Timeout);
    assert!(error.to_string().contains("the key is lost"), "{error}");
    let waiting = zk.set("/", "x").send();
    provider.set(Ok(Credentials::new().auth(bob())));
    soon("it goes on", waiting).await.unwrap();
    assert_eq!(session_of(&zk), session);
    assert!(zk.trouble().is_none());
}

#[tokio::test]
async fn refused_credential_closes_the_client_and_connect_says_so() {
    let servers = shared().await;
    for auth in [
        Auth::new("no-such-scheme", "x"),
        Auth::new("world", "anyone"),
    ] {
        let begun = Instant::now();
        let connect = servers.builder().auth(bob()).auth(auth.clone()).connect();
        let error = soon("it ends", connect).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AuthFailed, "{error:?}");
        assert!(error.is_client_fatal() && begun.elapsed() < AT_ONCE);

        let zk = servers.builder().auth(auth).start().unwrap();
        let waiting = zk.create("/never", "").send();
        let error = soon("it ends", waiting).await.unwrap_err();
        let told = (error.kind(), error.outcome());
        assert_eq!(told, (ErrorKind::AuthFailed, Outcome::NotSent), "{error:?}");
        soon("it closes", zk.closed()).await;
        let closed = ConnState::Closed(CloseReason::AuthFailed);
        assert_eq!(*zk.state().borrow(), closed);
        not_sent(zk.get("/").await, ErrorKind::AuthFailed);
        assert_eq!(zk.stats().outstanding, 0);
    }
}

#[tokio::test]
async fn credential_that_is_refused_later_closes_the_client() {
    let zk = shared().await.client().await;
    let (_, watch) = zk.exists("/a").watch().await.unwrap();
    let refused = zk.add_auth(Auth::new("no-such-scheme", "x")).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::AuthFailed);
    soon("it closes", zk.closed()).await;
    let end = soon("the watch ends", watch).await;
    assert_eq!(end, zk_client::WatchEnd::Closed(CloseReason::AuthFailed));
    not_sent(zk.get("/a").await, ErrorKind::AuthFailed);
    let late = zk.add_auth(bob()).await.unwrap_err();
    assert!(late.is_client_fatal(), "{late:?}");
}

#[tokio::test]
async fn server_that_requires_authentication_turns_strangers_away() {
    let servers = Setup::alone()
        .config("enforce.auth.enabled", "true")
        .config("enforce.auth.schemes", "digest")
        .start()
        .await;
    let zk = servers.builder().auth(bob()).connect().await.unwrap();
    zk.create("/a", "").await.unwrap();
    let stranger = servers.builder().start().unwrap();
    let error = soon("it ends", stranger.get("/a").send())
        .await
        .unwrap_err();
    assert_eq!(
        error.kind(),
        ErrorKind::SessionClosedRequireSasl,
        "{error:?}"
    );
    assert!(error.is_client_fatal());
    soon("it closes", stranger.closed()).await;
}
