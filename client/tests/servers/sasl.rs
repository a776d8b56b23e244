//! SASL on real servers.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::fs;
use std::time::Duration;

use zk_client::{Ace, Acl, Auth, CloseReason, ConnState, Credentials, ErrorKind, Id, Perms, Sasl};
use zk_testkit::fault::Proxy;

use self::common::rotated::Rotated;
use self::common::{
    Servers, Setup, fresh, rejected, session_of, shared, soon, until_suspended, until_trouble,
};

const JAAS: &str = r#"Server {
    org.apache.zookeeper.server.auth.DigestLoginModule required
    user_super="adminsecret"
    user_bob="bob,\"secret\"";
};
"#;

const SECRET: &str = "bob,\"secret\"";

/// A server that speaks SASL, and has this file of users.
fn setup(jaas: &str) -> (Setup, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jaas.conf");
    fs::write(&path, jaas).unwrap();
    let provider = "org.apache.zookeeper.server.auth.SASLAuthenticationProvider";
    let setup = Setup::alone()
        .config("authProvider.1", provider)
        .property("java.security.auth.login.config", path.to_str().unwrap());
    (setup, dir)
}

/// A server that knows bob and super, and lets nobody else do anything if that is so.
async fn servers(is_enforced: bool) -> (Servers, tempfile::TempDir) {
    let (mut setup, dir) = setup(JAAS);
    if is_enforced {
        setup = setup.property("zookeeper.sessionRequireClientSASLAuth", "true");
    }
    (setup.start().await, dir)
}

#[tokio::test]
async fn client_is_who_it_proves_to_be_on_every_connection() {
    let (servers, _dir) = servers(false).await;
    let proxy = Proxy::start(servers.addr(0)).await.unwrap();
    let connect = format!("{}{}", proxy.addr(), fresh());
    let zk = common::builder(&connect)
        .sasl(Sasl::digest_md5("bob", SECRET))
        .auth(Auth::digest("carol", "other"))
        .start()
        .unwrap();
    zk.create("/", "").await.unwrap();
    let only_bob = Acl::of([Ace::new(Perms::ALL, Id::new("sasl", "bob"))]);
    zk.create("/a", "").acl(only_bob).await.unwrap();
    let identities = zk.who_am_i().await.unwrap();
    let schemes: Vec<_> = identities
        .iter()
        .filter_map(|id| id.auth_scheme.as_deref())
        .collect();
    assert!(
        schemes.contains(&"sasl") && schemes.contains(&"digest"),
        "{identities:?}"
    );
    for _ in 0..3 {
        proxy.cut_all();
        until_suspended(&zk).await;
        soon("it may", zk.set("/a", "")).await.unwrap();
    }
    let stranger = servers.builder().connect().await.unwrap();
    rejected(
        stranger.get(&format!("{}/a", zk.chroot_path())).await,
        ErrorKind::NoAuth,
    );
    let admin = servers
        .builder()
        .sasl(Sasl::digest_md5("super", "adminsecret"));
    let admin = admin.connect().await.unwrap();
    admin.get(&format!("{}/a", zk.chroot_path())).await.unwrap();
}

#[tokio::test]
async fn password_is_rotated_between_two_connections() {
    let (servers, dir) = servers(false).await;
    let of = |password: &str| Ok(Credentials::new().sasl(Sasl::digest_md5("bob", password)));
    let provider = Rotated::new(of(SECRET));
    // The provider's word counts, not the builder's.
    let zk = servers.builder().sasl(Sasl::digest_md5("bob", "never"));
    let zk = zk.credentials(provider.clone()).connect().await.unwrap();
    let session = session_of(&zk);
    let only_bob = Acl::of([Ace::new(Perms::ALL, Id::new("sasl", "bob"))]);
    zk.create("/rotated", "").acl(only_bob).await.unwrap();
    // The server learns of the new password first, the provider has none for a while.
    provider.set(Err("between two passwords"));
    servers.kill(0).await;
    let jaas = JAAS.replace(r#"bob,\"secret\""#, "rotated");
    assert_ne!(jaas, JAAS);
    fs::write(dir.path().join("jaas.conf"), jaas).unwrap();
    servers.start(0).await;
    servers.serving(0).await;
    until_trouble(&zk, ErrorKind::Credentials).await;
    provider.set(of("rotated"));
    soon("it is bob still", zk.set("/rotated", "x"))
        .await
        .unwrap();
    assert_eq!(session_of(&zk), session);
    assert_eq!(zk.stats().expirations, 0);
    // And the old password is none any more.
    let late = servers.builder().credentials(Rotated::new(of(SECRET)));
    let error = late.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
}

#[tokio::test]
async fn wrong_password_closes_the_client() {
    let (servers, _dir) = servers(false).await;
    let zk = servers.builder().sasl(Sasl::digest_md5("bob", "bobsecret"));
    let error = zk.connect().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    let zk = servers.builder().sasl(Sasl::digest_md5("nobody", "x"));
    let zk = zk.start().unwrap();
    let error = soon("it is told", zk.get("/")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AuthFailed);
    let closed = ConnState::Closed(CloseReason::AuthFailed);
    assert_eq!(*zk.state().borrow(), closed);
}

#[tokio::test]
async fn server_that_demands_proof_gets_it_before_anything_else() {
    let (servers, _dir) = servers(true).await;
    let zk = servers.builder().sasl(Sasl::digest_md5("bob", SECRET));
    let zk = zk
        .session_timeout(Duration::from_secs(2))
        .connect()
        .await
        .unwrap();
    zk.create("/a", "").await.unwrap();
    let stranger = servers.builder().start().unwrap();
    let error = soon("it is told", stranger.get("/a")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::SessionClosedRequireSasl);
    let wrong = servers.builder().sasl(Sasl::digest_md5("bob", "x"));
    assert_eq!(
        wrong.connect().await.unwrap_err().kind(),
        ErrorKind::AuthFailed
    );
}

#[tokio::test]
async fn server_without_sasl_is_not_believed() {
    let zk = shared()
        .await
        .builder()
        .sasl(Sasl::digest_md5("bob", SECRET));
    assert_eq!(
        zk.connect().await.unwrap_err().kind(),
        ErrorKind::AuthFailed
    );
}

#[tokio::test]
async fn server_whose_file_names_no_users_serves_without_sasl() {
    let (setup, _dir) = setup("");
    let servers = setup.start().await;
    let zk = servers.builder().connect().await.unwrap();
    zk.create("/plain", "").await.unwrap();
    let bob = servers.builder().sasl(Sasl::digest_md5("bob", SECRET));
    assert_eq!(
        bob.connect().await.unwrap_err().kind(),
        ErrorKind::AuthFailed
    );
}
