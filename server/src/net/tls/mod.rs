//! TLS of client ports and between servers: key material from files, read again when they change.

mod jks;
mod stores;
mod x509;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::{Mutex, MutexGuard};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore,
    ServerConfig, SignatureScheme, SupportedProtocolVersion,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use x509_cert::Version;
use x509_cert::der::{Decode as _, Encode as _};

use crate::config::Secret;
use crate::config::keys::TlsSettings;

pub use stores::StoreError;
use stores::{Form, Store};
pub(crate) use x509::{X509Scheme, subject};

/// Time between looks for changed files, at most one for each connection.
const LOOK: Duration = Duration::from_secs(1);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A key that is needed is not set.
    #[error("{prefix}{key} is not set, and {why}")]
    Missing {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// What needs it.
        why: &'static str,
    },
    /// A file cannot be read.
    #[error("{prefix}{key}={}: cannot be read", path.display())]
    Unreadable {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is of another form than it should be, damaged, or protected otherwise.
    #[error("{prefix}{key}={}: cannot be used", path.display())]
    Store {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// A file has not what is looked for.
    #[error("{prefix}{key}={}: has no {what}", path.display())]
    Lacking {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What it should have.
        what: &'static str,
    },
    /// A store of a form that is not known here.
    #[error(
        "{prefix}{key}={}: {form} stores cannot be read; \
         keytool -importkeystore -deststoretype PKCS12 converts them",
        path.display()
    )]
    Form {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// Its form.
        form: &'static str,
    },
    /// A name that means nothing here.
    #[error("{prefix}{key}: {name} is none of {known}")]
    Unknown {
        /// Which side.
        prefix: &'static str,
        /// The rest of the key.
        key: &'static str,
        /// The name.
        name: String,
        /// Names that do.
        known: String,
    },
    /// Key and certificates do not go together.
    #[error("{prefix}* cannot be used")]
    Rustls {
        /// Which side.
        prefix: &'static str,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

/// TLS as one list of settings has it.
#[derive(Debug)]
pub(crate) struct Tls {
    settings: TlsSettings,
    prefix: &'static str,
    /// How servers that are dialled are looked at; `None` if none are.
    dialling: Option<Names>,
    /// Whether the files are looked at again.
    is_watched: bool,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    config: Arc<ServerConfig>,
    client: Option<Arc<ClientConfig>>,
    looked: Instant,
    changed: Vec<Option<SystemTime>>,
}

/// What is asked of the name in the certificate of a server that is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Names {
    /// It has to be the one dialled.
    Checked,
    /// Any will do, as long as the certificate is trusted.
    Ignored,
}

impl Tls {
    /// Reads the key material of the settings whose keys begin with `prefix`.
    ///
    /// # Errors
    ///
    /// The first key that does not do.
    pub(crate) fn new(
        settings: TlsSettings,
        prefix: &'static str,
        is_watched: bool,
    ) -> Result<Self, TlsError> {
        Self::read(settings, prefix, is_watched, None)
    }

    /// The same for both directions; servers that are dialled have to have the name by which they are,
    /// if `checks_names`.
    ///
    /// # Errors
    ///
    /// The first key that does not do.
    pub(crate) fn of_peers(
        settings: TlsSettings,
        prefix: &'static str,
        is_watched: bool,
        checks_names: bool,
    ) -> Result<Self, TlsError> {
        let names = if checks_names {
            Names::Checked
        } else {
            Names::Ignored
        };
        Self::read(settings, prefix, is_watched, Some(names))
    }

    fn read(
        settings: TlsSettings,
        prefix: &'static str,
        is_watched: bool,
        dialling: Option<Names>,
    ) -> Result<Self, TlsError> {
        let reader = Reader {
            settings: &settings,
            prefix,
        };
        let current = Mutex::new(Current {
            config: reader.config()?,
            client: dialling.map(|names| reader.client(names)).transpose()?,
            looked: Instant::now(),
            changed: reader.changed(),
        });
        Ok(Self {
            settings,
            prefix,
            dialling,
            is_watched,
            current,
        })
    }

    /// What accepts the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.up_to_date().config))
    }

    /// What makes the next connection; `None` if this is a side that makes none.
    pub(crate) fn connector(&self) -> Option<TlsConnector> {
        let client = self.up_to_date().client.clone();
        client.map(TlsConnector::from)
    }

    fn up_to_date(&self) -> MutexGuard<'_, Current> {
        let mut current = self.current.lock();
        if self.is_watched && current.looked.elapsed() >= LOOK {
            current.looked = Instant::now();
            self.look(&mut current);
        }
        current
    }

    /// Reads files that changed. While they are no good, what was read before stays in use.
    fn look(&self, current: &mut Current) {
        let reader = Reader {
            settings: &self.settings,
            prefix: self.prefix,
        };
        let changed = reader.changed();
        if changed == current.changed {
            return;
        }
        current.changed = changed;
        let client = || self.dialling.map(|names| reader.client(names)).transpose();
        match reader.config().and_then(|config| Ok((config, client()?))) {
            Ok((config, client)) => {
                (current.config, current.client) = (config, client);
                tracing::info!(side = self.prefix, "certificates read again");
            }
            Err(error) => {
                let err = crate::stage::fail_stop::chain(&error);
                tracing::error!(side = self.prefix, err, "changed certificates are not used");
            }
        }
    }
}

