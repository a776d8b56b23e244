//! TLS on client ports, with certificates made here.

use std::error::Error as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use zk_client::{Acl, Client, Tls};
use zk_server::{Server, StartError};

const SOON: Duration = Duration::from_secs(30);

/// Certificates in PEM files.
struct Papers {
    directory: tempfile::TempDir,
}

impl Papers {
    fn new() -> Self {
        let papers = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        let mut params = CertificateParams::new(Vec::new()).expect("legal");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, "authority");
        let authority = KeyPair::generate().expect("a key");
        let ca = params.self_signed(&authority).expect("signed");
        papers.write("ca.pem", &ca.pem());
        for (name, common_name) in [("server", "server"), ("client", "client"), ("boss", "boss")] {
            let mut params =
                CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()])
                    .expect("legal");
            params.distinguished_name = DistinguishedName::new();
            let subject = &mut params.distinguished_name;
            subject.push(DnType::OrganizationName, "Acme");
            subject.push(DnType::CommonName, common_name);
            let key = KeyPair::generate().expect("a key");
            let cert = params.signed_by(&key, &ca, &authority).expect("signed");
            papers.write(&format!("{name}.crt"), &cert.pem());
            papers.write(&format!("{name}.key"), &key.serialize_pem());
            let both = format!("{}{}", key.serialize_pem(), cert.pem());
            papers.write(&format!("{name}.pem"), &both);
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).expect("read")
    }

    fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("written");
    }

    fn tls(&self, client: Option<&str>) -> Tls {
        let own = client.map(|name| {
            (
                self.read(&format!("{name}.crt")),
                self.read(&format!("{name}.key")),
            )
        });
        let own = own.as_ref().map(|(cert, key)| (&**cert, &**key));
        Tls::from_pem(&self.read("ca.pem"), own).expect("good papers")
    }

    async fn start(&self, settings: &[(&str, &str)]) -> Result<Server, StartError> {
        let (key, trust) = (self.text("server.pem"), self.text("ca.pem"));
        let builder = Server::builder()
            .set("secureClientPort", 0)
            .set("secureClientPortAddress", "127.0.0.1")
            .set("ssl.keyStore.location", key)
            .set("ssl.trustStore.location", trust);
        settings
            .iter()
            .fold(builder, |builder, (key, value)| builder.set(key, value))
            .start()
            .await
    }
}

