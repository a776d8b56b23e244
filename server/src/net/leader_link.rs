//! The connection to the leader, when this server learns.
//!
//! The core names each try; there is at most one at a time, and what an earlier one still says is
//! recognised by its name.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use bytestring::ByteString;
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::ensemble::EnsembleConfig;
use zk_core::peer::{Attempt, Event, SnapshotId};
use zk_core::tree::{Tree, TreeLoader, TreeOptions};
use zk_core::wire::quorum::{LeaderPacket, LearnerPacket, LengthLimit, SNAP_SIGNATURE};
use zk_core::wire::snapshot::{SnapshotDecoder, Trailer};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::{ServerId, Zxid};

use super::learner_links::tell;
use super::packets::{PacketReader, ReadError, SendQueue, Taken};
use crate::stage::core::CoreItem;
use crate::stage::mailbox::Mailbox;

/// Bytes that may wait for the leader: requests are admitted long before this is reached.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes put together for one write.
const WRITE_BYTES: usize = 256 << 10;

/// What stays the same over all connections to leaders.
#[derive(Debug)]
pub(crate) struct LeaderLink {
    shared: Arc<Shared>,
    /// The try that counts.
    current: Mutex<Option<Try>>,
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
}

#[derive(Debug)]
struct Shared {
    config: Arc<EnsembleConfig>,
    core: Arc<Mailbox<CoreItem>>,
    limits: LeaderLimits,
    stopping: CancellationToken,
    received: Mutex<BTreeMap<SnapshotId, Tree>>,
    next: AtomicU64,
}

/// Bounds of a connection to a leader.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LeaderLimits {
    /// Longest string or buffer of a packet.
    pub(crate) length: LengthLimit,
    /// Time to connect.
    pub(crate) connect: Duration,
    /// How trees that are sent are built.
    pub(crate) tree: TreeOptions,
    /// Longest entry of a tree that is sent.
    pub(crate) item_max: usize,
}

#[derive(Debug)]
struct Try {
    attempt: Attempt,
    queue: Arc<SendQueue<LearnerPacket>>,
}

impl LeaderLink {
    pub(crate) fn new(
        config: Arc<EnsembleConfig>,
        core: Arc<Mailbox<CoreItem>>,
        limits: LeaderLimits,
        stopping: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                core,
                limits,
                stopping,
                received: Mutex::new(BTreeMap::new()),
                next: AtomicU64::new(0),
            }),
            current: Mutex::new(None),
            runtime: tokio::runtime::Handle::current(),
            tasks: tasks.clone(),
        }
    }

    /// Connects to the quorum port of a member; an earlier connection ends.
    pub(crate) fn connect(&self, attempt: Attempt, leader: ServerId) {
        let queue = Arc::new(SendQueue::new(QUEUE_BYTES_MAX));
        let own = Try {
            attempt,
            queue: Arc::clone(&queue),
        };
        if let Some(before) = self.current.lock().replace(own) {
            before.queue.abort();
        }
        let shared = Arc::clone(&self.shared);
        let run = run(attempt, leader, queue, shared);
        self.tasks.spawn_on(run, &self.runtime);
    }

    /// Sends a packet, unless the connection is over.
    pub(crate) fn send(&self, attempt: Attempt, packet: LearnerPacket) {
        let bytes = packet_bytes(&packet);
        let current = self.current.lock();
        if let Some(current) = current.as_ref().filter(|one| one.attempt == attempt)
            && !current.queue.push(packet, bytes)
        {
            tracing::warn!("the leader takes nothing any more, its connection is closed");
        }
    }

    /// Ends a connection behind what was sent.
    pub(crate) fn drop_link(&self, attempt: Attempt) {
        let mut current = self.current.lock();
        if let Some(own) = current.take_if(|one| one.attempt == attempt) {
            own.queue.close();
        }
        // Trees of this connection that nobody installed are of no use.
        self.shared.received.lock().clear();
    }

    /// A tree that was sent.
    pub(crate) fn take_tree(&self, snapshot: SnapshotId) -> Option<Tree> {
        self.shared.received.lock().remove(&snapshot)
    }
}