/// Refuses a key that is not the certificate's.
///
/// The certificate may be of X.509's first version, as `openssl x509 -req` makes them, which rustls does
/// not look into: it is for the other side to accept it or not, and Java does.
fn go_together(identity: CertifiedKey) -> Result<CertifiedKey, rustls::Error> {
    let checked = match identity.keys_match() {
        // Keys that do not tell their public half are taken at their word, as rustls itself does.
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(()),
        Err(error @ rustls::Error::InvalidCertificate(_)) => match first_version_key(&identity) {
            Some(known) if identity.key.public_key().is_some_and(|key| *key == *known) => Ok(()),
            Some(_) => Err(InconsistentKeys::KeyMismatch.into()),
            None => Err(error),
        },
        checked => checked,
    };
    checked.map(|()| identity)
}

/// The public key in a certificate of X.509's first version.
fn first_version_key(identity: &CertifiedKey) -> Option<Vec<u8>> {
    let certificate = identity.end_entity_cert().ok()?;
    let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
    let content = certificate.tbs_certificate;
    let key = content.subject_public_key_info.to_der().ok()?;
    (content.version == Version::V1).then_some(key)
}

/// Reads what the settings of one side name.
struct Reader<'a> {
    settings: &'a TlsSettings,
    prefix: &'static str,
}

