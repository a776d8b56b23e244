//! Applying: changes the tree, tells who watches, answers who asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::BytesMut;
use zk_core::answer::{answer_sync, answer_write};
use zk_core::conn::ConnId;
use zk_core::conn::auth::Access;
use zk_core::conn::pipeline::{Answer, Broken, Then};
use zk_core::conn::request::error_frame;
use zk_core::ensemble::EnsembleConfig;
use zk_core::peer::{ApplyAction, Asker, Barrier, Event, LinkId, Origin, Proposal, SnapshotId};
use zk_core::tree::{Capture, Tree};
use zk_core::wire::txn::Txn;
use zk_proto::{ErrorCode, Zxid};

use super::core::CoreItem;
use super::digests::Digests;
use super::fail_stop::StopCause;
use super::log::{LogItem, LogTask};
use super::mailbox::Mailbox;
use super::owner::Stage;
use super::snapshot::{SnapshotItem, SnapshotOrder, SnapshotPurpose};
use crate::audit::{Audit, Line, Period};
use crate::net::admission::Admission;
use crate::net::connections::{Conn, Connections};
use crate::net::delivery::{Delivery, Scratch};
use crate::net::learner_links::CaptureLease;
use crate::net::outbox::ReadJob;
use crate::net::peers::Peers;
use crate::shared_tree::{Applying, SharedTree};

/// Transactions applied under one guard, so that no reader waits long.
pub(crate) const BATCH_MAX: usize = 512;

/// Something asked of who applies.
pub(crate) enum ApplyItem {
    /// Of the apply lane.
    Action(ApplyAction),
    /// A capture that is done with, whether it was written or not.
    Captured {
        /// The capture.
        capture: Capture,
        /// What it was for.
        purpose: SnapshotPurpose,
    },
    /// Have the log cut behind this transaction, once nobody has a capture of the tree.
    Truncate(Zxid),
    /// The tree as it is on disk, after the log was cut.
    Reloaded(Box<Tree>),
    /// Have a snapshot written for an operator.
    Order(SnapshotOrder),
    /// Show clients who the members are.
    Configure(Arc<EnsembleConfig>),
    /// Nothing that was asked in this period is applied any more for whoever asked.
    PeriodOver(Period),
}

/// A tree that is to take the place of the tree, once nobody has a capture of that.
enum Replacement {
    /// From disk, after the log is cut behind this transaction.
    OfDisk(Zxid),
    /// From the leader.
    OfLeader(SnapshotId),
}

/// When to take snapshots: after a number of transactions or of bytes, each drawn anew between half
/// of its limit and the limit, so that the members of an ensemble do not do it together.
pub(crate) struct SnapshotPace {
    txns_max: u64,
    bytes_max: Option<u64>,
    txns: u64,
    bytes: u64,
    /// Share of the limit that counts this time, in thousandths.
    share: u64,
    random: u64,
}

impl SnapshotPace {
    pub(crate) fn new(txns_max: u64, bytes_max: Option<u64>, seed: u64) -> Self {
        let mut pace = Self {
            txns_max,
            bytes_max,
            txns: 0,
            bytes: 0,
            share: 1000,
            random: seed | 1,
        };
        pace.draw();
        pace
    }

    /// Counts a transaction; true when a snapshot is due.
    fn count(&mut self, bytes: u64) -> bool {
        self.txns += 1;
        self.bytes += bytes;
        let is_due = self.txns > self.txns_max * self.share / 1000
            || self
                .bytes_max
                .is_some_and(|max| self.bytes > max / 1000 * self.share);
        if is_due {
            self.draw();
        }
        is_due
    }

    fn draw(&mut self) {
        (self.txns, self.bytes) = (0, 0);
        // Xorshift: any spread will do.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.share = 500 + self.random % 500;
    }
}

/// Who applies.
pub(crate) struct ApplyStage {
    pub(crate) tree: Arc<SharedTree>,
    /// Where captures come back to.
    pub(crate) mailbox: Arc<Mailbox<ApplyItem>>,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    pub(crate) log: Arc<Mailbox<LogItem>>,
    pub(crate) snapshots: Arc<Mailbox<SnapshotItem>>,
    /// The other members, if there are any.
    pub(crate) peers: Option<Arc<Peers>>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) access: Access,
    /// Where the permits come from; one is given back for each write that is answered.
    pub(crate) admission: Arc<Admission>,
    pub(crate) pace: SnapshotPace,
    pub(crate) captures: Captures,
    pub(crate) digests: Digests,
    /// The answer being written; short ones are copied from here.
    pub(crate) answer: BytesMut,
    /// Who tells of changes, if that is wanted.
    pub(crate) audit: Option<Arc<Audit>>,
    /// What it tells of, when the guard is given back.
    pub(crate) lines: Vec<Line>,
    pub(crate) delivery: Delivery,
    pub(crate) scratch: Scratch,
}

