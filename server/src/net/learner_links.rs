//! The quorum port: learners come here, when this server leads.
//!
//! Each connection has a task of its own, which turns bytes into packets for the core and packets of
//! the core into bytes. Whether a learner is welcome, and what it is told, is decided in the core.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::peer::{Event, LinkId};
use zk_core::tree::Capture;
use zk_core::wire::quorum::{LeaderPacket, LearnerPacket, LengthLimit, SNAP_SIGNATURE};
use zk_core::wire::snapshot::Form;
use zk_proto::Zxid;
use zk_proto::jute::Encode as _;

use super::members::Members;
use super::packets::{PacketReader, ReadError, SendQueue, Taken, txn_bytes, within, write_all};
use super::peer_socket::{PeerAuth, PeerSocket, Sink, Source};
use crate::descriptors;
use crate::shared_tree::SharedTree;
use crate::stage::core::CoreItem;
use crate::stage::mailbox::{Mailbox, Refused};

/// Connections at a time; an ensemble has a handful of learners, and each comes once.
const LINKS_MAX: usize = 1000;
/// Bytes that may wait for a learner, and as many more as a tree has that is being sent to it. One that is
/// further behind is better off with a new sync.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes put together for one write.
const WRITE_BYTES: usize = 256 << 10;
/// How long a learner may wait that comes before it is let in.
const PARK: Duration = Duration::from_millis(500);
/// Pause after accepting failed, as it does when file descriptors run out.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Pause of a reader whose packets the core has no room for.
const CORE_RETRY: Duration = Duration::from_millis(1);

/// All learners' connections.
pub(crate) struct LearnerLinks(Arc<Shared>);

struct Shared {
    /// Whether learners are let in.
    is_listening: watch::Sender<bool>,
    links: Mutex<BTreeMap<LinkId, Arc<Link>>>,
    next: AtomicU64,
    core: Arc<Mailbox<CoreItem>>,
    limits: LearnerLimits,
    auth: PeerAuth,
    members: Members,
    stopping: CancellationToken,
}

/// Bounds of the connections of learners.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LearnerLimits {
    /// Longest string or buffer of a packet.
    pub(crate) length: LengthLimit,
    /// Longest that a learner takes nothing of what it is sent.
    pub(crate) patience: Duration,
}

struct Link {
    queue: SendQueue<Item>,
    capture: Mutex<Option<CaptureLease>>,
    captured: Notify,
    /// Cancelled when nothing more will be sent: a tree that is on its way is of no use then, and what it was
    /// captured from must not wait for a learner that takes nothing.
    ended: CancellationToken,
}

#[derive(Debug)]
enum Item {
    Packet(LeaderPacket),
    /// A COMMIT of each from the first to the last.
    Commits(Zxid, Zxid),
    Snapshot(Zxid),
}

/// A capture on its way to a learner. It goes back where it came from, whatever happens.
pub(crate) struct CaptureLease {
    capture: Option<Capture>,
    tree: Arc<SharedTree>,
    give_back: Box<dyn Fn(Capture) + Send>,
}

impl CaptureLease {
    pub(crate) fn new(
        mut capture: Capture,
        tree: Arc<SharedTree>,
        give_back: impl Fn(Capture) + Send + 'static,
    ) -> Self {
        capture.set_form(Form::Wire);
        Self {
            capture: Some(capture),
            tree,
            give_back: Box::new(give_back),
        }
    }

    /// About how much there is to send.
    fn content_bytes(&self) -> usize {
        usize::try_from(self.tree.read().content_bytes()).unwrap_or(usize::MAX)
    }

    /// Appends a piece of the stream; false when it is complete.
    fn next_chunk(&mut self, out: &mut BytesMut) -> bool {
        let tree = self.tree.read();
        let capture = self.capture.as_mut();
        capture.is_some_and(|capture| capture.next_chunk(&tree, WRITE_BYTES, out))
    }
}

impl Drop for CaptureLease {
    fn drop(&mut self) {
        if let Some(capture) = self.capture.take() {
            (self.give_back)(capture);
        }
    }
}

impl LearnerLinks {
    /// Begins to accept connections; they are turned away until [`Self::listen`].
    pub(crate) fn start(
        listeners: Vec<TcpListener>,
        (auth, members): (PeerAuth, Members),
        core: Arc<Mailbox<CoreItem>>,
        limits: LearnerLimits,
        stopping: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        let shared = Arc::new(Shared {
            is_listening: watch::Sender::new(false),
            links: Mutex::new(BTreeMap::new()),
            next: AtomicU64::new(0),
            core,
            limits,
            auth,
            members,
            stopping,
        });
        for listener in listeners {
            tasks.spawn(accept(listener, Arc::clone(&shared), tasks.clone()));
        }
        Self(shared)
    }

