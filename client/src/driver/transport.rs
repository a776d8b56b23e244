//! Connections to servers.

use std::any::Any;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    turns: Arc<Mutex<Turns>>,
}

/// A connection, and where it leads.
pub(super) struct Reached {
    pub(super) io: Box<dyn Io>,
    pub(super) address: SocketAddr,
    /// Whether the server has other addresses that were not tried since they last were of use.
    pub(super) has_others: bool,
}

impl Default for TcpConnector {
    fn default() -> Self {
        Self {
            resolver: Arc::new(SystemResolver),
            #[cfg(feature = "tls")]
            tls: None,
            turns: Arc::default(),
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
        self.reach(server, within).await.map(|reached| reached.io)
    }
}

impl TcpConnector {
    /// Connects to the first address of the server that can be connected to: those that were tried,
    /// and of which nobody has said [since](Self::served) that they are of use, come last.
    pub(super) async fn reach(
        &self,
        server: &Server,
        within: Duration,
    ) -> Result<Reached, ConnectError> {
        let addresses = self.addresses(server).await?;
        let addresses = self.turns().sorted(addresses);
        let message = format!("{:?} has no address", server.host());
        let mut last = ConnectError::new(ConnectErrorKind::Dns, message);
        for &address in &addresses {
            self.turns().tried(address);
            match self.open(server, address, within).await {
                Ok(io) => {
                    let has_others = self.turns().has_untried(&addresses);
                    return Ok(Reached {
                        io,
                        address,
                        has_others,
                    });
                }
                Err(err) => last = err,
            }
        }
        Err(last)
    }

    /// A server has answered requests at this address.
    pub(super) fn served(&self, address: SocketAddr) {
        self.turns().served(address);
    }

    /// Makes this address the next to be tried.
    pub(super) fn prefer(&self, address: SocketAddr) {
        self.turns().preferred = Some(address);
    }

    fn turns(&self) -> MutexGuard<'_, Turns> {
        // Nothing in the critical sections can panic half-way.
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn addresses(&self, server: &Server) -> Result<Vec<SocketAddr>, ConnectError> {
        let host = server.host();
        let resolving = self.resolver.resolve(host, server.port());
        let message = match timeout(RESOLVE_MAX, resolving).await {
            Ok(Ok(addresses)) => return Ok(interleaved(addresses)),
            Ok(Err(err)) => format!("cannot resolve {host:?}: {err}"),
            Err(_) => format!("cannot resolve {host:?} within {RESOLVE_MAX:?}"),
        };
        Err(ConnectError::new(ConnectErrorKind::Dns, message))
    }

    async fn open(
        &self,
        server: &Server,
        address: SocketAddr,
        within: Duration,
    ) -> Result<Box<dyn Io>, ConnectError> {
        let late = |what: String| ConnectError::new(ConnectErrorKind::Timeout, what);
        let stream = timeout(within, TcpStream::connect(address))
            .await
            .map_err(|_| late(format!("{address} did not accept within {within:?}")))?
            .map_err(|err| broken(address, &err))?;
        // Requests are coalesced here: the kernel is not to wait for more.
        stream
            .set_nodelay(true)
            .map_err(|err| broken(address, &err))?;
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls
            && server.tls().unwrap_or(true)
        {
            let io = timeout(within, tls.handshake(server, stream))
                .await
                .map_err(|_| {
                    late(format!(
                        "{server} did not finish the TLS handshake within {within:?}"
                    ))
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

/// Addresses remembered, of all servers together.
const TRIED_MAX: usize = 64;

/// Which addresses have had their turn: one that accepts connections and serves nobody does not stand
/// in the way of the others that its name has.
#[derive(Debug, Default)]
struct Turns {
    /// Tried, and not known to be of use since; the one tried last stands at the end.
    tried: Vec<SocketAddr>,
    /// The one to be tried next, if its server is.
    preferred: Option<SocketAddr>,
}

impl Turns {
    /// The addresses in the order in which it is their turn.
    fn sorted(&self, mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        addresses.sort_by_key(|address| {
            let turn = self.tried.iter().position(|tried| tried == address);
            (self.preferred != Some(*address), turn)
        });
        addresses
    }

    fn tried(&mut self, address: SocketAddr) {
        self.served(address);
        if self.tried.len() >= TRIED_MAX {
            self.tried.remove(0);
        }
        self.tried.push(address);
        self.preferred.take_if(|preferred| *preferred == address);
    }

    fn served(&mut self, address: SocketAddr) {
        self.tried.retain(|tried| *tried != address);
    }

    fn has_untried(&self, addresses: &[SocketAddr]) -> bool {
        addresses
            .iter()
            .any(|address| !self.tried.contains(address))
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

    #[test]
    fn addresses_that_were_tried_in_vain_come_last_until_they_are_of_use() {
        let [a, b, c] = ["1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"].map(|text| text.parse().unwrap());
        let mut turns = Turns::default();
        let given = || vec![a, b, c];
        assert_eq!(turns.sorted(given()), [a, b, c]);
        turns.tried(a);
        assert_eq!(turns.sorted(given()), [b, c, a]);
        assert!(turns.has_untried(&given()));
        turns.tried(b);
        turns.tried(c);
        assert!(!turns.has_untried(&given()));
        turns.tried(a);
        assert_eq!(turns.sorted(given()), [b, c, a]);
        turns.served(c);
        assert_eq!(turns.sorted(given()), [c, b, a]);
        turns.preferred = Some(a);
        assert_eq!(turns.sorted(given()), [a, c, b]);
        turns.tried(a);
        assert_eq!(turns.sorted(given()), [c, b, a]);
        for port in 1..1_000 {
            turns.tried(SocketAddr::new(a.ip(), port));
        }
        assert_eq!(turns.tried.len(), TRIED_MAX);
    }
}
