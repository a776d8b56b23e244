//! Dialling a peer for as long as something is to be sent to it.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use zk_proto::ServerId;

use super::super::peer_socket::PeerSocket;
use super::super::race::Race;
use super::{MeshEvent, Shared, unreachable};

/// Pause after the first failure; it doubles up to [`PAUSE_MAX`]. What is newly to be sent ends it.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// Longest pause: a peer that comes back is found within this time, though it also dials itself.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long a peer with a larger sid has to dial back.
const DIAL_BACK: Duration = Duration::from_millis(500);

/// Dials until there is a link, or nothing is to be sent any more.
pub(super) async fn dial(shared: Arc<Shared>, to: ServerId) {
    let stopping = shared.stopping.clone();
    tokio::select! {
        () = stopping.cancelled() => {}
        () = until_linked(&shared, to) => {}
    }
}

async fn until_linked(shared: &Arc<Shared>, to: ServerId) {
    let mut pause = PAUSE_MIN;
    loop {
        let changed = {
            let mut slots = shared.slots.lock();
            let Some(slot) = slots.get_mut(&to) else {
                return;
            };
            if slot.link.is_some() || slot.queue.is_none() && slot.addresses.is_empty() {
                slot.is_dialling = false;
                if slot.link.is_none() && !shared.is_member(to) {
                    slots.remove(&to);
                }
                return;
            }
            Arc::clone(&slot.changed)
        };
        let limit = shared.options.connect_timeout;
        let dialled = tokio::time::timeout(limit, connect(shared, to)).await;
        let dialled = dialled.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        match dialled {
            Ok(socket) if shared.options.me > to => {
                forget_told(shared, to);
                shared.install(to, socket);
            }
            // The larger sid owns the connection: it has been told that we are here, and dials back.
            Ok(socket) => {
                drop(socket);
                let back = async {
                    while !has_link(shared, to) {
                        changed.notified().await;
                    }
                };
                if tokio::time::timeout(DIAL_BACK, back).await.is_err() {
                    shared.tell(MeshEvent::Unreachable(to));
                }
            }
            Err(error) => {
                forget_told(shared, to);
                shared.tell(MeshEvent::Unreachable(to));
                report(shared, to, &error);
                tokio::time::timeout(pause, changed.notified()).await.ok();
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Where a peer said that it is was of use once, or of none.
fn forget_told(shared: &Shared, to: ServerId) {
    if let Some(slot) = shared.slots.lock().get_mut(&to) {
        slot.addresses.clear();
    }
}

fn has_link(shared: &Shared, to: ServerId) -> bool {
    let slots = shared.slots.lock();
    slots.get(&to).is_some_and(|slot| slot.link.is_some())
}

/// Connects to the first address that answers, and says who this is: there only, because a peer takes a
/// second connection for a better one.
async fn connect(shared: &Shared, to: ServerId) -> io::Result<PeerSocket> {
    let places = places(shared, to);
    let auth = &shared.options.auth;
    let attempts = places
        .iter()
        .map(|place| async move { (place, auth.dial(place.as_str(), host(place)).await) });
    let mut race = Race::new(attempts);
    let mut failure = io::Error::other("no address is known");
    while let Some((place, dialled)) = race.next().await {
        let greeted = match dialled {
            Ok(socket) => greet(shared, socket).await,
            Err(error) => Err(error),
        };
        match greeted {
            Ok(socket) => return Ok(socket),
            Err(error) => {
                let text = format!("cannot connect to {place}: {error}");
                failure = io::Error::new(error.kind(), text);
            }
        }
    }
    Err(failure)
}

async fn greet(shared: &Shared, mut socket: PeerSocket) -> io::Result<PeerSocket> {
    // A new socket takes so little at once: one segment.
    socket.sink.write_all(&shared.initial).await?;
    socket.sink.flush().await?;
    shared.options.auth.prove(&mut socket).await?;
    Ok(socket)
}

/// A place without its port.
fn host(place: &str) -> &str {
    let host = place.rsplit_once(':').map_or(place, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// Where a peer may be: where it says, else where the configuration says.
fn places(shared: &Shared, to: ServerId) -> Vec<String> {
    let slots = shared.slots.lock();
    let told = slots.get(&to).map(|slot| slot.addresses.clone());
    drop(slots);
    let mut places: Vec<String> = told.unwrap_or_default();
    places.retain(|place| !is_wildcard(place));
    if places.is_empty()
        && let Some(member) = shared.options.members.member(to)
    {
        let addresses = member.addresses.iter();
        places.extend(addresses.map(|one| {
            let host = zk_core::ensemble::bracketed(&one.host);
            format!("{host}:{}", one.election_port)
        }));
    }
    places
}

/// Whether a place stands for all addresses of its machine, which nobody else can dial.
fn is_wildcard(place: &str) -> bool {
    host(place)
        .parse()
        .is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// Tells an operator when a peer becomes unreachable, not each time that it is tried.
fn report(shared: &Shared, to: ServerId, error: &io::Error) {
    if shared.reports.is_new(&unreachable(to)) {
        tracing::info!(sid = %to, err = %error, "server cannot be reached for elections");
    } else {
        tracing::debug!(sid = %to, err = %error, "server cannot be reached for elections");
    }
}