/// The captures that exist.
#[derive(Default)]
pub(crate) struct Captures {
    /// Number of them.
    count: usize,
    /// Whether a snapshot is being written that nobody asked for.
    has_periodic: bool,
    /// Replaces the tree when the last one is given back.
    replacement: Option<Replacement>,
    /// Whether the log is being cut and the tree loaded from disk. Who captured the old tree meanwhile would
    /// read it from the new one, or bring back what is cut off.
    is_reloading: bool,
    /// Tells the snapshot thread that what it writes is of no use any more.
    pub(crate) is_obsolete: Arc<AtomicBool>,
}

impl Captures {
    fn replace(&mut self, replacement: Replacement) {
        self.is_obsolete.store(true, Ordering::Release);
        self.replacement = Some(replacement);
    }

    /// What is to be done now, if nothing is in its way.
    fn take_replacement(&mut self) -> Option<Replacement> {
        let replacement = self.replacement.take_if(|_| self.count == 0)?;
        self.is_obsolete.store(false, Ordering::Release);
        self.is_reloading = matches!(replacement, Replacement::OfDisk(_));
        Some(replacement)
    }

    /// Whether the tree is about to go.
    fn is_replacing(&self) -> bool {
        self.replacement.is_some() || self.is_reloading
    }
}

/// Who got something in this batch.
#[derive(Default)]
struct Touched {
    /// To be told, each once.
    conns: Vec<Arc<Conn>>,
    /// Who asked last: requests of one connection come in rows.
    last: Option<Arc<Conn>>,
    /// Writes that were answered.
    answered: usize,
    /// When the batch began.
    now: Option<Instant>,
}

impl Touched {
    fn touch(&mut self, conn: &Arc<Conn>) {
        if conn.outbox.touch() {
            self.conns.push(Arc::clone(conn));
        }
    }

    /// The connection with this handle.
    fn find(&mut self, connections: &Connections, id: ConnId) -> Option<Arc<Conn>> {
        if self.last.as_ref().is_none_or(|last| last.id != id) {
            self.last = connections.get(id);
        }
        self.last.clone()
    }

    fn now(&mut self) -> Instant {
        *self.now.get_or_insert_with(Instant::now)
    }
}

impl ApplyStage {
    fn batch(&mut self, items: impl Iterator<Item = ApplyItem>) -> Result<(), StopCause> {
        let mut touched = Touched::default();
        let mut snapshots = Vec::new();
        let mut reloaded = None;
        let shared = Arc::clone(&self.tree);
        let before = shared.applied();
        let mut guard = shared.apply();
        for item in items {
            match item {
                ApplyItem::Action(ApplyAction::Apply(proposal)) => {
                    self.apply(&mut guard, &proposal, &mut touched)?;
                    let bytes = u64::try_from(proposal.bytes.len()).unwrap_or(0);
                    if self.pace.count(bytes) {
                        self.log.send([LogItem::Alone(LogTask::Roll)]);
                        if !self.captures.has_periodic {
                            self.captures.has_periodic = true;
                            let capture = self.capture(&mut guard);
                            snapshots.push(SnapshotItem {
                                capture,
                                purpose: SnapshotPurpose::Periodic,
                                order: None,
                            });
                        }
                    }
                }
                ApplyItem::Action(ApplyAction::Barrier(barrier)) => {
                    self.barrier(&guard, &barrier, &mut touched);
                }
                ApplyItem::Action(ApplyAction::Capture { link }) => {
                    let capture = self.capture(&mut guard);
                    self.lend(link, capture);
                }
                ApplyItem::Action(ApplyAction::SaveSnapshot) => {
                    let capture = self.capture(&mut guard);
                    snapshots.push(SnapshotItem {
                        capture,
                        purpose: SnapshotPurpose::Restart,
                        order: None,
                    });
                }
                // Of a tree that is about to go: whoever waits hears that there is none.
                ApplyItem::Order(order) if self.captures.is_replacing() => drop(order),
                ApplyItem::Order(order) => {
                    let capture = self.capture(&mut guard);
                    snapshots.push(SnapshotItem {
                        capture,
                        purpose: SnapshotPurpose::Ordered,
                        order: Some(order),
                    });
                }
                ApplyItem::Action(ApplyAction::Install { snapshot }) => {
                    self.captures.replace(Replacement::OfLeader(snapshot));
                }
                ApplyItem::Truncate(to) => self.captures.replace(Replacement::OfDisk(to)),
                ApplyItem::Reloaded(tree) => reloaded = Some(tree),
                ApplyItem::Configure(config) => guard.show_config(config),
                ApplyItem::PeriodOver(over) => {
                    if let Some(audit) = &self.audit {
                        audit.forget(over);
                    }
                }
                ApplyItem::Captured { capture, purpose } => {
                    guard.tree_mut().end_capture(capture);
                    self.captures.count -= 1;
                    self.captures.has_periodic &= purpose != SnapshotPurpose::Periodic;
                }
            }
        }
        let applied = guard.applied();
        drop(guard);
        self.tell();
        self.admission.permits.add_permits(touched.answered);
        self.delivery.deliver(touched.conns, &mut self.scratch);
        if !snapshots.is_empty() {
            self.snapshots.send(snapshots);
        }
        if applied > before {
            // Whoever runs this goes on to help the core.
            self.core.leave([CoreItem::Event(Event::Applied(applied))]);
        }
        if let Some(tree) = reloaded {
            let applied = tree.applied();
            self.install(*tree);
            self.captures.is_reloading = false;
            self.core
                .leave([CoreItem::Event(Event::Truncated { applied })]);
        }
        self.replace_tree();
        Ok(())
    }

