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
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zk_core::peer::{Attempt, Event, SnapshotId};
use zk_core::tree::{Tree, TreeLoader, TreeOptions};
use zk_core::wire::quorum::{LeaderPacket, LearnerPacket, LengthLimit, SNAP_SIGNATURE};
use zk_core::wire::snapshot::{SnapshotDecoder, Trailer};
use zk_proto::jute::{Decode as _, Encode as _, Reader};
use zk_proto::{ServerId, Zxid};

use super::learner_links::tell;
use super::members::Members;
use super::packets::{PacketReader, ReadError, SendQueue, Taken, txn_bytes, within, write_all};
use super::peer_socket::{PeerAuth, PeerSocket, Sink, Source};
use super::race::first;
use crate::stage::core::CoreItem;
use crate::stage::intake::Intake;
use crate::stage::mailbox::Mailbox;

/// Bytes that may wait for the leader: requests are admitted long before this is reached.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Bytes put together for one write.
const WRITE_BYTES: usize = 256 << 10;

/// The connection to the leader, while there is one.
pub(crate) struct LeaderLink {
    shared: Arc<Shared>,
    /// The try that counts.
    current: Mutex<Option<Try>>,
    runtime: tokio::runtime::Handle,
    tasks: TaskTracker,
}

struct Shared {
    members: Members,
    core: Arc<Mailbox<CoreItem>>,
    intake: Arc<Intake>,
    limits: LeaderLimits,
    stopping: CancellationToken,
    /// Trees that came whole. What the core has taken over waits here until it is installed, whether
    /// the connection is still there or not.
    received: Mutex<BTreeMap<SnapshotId, Tree>>,
    next: AtomicU64,
}

/// Bounds of a connection to a leader.
#[derive(Debug, Clone)]
pub(crate) struct LeaderLimits {
    /// Longest string or buffer of a packet.
    pub(crate) length: LengthLimit,
    /// How servers speak with each other.
    pub(crate) auth: PeerAuth,
    /// Time to connect.
    pub(crate) connect: Duration,
    /// Longest that nothing comes of a tree that is being sent, while nobody else looks whether the leader is
    /// there, and that the leader takes nothing of what it is sent.
    pub(crate) patience: Duration,
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
        members: Members,
        core: Arc<Mailbox<CoreItem>>,
        intake: Arc<Intake>,
        limits: LeaderLimits,
        stopping: CancellationToken,
        tasks: &TaskTracker,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                members,
                core,
                intake,
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
        self.forget_trees();
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
    }

    /// Forgets trees that nobody installed; to be called where a role begins, which is when nothing
    /// of the one before is on its way into the tree any more.
    pub(crate) fn forget_trees(&self) {
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
    let PeerSocket { source, sink } = socket;
    tell(&shared.core, Event::LeaderUp { attempt }).await;
    let reader = PacketReader::new(source, shared.limits.length);
    tokio::select! {
        end = read(reader, attempt, queue, shared) => end,
        end = write(sink, queue, shared.limits.patience) => end.map_err(ReadError::Io),
    }
}

/// Connects to whichever of the addresses of a member answers.
async fn dial(leader: ServerId, shared: &Shared) -> io::Result<PeerSocket> {
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "not in the configuration");
    let member = shared.members.member(leader).ok_or_else(unknown)?;
    let auth = &shared.limits.auth;
    let attempts = member.addresses.iter().map(|address| async move {
        let host = address.host.as_str();
        let mut socket = auth.dial((host, address.quorum_port), host).await?;
        auth.prove(&mut socket).await?;
        Ok::<_, io::Error>(socket)
    });
    timeout(shared.limits.connect, first(attempts)).await?
}

