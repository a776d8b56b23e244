//! One attempt to connect: the servers behind a name, or credentials and then the connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::transport::{
    ConnectError, ConnectErrorKind, Connector, Io, RESOLVE_MAX, Reached, TcpConnector,
};
use crate::connect_string::Server;
use crate::core::{AttemptError, AttemptErrorKind, Proofs, ServiceRecord};
use crate::credentials::{CredentialProvider, Credentials};
use crate::error::chain;

/// Longest time to find credentials: a session may be running out.
const CREDENTIALS_MAX: Duration = Duration::from_secs(5);

/// What came of an attempt.
pub(super) enum Dialed {
    /// The servers behind a service.
    Found(Vec<ServiceRecord>),
    Connected(Connection),
}

/// A connection that was made.
pub(super) struct Connection {
    pub(super) io: Box<dyn Io>,
    /// What is to be sent there, if a provider has a say in it.
    pub(super) proofs: Option<Proofs>,
    /// Where it leads, if that is known.
    pub(super) address: Option<SocketAddr>,
    /// Whether the server has other addresses that wait for their turn.
    pub(super) has_others: bool,
}

impl Connection {
    fn with(self, proofs: Proofs) -> Self {
        Self {
            proofs: Some(proofs),
            ..self
        }
    }
}

impl From<Reached> for Connection {
    fn from(reached: Reached) -> Self {
        Self {
            io: reached.io,
            proofs: None,
            address: Some(reached.address),
            has_others: reached.has_others,
        }
    }
}

/// Makes connections, and asks anew each time for what they need.
#[derive(Debug, Clone)]
pub(crate) struct Dialer {
    /// How connections are made, but for a connector of the user's.
    pub(crate) tcp: TcpConnector,
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) provider: Option<Arc<dyn CredentialProvider>>,
}

impl Dialer {
    /// Looks up a service, or connects to a server.
    pub(super) async fn dial(
        &self,
        server: &Server,
        within: Duration,
    ) -> Result<Dialed, AttemptError> {
        if server.is_service() {
            return Ok(Dialed::Found(self.find(server).await?));
        }
        Ok(Dialed::Connected(self.reach(server, within).await?))
    }

    async fn find(&self, service: &Server) -> Result<Vec<ServiceRecord>, AttemptError> {
        let name = service.service_name();
        let why = match timeout(RESOLVE_MAX, self.tcp.resolver.services(&name)).await {
            Ok(Ok(records)) => return Ok(records),
            Ok(Err(err)) => format!("cannot find the servers behind {name:?}: {err}"),
            Err(_) => format!("cannot find the servers behind {name:?} within {RESOLVE_MAX:?}"),
        };
        Err(AttemptError::new(AttemptErrorKind::Dns, why))
    }

    /// Connects to a server, taking no longer than `within` for each of its addresses.
    async fn reach(&self, server: &Server, within: Duration) -> Result<Connection, AttemptError> {
        let Some(provider) = &self.provider else {
            return Ok(self.connect(server, within).await?);
        };
        let credentials = find(provider.as_ref(), server).await?;
        #[cfg(feature = "tls")]
        let mut credentials = credentials;
        #[cfg(feature = "tls")]
        if let Some(tls) = credentials.take_tls() {
            if self.connector.is_some() {
                let message = "a connector connects by itself: the TLS of the provider of \
                    credentials would not be applied";
                return Err(none(message.to_owned()));
            }
            let mut tcp = self.tcp.clone();
            tcp.tls = Some(tls);
            let connection = Connection::from(tcp.reach(server, within).await?);
            return Ok(connection.with(proofs(credentials)?));
        }
        let proofs = proofs(credentials)?;
        Ok(self.connect(server, within).await?.with(proofs))
    }

    async fn connect(&self, server: &Server, within: Duration) -> Result<Connection, ConnectError> {
        match &self.connector {
            Some(connector) => Ok(Connection {
                io: connector.connect(server, within).await?,
                proofs: None,
                address: None,
                has_others: false,
            }),
            None => Ok(self.tcp.reach(server, within).await?.into()),
        }
    }

    /// The server that answers that it takes writes: this one, or one of those behind the name that it
    /// is.
    pub(super) async fn find_writable(&self, server: &Server) -> Option<Server> {
        let servers = if server.is_service() {
            let records = self.find(server).await.ok()?;
            records.iter().filter_map(ServiceRecord::server).collect()
        } else {
            vec![server.clone()]
        };
        for server in servers {
            if self.is_writable(&server).await {
                return Some(server);
            }
        }
        None
    }

    async fn is_writable(&self, server: &Server) -> bool {
        let within = Duration::from_secs(1);
        let ask = async {
            let Connection {
                mut io, address, ..
            } = self.reach(server, within).await.ok()?;
            io.write_all(b"isro").await.ok()?;
            let mut answer = [0; 2];
            io.read_exact(&mut answer).await.ok()?;
            let is_writable = answer == *b"rw";
            if let Some(address) = address.filter(|_| is_writable) {
                self.tcp.prefer(address);
            }
            Some(is_writable)
        };
        timeout(within * 2, ask)
            .await
            .ok()
            .flatten()
            .unwrap_or(false)
    }
}

async fn find(
    provider: &dyn CredentialProvider,
    server: &Server,
) -> Result<Credentials, AttemptError> {
    match timeout(CREDENTIALS_MAX, provider.credentials(server)).await {
        Ok(Ok(credentials)) => Ok(credentials),
        Ok(Err(err)) => Err(none(format!(
            "the provider failed: {}",
            chain(err.as_ref())
        ))),
        Err(_) => Err(none(format!(
            "the provider did not answer within {CREDENTIALS_MAX:?}"
        ))),
    }
}

fn proofs(credentials: Credentials) -> Result<Proofs, AttemptError> {
    credentials.proofs().map_err(|err| none(err.to_string()))
}

/// There are no credentials to connect with.
fn none(why: String) -> AttemptError {
    AttemptError::new(AttemptErrorKind::Credentials, why)
}

impl From<ConnectError> for AttemptError {
    fn from(err: ConnectError) -> Self {
        let kind = match err.kind {
            ConnectErrorKind::Dns => AttemptErrorKind::Dns,
            ConnectErrorKind::Io => AttemptErrorKind::Io,
            ConnectErrorKind::Tls => AttemptErrorKind::Tls,
            ConnectErrorKind::Timeout => AttemptErrorKind::Timeout,
        };
        Self::new(kind, err.message)
    }
}
