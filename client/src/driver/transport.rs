//! Connections to servers.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use crate::connect_string::Server;
use crate::core::ServiceRecord;

/// Longest time to resolve a host name, or to find the servers behind a service.
pub(super) const RESOLVE_MAX: Duration = Duration::from_secs(5);

/// A connection: bytes both ways.
pub trait Io: Any + AsyncRead + AsyncWrite + Send + Unpin {}

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

/// Finds the addresses of a server: asked before every attempt to connect, because servers move.
///
/// # Cancel safety
/// The client drops the future of an attempt that it does not want any more.
#[async_trait]
pub trait Resolver: fmt::Debug + Send + Sync + 'static {
    /// Addresses to try, the best first.
    ///
    /// # Errors
    /// Whatever it is: the attempt ends with [`ConnectErrorKind::Dns`], and others follow.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;

    /// The SRV records of a name, in any order: asked for before every attempt if the connect string
    /// is a [service](crate::Server::service).
    ///
    /// # Errors
    /// As [`Resolver::resolve`]. A resolver without this method finds no services.
    async fn services(&self, name: &str) -> io::Result<Vec<ServiceRecord>> {
        let message = format!("the resolver in use looks for no SRV records, as those of {name}");
        Err(io::Error::new(io::ErrorKind::Unsupported, message))
    }
}

/// The system's way to find addresses.
#[derive(Debug)]
struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(lookup_host((host, port)).await?.collect())
    }

    #[cfg(feature = "srv")]
    async fn services(&self, name: &str) -> io::Result<Vec<ServiceRecord>> {
        super::dns::DnsResolver::system().services(name).await
    }
}

/// TCP, and TLS on top where asked for.
#[derive(Debug, Clone)]
pub(crate) struct TcpConnector {
    pub(crate) resolver: Arc<dyn Resolver>,
    /// What TLS connections are made with; without it `tls://` is refused.
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<crate::tls::Tls>,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }
}

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(
        &self,
        server: &Server,
        within: Duration,
    ) -> Result<Box<dyn Io>, ConnectError> {
        let stream = self.tcp(server, within).await?;
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

impl TcpConnector {
    /// Every address of the server gets its try.
    async fn tcp(&self, server: &Server, within: Duration) -> Result<TcpStream, ConnectError> {
        let host = server.host();
        let dns = |what| ConnectError::new(ConnectErrorKind::Dns, what);
        let resolving = self.resolver.resolve(host, server.port());
        let addresses = match timeout(RESOLVE_MAX, resolving).await {
            Ok(Ok(addresses)) => interleaved(addresses),
            Ok(Err(err)) => return Err(dns(format!("cannot resolve {host:?}: {err}"))),
            Err(_) => {
                let message = format!("cannot resolve {host:?} within {RESOLVE_MAX:?}");
                return Err(dns(message));
            }
        };
        let mut last = dns(format!("{host:?} has no address"));
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
}

fn broken(address: SocketAddr, err: &io::Error) -> ConnectError {
    ConnectError::new(
        ConnectErrorKind::Io,
        format!("cannot connect to {address}: {err}"),
    )
}

/// Addresses with their families taking turns, in the resolver's order otherwise.
fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_families_take_turns() {
        let parse = |text: &str| text.parse::<SocketAddr>().unwrap();
        let given = ["[::1]:1", "[::2]:1", "1.1.1.1:1", "[::3]:1", "2.2.2.2:1"].map(parse);
        let wanted = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(parse);
        assert_eq!(interleaved(given.to_vec()), wanted);
    }
}