    /// Lets learners in, or turns them away, after a moment in which they may be let in yet.
    pub(crate) fn listen(&self, is_listening: bool) {
        self.0.is_listening.send_replace(is_listening);
    }

    /// Sends a packet to a learner, unless it is gone.
    pub(crate) fn send(&self, link: LinkId, packet: LeaderPacket) {
        let bytes = packet_bytes(&packet);
        self.push(link, Item::Packet(packet), bytes);
    }

    /// Sends a COMMIT of each transaction from the first to the last.
    pub(crate) fn send_commits(&self, link: LinkId, first: Zxid, last: Zxid) {
        self.push(link, Item::Commits(first, last), size_of::<Item>());
    }

    /// Sends a SNAP packet and the stream of the capture that comes with [`Self::captured`].
    pub(crate) fn stream_snapshot(&self, link: LinkId, zxid: Zxid) {
        self.push(link, Item::Snapshot(zxid), 0);
    }

    /// The capture that the stream of a link waits for.
    pub(crate) fn captured(&self, link: LinkId, lease: CaptureLease) {
        if let Some(link) = self.0.link(link) {
            *link.capture.lock() = Some(lease);
            link.captured.notify_one();
        }
    }

    /// Ends a connection behind what was sent.
    pub(crate) fn drop_link(&self, link: LinkId) {
        if let Some(link) = self.0.link(link) {
            link.queue.close();
            link.ended.cancel();
        }
    }

    fn push(&self, id: LinkId, item: Item, bytes: usize) {
        if let Some(link) = self.0.link(id)
            && !link.queue.push(item, bytes)
        {
            link.ended.cancel();
            tracing::warn!(link = %id, "a learner is too far behind, its connection is closed");
        }
    }
}

impl Shared {
    fn link(&self, id: LinkId) -> Option<Arc<Link>> {
        self.links.lock().get(&id).cloned()
    }

    /// Waits until learners are let in, but not for long.
    ///
    /// A learner may know who is elected before the elected one does. To turn it away would be to
    /// send it into the next election, which the others then have no quorum without.
    async fn will_listen(&self) -> bool {
        let mut is_listening = self.is_listening.subscribe();
        let listening = is_listening.wait_for(|is_listening| *is_listening);
        tokio::select! {
            () = self.stopping.cancelled() => false,
            waited = tokio::time::timeout(PARK, listening) => matches!(waited, Ok(Ok(_))),
        }
    }