async fn read(
    mut reader: PacketReader<Source>,
    attempt: Attempt,
    queue: &SendQueue<LearnerPacket>,
    shared: &Shared,
) -> Result<(), ReadError> {
    let intake = &*shared.intake;
    loop {
        // Pings wait with the rest: a disk that stalls for longer than a leader may be silent has lost it.
        intake.room().await;
        let packet = LeaderPacket::from_wire(reader.packet().await?)?;
        let counted = intake.count(txn_bytes(&packet));
        let mut tree_of = None;
        if let LeaderPacket::Snap { zxid } = &packet {
            tree_of = Some(*zxid);
        }
        tell(&shared.core, Event::LeaderPacket { attempt, packet }).await;
        counted.hand_on();
        if let Some(zxid) = tree_of {
            let tree = tree(&mut reader, zxid, &shared.limits).await?;
            let number = shared.next.fetch_add(1, Ordering::Relaxed);
            let snapshot = SnapshotId::new(number);
            {
                let mut received = shared.received.lock();
                // Nobody takes over what comes behind the end.
                if !queue.is_open() {
                    return Ok(());
                }
                received.insert(snapshot, tree);
            }
            tell(&shared.core, Event::LeaderSnapshot { attempt, snapshot }).await;
        }
    }
}

/// Reads the stream behind SNAP, with the string that closes it.
async fn tree(
    reader: &mut PacketReader<Source>,
    zxid: Zxid,
    limits: &LeaderLimits,
) -> Result<Tree, ReadError> {
    let mut decoder = SnapshotDecoder::of_wire(limits.item_max);
    let mut loader = TreeLoader::new(limits.tree);
    loop {
        decoder.feed(within(limits.patience, reader.bytes()).await?);
        while let Some(item) = decoder.next_item().map_err(damaged)? {
            loader.add(&item).map_err(damaged)?;
        }
        if let Some(rest) = decoder.take_rest() {
            reader.give_back(&rest);
            break;
        }
    }
    let signature = reader.exact(4 + SNAP_SIGNATURE.len());
    let signature = within(limits.patience, signature).await?;
    let signature = ByteString::decode(&mut Reader::shared(&signature))?;
    if signature != SNAP_SIGNATURE {
        return Err(damaged("the stream does not end with its signature"));
    }
    let (tree, _) = loader.finish(zxid, &Trailer::default()).map_err(damaged)?;
    Ok(tree)
}

