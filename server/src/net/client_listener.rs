//! Accepting clients, on the plaintext port and on the TLS port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::server::TlsStream;
use tokio_util::task::TaskTracker;
use zk_core::conn::auth::{Identities, Identity};

use super::client_conn;
use super::connections::{Caller, Place};
use super::service::Service;
use super::tls;
use crate::descriptors;
use crate::metrics::Counter;

/// Pause after accepting failed, as it does when file descriptors run out: going on at once would
/// spin, and giving up would leave a server that nobody reaches.
const RETRY: Duration = Duration::from_millis(100);
/// Pause between two warnings that file descriptors run out: each client that comes would be one.
const WARN_PAUSE: Duration = Duration::from_mins(1);
/// First byte of a TLS handshake. No frame and no word begins with it: the frame would have 369 MB.
const TLS_HANDSHAKE: u8 = 0x16;

/// What is spoken on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Plaintext.
    Plain,
    /// TLS.
    Tls,
    /// What the client begins with.
    Either,
}

/// Accepts connections until the server stops, each served by a task of its own.
pub(crate) async fn accept(
    listener: TcpListener,
    speaks: Speaks,
    service: Arc<Service>,
    tasks: TaskTracker,
) {
    let stopping = service.fail_stop.stopping().clone();
    let mut warned: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            // Clients of IPv4 are known by their own addresses, also where they came in by IPv6.
            Ok((socket, remote)) => (
                socket,
                SocketAddr::new(remote.ip().to_canonical(), remote.port()),
            ),
            Err(error) if is_of_the_client(&error) => continue,
            Err(error) => {
                tracing::warn!(err = %error, "cannot accept a connection");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if descriptors::is_kept_from_clients(&socket) {
            service.metrics.count(Counter::ConnectionRejected, 1);
            if warned.is_none_or(|last| last.elapsed() >= WARN_PAUSE) {
                warned = Some(Instant::now());
                let limit = descriptors::limit();
                tracing::warn!(limit, "clients are refused, few file descriptors are left");
            }
            continue;
        }
        let connections = &service.connections;
        let is_full = service
            .connections_max()
            .is_some_and(|max| connections.sockets() >= max);
        let place = connections.admit(remote.ip(), service.per_address_max());
        let Some(place) = place.filter(|_| !is_full) else {
            service.metrics.count(Counter::ConnectionRejected, 1);
            tracing::warn!(peer = %remote, "too many connections");
            continue;
        };
        prepare(&socket, remote, &service);
        let service = Arc::clone(&service);
        // A task is as large as the largest that it may come to: those of TLS are apart.
        if speaks == Speaks::Plain {
            let caller = Caller {
                remote,
                is_secure: false,
                identities: Identities::of_peer(remote.ip()),
            };
            tasks.spawn(client_conn::serve(socket, caller, place, service));
        } else {
            tasks.spawn(serve(socket, remote, speaks, place, service));
        }
    }
}

/// Sets the options of a socket; without them it serves all the same.
fn prepare(socket: &TcpStream, remote: SocketAddr, service: &Service) {
    // Answers are written as a whole; waiting for more to send would only delay them.
    if let Err(error) = socket.set_nodelay(true) {
        tracing::debug!(peer = %remote, err = %error, "cannot set TCP_NODELAY");
    }
    if service.config.limits.client_tcp_keep_alive
        && let Err(error) = rustix::net::sockopt::set_socket_keepalive(socket, true)
    {
        tracing::debug!(peer = %remote, err = %error, "cannot set SO_KEEPALIVE");
    }
}

/// Serves a connection that speaks TLS, or may.
async fn serve(
    socket: TcpStream,
    remote: SocketAddr,
    speaks: Speaks,
    place: Place,
    service: Arc<Service>,
) {
    let identities = Identities::of_peer(remote.ip());
    let is_tls = match speaks {
        Speaks::Plain | Speaks::Tls => speaks == Speaks::Tls,
        Speaks::Either => match begins_with_tls(&socket, &service).await {
            Some(is_tls) => is_tls,
            None => return,
        },
    };
    if !is_tls {
        let caller = Caller {
            remote,
            is_secure: false,
            identities,
        };
        return client_conn::serve(socket, caller, place, service).await;
    }
    let Some(socket) = shake_hands(socket, remote, &service).await else {
        return;
    };
    let caller = Caller {
        remote,
        is_secure: true,
        identities: identities.with(proved(&socket, &service)),
    };
    client_conn::serve(socket, caller, place, service).await;
}

/// Waits for the first byte and looks at it; `None` if there is none in time.
async fn begins_with_tls(socket: &TcpStream, service: &Service) -> Option<bool> {
    let patience = service.config.client_tls.handshake_detection_timeout;
    let mut first = [0];
    tokio::select! {
        () = service.fail_stop.stopping().cancelled() => None,
        peeked = tokio::time::timeout(patience, socket.peek(&mut first)) => match peeked {
            Ok(Ok(1)) => Some(first == [TLS_HANDSHAKE]),
            Ok(_) | Err(_) => None,
        },
    }
}

/// The handshake of TLS; `None` if it fails, or takes too long, or too many are on.
async fn shake_hands(
    socket: TcpStream,
    remote: SocketAddr,
    service: &Service,
) -> Option<TlsStream<TcpStream>> {
    let tls = service.tls.as_ref()?;
    let max = service.config.tls.outstanding_handshakes_max;
    let before = service.handshaking.fetch_add(1, Ordering::Relaxed);
    let is_full = max.is_some_and(|max| before >= usize::try_from(max.get()).unwrap_or(usize::MAX));
    let shaken = if is_full {
        service.metrics.count(Counter::TlsHandshakeExceeded, 1);
        None
    } else {
        let deadline = service.config.limits.sessionless_timeout;
        let stopping = service.fail_stop.stopping();
        tokio::select! {
            () = stopping.cancelled() => None,
            done = tokio::time::timeout(deadline, tls.acceptor().accept(socket)) => Some(done),
        }
    };
    service.handshaking.fetch_sub(1, Ordering::Relaxed);
    match shaken? {
        Ok(Ok(socket)) => Some(socket),
        Ok(Err(error)) => {
            service.metrics.count(Counter::UnsuccessfulHandshake, 1);
            tracing::info!(peer = %remote, err = %error, "TLS handshake failed");
            None
        }
        Err(_elapsed) => {
            service.metrics.count(Counter::UnsuccessfulHandshake, 1);
            tracing::info!(peer = %remote, "no TLS handshake in time");
            None
        }
    }
}

/// What the certificate of a client says about it.
///
/// # Source
///
/// Apache `ZooKeeper` 3.9, `X509AuthenticationProvider`.
fn proved(socket: &TlsStream<TcpStream>, service: &Service) -> Vec<Identity> {
    let (_, connection) = socket.get_ref();
    let certificates = connection.peer_certificates().unwrap_or_default();
    let own = certificates.first().map(CertificateDer::as_ref);
    let Some(name) = own.and_then(|der| tls::subject(&CertificateDer::from(der))) else {
        return Vec::new();
    };
    let is_super = !name.is_empty() && name == service.config.auth.x509_super_user;
    let identity = Identity::new("x509", name);
    if is_super {
        vec![identity, Identity::SUPER]
    } else {
        vec![identity]
    }
}

/// Whether accepting failed because of the connection, so that the next one may succeed.
fn is_of_the_client(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}