    fn open(&self) -> Option<(LinkId, Arc<Link>)> {
        let number = NonZeroU64::new(self.next.fetch_add(1, Ordering::Relaxed) + 1)?;
        let (id, link) = (
            LinkId::new(number),
            Arc::new(Link {
                queue: SendQueue::new(QUEUE_BYTES_MAX),
                capture: Mutex::new(None),
                captured: Notify::new(),
                ended: CancellationToken::new(),
            }),
        );
        self.links.lock().insert(id, Arc::clone(&link));
        Some((id, link))
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    let places = Arc::new(Semaphore::new(LINKS_MAX));
    loop {
        let accepted = tokio::select! {
            () = shared.stopping.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((socket, peer)) if descriptors::is_kept_for_files(&socket) => {
                drop(socket);
                tracing::warn!(%peer, "a learner is refused, few file descriptors are left");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
            Ok((socket, peer)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    tracing::warn!(%peer, "too many connections on the quorum port");
                    continue;
                };
                let shared = Arc::clone(&shared);
                tasks.spawn(async move {
                    if !shared.will_listen().await {
                        tracing::debug!(%peer, "a learner came to a server that does not lead");
                        return;
                    }
                    let accepting = async {
                        let mut socket = shared.auth.accept(socket, &shared.members).await?;
                        shared.auth.hear(&mut socket).await?;
                        Ok::<_, io::Error>(socket)
                    };
                    let socket = tokio::select! {
                        () = shared.stopping.cancelled() => return,
                        accepted = accepting => accepted,
                    };
                    match socket {
                        Ok(socket) => {
                            if let Some((id, link)) = shared.open() {
                                tracing::debug!(%peer, link = %id, "a learner connected");
                                serve(socket, id, link, shared).await;
                            }
                        }
                        Err(error) => {
                            tracing::warn!(%peer, err = %error, "connection of a learner refused");
                        }
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(err = %error, "cannot accept a learner");
                tokio::time::sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve(socket: PeerSocket, id: LinkId, link: Arc<Link>, shared: Arc<Shared>) {
    let PeerSocket { source, sink } = socket;
    tell(&shared.core, Event::LearnerUp { link: id }).await;
    let end = tokio::select! {
        () = shared.stopping.cancelled() => Ok(()),
        end = read(PacketReader::new(source, shared.limits.length), id, &shared.core) => end,
        end = write(sink, id, &link, &shared) => end.map_err(ReadError::Io),
    };
    match end {
        Ok(()) => tracing::debug!(link = %id, "connection of a learner closed"),
        Err(ReadError::Closed) => tracing::debug!(link = %id, "a learner went away"),
        Err(error) => {
            let err = crate::stage::fail_stop::chain(&error);
            tracing::info!(link = %id, err, "connection of a learner lost");
        }
    }
    link.queue.abort();
    shared.links.lock().remove(&id);
    drop(link.capture.lock().take());
    tell(&shared.core, Event::LearnerDown { link: id }).await;
}

async fn read(
    mut reader: PacketReader<Source>,
    link: LinkId,
    core: &Mailbox<CoreItem>,
) -> Result<(), ReadError> {
    loop {
        let packet = LearnerPacket::from_wire(reader.packet().await?)?;
        tell(core, Event::LearnerPacket { link, packet }).await;
    }
}

async fn write(mut sink: Sink, id: LinkId, link: &Link, shared: &Shared) -> io::Result<()> {
    let patience = shared.limits.patience;
    let mut items = VecDeque::new();
    let mut buffer = BytesMut::new();
    while link.queue.take(&mut items).await == Taken::Items {
        for (item, _) in items.drain(..) {
            match item {
                Item::Packet(packet) => packet.to_wire().encode(&mut buffer),
                Item::Commits(first, last) => {
                    for zxid in (first.get()..=last.get()).map(Zxid::new) {
                        LeaderPacket::Commit { zxid }.to_wire().encode(&mut buffer);
                        if buffer.len() >= WRITE_BYTES {
                            write_all(patience, &mut sink, &mut buffer).await?;
                        }
                    }
                }
                Item::Snapshot(zxid) => {
                    LeaderPacket::Snap { zxid }.to_wire().encode(&mut buffer);
                    tokio::select! {
                        () = link.ended.cancelled() => return Err(io::ErrorKind::ConnectionAborted.into()),
                        sent = stream(&mut sink, link, patience, &mut buffer) => sent?,
                    }
                    tell(&shared.core, Event::SnapshotSent { link: id }).await;
                }
            }
            if buffer.len() >= WRITE_BYTES {
                write_all(patience, &mut sink, &mut buffer).await?;
            }
        }
        write_all(patience, &mut sink, &mut buffer).await?;
        within(patience, sink.flush()).await?;
    }
    within(patience, sink.shutdown()).await
}

/// Sends a whole tree, as soon as its capture is there.
async fn stream(
    sink: &mut Sink,
    link: &Link,
    patience: Duration,
    buffer: &mut BytesMut,
) -> io::Result<()> {
    let mut lease = loop {
        let lease = link.capture.lock().take();
        match lease {
            Some(lease) => break lease,
            None => link.captured.notified().await,
        }
    };
    // As much as the tree has may wait behind it: it takes about as long to send as to make.
    link.queue.widen(lease.content_bytes());
    while lease.next_chunk(buffer) {
        write_all(patience, sink, buffer).await?;
    }
    buffer.put_i32(i32::try_from(SNAP_SIGNATURE.len()).unwrap_or(0));
    buffer.put_slice(SNAP_SIGNATURE.as_bytes());
    Ok(())
}

/// Tells the core, when it has room.
pub(super) async fn tell(core: &Mailbox<CoreItem>, event: Event) {
    let mut item = CoreItem::Event(event);
    loop {
        match core.try_offer(item) {
            Ok(()) | Err((Refused::Closed, _)) => return,
            Err((Refused::Full, back)) => item = back,
        }
        tokio::time::sleep(CORE_RETRY).await;
    }
}

/// About what a packet takes in the queue.
fn packet_bytes(packet: &LeaderPacket) -> usize {
    txn_bytes(packet) + size_of::<Item>()
}
