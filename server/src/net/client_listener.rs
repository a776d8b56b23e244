//! Accepting clients.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::client_conn;
use super::service::Service;

/// Pause after accepting failed, as it does when file descriptors run out: going on at once would
/// spin, and giving up would leave a server that nobody reaches.
const RETRY: Duration = Duration::from_millis(100);

/// Accepts connections until the server stops, each served by a task of its own.
pub(crate) async fn accept(listener: TcpListener, service: Arc<Service>, tasks: TaskTracker) {
    let stopping = service.fail_stop.stopping().clone();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) if is_of_the_client(&error) => continue,
            Err(error) => {
                tracing::warn!(err = %error, "cannot accept a connection");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        let connections = &service.connections;
        let is_full = service
            .connections_max()
            .is_some_and(|max| connections.sockets() >= max);
        let place = connections.admit(remote.ip(), service.per_address_max());
        let Some(place) = place.filter(|_| !is_full) else {
            tracing::warn!(peer = %remote, "too many connections");
            continue;
        };
        // Answers are written as a whole; waiting for more to send would only delay them.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(peer = %remote, err = %error, "cannot set TCP_NODELAY");
        }
        let service = Arc::clone(&service);
        tasks.spawn(async move {
            client_conn::serve(socket, remote, &service).await;
            drop(place);
        });
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
