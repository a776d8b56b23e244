//! Accepting peers: each says who it is in a task of its own, so that a silent one is in nobody's
//! way.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use zk_core::wire::election::{ANONYMOUS, InitialMessage, Reading};

use super::super::peer_socket::Source;
use super::{Shared, YOUNG};
use crate::descriptors;

/// Connections that have not said who they are, if there are descriptors enough.
pub(super) const STRANGERS_MAX: usize = 1024;
/// Pause after accepting failed: going on at once would spin.
const RETRY: Duration = Duration::from_millis(100);

/// Connections that may not have said who they are: no more than a fourth of all descriptors.
pub(super) fn strangers_max() -> usize {
    let share = usize::try_from(descriptors::limit() / 4);
    share.map_or(STRANGERS_MAX, |share| share.min(STRANGERS_MAX))
}

pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener) {
    let stopping = shared.stopping.clone();
    loop {
        let accepted = tokio::select! {
            () = stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        let (socket, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(err = %error, "cannot accept an election connection");
                tokio::time::sleep(RETRY).await;
                continue;
            }
        };
        if descriptors::is_kept_for_files(&socket) {
            if shared.reports.is_new("descriptors") {
                tracing::warn!("election connections are refused, few file descriptors are left");
            }
            continue;
        }
        let Ok(place) = Arc::clone(&shared.strangers).try_acquire_owned() else {
            if shared.reports.is_new("strangers") {
                tracing::warn!(peer = %remote, "too many election connections say nothing");
            }
            continue;
        };
        let shared = Arc::clone(&shared);
        let stopping = stopping.clone();
        shared.tasks.clone().spawn(async move {
            let limit = shared.options.handshake_timeout;
            let welcomed = tokio::select! {
                () = stopping.cancelled() => return,
                welcomed = tokio::time::timeout(limit, welcome(&shared, socket, remote)) => welcomed,
            };
            drop(place);
            let complaint = match welcomed {
                Ok(Ok(())) => return,
                Ok(Err(complaint)) => complaint,
                Err(_elapsed) => "it said nothing".to_owned(),
            };
            if shared.reports.is_new(&format!("{} {complaint}", remote.ip())) {
                tracing::warn!(peer = %remote, "election connection refused: {complaint}");
            }
        });
    }
}

/// Hears who it is, and does with it what its sid asks for.
async fn welcome(
    shared: &Arc<Shared>,
    socket: TcpStream,
    remote: SocketAddr,
) -> Result<(), String> {
    let options = &shared.options;
    let socket = options.auth.accept(socket, &options.members).await;
    let mut socket = socket.map_err(|error| error.to_string())?;
    let message = match read_initial(&mut socket.source).await {
        Ok(message) => message?,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            return Err("it closed before it said who it is".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    options.auth.hear(&mut socket).await.map_err(|error| {
        let peer = message.sid;
        format!("it says that it is server {peer}: {error}")
    })?;
    let (me, peer) = (shared.options.me, message.sid);
    if peer == me {
        return Err(format!("it says that it is server {me}, as this one does"));
    }
    if peer == ANONYMOUS || peer.get() < 0 {
        return Err("it says no server id".to_owned());
    }
    if !shared.is_member(peer) && shared.reports.is_new(&format!("stranger {peer}")) {
        tracing::warn!(sid = %peer, %remote, "election connection of a server that is no member");
    }
    if !shared.has_room_for(peer) {
        return Err("too many servers that are no members".to_owned());
    }
    if peer > me {
        shared.install(peer, socket);
        return Ok(());
    }
    drop(socket);
    let mut slots = shared.slots.lock();
    let slot = slots.entry(peer).or_default();
    let is_young = |since: Instant| since.elapsed() < YOUNG;
    if slot.link.as_ref().is_some_and(|link| is_young(link.since)) {
        return Ok(());
    }
    if let Some(old) = slot.link.take() {
        // It would not dial if it still had that one.
        old.closing.cancel();
        slot.put_back();
    }
    slot.addresses = message.addresses;
    shared.want_link(peer, slot);
    Ok(())
}

async fn read_initial(source: &mut Source) -> io::Result<Result<InitialMessage, String>> {
    let mut bytes = Vec::new();
    loop {
        match InitialMessage::read(&bytes) {
            Ok(Reading::Done(message)) => return Ok(Ok(message)),
            Ok(Reading::Need(more)) => {
                let have = bytes.len();
                bytes.resize(have + more, 0);
                let rest = bytes.get_mut(have..).unwrap_or_default();
                source.read_exact(rest).await?;
            }
            Err(bad) => return Ok(Err(bad.to_string())),
        }
    }
}
