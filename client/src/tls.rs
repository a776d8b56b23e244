//! TLS by rustls.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::connect_string::Server;
use crate::driver::{ConnectError, ConnectErrorKind};

/// How to make TLS connections. The server's certificate must be for the name or address that the
/// connect string has; no name is looked up in reverse.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
}

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The PEM text of the certificate authorities does not read.
    #[error("certificate authorities cannot be read")]
    Authorities(#[source] rustls::pki_types::pem::Error),
    /// The PEM text of the certificate authorities has no certificate.
    #[error("certificate authorities: the PEM text has no certificate")]
    NoAuthority,
    /// The PEM text of the client's certificate does not read.
    #[error("client certificate cannot be read")]
    Certificate(#[source] rustls::pki_types::pem::Error),
    /// The PEM text of the client's key does not read.
    #[error("client key cannot be read")]
    Key(#[source] rustls::pki_types::pem::Error),
    /// A certificate is not valid, or does not go with its key.
    #[error("certificates cannot be used")]
    Rustls(#[source] rustls::Error),
}

impl Tls {
    /// Any configuration of rustls.
    pub fn rustls(config: Arc<ClientConfig>) -> Self {
        Self { config }
    }

    /// Trusts the certificate authorities of a PEM text, and shows the certificate of another, with
    /// its key, to servers that want one.
    ///
    /// # Errors
    /// [`TlsError`] says which text is no good.
    pub fn from_pem(authorities: &[u8], client: Option<(&[u8], &[u8])>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authorities) {
            let certificate = certificate.map_err(TlsError::Authorities)?;
            roots.add(certificate).map_err(TlsError::Rustls)?;
        }
        if roots.is_empty() {
            return Err(TlsError::NoAuthority);
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rustls)?
            .with_root_certificates(roots);
        let config = match client {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = CertificateDer::pem_slice_iter(certificate)
                    .collect::<Result<Vec<_>, _>>()
                    .map_err(TlsError::Certificate)?;
                let key = PrivateKeyDer::from_pem_slice(key).map_err(TlsError::Key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsError::Rustls)?
            }
        };
        Ok(Self::rustls(Arc::new(config)))
    }

    pub(crate) async fn handshake(
        &self,
        server: &Server,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, ConnectError> {
        let failed = |what: String| ConnectError::new(ConnectErrorKind::Tls, what);
        let name = ServerName::try_from(server.host().to_owned())
            .map_err(|err| failed(format!("{:?} is no name for TLS: {err}", server.host())))?;
        TlsConnector::from(Arc::clone(&self.config))
            .connect(name, stream)
            .await
            .map_err(|err| failed(format!("TLS handshake with {server} failed: {err}")))
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}
