//! Every port of a server, bound before its state is read: a port that is taken is told at once.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::error::StartError;
use super::plan::SocketPlace;
use crate::config::Config;
use crate::config::keys::MetricsSettings;

/// Connections waiting to be accepted, unless `clientPortListenBacklog` has another number. The
/// system bounds it further.
const BACKLOG: u32 = 1024;

/// The sockets that a server listens on.
#[derive(Debug)]
pub(super) struct Listeners {
    /// `clientPort`.
    pub(super) plain: Option<TcpListener>,
    /// `secureClientPort`.
    pub(super) secure: Option<TcpListener>,
    /// `metricsProvider.httpPort`.
    pub(super) exporter: Option<TcpListener>,
}

/// Where a server can be reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Addresses {
    pub(super) plain: Option<SocketAddr>,
    pub(super) secure: Option<SocketAddr>,
    pub(super) exporter: Option<SocketAddr>,
    /// Bound when the server serves; a taken port is no reason not to start.
    pub(super) admin: Option<SocketAddr>,
}

impl Listeners {
    /// Binds what is configured.
    ///
    /// # Errors
    ///
    /// [`StartError::Listen`] for the first port that cannot be had.
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let backlog = config.limits.listen_backlog.unwrap_or(BACKLOG);
        let mut bound = [None, None];
        let places = [&config.client_port, &config.secure_client_port];
        for (bound, place) in bound.iter_mut().zip(places) {
            if let Some(place) = place.as_ref().map(SocketPlace::new) {
                *bound = Some(listen(&place, backlog).await?);
            }
        }
        let [plain, secure] = bound;
        let metrics = &config.metrics;
        let exporter = if metrics.is_prometheus() {
            let place = SocketPlace {
                host: metrics.http_host.clone(),
                port: metrics.http_port.unwrap_or(MetricsSettings::HTTP_PORT),
            };
            Some(listen(&place, BACKLOG).await?)
        } else {
            None
        };
        Ok(Self {
            plain,
            secure,
            exporter,
        })
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> Addresses {
        let address = |listener: &Option<TcpListener>| listener.as_ref()?.local_addr().ok();
        Addresses {
            plain: address(&self.plain),
            secure: address(&self.secure),
            exporter: address(&self.exporter),
            admin: None,
        }
    }
}

/// Binds the port of the admin server, if there is to be one. A port that is taken is a warning.
pub(super) async fn bind_admin(config: &Config) -> Option<TcpListener> {
    let admin = &config.admin;
    if !admin.enabled {
        return None;
    }
    let place = SocketPlace {
        host: admin.address.clone(),
        port: admin.port,
    };
    match listen(&place, BACKLOG).await {
        Ok(listener) => Some(listener),
        Err(error) => {
            let err = crate::stage::fail_stop::chain(&error);
            tracing::warn!(
                err,
                "no admin server: admin.serverPort moves it, admin.enableServer=false turns it off"
            );
            None
        }
    }
}

/// Listens at the first address of a name that can be had.
async fn listen(place: &SocketPlace, backlog: u32) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen {
        address: place.to_string(),
        source,
    };
    let addresses = lookup_host((place.host.as_str(), place.port)).await;
    let mut last = std::io::ErrorKind::AddrNotAvailable.into();
    for address in addresses.map_err(failed)? {
        match bind(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

fn bind(address: SocketAddr, backlog: u32) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A server that is started again must not wait for the connections of the last one.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(backlog)
}