    /// Writes the audit log; its reader may be slow, and must not keep anybody from the tree.
    fn tell(&mut self) {
        for line in self.lines.drain(..) {
            line.tell();
        }
    }

    fn capture(&mut self, guard: &mut Applying<'_>) -> Capture {
        self.captures.count += 1;
        guard.tree_mut().capture()
    }

    /// Hands a capture to the connection of a learner, from where it comes back.
    fn lend(&self, link: LinkId, capture: Capture) {
        let mailbox = Arc::clone(&self.mailbox);
        let give_back = move |capture| {
            mailbox.send([ApplyItem::Captured {
                capture,
                purpose: SnapshotPurpose::Learner,
            }]);
        };
        let lease = CaptureLease::new(capture, Arc::clone(&self.tree), give_back);
        if let Some(peers) = &self.peers {
            peers.captured(link, lease);
        }
    }

    /// Does what waited for the last capture to be given back.
    fn replace_tree(&mut self) {
        match self.captures.take_replacement() {
            None => {}
            Some(Replacement::OfDisk(to)) => self.log.send([LogItem::Alone(LogTask::Truncate(to))]),
            Some(Replacement::OfLeader(snapshot)) => {
                let tree = self
                    .peers
                    .as_ref()
                    .and_then(|peers| peers.take_tree(snapshot));
                let tree = tree.expect("a tree waits until it is installed");
                let zxid = tree.applied();
                self.install(tree);
                let event = Event::Installed { snapshot, zxid };
                self.core.leave([CoreItem::Event(event)]);
            }
        }
    }

    fn install(&self, tree: Tree) {
        let before = self.tree.apply().replace(tree);
        // Takes long if it is large, and nobody waits for it.
        drop(before);
    }

    fn apply(
        &mut self,
        guard: &mut Applying<'_>,
        proposal: &Proposal,
        touched: &mut Touched,
    ) -> Result<(), StopCause> {
        let Proposal { entry, asker, .. } = proposal;
        let zxid = entry.header.zxid;
        let client = match *asker {
            Asker::Client { origin, op } => {
                let conn = touched.find(&self.connections, origin.conn);
                conn.map(|conn| (conn, origin, op))
            }
            Asker::Handshake(_) | Asker::Server => None,
        };
        if let Some((conn, ..)) = &client {
            let state = guard.applied();
            let mut run = |job| self.read(guard, conn, job);
            keep_order(conn, conn.outbox.run_before_write(state, &mut run));
        }

        let applied = guard.tree_mut().apply(&entry.header, &entry.txn);
        let check = guard.tree_mut().check_digest(zxid, entry.digest.as_ref());
        self.digests.judge(zxid, check, proposal.mismatch)?;
        guard.note_digest();
        let mut told = Vec::new();
        let who = |conn| self.connections.identities(conn);
        for effect in &applied.effects {
            guard.fire(effect, &self.access, &who, &mut told);
        }
        for notification in &told {
            let frame = notification.frame(zxid);
            for &receiver in &notification.receivers {
                if let Some(conn) = self.connections.get(receiver) {
                    keep_order(&conn, conn.outbox.push_event(zxid, frame.clone()));
                    touched.touch(&conn);
                }
            }
        }

        if let Some(audit) = &self.audit {
            if let Asker::Client { origin, .. } = *asker {
                audit.answered(origin, &applied.result, &mut self.lines);
            }
            if matches!(entry.txn, Txn::CloseSession(_)) {
                audit.session_ended(entry.header.session, &applied.effects, &mut self.lines);
            }
        }
        match *asker {
            Asker::Client { .. } => {
                if let Some((conn, origin, op)) = client {
                    let txn = &entry.txn;
                    let then = answer_write(
                        op,
                        origin.xid,
                        zxid,
                        txn,
                        &applied.result,
                        guard,
                        &mut self.answer,
                    );
                    self.commit(guard, &conn, origin, zxid, then, touched);
                }
            }
            Asker::Handshake(conn) => {
                self.connections.session_opened(conn, entry.header.session);
            }
            Asker::Server => {
                // The session ran out: its connection is closed without a word.
                if matches!(entry.txn, Txn::CloseSession(_))
                    && let Some(conn) = self.connections.of_session(entry.header.session)
                {
                    conn.outbox.abort();
                }
            }
        }
        Ok(())
    }

