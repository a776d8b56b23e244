//! Connections to servers.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::connect_string::Server;

/// Longest time to resolve a host name.
const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// A connection: bytes both ways.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// Makes connections: a seam for proxies, Unix sockets and simulators.
///
/// # Cancel safety
/// The client drops the future of an attempt that it does not want any more.
#[async_trait]
pub trait Connector: fmt::Debug + Send + Sync + 'static {
    /// Connects to a server, taking no longer than `within` for each address that its name has.
    async fn connect(&self, server: &Server, within: Duration)
    -> Result<Box<dyn Io>, ConnectError>;
}

/// Why a connection could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    /// What kind of trouble it is.
    pub kind: ConnectErrorKind,
    /// What was attempted and what came of it.
    pub message: String,
}

/// Kinds of [`ConnectError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// The host name has no address.
    Dns,
    /// No connection, or it broke.
    Io,
    /// The TLS handshake failed.
    Tls,
    /// It took too long.
    Timeout,
}

impl ConnectError {
    /// An error of a custom [`Connector`].
    pub fn new(kind: ConnectErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }
}

/// TCP, and TLS on top where asked for.
#[derive(Debug, Clone, Default)]
pub(crate) struct TcpConnector {
    /// What TLS connections are made with; without it `tls://` is refused.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::Tls>,
}

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(
        &self,
        server: &Server,
        within: Duration,
    ) -> Result<Box<dyn Io>, ConnectError> {
        let stream = tcp(server, within).await?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls
            && server.tls().unwrap_or(true)
        {
            let io = timeout(within, tls.handshake(server, stream))
                .await
                .map_err(|_| {
                    let message =
                        format!("{server} did not finish the TLS handshake within {within:?}");
                    ConnectError::new(ConnectErrorKind::Timeout, message)
                })??;
            return Ok(Box::new(io));
        }
        if server.tls() == Some(true) {
            let message = format!("{server} is to be reached by TLS, which is not configured");
            return Err(ConnectError::new(ConnectErrorKind::Tls, message));
        }
        Ok(Box::new(stream))
    }
}

/// Resolves the name now, not once and for all: servers move. Every address gets its try.
async fn tcp(server: &Server, within: Duration) -> Result<TcpStream, ConnectError> {
    let dns = |message| ConnectError::new(ConnectErrorKind::Dns, message);
    let addresses: Vec<SocketAddr> =
        match timeout(RESOLVE_MAX, lookup_host((server.host(), server.port()))).await {
            Ok(Ok(addresses)) => interleaved(addresses),
            Ok(Err(err)) => {
                return Err(dns(format!("cannot resolve {:?}: {err}", server.host())));
            }
            Err(_) => {
                let host = server.host();
                return Err(dns(format!(
                    "cannot resolve {host:?} within {RESOLVE_MAX:?}"
                )));
            }
        };
    let mut last = dns(format!("{:?} has no address", server.host()));
    for address in addresses {
        last = match timeout(within, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Requests are coalesced here: the kernel is not to wait for more.
                stream
                    .set_nodelay(true)
                    .map_err(|err| broken(address, &err))?;
                return Ok(stream);
            }
            Ok(Err(err)) => broken(address, &err),
            Err(_) => {
                let message = format!("{address} did not accept within {within:?}");
                ConnectError::new(ConnectErrorKind::Timeout, message)
            }
        };
    }
    Err(last)
}

fn broken(address: SocketAddr, err: &io::Error) -> ConnectError {
    ConnectError::new(
        ConnectErrorKind::Io,
        format!("cannot connect to {address}: {err}"),
    )
}

/// Addresses with their families taking turns, in the resolver's order otherwise.
fn interleaved(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let addresses: Vec<_> = addresses.collect();
    let Some(first) = addresses.first().map(SocketAddr::is_ipv6) else {
        return addresses;
    };
    let (mut same, mut other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == first);
    same.reverse();
    other.reverse();
    let mut mixed = Vec::new();
    while !same.is_empty() || !other.is_empty() {
        mixed.extend(same.pop());
        mixed.extend(other.pop());
    }
    mixed
}

/// Whether a server answers that it takes writes.
pub(crate) async fn is_writable(connector: &dyn Connector, server: &Server) -> bool {
    let within = Duration::from_secs(1);
    let ask = async {
        let mut io = connector.connect(server, within).await.ok()?;
        io.write_all(b"isro").await.ok()?;
        let mut answer = [0; 2];
        io.read_exact(&mut answer).await.ok()?;
        Some(answer == *b"rw")
    };
    timeout(within * 2, ask)
        .await
        .ok()
        .flatten()
        .unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"].map(parse);
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(interleaved(given.into_iter()), wanted);
    }
}
