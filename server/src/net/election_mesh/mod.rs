//! Connections for elections: one per pair of servers, over which only the latest vote matters.
//!
//! ```text
//!  send ─► slot of the peer: latest frame ─┬─ link there ──────────────► written
//!                                          └─ none ─► dial ─ initial message
//!                                                      ├─ larger sid than the peer's: a link
//!                                                      └─ smaller: closed; the peer dials back
//!  accept ─ initial message ─┬─ larger sid: a link, in place of an older one
//!                            └─ smaller: closed, and dialled back where it says it is
//! ```
//!
//! It decides nothing: it brings notifications, and hints at who can be reached.
//!
//! | queue | bound | beyond |
//! |---|---|---|
//! | to a peer | one frame | the older one is forgotten |
//! | connections that have not said who they are | [`accept::strangers_max`] | closed |
//! | peers that are no members | [`GUESTS_MAX`] | closed |
//! | frames read of a link | [`link::BURST`] at a time | paced |
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumCnxManager`. Departures: a silent connection stands in nobody's
//! way; what may have been lost with a link is sent again, nothing older; while something waits to be
//! sent, dialling goes on.

mod accept;
mod dial;
mod link;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::ensemble::bracketed;
use zk_core::wire::election::{InitialMessage, Notification};
use zk_proto::ServerId;

use super::members::Members;
use super::peer_socket::{PeerAuth, PeerSocket};
use super::reports::Reports;

/// Peers that are no members, and yet are talked to: servers that are about to be added.
const GUESTS_MAX: usize = 64;
/// A frame that was written so short a time before its link broke may not have arrived.
const IN_DOUBT: Duration = Duration::from_secs(1);
/// A link as young as this is not replaced on behalf of a peer that dials us: both dialled at once.
const YOUNG: Duration = Duration::from_secs(1);

/// What a mesh is told once.
#[derive(Clone, Debug)]
pub(crate) struct MeshOptions {
    pub(crate) me: ServerId,
    pub(crate) members: Members,
    pub(crate) auth: PeerAuth,
    /// Longest that connecting may take, look-up of the name included.
    pub(crate) connect_timeout: Duration,
    /// Longest that a connection may take to say who it is.
    pub(crate) handshake_timeout: Duration,
}

/// What a mesh has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MeshEvent {
    /// A notification came.
    Received(ServerId, Notification),
    /// A peer can be reached, and has not been sent anything yet.
    Reachable(ServerId),
    /// A peer could not be reached.
    Unreachable(ServerId),
}

/// Where events go. Called from tasks; must not block.
pub(crate) type Sink = Arc<dyn Fn(MeshEvent) + Send + Sync>;

/// The connections; see the module. Copies are one mesh.
#[derive(Clone)]
pub(crate) struct ElectionMesh(Arc<Shared>);

struct Shared {
    options: MeshOptions,
    /// What this server says first.
    initial: Bytes,
    slots: Mutex<BTreeMap<ServerId, Slot>>,
    links: AtomicU64,
    sink: Sink,
    reports: Reports,
    strangers: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Threads of no runtime ask for tasks, too.
    runtime: Handle,
    stopping: CancellationToken,
}

/// A peer, connected or not.
#[derive(Default)]
struct Slot {
    /// What is to be sent next.
    queue: Option<Bytes>,
    /// What was written last on the present link.
    written: Option<(Bytes, Instant)>,
    link: Option<Link>,
    /// Where it said that it can be dialled.
    addresses: Vec<String>,
    is_dialling: bool,
    /// Something changed for who dials.
    changed: Arc<Notify>,
}

/// A connection to a peer.
struct Link {
    number: u64,
    since: Instant,
    /// There is something to send.
    ready: Arc<Notify>,
    closing: CancellationToken,
}

impl fmt::Debug for ElectionMesh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectionMesh")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl ElectionMesh {
    /// Accepts and dials until the server stops.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub(crate) fn start(
        options: MeshOptions,
        listeners: Vec<TcpListener>,
        sink: Sink,
        tasks: &TaskTracker,
        stopping: &CancellationToken,
    ) -> Self {
        let member = options.members.member(options.me);
        let addresses = member.map(|member| member.addresses).unwrap_or_default();
        let address = |one: &zk_core::ensemble::PeerAddress| {
            format!("{}:{}", bracketed(&one.host), one.election_port)
        };
        let initial = InitialMessage {
            sid: options.me,
            addresses: addresses.iter().map(address).collect(),
        };
        let mesh = Self(Arc::new(Shared {
            initial: initial.to_bytes(),
            options,
            slots: Mutex::default(),
            links: AtomicU64::new(1),
            sink,
            reports: Reports::default(),
            strangers: Arc::new(Semaphore::new(accept::strangers_max())),
            tasks: tasks.clone(),
            runtime: Handle::current(),
            stopping: stopping.clone(),
        }));
        for listener in listeners {
            tasks.spawn(accept::accept(Arc::clone(&mesh.0), listener));
        }
        mesh
    }

    /// Sends a notification: as soon as there is a link, unless a later one comes before. One to who
    /// is no member, and has gone, is dropped.
    pub(crate) fn send(&self, to: ServerId, notification: &Notification) {
        let mut slots = self.0.slots.lock();
        if !self.0.is_member(to) && !slots.contains_key(&to) {
            return;
        }
        let slot = slots.entry(to).or_default();
        slot.queue = Some(notification.to_frame());
        match &slot.link {
            Some(link) => link.ready.notify_one(),
            None => self.0.want_link(to, slot),
        }
    }
}

impl Shared {
    fn is_member(&self, id: ServerId) -> bool {
        self.options.members.contains(id)
    }

    fn tell(&self, event: MeshEvent) {
        (self.sink)(event);
    }

    /// Dials, unless somebody does already: that one is told to hurry.
    fn want_link(self: &Arc<Self>, to: ServerId, slot: &mut Slot) {
        slot.changed.notify_one();
        if !slot.is_dialling && !self.stopping.is_cancelled() {
            slot.is_dialling = true;
            let dial = dial::dial(Arc::clone(self), to);
            self.tasks.spawn_on(dial, &self.runtime);
        }
    }

    /// Makes a connection the link to a peer, in place of an older one.
    fn install(self: &Arc<Self>, peer: ServerId, socket: PeerSocket) {
        let link = Link {
            number: self.links.fetch_add(1, Ordering::Relaxed),
            since: Instant::now(),
            ready: Arc::new(Notify::new()),
            closing: self.stopping.child_token(),
        };
        let task = link::run(
            Arc::clone(self),
            peer,
            socket,
            link.number,
            Arc::clone(&link.ready),
            link.closing.clone(),
        );
        let is_silent = {
            let mut slots = self.slots.lock();
            let slot = slots.entry(peer).or_default();
            slot.put_back();
            if slot.queue.is_some() {
                link.ready.notify_one();
            }
            if let Some(old) = slot.link.replace(link) {
                old.closing.cancel();
            }
            slot.changed.notify_one();
            slot.queue.is_none()
        };
        self.reports.clear(&unreachable(peer));
        self.tasks.spawn_on(task, &self.runtime);
        if is_silent {
            self.tell(MeshEvent::Reachable(peer));
        }
    }

    /// A link is gone. What may not have arrived goes to the next one.
    fn lose(self: &Arc<Self>, peer: ServerId, number: u64) {
        let mut slots = self.slots.lock();
        let Some(slot) = slots.get_mut(&peer) else {
            return;
        };
        let is_present = slot.link.as_ref().is_some_and(|link| link.number == number);
        if !is_present {
            return;
        }
        slot.link = None;
        slot.put_back();
        if slot.queue.is_some() {
            self.want_link(peer, slot);
        } else if !self.is_member(peer) && !slot.is_dialling {
            slots.remove(&peer);
        }
    }

    /// Whether there is room for one more peer that is no member.
    fn has_room_for(&self, peer: ServerId) -> bool {
        let slots = self.slots.lock();
        let guests = slots.keys().filter(|id| !self.is_member(**id)).count();
        self.is_member(peer) || slots.contains_key(&peer) || guests < GUESTS_MAX
    }
}

impl Slot {
    /// Has the last frame sent again if it may have been lost, and nothing newer waits.
    fn put_back(&mut self) {
        if let Some((frame, at)) = self.written.take()
            && self.queue.is_none()
            && at.elapsed() < IN_DOUBT
        {
            self.queue = Some(frame);
        }
    }
}

/// The report that a peer cannot be reached.
fn unreachable(peer: ServerId) -> String {
    format!("unreachable {peer}")
}
