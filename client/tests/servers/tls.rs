//! TLS on real servers: what is accepted, what is refused, and how soon it is known.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic like tests")]

mod common;

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::Instant;
use zk_client::{
    Acl, Auth, Client, ConnectError, ConnectErrorKind, Connector, Credentials, Error, ErrorKind,
    Io, Server, Tls,
};
use zk_testkit::ensemble::TlsFiles;
use zk_testkit::fault::Proxy;

use self::common::rotated::Rotated;
use self::common::{
    SOON, Servers, Setup, fired, not_sent, quirks, soon, until, until_connected, until_suspended,
    until_trouble,
};

/// How soon a trouble that does not go away by itself is told.
const AT_ONCE: Duration = Duration::from_secs(5);

/// A certificate authority, and what it has signed.
struct Authority {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, key }
    }

    /// A certificate for these names and its key, both in PEM.
    fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, "issued");
        let key = KeyPair::generate().unwrap();
        let issued = params.signed_by(&key, &self.certificate, &self.key);
        (issued.unwrap().pem(), key.serialize_pem())
    }

    fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// What a client trusts, without or with a certificate of its own.
    fn tls(&self, client: Option<&(String, String)>) -> Tls {
        let client = client.map(|(cert, key)| (cert.as_bytes(), key.as_bytes()));
        Tls::from_pem(self.pem().as_bytes(), client).unwrap()
    }
}

/// A server with a certificate for these names.
async fn secure_server(ca: &Authority, names: &[&str], client_auth: bool) -> (Servers, TempDir) {
    let dir = TempDir::new().unwrap();
    let (certificate, key) = ca.issue(names);
    let files = TlsFiles {
        keystore_pem: dir.path().join("server.pem"),
        truststore_pem: dir.path().join("ca.pem"),
        client_auth,
    };
    fs::write(&files.keystore_pem, format!("{certificate}{key}")).unwrap();
    fs::write(&files.truststore_pem, ca.pem()).unwrap();
    let servers = Setup::alone().tls(files).start().await;
    // The plain port is there first.
    let addr = servers.secure_addr(0);
    until("the TLS port listens", async || {
        TcpStream::connect(addr).await.is_ok()
    })
    .await;
    (servers, dir)
}

/// Connects, and tells how it failed and that it did not take long.
async fn refused(what: &str, builder: zk_client::Builder, kind: ErrorKind) -> Error {
    let begun = Instant::now();
    let connect = builder.connect_timeout(SOON).connect();
    let error = connect.await.expect_err(what);
    assert_eq!(error.kind(), kind, "{what}: {error:?}");
    assert!(begun.elapsed() < AT_ONCE, "{what}: {:?}", begun.elapsed());
    error
}

#[tokio::test]
async fn tls_connects_to_the_server_that_was_meant_and_to_no_other() {
    let ca = Authority::new("ca");
    let (servers, _dir) = secure_server(&ca, &["127.0.0.1", "localhost"], false).await;
    let addr = servers.secure_addr(0);
    for host in ["127.0.0.1", "localhost"] {
        let connect = format!("{host}:{}", addr.port());
        let zk = common::builder(&connect).tls(ca.tls(None));
        let zk = zk.connect().await.unwrap();
        zk.create("/a", "x").or_set().await.unwrap();
        let large = vec![7; 900_000];
        zk.set("/a", large.clone()).await.unwrap();
        assert!(zk.get("/a").await.unwrap().unwrap().data == large);
        zk.close(SOON).await;
    }
    // By the scheme of the connect string, and against it.
    let mixed = format!("tcp://{}", servers.addr(0));
    let zk = common::builder(&mixed).tls(ca.tls(None)).connect().await;
    zk.unwrap().sync("/").await.unwrap();
    let named = format!("tls://{addr}");
    let zk = common::builder(&named).tls(ca.tls(None)).connect().await;
    zk.unwrap().sync("/").await.unwrap();

    let stranger = Authority::new("stranger");
    let builder = common::builder(&addr.to_string()).tls(stranger.tls(None));
    let error = refused("unknown authority", builder, ErrorKind::Tls).await;
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    let builder = common::builder(&named);
    refused("TLS not configured", builder, ErrorKind::Tls).await;

    // TLS spoken to a plain port, and the other way round.
    let builder = common::builder(&servers.addr(0).to_string()).tls(ca.tls(None));
    refused("a plain port", builder, ErrorKind::Tls).await;
    let builder = common::builder(&addr.to_string());
    if quirks().tells_of_tls {
        let error = refused("a TLS port", builder, ErrorKind::Tls).await;
        assert!(error.to_string().contains("speaks TLS"), "{error}");
    } else {
        // It closes without a word, as a server does that is behind: it may yet do.
        let builder = builder.connect_timeout(AT_ONCE / 2);
        not_sent(builder.connect().await, ErrorKind::Io);
    }
}

#[tokio::test]
async fn tls_does_not_take_a_certificate_for_another_name() {
    let ca = Authority::new("ca");
    let (servers, _dir) = secure_server(&ca, &["somebody.else"], false).await;
    let builder = common::builder(&servers.secure_addr(0).to_string());
    let error = refused("wrong name", builder.tls(ca.tls(None)), ErrorKind::Tls).await;
    assert!(error.to_string().contains("not valid for name"), "{error}");
}