async fn run(
    attempt: Attempt,
    leader: ServerId,
    queue: Arc<SendQueue<LearnerPacket>>,
    shared: Arc<Shared>,
) {
    let end = tokio::select! {
        () = shared.stopping.cancelled() => Ok(()),
        end = link(attempt, leader, &queue, &shared) => end,
    };
    match end {
        Ok(()) => tracing::debug!(sid = %leader, "connection to the leader closed"),
        Err(error) => {
            let err = crate::stage::fail_stop::chain(&error);
            tracing::info!(sid = %leader, err, "no connection to the leader");
        }
    }
    queue.abort();
    tell(&shared.core, Event::LeaderDown { attempt }).await;
}

async fn link(
    attempt: Attempt,
    leader: ServerId,
    queue: &SendQueue<LearnerPacket>,
    shared: &Shared,
) -> Result<(), ReadError> {
    let socket = dial(leader, shared).await?;
    socket.set_nodelay(true)?;
    let (source, sink) = socket.into_split();
    tell(&shared.core, Event::LeaderUp { attempt }).await;
    let reader = PacketReader::new(source, shared.limits.length);
    tokio::select! {
        end = read(reader, attempt, shared) => end,
        end = write(sink, queue) => end.map_err(ReadError::Io),
    }
}

/// Tries the addresses of a member in turn; names are looked up each time.
async fn dial(leader: ServerId, shared: &Shared) -> io::Result<TcpStream> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "not in the configuration");
    let member = shared.config.get(leader).ok_or_else(unknown)?;
    let mut last = unknown();
    for address in &member.addresses {
        let connect = TcpStream::connect((address.host.as_str(), address.quorum_port));
        match timeout(shared.limits.connect, connect).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(last)
}

async fn read(
    mut reader: PacketReader<OwnedReadHalf>,
    attempt: Attempt,
    shared: &Shared,
) -> Result<(), ReadError> {
    loop {
        let packet = LeaderPacket::from_wire(reader.packet().await?)?;
        let snapshot = match &packet {
            LeaderPacket::Snap { zxid } => Some(*zxid),
            _ => None,
        };
        tell(&shared.core, Event::LeaderPacket { attempt, packet }).await;
        if let Some(zxid) = snapshot {
            let tree = tree(&mut reader, zxid, &shared.limits).await?;
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            let snapshot = SnapshotId::new(number);
            shared.received.lock().insert(snapshot, tree);
            tell(&shared.core, Event::LeaderSnapshot { attempt, snapshot }).await;
        }
    }
}

/// Reads the stream behind SNAP, with the string that closes it.
async fn tree(
    reader: &mut PacketReader<OwnedReadHalf>,
    zxid: Zxid,
    limits: &LeaderLimits,
) -> Result<Tree, ReadError> {
    let mut decoder = SnapshotDecoder::of_wire(limits.item_max);
    let mut loader = TreeLoader::new(limits.tree);
    loop {
        decoder.feed(reader.bytes().await?);
        while let Some(item) = decoder.next_item().map_err(damaged)? {
            loader.add(&item).map_err(damaged)?;
        }
        if let Some(rest) = decoder.take_rest() {
            reader.give_back(&rest);
            break;
        }
    }
    let signature = reader.exact(4 + SNAP_SIGNATURE.len()).await?;
    let signature = ByteString::decode(&mut Reader::shared(&signature))?;
    if signature != SNAP_SIGNATURE {
        return Err(damaged("the stream does not end with its signature"));
    }
    let (tree, _) = loader
        .finish(zxid, &Trailer::default())
        .map_err(damaged)?;
    Ok(tree)
}

fn damaged(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReadError {
    ReadError::Snapshot(source.into())
}

async fn write(mut sink: OwnedWriteHalf, queue: &SendQueue<LearnerPacket>) -> io::Result<()> {
    let mut packets = VecDeque::new();
    let mut buffer = BytesMut::new();
    while queue.take(&mut packets).await == Taken::Items {
        for packet in packets.drain(..) {
            packet.to_wire().encode(&mut buffer);
            if buffer.len() >= WRITE_BYTES {
                sink.write_all_buf(&mut buffer).await?;
            }
        }
        sink.write_all_buf(&mut buffer).await?;
        buffer.clear();
    }
    sink.shutdown().await
}

/// About what a packet takes in the queue.
fn packet_bytes(packet: &LearnerPacket) -> usize {
    let payload = match packet {
        LearnerPacket::Request(request) => request.body.len(),
        LearnerPacket::Ping { sessions, .. } => 12 * sessions.len(),
        _ => 0,
    };
    payload + size_of::<LearnerPacket>()
}
