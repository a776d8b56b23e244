//! Connections between servers: in the clear, or by TLS, as `sslQuorum` and `portUnification` say, and
//! with or without a proof by SASL.
//!
//! | sslQuorum | portUnification | dials by | accepts |
//! |---|---|---|---|
//! | false | false | plaintext | plaintext |
//! | false | true | plaintext | both |
//! | true | true | TLS | both |
//! | true | false | TLS | TLS |
//!
//! From the first row to the last, one server after the other is restarted with the next row.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, ToSocketAddrs, lookup_host};
use tokio::time::timeout;

use super::members::Members;
use super::peer_sasl::PeerSasl;
use super::race::first;
use super::tls::{Tls, TlsError};
use crate::config::Config;

/// First byte of a TLS handshake, and of nothing else that servers say to each other.
const HANDSHAKE: u8 = 22;

/// A connection to another server, which is who it has to be as far as TLS is spoken.
pub(super) struct PeerSocket {
    pub(super) source: Source,
    pub(super) sink: Sink,
}

/// What another server sends.
pub(super) type Source = Box<dyn AsyncRead + Send + Unpin>;
/// What is sent to another server. To be flushed.
pub(super) type Sink = Box<dyn AsyncWrite + Send + Unpin>;

/// How servers know each other. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct PeerAuth {
    tls: Option<Arc<PeerTls>>,
    sasl: Option<Arc<PeerSasl>>,
}

/// TLS between servers.
pub(crate) struct PeerTls {
    tls: Tls,
    dials_by_tls: bool,
    accepts_plaintext: bool,
    /// Whether the name of a server that dials has to be one of the members'.
    checks_dialling: bool,
    /// Longest that a handshake may take, and that one is waited for where plaintext is taken too.
    limit: Duration,
}

impl fmt::Debug for PeerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PeerTls")
            .field("dials_by_tls", &self.dials_by_tls)
            .field("accepts_plaintext", &self.accepts_plaintext)
            .finish_non_exhaustive()
    }
}

impl PeerTls {
    /// Reads the key material, if any is needed.
    ///
    /// # Errors
    /// It is not there, or not good.
    pub(crate) fn new(config: &Config) -> Result<Option<Self>, TlsError> {
        let switches = &config.tls;
        if !switches.ssl_quorum && !switches.port_unification {
            return Ok(None);
        }
        // In FIPS mode the reference leaves names alone.
        let checks = !config.auth.fips_mode;
        let settings = config.quorum_tls.clone();
        let checks_dialling = checks && switches.quorum_client_names;
        let checks_dialled = checks && switches.quorum_names;
        let limit = settings.handshake_detection_timeout;
        let watched = switches.quorum_cert_reload;
        Ok(Some(Self {
            tls: Tls::of_peers(settings, "ssl.quorum.", watched, checks_dialled)?,
            dials_by_tls: switches.ssl_quorum,
            accepts_plaintext: switches.port_unification || !switches.ssl_quorum,
            checks_dialling,
            limit,
        }))
    }
}

impl PeerAuth {
    /// As configured.
    pub(crate) fn new(tls: Option<PeerTls>, sasl: Option<PeerSasl>) -> Self {
        Self {
            tls: tls.map(Arc::new),
            sasl: sasl.map(Arc::new),
        }
    }

    /// Proves to a server that was dialled who this one is, if it has to.
    ///
    /// # Errors
    /// It does not believe it.
    pub(super) async fn prove(&self, socket: &mut PeerSocket) -> io::Result<()> {
        match &self.sasl {
            Some(sasl) => sasl.prove(socket).await,
            None => Ok(()),
        }
    }

    /// Hears the proof of a server that dialled, if there has to be one.
    ///
    /// # Errors
    /// There is none.
    pub(super) async fn hear(&self, socket: &mut PeerSocket) -> io::Result<()> {
        match &self.sasl {
            Some(sasl) => sasl.hear(socket).await,
            None => Ok(()),
        }
    }