impl Reader<'_> {
    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let failed = |source| TlsError::Rustls {
            prefix: self.prefix,
            source,
        };
        let mut provider = rustls::crypto::ring::default_provider();
        self.choose_suites(&mut provider.cipher_suites)?;
        let provider = Arc::new(provider);
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&self.versions()?)
            .map_err(failed)?;
        let builder = match self.settings.client_auth.as_str() {
            "none" => builder.with_no_client_auth(),
            demand => {
                let roots = Arc::new(self.roots()?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                let verifier = if demand == "want" {
                    verifier.allow_unauthenticated()
                } else {
                    verifier
                };
                let verifier = verifier
                    .build()
                    .map_err(|error| failed(rustls::Error::General(error.to_string())))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        Ok(Arc::new(builder.with_cert_resolver(self.identity()?)))
    }

    /// How other servers are dialled.
    fn client(&self, names: Names) -> Result<Arc<ClientConfig>, TlsError> {
        let failed = |source| TlsError::Rustls {
            prefix: self.prefix,
            source,
        };
        let mut provider = rustls::crypto::ring::default_provider();
        self.choose_suites(&mut provider.cipher_suites)?;
        let provider = Arc::new(provider);
        let roots = Arc::new(self.roots()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(|error| failed(rustls::Error::General(error.to_string())))?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(failed)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier {
                chain: verifier,
                names,
            }))
            .with_client_cert_resolver(self.identity()?);
        Ok(Arc::new(config))
    }

    /// The own certificates and key, of one file or of two.
    fn identity(&self) -> Result<Arc<SingleCertAndKey>, TlsError> {
        let settings = self.settings;
        let or_whole = |key: &'static str, path| match path {
            "" => ("keyStore.location", &*settings.key_store_location),
            path => (key, path),
        };
        let (key, path) = or_whole("keyStore.certLocation", &settings.key_store_cert_location);
        let chain = self.some_certificates(key, path, self.own(key, path)?.chain)?;
        let (key, path) = or_whole("keyStore.keyLocation", &settings.key_store_key_location);
        let private = self.own(key, path)?.key.ok_or_else(|| TlsError::Lacking {
            prefix: self.prefix,
            key,
            path: path.into(),
            what: "private key",
        })?;
        let identity = rustls::crypto::ring::sign::any_supported_type(&private)
            .and_then(|signs| go_together(CertifiedKey::new(chain, signs)))
            .map_err(|source| TlsError::Rustls {
                prefix: self.prefix,
                source,
            })?;
        Ok(Arc::new(identity.into()))
    }

    fn own(&self, key: &'static str, path: &str) -> Result<Store, TlsError> {
        let settings = self.settings;
        let password = self.password(
            "keyStore.passwordPath",
            &settings.key_store_password_path,
            settings.key_store_password.as_ref(),
        )?;
        let why = "a server needs a certificate";
        self.read(key, path, &settings.key_store_type, &password, why)
    }

    /// The certificates that those of others have to lead to.
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let settings = self.settings;
        let (key, path) = ("trustStore.location", &*settings.trust_store_location);
        let password = self.password(
            "trustStore.passwordPath",
            &settings.trust_store_password_path,
            settings.trust_store_password.as_ref(),
        )?;
        let why = "certificates of others are checked";
        let store = self.read(key, path, &settings.trust_store_type, &password, why)?;
        let mut roots = RootCertStore::empty();
        for certificate in self.some_certificates(key, path, store.trusted)? {
            roots.add(certificate).map_err(|source| TlsError::Rustls {
                prefix: self.prefix,
                source,
            })?;
        }
        Ok(roots)
    }

    fn some_certificates(
        &self,
        key: &'static str,
        path: &str,
        certificates: Vec<CertificateDer<'static>>,
    ) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        if certificates.is_empty() {
            return Err(TlsError::Lacking {
                prefix: self.prefix,
                key,
                path: path.into(),
                what: "certificate",
            });
        }
        Ok(certificates)
    }

    /// The password of a file, if there is one: that in a file of its own wins.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `X509Util#getPasswordFromConfigPropertyOrFile`, `SecretUtils#readSecret`.
    fn password(
        &self,
        key: &'static str,
        path: &str,
        set: Option<&Secret>,
    ) -> Result<String, TlsError> {
        if path.is_empty() {
            return Ok(set.map_or_else(String::new, |set| set.expose().to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|source| TlsError::Unreadable {
            prefix: self.prefix,
            key,
            path: path.into(),
            source,
        })?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
    }

    fn read(
        &self,
        key: &'static str,
        path: &str,
        form: &str,
        password: &str,
        why: &'static str,
    ) -> Result<Store, TlsError> {
        let prefix = self.prefix;
        if path.is_empty() {
            return Err(TlsError::Missing { prefix, key, why });
        }
        let form = Form::of(form, Path::new(path)).map_err(|form| TlsError::Form {
            prefix,
            key,
            path: path.into(),
            form,
        })?;
        let content = fs::read(path).map_err(|source| TlsError::Unreadable {
            prefix,
            key,
            path: path.into(),
            source,
        })?;
        Store::read(&content, form, password).map_err(|source| TlsError::Store {
            prefix,
            key,
            path: path.into(),
            source,
        })
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let (key, text) = match self.settings.enabled_protocols.as_str() {
            "" => ("protocol", self.settings.protocol.as_str()),
            text => ("enabledProtocols", text),
        };
        let mut versions = Vec::new();
        for name in text
            .split(',')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            versions.push(match name {
                "TLSv1.3" => &rustls::version::TLS13,
                "TLSv1.2" => &rustls::version::TLS12,
                // What Java calls whatever it has.
                "TLS" => continue,
                _ => {
                    return Err(TlsError::Unknown {
                        prefix: self.prefix,
                        key,
                        name: name.to_owned(),
                        known: "TLSv1.3, TLSv1.2".to_owned(),
                    });
                }
            });
        }
        if versions.is_empty() {
            versions.extend_from_slice(rustls::ALL_VERSIONS);
        }
        Ok(versions)
    }

    /// Leaves the suites that are named, if any are.
    fn choose_suites(
        &self,
        suites: &mut Vec<rustls::SupportedCipherSuite>,
    ) -> Result<(), TlsError> {
        let wanted: Vec<&str> = self.settings.cipher_suites.split(',').collect();
        let wanted: Vec<&str> = wanted
            .into_iter()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .collect();
        if wanted.is_empty() {
            return Ok(());
        }
        let known: Vec<String> = suites.iter().map(java_name).collect();
        if let Some(name) = wanted
            .iter()
            .find(|name| !known.iter().any(|own| own == *name))
        {
            return Err(TlsError::Unknown {
                prefix: self.prefix,
                key: "ciphersuites",
                name: (*name).to_owned(),
                known: known.join(", "),
            });
        }
        suites.retain(|suite| wanted.contains(&java_name(suite).as_str()));
        Ok(())
    }

    /// When the files last changed.
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let settings = self.settings;
        [
            &settings.key_store_location,
            &settings.key_store_cert_location,
            &settings.key_store_key_location,
            &settings.key_store_password_path,
            &settings.trust_store_location,
            &settings.trust_store_password_path,
        ]
        .iter()
        .map(|path| fs::metadata(path.as_str()).ok()?.modified().ok())
        .collect()
    }
}

/// Trusts who has a certificate that leads to a trusted one, and where it is asked for the name.
#[derive(Debug)]
struct Verifier {
    chain: Arc<WebPkiServerVerifier>,
    names: Names,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.chain.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        // The name is looked at last: everything else is right.
        match verified {
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.names == Names::Ignored => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// The name of a suite in Java: without the version of the protocol.
fn java_name(suite: &rustls::SupportedCipherSuite) -> String {
    let name = format!("{:?}", suite.suite());
    match name.strip_prefix("TLS13_") {
        Some(rest) => format!("TLS_{rest}"),
        None => name,
    }
}