    /// Answers a sync; one from a connection that was left behind closes that.
    fn barrier(&mut self, guard: &Applying<'_>, barrier: &Barrier, touched: &mut Touched) {
        let origin = barrier.origin;
        let Some(conn) = touched.find(&self.connections, origin.conn) else {
            return;
        };
        let state = guard.applied();
        let mut run = |job| self.read(guard, &conn, job);
        keep_order(&conn, conn.outbox.run_before_write(state, &mut run));
        let mut then = Then::Continue;
        match &barrier.outcome {
            Ok(path) => answer_sync(origin.xid, state, path.as_ref(), &mut self.answer),
            Err(ErrorCode::SessionMoved) => then = Then::Close,
            Err(code) => {
                let frame = error_frame(origin.xid, state, *code);
                self.answer.extend_from_slice(&frame);
            }
        }
        self.commit(guard, &conn, origin, state, then, touched);
    }

    /// Puts what is in `answer` into the outbox, and runs the reads behind it.
    fn commit(
        &mut self,
        guard: &Applying<'_>,
        conn: &Arc<Conn>,
        origin: Origin,
        zxid: Zxid,
        then: Then,
        touched: &mut Touched,
    ) {
        let answer = Answer {
            bytes: self.answer.split().freeze(),
            then,
        };
        let mut run = |job| self.read(guard, conn, job);
        let outbox = &conn.outbox;
        let now = touched.now();
        let committed = outbox.commit(origin.ticket, zxid, now, answer, &mut run);
        if let Some(is_awaited) = keep_order(conn, committed) {
            touched.answered += usize::from(is_awaited);
            touched.touch(conn);
        }
    }

    /// Runs a read that stands behind a write, against exactly the state that the write left.
    fn read(&self, guard: &Applying<'_>, conn: &Conn, job: ReadJob) -> Answer {
        let mut bytes = BytesMut::new();
        let then = job.run(conn.id, &self.access, guard, guard.watches(), &mut bytes);
        Answer {
            bytes: bytes.freeze(),
            then,
        }
    }
}

/// Ends a connection whose order is about to be broken, and nothing else: a client may bring it about,
/// and the tree is what it has to be.
fn keep_order<T>(conn: &Conn, kept: Result<T, Broken>) -> Option<T> {
    let broken = match kept {
        Ok(kept) => return Some(kept),
        Err(broken) => broken,
    };
    if !conn.outbox.is_aborted() {
        let peer = conn.remote;
        tracing::error!(%peer, err = %broken, "connection closed: its order is about to be broken");
        conn.outbox.abort();
    }
    None
}

impl Stage for ApplyStage {
    type Item = ApplyItem;
    const NAME: &'static str = "apply";