async fn connect(address: std::net::SocketAddr, tls: Option<Tls>) -> Option<Client> {
    let text = address.to_string();
    let builder = Client::builder(&text).connect_timeout(Duration::from_secs(2));
    let builder = match tls {
        Some(tls) => builder.tls(tls),
        None => builder,
    };
    timeout(Duration::from_secs(6), builder.connect())
        .await
        .ok()?
        .ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_is_known_by_its_name() {
    let papers = Papers::new();
    let boss = "CN=boss,O=Acme";
    let server = papers
        .start(&[("X509AuthenticationProvider.superUser", boss)])
        .await
        .expect("started");
    let address = server.secure_client_address().expect("a TLS port");
    assert_ne!(address, server.client_address());
    let zk = connect(address, Some(papers.tls(Some("client"))))
        .await
        .expect("connected");
    let who = zk.who_am_i().await.expect("read");
    let who = format!("{who:?}");
    assert!(
        who.contains("x509") && who.contains("CN=client,O=Acme"),
        "{who}"
    );
    zk.create("/mine", "secret")
        .acl(Acl::creator_all())
        .await
        .expect("created");
    // Neither a plaintext client nor one of another name may read it; the super user may.
    let plain = connect(server.client_address(), None)
        .await
        .expect("connected");
    plain.get("/mine").await.expect_err("not allowed");
    let super_user = connect(address, Some(papers.tls(Some("boss"))))
        .await
        .expect("connected");
    assert!(super_user.get("/mine").await.expect("allowed").is_some());
    // Large values pass through, both ways.
    let large = vec![7; 900_000];
    zk.create("/large", large.clone()).await.expect("created");
    let node = zk.get("/large").await.expect("read").expect("there");
    assert_eq!(node.data, large);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_certificate_comes_in_only_if_none_is_needed() {
    let papers = Papers::new();
    for (demand, comes_in) in [("need", false), ("want", true), ("none", true)] {
        let server = papers
            .start(&[("ssl.clientAuth", demand)])
            .await
            .expect("started");
        let address = server.secure_client_address().expect("a TLS port");
        let zk = connect(address, Some(papers.tls(None))).await;
        assert_eq!(zk.is_some(), comes_in, "{demand}");
        // Plaintext is not for this port.
        assert!(connect(address, None).await.is_none());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_port_takes_both_when_told_so() {
    let papers = Papers::new();
    let server = papers
        .start(&[("client.portUnification", "true")])
        .await
        .expect("started");
    let address = server.client_address();
    let secure = connect(address, Some(papers.tls(Some("client"))))
        .await
        .expect("connected");
    secure.create("/s", "").await.expect("created");
    let plain = connect(address, None).await.expect("connected");
    assert!(plain.exists("/s").await.expect("read").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_certificates_are_used_without_a_restart() {
    let papers = Papers::new();
    let server = papers.start(&[]).await.expect("started");
    let address = server.secure_client_address().expect("a TLS port");
    let old = papers.tls(Some("client"));
    connect(address, Some(old.clone()))
        .await
        .expect("connected");
    // Another authority altogether.
    let others = Papers::new();
    for name in ["server.pem", "ca.pem"] {
        fs::copy(others.path(name), papers.path(name)).expect("copied");
    }
    let deadline = tokio::time::Instant::now() + SOON;
    while connect(address, Some(others.tls(Some("client"))))
        .await
        .is_none()
    {
        assert!(
            tokio::time::Instant::now() < deadline,
            "the old ones are still used"
        );
    }
    assert!(connect(address, Some(old)).await.is_none());
    // Nonsense is not used.
    papers.write("server.pem", "nonsense");
    for _ in 0..3 {
        connect(address, Some(others.tls(Some("client"))))
            .await
            .expect("connected");
    }
}

/// Stores as OpenSSL and Java's keytool write them.
#[tokio::test(flavor = "multi_thread")]
async fn key_stores_of_java_and_protected_keys_are_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors/stores");
    let text = |name: &str| folder.join(name).display().to_string();
    let papers = Papers::new();
    papers.write("password", "zk-secret\n");
    let client = fs::read(folder.join("client.pem")).expect("read");
    let authority = fs::read(folder.join("ca.pem")).expect("read");
    let tls = Tls::from_pem(&authority, Some((&client, &client))).expect("good papers");
    for (key, trust) in [
        ("java.jks", "trust.jks"),
        ("java.p12", "trust.p12"),
        ("openssl.p12", "trust-openssl.p12"),
        ("encrypted.pem", "ca.pem"),
    ] {
        let server = papers
            .start(&[
                ("ssl.keyStore.location", &text(key)),
                ("ssl.keyStore.password", "zk-secret"),
                ("ssl.trustStore.location", &text(trust)),
                ("ssl.trustStore.password", "not looked at"),
                ("ssl.trustStore.passwordPath", &papers.text("password")),
            ])
            .await
            .expect(key);
        let address = server.secure_client_address().expect("a TLS port");
        let zk = connect(address, Some(tls.clone())).await.expect(key);
        let who = format!("{:?}", zk.who_am_i().await.expect("read"));
        assert!(who.contains("CN=client,O=Acme"), "{key}: {who}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_key_material_is_named_before_anything_starts() {
    let papers = Papers::new();
    papers.write("empty.pem", "");
    papers.write("store.jks", "x");
    let crt = papers.text("server.crt");
    let other = papers.text("client.pem");
    let cases: [(&str, &str, &str); 11] = [
        (
            "ssl.keyStore.location",
            "",
            "secureClientPort needs ssl.keyStore.location",
        ),
        (
            "ssl.keyStore.location",
            "/nosuch.pem",
            "ssl.keyStore.location=/nosuch.pem: cannot be read",
        ),
        ("ssl.keyStore.location", &crt, "has no private key"),
        (
            "ssl.trustStore.location",
            &papers.text("empty.pem"),
            "has no certificate",
        ),
        (
            "ssl.trustStore.location",
            "",
            "ssl.trustStore.location is not set, and certificates of others are checked",
        ),
        (
            "ssl.keyStore.location",
            &papers.text("store.jks"),
            "store.jks: cannot be used",
        ),
        ("ssl.keyStore.type", "BCFKS", "BCFKS stores cannot be read"),
        (
            "ssl.keyStore.passwordPath",
            "/nosuch",
            "ssl.keyStore.passwordPath=/nosuch: cannot be read",
        ),
        (
            "ssl.enabledProtocols",
            "TLSv1.1",
            "TLSv1.1 is none of TLSv1.3, TLSv1.2",
        ),
        (
            "ssl.ciphersuites",
            "TLS_NOSUCH",
            "TLS_NOSUCH is none of TLS_",
        ),
        ("ssl.keyStore.keyLocation", &other, "ssl.* cannot be used"),
    ];
    for (key, value, reason) in cases {
        let error = papers.start(&[(key, value)]).await.expect_err(reason);
        assert!(error.to_string().contains(reason), "{error}");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    let suites = "TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256";
    papers
        .start(&[
            ("ssl.ciphersuites", suites),
            ("ssl.enabledProtocols", "TLSv1.2,TLSv1.3"),
        ])
        .await
        .expect("started");
    assert!(Path::new(&crt).exists());
}

/// Made by `openssl x509 -req` without extensions, as in many a tutorial.
const FIRST_VERSION: &str = include_str!("vectors/certificate-v1.pem");

/// Java's clients accept such certificates.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_the_first_version_is_shown_to_clients() {
    let papers = Papers::new();
    papers.write("server.pem", FIRST_VERSION);
    let server = papers
        .start(&[("ssl.clientAuth", "none")])
        .await
        .expect("started");
    let stream = shake_hands(&server, accepts().with_no_client_auth()).await;
    let shown = stream.get_ref().1.peer_certificates().expect("shown");
    let own = CertificateDer::from_pem_slice(FIRST_VERSION.as_bytes()).expect("a certificate");
    assert_eq!(shown, [own]);
}

#[tokio::test]
async fn a_certificate_of_the_first_version_with_another_key_is_refused() {
    let papers = Papers::new();
    let (_, certificate) = FIRST_VERSION
        .split_once("-----END PRIVATE KEY-----\n")
        .expect("a key");
    papers.write(
        "server.pem",
        &format!(
            "{}{certificate}",
            String::from_utf8_lossy(&papers.read("client.key"))
        ),
    );
    let error = papers.start(&[]).await.expect_err("not together");
    let mut said = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        said = format!("{said}: {error}");
        source = error.source();
    }
    assert!(said.contains("KeyMismatch"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_with_a_certificate_of_the_first_version_is_refused() {
    let papers = Papers::new();
    let server = papers.start(&[]).await.expect("started");
    let own = FIRST_VERSION.as_bytes();
    let certificate = CertificateDer::from_pem_slice(own).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(own).expect("a key");
    let key = provider()
        .key_provider
        .load_private_key(key)
        .expect("known");
    let identity = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = accepts().with_client_cert_resolver(Arc::new(identity));
    let mut stream = shake_hands(&server, config).await;
    let refused = timeout(SOON, stream.read_u8()).await.expect("soon");
    let refused = refused.expect_err("the server ends it");
    assert_eq!(refused.kind(), std::io::ErrorKind::InvalidData, "{refused}");
}

/// A client that believes every server.
fn accepts() -> rustls::ConfigBuilder<rustls::ClientConfig, rustls::client::WantsClientCert> {
    rustls::ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
}

async fn shake_hands(server: &Server, config: rustls::ClientConfig) -> TlsStream<TcpStream> {
    let address = server.secure_client_address().expect("a TLS port");
    let stream = TcpStream::connect(address).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
    let connected = timeout(SOON, connecting).await.expect("soon");
    connected.expect("a handshake")
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Believes every server.
#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}