    /// Makes the connection that another server dialled one of the kind that is wanted.
    ///
    /// # Errors
    /// The handshake failed, or it is of the other kind.
    pub(super) async fn accept(
        &self,
        socket: TcpStream,
        members: &Members,
    ) -> io::Result<PeerSocket> {
        socket.set_nodelay(true)?;
        let Some(inner) = &self.tls else {
            return Ok(PeerSocket::plain(socket));
        };
        let mut first = [0];
        let peeked = timeout(inner.limit, socket.peek(&mut first)).await;
        let peeked =
            peeked.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "it is silent"))??;
        if peeked == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if first != [HANDSHAKE] {
            if inner.accepts_plaintext {
                return Ok(PeerSocket::plain(socket));
            }
            return Err(refused(
                "it speaks plaintext, this server expects TLS (sslQuorum)",
            ));
        }
        let handshake = inner.tls.acceptor().accept(socket);
        let socket = timeout(inner.limit, handshake)
            .await
            .map_err(|_| slow())??;
        if inner.checks_dialling {
            let (_, connection) = socket.get_ref();
            let certificates = connection.peer_certificates().unwrap_or_default();
            // Without one there is nothing to check: clientAuth says whether it needs one.
            if let Some(certificate) = certificates.first()
                && !is_of_member(certificate, members)
            {
                return Err(refused("its certificate is for none of the members' hosts"));
            }
        }
        Ok(PeerSocket::tls(socket))
    }

    /// Connects to a server, at whichever of the addresses of its place answers; `host` is the name or
    /// the address in the place. What a name stands for is looked up each time.
    ///
    /// # Errors
    /// It cannot be looked up, or no address leads to a connection of the kind that is wanted.
    pub(super) async fn dial(
        &self,
        place: impl ToSocketAddrs,
        host: &str,
    ) -> io::Result<PeerSocket> {
        let addresses = lookup_host(place).await?;
        let attempts = addresses.map(|address| async move {
            let socket = TcpStream::connect(address).await?;
            self.dialled(socket, host).await
        });
        first(attempts).await
    }

    /// Makes a connection that was dialled one of the kind that is wanted.
    async fn dialled(&self, socket: TcpStream, host: &str) -> io::Result<PeerSocket> {
        socket.set_nodelay(true)?;
        let Some(inner) = self.tls.as_ref().filter(|inner| inner.dials_by_tls) else {
            return Ok(PeerSocket::plain(socket));
        };
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| refused("its host cannot stand in a certificate"))?;
        let connector = inner.tls.connector();
        let connector = connector.ok_or_else(|| refused("this side dials nobody"))?;
        let handshake = connector.connect(name, socket);
        let socket = timeout(inner.limit, handshake)
            .await
            .map_err(|_| slow())??;
        Ok(PeerSocket::tls(socket))
    }
}

impl PeerSocket {
    fn plain(socket: TcpStream) -> Self {
        let (source, sink) = socket.into_split();
        Self {
            source: Box::new(source),
            sink: Box::new(sink),
        }
    }

    fn tls(socket: impl AsyncRead + AsyncWrite + Send + 'static) -> Self {
        let (source, sink) = tokio::io::split(socket);
        Self {
            source: Box::new(source),
            sink: Box::new(sink),
        }
    }
}

fn is_of_member(certificate: &CertificateDer<'_>, members: &Members) -> bool {
    let Ok(certificate) = ParsedCertificate::try_from(certificate) else {
        return false;
    };
    let configs = members.configs();
    let all = [configs.current(), configs.last_seen()];
    let mut hosts = all
        .into_iter()
        .flat_map(|config| config.members())
        .flat_map(|member| &member.addresses)
        .filter_map(|address| ServerName::try_from(address.host.as_str()).ok());
    hosts.any(|host| rustls::client::verify_server_name(&certificate, &host).is_ok())
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

fn slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the TLS handshake took too long")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;

    use super::super::race::testing::Silent;
    use super::*;

    #[tokio::test]
    async fn a_name_whose_first_address_answers_nobody_is_reached_at_the_next() {
        let silent = Silent::start().await;
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("bound");
        let live = listener.local_addr().expect("an address");
        let addresses = [SocketAddr::from(([127, 0, 0, 1], silent.port)), live];
        let auth = PeerAuth::default();
        let dialled = timeout(
            Duration::from_mins(1),
            auth.dial(&addresses[..], "127.0.0.1"),
        );
        assert!(dialled.await.expect("in time").is_ok());
        listener.accept().await.expect("it is this one");
    }
}