    fn turn(&mut self, items: &mut Vec<ApplyItem>) -> Result<(), StopCause> {
        let mut rest = items.drain(..).peekable();
        while rest.peek().is_some() {
            let done = self.batch(rest.by_ref().take(BATCH_MAX));
            // Also of one that broke off.
            self.tell();
            done?;
        }
        Ok(())
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;
    use tokio::sync::{Semaphore, oneshot};
    use tokio_util::task::TaskTracker;
    use zk_core::conn::auth::Schemes;
    use zk_core::peer::Mismatch;
    use zk_core::time::WallTime;
    use zk_core::tree::TreeOptions;
    use zk_core::wire::txn::{CreateSessionTxn, TxnDigest, TxnEntry, TxnHeader};
    use zk_proto::jute::Encode as _;
    use zk_proto::{SessionId, Xid};

    use super::*;
    use crate::metrics::Counter;
    use crate::net::admission::of_lines;
    use crate::net::tally::Tally;
    use crate::stage::clock::Clock;
    use crate::stage::mailbox::Taken;

    fn stage() -> ApplyStage {
        let admission = Arc::new(of_lines(1, ""));
        let tree = Arc::new(SharedTree::new(Tree::new(TreeOptions::default()), 1));
        ApplyStage {
            mailbox: Arc::new(Mailbox::new(10)),
            core: Arc::new(Mailbox::new(10)),
            log: Arc::new(Mailbox::new(10)),
            snapshots: Arc::new(Mailbox::new(10)),
            peers: None,
            connections: Arc::new(Connections::new(Arc::clone(&admission))),
            access: Access::new(Schemes::new(Vec::new())),
            admission,
            pace: SnapshotPace::new(1000, None, 1),
            captures: Captures::default(),
            digests: Digests::new(Arc::default()),
            answer: BytesMut::new(),
            audit: None,
            lines: Vec::new(),
            delivery: Delivery {
                tally: Tally {
                    stats: Arc::default(),
                    metrics: Arc::default(),
                    tree: Arc::clone(&tree),
                    clock: Clock::start(),
                },
                runtime: Handle::current(),
                tasks: TaskTracker::new(),
            },
            scratch: Scratch::default(),
            tree,
        }
    }

    /// Orders a snapshot; whether it is refused at once.
    fn is_refused(stage: &mut ApplyStage, behind: Option<ApplyItem>) -> bool {
        let (reply_to, mut written) = oneshot::channel();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned();
        let place = place.expect("free");
        let order = ApplyItem::Order(SnapshotOrder { reply_to, place });
        let mut items: Vec<ApplyItem> = behind.into_iter().chain([order]).collect();
        stage.turn(&mut items).expect("no digest is wrong");
        matches!(
            written.try_recv(),
            Err(oneshot::error::TryRecvError::Closed)
        )
    }

    /// Until the tree that was loaded again stands in its place, in the same batch too.
    #[tokio::test]
    async fn no_snapshot_is_ordered_of_a_tree_whose_log_is_being_cut() {
        let mut stage = stage();
        let cut = ApplyItem::Truncate(Zxid::new(1));
        assert!(is_refused(&mut stage, Some(cut)));
        assert!(is_refused(&mut stage, None), "the log is being cut");
        let reloaded = ApplyItem::Reloaded(Box::new(Tree::new(TreeOptions::default())));
        assert!(is_refused(&mut stage, Some(reloaded)));

        assert!(!is_refused(&mut stage, None));
        let mut snapshots = Vec::new();
        assert_eq!(stage.snapshots.take(None, &mut snapshots), Taken::Items);
        let [SnapshotItem { capture, .. }] = &mut snapshots[..] else {
            panic!("one is ordered");
        };
        while capture.next_chunk(&stage.tree.read(), 1000, &mut BytesMut::new()) {}
    }

    /// A transaction whose digest is none that any tree has.
    fn wrong(zxid: i64, mismatch: Mismatch) -> ApplyItem {
        let entry = TxnEntry {
            header: TxnHeader {
                session: SessionId::new(1),
                cxid: Xid::new(0),
                zxid: Zxid::new(zxid),
                time: WallTime::from_millis(0),
            },
            txn: Txn::CreateSession(CreateSessionTxn { timeout_ms: 9000 }),
            digest: Some(TxnDigest::new(0)),
        };
        let bytes = entry.to_bytes();
        ApplyItem::Action(ApplyAction::Apply(Arc::new(Proposal {
            entry,
            bytes,
            asker: Asker::Server,
            mismatch,
        })))
    }

    #[tokio::test]
    async fn a_wrong_digest_stops_who_computed_it_and_is_counted_by_who_was_told() {
        let mut stage = stage();
        let metrics = Arc::default();
        stage.digests = Digests::new(Arc::clone(&metrics));
        let counted = || metrics.counted(Counter::DigestMismatchesCount);
        for zxid in 1..=3 {
            let told = &mut vec![wrong(zxid, Mismatch::Divergence)];
            stage.turn(told).expect("serves on");
        }
        assert_eq!((stage.tree.applied(), counted()), (Zxid::new(3), 3));
        let expected = &mut vec![wrong(4, Mismatch::Expected)];
        stage.turn(expected).expect("means nothing");
        assert_eq!(counted(), 3);
        let own = stage.turn(&mut vec![wrong(5, Mismatch::OwnFault)]);
        assert!(matches!(own, Err(StopCause::Digest { .. })));
    }
}