fn damaged(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ReadError {
    ReadError::Snapshot(source.into())
}

async fn write(
    mut sink: Sink,
    queue: &SendQueue<LearnerPacket>,
    patience: Duration,
) -> io::Result<()> {
    let mut packets = VecDeque::new();
    let mut buffer = BytesMut::new();
    while queue.take(&mut packets).await == Taken::Items {
        for (packet, _) in packets.drain(..) {
            packet.to_wire().encode(&mut buffer);
            if buffer.len() >= WRITE_BYTES {
                write_all(patience, &mut sink, &mut buffer).await?;
            }
        }
        write_all(patience, &mut sink, &mut buffer).await?;
        within(patience, sink.flush()).await?;
    }
    within(patience, sink.shutdown()).await
}

/// About what a packet takes in the queue.
fn packet_bytes(packet: &LearnerPacket) -> usize {
    let payload = match packet {
        LearnerPacket::Request(request) => request.body.len(),
        LearnerPacket::Ping { touches, .. } => 12 * touches.len(),
        LearnerPacket::Info { .. }
        | LearnerPacket::AckEpoch { .. }
        | LearnerPacket::Ack { .. }
        | LearnerPacket::Revalidate { .. }
        | LearnerPacket::Unknown { .. } => 0,
    };
    payload + size_of::<LearnerPacket>()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::num::NonZeroU64;

    use tokio::net::{TcpListener, TcpStream};
    use zk_core::ensemble::{Configs, EnsembleConfig, Member, PeerAddress, Role};
    use zk_core::peer::LinkId;
    use zk_core::wire::quorum::ForwardedRequest;
    use zk_core::wire::txn::{CreateTxn, Op, Txn, TxnHeader};
    use zk_proto::{Bytes, SessionId, Xid};

    use super::super::learner_links::{CaptureLease, LearnerLimits, LearnerLinks};
    use super::*;
    use crate::shared_tree::SharedTree;
    use crate::stage::mailbox::Taken as Mail;

    const SOON: Duration = Duration::from_mins(1);
    const LONG: Duration = Duration::from_hours(1);
    /// For those who stand still on purpose.
    const SHORT: Duration = Duration::from_millis(100);
    const LIMIT: LengthLimit = LengthLimit(1 << 20);
    const LINK: LinkId = LinkId::new(NonZeroU64::MIN);
    const ATTEMPT: Attempt = Attempt::new(7);

    /// A leader's and a learner's side of the quorum port, with the mailboxes of their cores.
    struct Pair {
        learners: LearnerLinks,
        leader: LeaderLink,
        of_leader: Inbox,
        of_learner: Inbox,
        intake: Arc<Intake>,
        stopping: CancellationToken,
        tasks: TaskTracker,
    }

    /// One member, which is the leader.
    fn config_with(quorum_port: u16) -> Arc<EnsembleConfig> {
        let member = Member {
            id: ServerId::new(1),
            addresses: vec![PeerAddress {
                host: "127.0.0.1".into(),
                quorum_port,
                election_port: 1,
            }],
            role: Role::Voter,
            client: None,
            secure_client: None,
        };
        Arc::new(EnsembleConfig::new([member], None, Zxid::ZERO))
    }

    /// Bytes of transactions that the learner lets in.
    const INTAKE_MAX: usize = 1000;

    impl Pair {
        async fn new() -> Self {
            Self::with_patience(LONG).await
        }

        async fn with_patience(patience: Duration) -> Self {
            let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
            let listener = listener.expect("a port");
            let quorum_port = listener.local_addr().expect("bound").port();
            let members = Members::from(config_with(quorum_port));
            let (of_leader, of_learner) = (Inbox::new(), Inbox::new());
            let (stopping, tasks) = (CancellationToken::new(), TaskTracker::new());
            let limits = LeaderLimits {
                length: LIMIT,
                auth: PeerAuth::default(),
                connect: 10 * SOON,
                patience,
                tree: TreeOptions::default(),
                item_max: 1 << 20,
            };
            let intake = Arc::new(Intake::new(INTAKE_MAX));
            Self {
                learners: LearnerLinks::start(
                    vec![listener],
                    (PeerAuth::default(), members.clone()),
                    Arc::clone(&of_leader.mailbox),
                    LearnerLimits {
                        length: LIMIT,
                        patience,
                    },
                    stopping.clone(),
                    &tasks,
                ),
                leader: LeaderLink::new(
                    members,
                    Arc::clone(&of_learner.mailbox),
                    Arc::clone(&intake),
                    limits,
                    stopping.clone(),
                    &tasks,
                ),
                of_leader,
                of_learner,
                intake,
                stopping,
                tasks,
            }
        }

        async fn linked() -> Self {
            let pair = Self::new().await;
            pair.learners.listen(true);
            pair.leader.connect(ATTEMPT, ServerId::new(1));
            assert!(
                matches!(next(&pair.of_leader).await, Event::LearnerUp { link } if link == LINK)
            );
            let up = next(&pair.of_learner).await;
            assert!(matches!(up, Event::LeaderUp { attempt } if attempt == ATTEMPT));
            pair
        }

        async fn end(self) {
            self.stopping.cancel();
            self.tasks.close();
            timeout(SOON, self.tasks.wait())
                .await
                .expect("all tasks end");
        }
    }

    /// A mailbox that a test takes from one by one.
    struct Inbox {
        mailbox: Arc<Mailbox<CoreItem>>,
        /// Taken, and not looked at.
        early: Mutex<VecDeque<CoreItem>>,
    }

    impl Inbox {
        fn new() -> Self {
            Self {
                mailbox: Arc::new(Mailbox::new(100)),
                early: Mutex::default(),
            }
        }
    }

    /// The next event.
    async fn next(inbox: &Inbox) -> Event {
        if inbox.early.lock().is_empty() {
            let mailbox = Arc::clone(&inbox.mailbox);
            let taken = tokio::task::spawn_blocking(move || {
                let mut items = Vec::new();
                let deadline = std::time::Instant::now() + SOON;
                assert_eq!(mailbox.take(Some(deadline), &mut items), Mail::Items);
                items
            });
            let taken = taken.await.expect("no panic");
            inbox.early.lock().extend(taken);
        }
        match inbox.early.lock().pop_front() {
            Some(CoreItem::Event(event)) => event,
            Some(_) | None => panic!("no event"),
        }
    }

    /// What is read and not durable is bounded, and nothing is lost by that.
    #[tokio::test]
    async fn a_learner_reads_no_more_than_its_log_can_follow() {
        const COUNT: i64 = 100;
        let pair = Pair::linked().await;
        let proposal = |counter| LeaderPacket::Proposal {
            zxid: Zxid::new(counter),
            entry: Bytes::from(vec![7; 300]),
        };
        for counter in 1..=COUNT {
            pair.learners.send(LINK, proposal(counter));
        }
        for counter in 1..=COUNT {
            // The last ones find room.
            if counter <= COUNT - 4 {
                while pair.intake.bytes() < 1200 || !pair.intake.is_waited_for() {
                    tokio::task::yield_now().await;
                }
                assert_eq!(pair.intake.bytes(), 1200, "one beyond the bound");
            }
            let event = next(&pair.of_learner).await;
            let expected = proposal(counter);
            assert!(matches!(
                event,
                Event::LeaderPacket { packet, .. } if packet == expected
            ));
            pair.intake.done(300);
        }
        assert_eq!(pair.intake.bytes(), 0);
        pair.end().await;
    }

    #[tokio::test]
    async fn packets_pass_both_ways_in_order() {
        let pair = Pair::linked().await;
        for counter in 1..=100 {
            let zxid = Zxid::new(counter);
            pair.learners.send(LINK, LeaderPacket::Commit { zxid });
            pair.leader.send(ATTEMPT, LearnerPacket::Ack { zxid });
        }
        for counter in 1..=100 {
            let expected = Zxid::new(counter);
            let event = next(&pair.of_learner).await;
            assert!(matches!(
                event,
                Event::LeaderPacket { packet: LeaderPacket::Commit { zxid }, .. } if zxid == expected
            ));
            let event = next(&pair.of_leader).await;
            assert!(matches!(
                event,
                Event::LearnerPacket { packet: LearnerPacket::Ack { zxid }, .. } if zxid == expected
            ));
        }
        pair.end().await;
    }

    /// A tree with one znode of so many bytes.
    fn tree_of(bytes: usize) -> Tree {
        let mut tree = Tree::new(TreeOptions::default());
        let header = TxnHeader {
            session: SessionId::new(1),
            cxid: Xid::new(1),
            zxid: Zxid::new(5),
            time: zk_core::time::WallTime::from_millis(1),
        };
        let txn = Txn::from(Op::Create(CreateTxn {
            path: "/sent".into(),
            data: Some(vec![7; bytes].into()),
            acl: None,
            ephemeral: false,
            parent_cversion: CreateTxn::NEXT_CVERSION,
        }));
        tree.apply(&header, &txn);
        tree
    }

    type Returned = Arc<Mutex<Option<zk_core::tree::Capture>>>;

    /// A capture of a tree, and where it is given back.
    fn captured(tree: Tree) -> (Arc<SharedTree>, CaptureLease, Returned) {
        let shared = Arc::new(SharedTree::new(tree, 1));
        let capture = shared.apply().tree_mut().capture();
        let returned = Returned::default();
        let back = Arc::clone(&returned);
        let lease = CaptureLease::new(capture, Arc::clone(&shared), move |capture| {
            *back.lock() = Some(capture);
        });
        (shared, lease, returned)
    }

    /// A connection to the quorum port that takes nothing of what it is sent.
    async fn deaf_learner(pair: &Pair) -> TcpStream {
        pair.learners.listen(true);
        let members = &pair.leader.shared.members;
        let member = members.member(ServerId::new(1)).expect("there");
        let port = member.addresses.first().expect("one").quorum_port;
        let socket = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        assert!(matches!(next(&pair.of_leader).await, Event::LearnerUp { link } if link == LINK));
        socket
    }

    /// More than the buffers of a connection take.
    const MUCH: usize = 64 << 20;

    #[tokio::test]
    async fn who_takes_nothing_of_a_tree_is_given_up() {
        let pair = Pair::with_patience(SHORT).await;
        let _socket = deaf_learner(&pair).await;
        let (shared, lease, returned) = captured(tree_of(MUCH));
        pair.learners.stream_snapshot(LINK, Zxid::new(5));
        pair.learners.captured(LINK, lease);
        assert!(matches!(next(&pair.of_leader).await, Event::LearnerDown { link } if link == LINK));
        let capture = returned.lock().take().expect("given back");
        shared.apply().tree_mut().end_capture(capture);
        pair.end().await;
    }

    #[tokio::test]
    async fn a_tree_on_its_way_is_given_back_when_the_link_is_dropped() {
        let pair = Pair::new().await;
        let mut socket = deaf_learner(&pair).await;
        let (shared, lease, returned) = captured(tree_of(MUCH));
        pair.learners.stream_snapshot(LINK, Zxid::new(5));
        pair.learners.captured(LINK, lease);
        // The stream has begun.
        tokio::io::AsyncReadExt::read_u8(&mut socket)
            .await
            .expect("sent");
        pair.learners.drop_link(LINK);
        assert!(matches!(next(&pair.of_leader).await, Event::LearnerDown { link } if link == LINK));
        let capture = returned.lock().take().expect("given back");
        shared.apply().tree_mut().end_capture(capture);
        pair.end().await;
    }

    #[tokio::test]
    async fn a_leader_that_stands_still_within_a_tree_is_given_up() {
        let pair = Pair::with_patience(SHORT).await;
        let mut link = deaf_leader(&pair).await;
        let mut begun = BytesMut::new();
        let zxid = Zxid::new(5);
        LeaderPacket::Snap { zxid }.to_wire().encode(&mut begun);
        begun.extend_from_slice(b"ZKSN");
        link.write_all_buf(&mut begun).await.expect("sent");
        let event = next(&pair.of_learner).await;
        assert!(matches!(
            event,
            Event::LeaderPacket {
                packet: LeaderPacket::Snap { .. },
                ..
            }
        ));
        let down = next(&pair.of_learner).await;
        assert!(matches!(down, Event::LeaderDown { attempt } if attempt == ATTEMPT));
        pair.end().await;
    }

    /// The leader's end of a connection, on which nobody speaks.
    async fn deaf_leader(pair: &Pair) -> TcpStream {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await;
        let listener = listener.expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let configs = Configs::new(config_with(port));
        pair.leader.shared.members.set(configs);
        pair.leader.connect(ATTEMPT, ServerId::new(1));
        let (socket, _) = listener.accept().await.expect("connected");
        let up = next(&pair.of_learner).await;
        assert!(matches!(up, Event::LeaderUp { attempt } if attempt == ATTEMPT));
        socket
    }

    #[tokio::test]
    async fn a_tree_is_sent_between_the_packets_around_it() {
        let pair = Pair::linked().await;
        let tree = tree_of(100_000);
        let expected = tree.recompute_digest();
        let (shared, lease, returned) = captured(tree);
        pair.learners.stream_snapshot(LINK, Zxid::new(5));
        pair.learners.send(LINK, LeaderPacket::UpToDate);
        pair.learners.captured(LINK, lease);

        let event = next(&pair.of_learner).await;
        assert!(matches!(
            event,
            Event::LeaderPacket { packet: LeaderPacket::Snap { zxid }, .. } if zxid == Zxid::new(5)
        ));
        let event = next(&pair.of_learner).await;
        let Event::LeaderSnapshot { snapshot, .. } = event else {
            panic!("{event:?} instead of a tree");
        };
        let event = next(&pair.of_learner).await;
        assert!(matches!(
            event,
            Event::LeaderPacket {
                packet: LeaderPacket::UpToDate,
                ..
            }
        ));
        let received = pair
            .leader
            .take_tree(snapshot)
            .expect("kept until asked for");
        assert_eq!(received.applied(), Zxid::new(5));
        assert_eq!(received.recompute_digest(), expected);
        assert!(
            matches!(next(&pair.of_leader).await, Event::SnapshotSent { link } if link == LINK)
        );
        let capture = returned.lock().take().expect("given back");
        shared.apply().tree_mut().end_capture(capture);
        pair.end().await;
    }

    /// The core may have it under way into the place of the tree.
    #[tokio::test]
    async fn a_tree_that_came_whole_outlives_its_connection() {
        let pair = Pair::linked().await;
        let mut waiting = Vec::new();
        for _ in 0..2 {
            let (_shared, lease, _returned) = captured(tree_of(10));
            pair.learners.stream_snapshot(LINK, Zxid::new(5));
            pair.learners.captured(LINK, lease);
            assert!(matches!(
                next(&pair.of_learner).await,
                Event::LeaderPacket { .. }
            ));
            let event = next(&pair.of_learner).await;
            let Event::LeaderSnapshot { snapshot, .. } = event else {
                panic!("{event:?} instead of a tree");
            };
            waiting.push(snapshot);
        }
        pair.learners.drop_link(LINK);
        assert!(matches!(
            next(&pair.of_learner).await,
            Event::LeaderDown { .. }
        ));
        pair.leader.drop_link(ATTEMPT);
        let [first, second] = waiting[..] else {
            panic!("two were sent");
        };
        assert!(pair.leader.take_tree(first).is_some());
        pair.leader.connect(Attempt::new(8), ServerId::new(2));
        assert!(pair.leader.take_tree(second).is_none(), "of a role before");
        pair.end().await;
    }

    #[tokio::test]
    async fn a_link_that_is_dropped_ends_though_the_leader_takes_nothing() {
        let pair = Pair::with_patience(SHORT).await;
        let _link = deaf_leader(&pair).await;
        // More than sockets take.
        for _ in 0..32 {
            let request = ForwardedRequest {
                session: SessionId::new(1),
                cxid: Xid::new(1),
                op: 5,
                body: vec![0; 1 << 20].into(),
                identities: None,
            };
            pair.leader.send(ATTEMPT, LearnerPacket::Request(request));
        }
        pair.leader.drop_link(ATTEMPT);
        let down = next(&pair.of_learner).await;
        assert!(matches!(down, Event::LeaderDown { attempt } if attempt == ATTEMPT));
        pair.end().await;
    }

    #[tokio::test]
    async fn a_link_ends_behind_what_was_sent_and_both_sides_hear_of_it() {
        let pair = Pair::linked().await;
        pair.learners.send(LINK, LeaderPacket::Sync);
        pair.learners.drop_link(LINK);
        let event = next(&pair.of_learner).await;
        assert!(matches!(
            event,
            Event::LeaderPacket {
                packet: LeaderPacket::Sync,
                ..
            }
        ));
        let down = next(&pair.of_learner).await;
        assert!(matches!(down, Event::LeaderDown { attempt } if attempt == ATTEMPT));
        assert!(matches!(next(&pair.of_leader).await, Event::LearnerDown { link } if link == LINK));
        pair.end().await;
    }

    #[tokio::test]
    async fn who_does_not_lead_turns_learners_away() {
        let pair = Pair::new().await;
        pair.leader.connect(ATTEMPT, ServerId::new(1));
        // It may have seen the connection open before it was closed.
        let mut event = next(&pair.of_learner).await;
        if matches!(event, Event::LeaderUp { .. }) {
            event = next(&pair.of_learner).await;
        }
        assert!(matches!(event, Event::LeaderDown { attempt } if attempt == ATTEMPT));
        pair.leader.connect(ATTEMPT, ServerId::new(2));
        let event = next(&pair.of_learner).await;
        assert!(
            matches!(event, Event::LeaderDown { .. }),
            "a stranger has no address"
        );
        pair.end().await;
    }

    #[tokio::test]
    async fn a_leader_is_reached_past_an_address_that_answers_nobody() {
        let silent = crate::net::race::testing::Silent::start().await;
        let pair = Pair::new().await;
        pair.learners.listen(true);
        let members = &pair.leader.shared.members;
        let mut member = members.member(ServerId::new(1)).expect("there");
        let mut dead = member.addresses.first().cloned().expect("one");
        dead.quorum_port = silent.port;
        member.addresses.insert(0, dead);
        let config = EnsembleConfig::new([member], None, Zxid::ZERO);
        members.set(Configs::new(Arc::new(config)));
        pair.leader.connect(ATTEMPT, ServerId::new(1));
        let up = next(&pair.of_learner).await;
        assert!(matches!(up, Event::LeaderUp { attempt } if attempt == ATTEMPT));
        pair.end().await;
    }

    #[tokio::test]
    async fn what_is_no_packet_ends_the_link() {
        let pair = Pair::new().await;
        pair.learners.listen(true);
        let members = &pair.leader.shared.members;
        let member = members.member(ServerId::new(1)).expect("there");
        let port = member.addresses.first().expect("one").quorum_port;
        let mut socket = TcpStream::connect(("127.0.0.1", port)).await.expect("open");
        socket
            .write_all(b"GET / HTTP/1.1\r\n\r\n")
            .await
            .expect("sent");
        assert!(matches!(
            next(&pair.of_leader).await,
            Event::LearnerUp { .. }
        ));
        assert!(matches!(
            next(&pair.of_leader).await,
            Event::LearnerDown { .. }
        ));
        pair.end().await;
    }
}
