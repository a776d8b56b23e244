//! Every port of a server, bound before its state is read: a port that is taken is told at once.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use rustix::net::sockopt;
use tokio::net::{TcpListener, TcpSocket, lookup_host};

use super::error::StartError;
use super::plan::SocketPlace;
use crate::config::Config;
use crate::config::keys::MetricsSettings;

/// Connections waiting to be accepted, unless `clientPortListenBacklog` has another number. The
/// system bounds it further.
pub(super) const BACKLOG: u32 = 1024;

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
                // As it is unless it is set. Java means both families by it.
                host: Some(metrics.http_host.clone()).filter(|host| host != "0.0.0.0"),
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
        host: Some(admin.address.clone()),
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
pub(super) async fn listen(place: &SocketPlace, backlog: u32) -> Result<TcpListener, StartError> {
    let failed = |source| StartError::Listen {
        address: place.to_string(),
        source,
    };
    let Some(host) = &place.host else {
        // The first one takes IPv4, too, where there is IPv6 at all.
        let addresses = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let addresses = addresses.map(|address: IpAddr| SocketAddr::new(address, place.port));
        return bind_first(addresses, backlog, |error| {
            error.kind() == io::ErrorKind::AddrInUse
        })
        .map_err(failed);
    };
    let addresses = lookup_host((host.as_str(), place.port)).await;
    bind_first(addresses.map_err(failed)?, backlog, |_| false).map_err(failed)
}

/// Listens at the first address that can be had, unless one before it fails for good.
fn bind_first(
    addresses: impl IntoIterator<Item = SocketAddr>,
    backlog: u32,
    is_final: fn(&io::Error) -> bool,
) -> io::Result<TcpListener> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match bind(address, backlog) {
            Ok(listener) => return Ok(listener),
            Err(error) if is_final(&error) => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn bind(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    // A server that is started again must not wait for the connections of the last one.
    socket.set_reuseaddr(true)?;
    if address.ip() == Ipv6Addr::UNSPECIFIED {
        // Java's sockets take both families, whatever the system's default is.
        sockopt::set_ipv6_v6only(&socket, false)?;
    }
    socket.bind(address)?;
    socket.listen(backlog)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(addresses: &[&str]) -> io::Result<SocketAddr> {
        let addresses = addresses.iter().map(|text| text.parse().expect("legal"));
        bind_first(addresses, 1, |error| {
            error.kind() == io::ErrorKind::AddrInUse
        })?
        .local_addr()
    }

    /// For documentation: no machine has it.
    const NOWHERE: &str = "[2001:db8::1]:0";

    #[tokio::test]
    async fn an_address_that_cannot_be_had_makes_way_for_the_next() {
        let address = bound(&[NOWHERE, "0.0.0.0:0"]).expect("the second");
        assert!(address.is_ipv4(), "{address}");
        bound(&[NOWHERE]).expect_err("there is none");
    }

    #[tokio::test]
    async fn a_port_that_is_taken_is_told_of() {
        let taken = std::net::TcpListener::bind("0.0.0.0:0").expect("a port");
        let port = taken.local_addr().expect("bound").port();
        let place = SocketPlace { host: None, port };
        let error = listen(&place, 1).await.expect_err("taken").to_string();
        assert!(error.contains(&format!("0.0.0.0:{port}")), "{error}");
    }
}