/// Finds nobody at first, then somebody without TLS.
#[derive(Debug, Default)]
struct Wrong(AtomicBool);

#[async_trait]
impl Connector for Wrong {
    async fn connect(&self, _: &Server, _: Duration) -> Result<Box<dyn Io>, ConnectError> {
        let kind = if self.0.swap(true, Ordering::Relaxed) {
            ConnectErrorKind::Tls
        } else {
            ConnectErrorKind::Io
        };
        Err(ConnectError::new(kind, "scripted"))
    }
}

#[tokio::test]
async fn tls_trouble_is_told_at_once_after_trouble_of_another_kind() {
    let builder = common::builder("somewhere:1").connector(Wrong::default());
    refused("wrong twice", builder, ErrorKind::Tls).await;
}

#[tokio::test]
async fn tls_shows_the_certificate_that_a_server_wants() {
    let ca = Authority::new("ca");
    let (servers, _dir) = secure_server(&ca, &["127.0.0.1"], true).await;
    let addr = servers.secure_addr(0).to_string();
    let own = ca.issue(&["client"]);
    let zk = common::builder(&addr).tls(ca.tls(Some(&own)));
    let zk = zk.connect().await.unwrap();
    zk.sync("/").await.unwrap();
    zk.close(SOON).await;
    let builder = common::builder(&addr).tls(ca.tls(None));
    refused("no certificate", builder, ErrorKind::Tls).await;
    let foreign = Authority::new("stranger").issue(&["client"]);
    let builder = common::builder(&addr).tls(ca.tls(Some(&foreign)));
    refused("a foreign certificate", builder, ErrorKind::Tls).await;
}

#[tokio::test]
async fn tls_certificates_are_read_anew_for_every_connection() {
    let ca = Authority::new("ca");
    let (servers, _dir) = secure_server(&ca, &["127.0.0.1"], true).await;
    let proxy = Proxy::start(servers.secure_addr(0)).await.unwrap();
    let of = |own: &(String, String)| Ok(Credentials::new().tls(ca.tls(Some(own))));
    let provider = Rotated::new(of(&ca.issue(&["client"])));
    // Without the provider's certificate the server would not have it.
    let zk = common::builder(&proxy.addr().to_string()).tls(ca.tls(None));
    let zk = zk.credentials(provider.clone()).connect().await.unwrap();
    let session = common::session_of(&zk);
    provider.set(of(&Authority::new("stranger").issue(&["client"])));
    zk.sync("/").await.unwrap();
    proxy.cut_all();
    until_trouble(&zk, ErrorKind::Tls).await;
    provider.set(of(&ca.issue(&["client"])));
    soon("it goes on", zk.sync("/")).await.unwrap();
    assert_eq!(common::session_of(&zk), session);

    let provider = Rotated::new(of(&ca.issue(&["client"])));
    let zk = common::builder("somewhere:1").connector(Wrong::default());
    let zk = zk.credentials(provider).start().unwrap();
    let trouble = until_trouble(&zk, ErrorKind::Credentials).await;
    assert!(
        trouble
            .to_string()
            .contains("a connector connects by itself"),
        "{trouble}"
    );
}

#[tokio::test]
async fn tls_session_survives_cut_connections() {
    let ca = Authority::new("ca");
    let (servers, _dir) = secure_server(&ca, &["127.0.0.1"], false).await;
    let proxy = Proxy::start(servers.secure_addr(0)).await.unwrap();
    let zk = common::builder(&proxy.addr().to_string()).tls(ca.tls(None));
    let zk = zk
        .auth(Auth::digest("bob", "secret"))
        .connect()
        .await
        .unwrap();
    let session = common::session_of(&zk);
    zk.create("/a", "").acl(Acl::creator_all()).await.unwrap();
    let (_, watch) = zk.get("/a").watch().await.unwrap();
    for _ in 0..3 {
        proxy.cut_all();
        until_suspended(&zk).await;
        until_connected(&zk).await;
        zk.sync("/").await.unwrap();
    }
    zk.set("/a", "").await.unwrap();
    fired(watch).await;
    assert_eq!(common::session_of(&zk), session);
    drop(zk);
    until("it is closed", async || {
        !servers.has_session(0, session).await
    })
    .await;
}

#[test]
fn tls_files_that_are_none_are_refused_with_a_reason() {
    let ca = Authority::new("ca");
    let (certificate, key) = ca.issue(&["client"]);
    let bad = |authorities: &str, client: Option<(&str, &str)>| {
        let client = client.map(|(cert, key)| (cert.as_bytes(), key.as_bytes()));
        Tls::from_pem(authorities.as_bytes(), client)
            .unwrap_err()
            .to_string()
    };
    let good = ca.pem();
    assert_eq!(
        bad("", None),
        "certificate authorities: the PEM text has no certificate"
    );
    assert!(bad(&good, Some((&certificate, ""))).contains("key"));
    let (other, _) = ca.issue(&["other"]);
    assert!(bad(&good, Some((&other, &key))).contains("cannot be used"));
    let zk = Client::builder("127.0.0.1:1");
    assert!(!format!("{zk:?}").is_empty());
}
