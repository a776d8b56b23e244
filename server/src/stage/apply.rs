//! The apply thread: changes the tree, tells who watches, answers who asked.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Semaphore;
use zk_core::answer::{answer_sync, answer_write};
use zk_core::conn::ConnId;
use zk_core::conn::auth::Access;
use zk_core::conn::pipeline::{Answer, Broken, Then};
use zk_core::conn::request::error_frame;
use zk_core::peer::{ApplyAction, Asker, Barrier, Event, Origin, Proposal};
use zk_core::tree::{Capture, DigestCheck};
use zk_core::wire::txn::Txn;
use zk_proto::{ErrorCode, Zxid};

use super::core::CoreItem;
use super::fail_stop::StopCause;
use super::log::LogItem;
use super::mailbox::{Mailbox, Taken};
use crate::net::connections::{Conn, Connections};
use crate::net::outbox::ReadJob;
use crate::shared_tree::{Applying, SharedTree};

/// Transactions applied under one guard, so that no reader waits long.
pub(crate) const BATCH_MAX: usize = 512;

/// Something asked of the apply thread.
pub(crate) enum ApplyItem {
    /// Of the apply lane.
    Action(ApplyAction),
    /// A capture that is done with, whether it was written or not.
    Captured(Capture),
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

/// The apply thread's own.
pub(crate) struct ApplyStage {
    pub(crate) tree: Arc<SharedTree>,
    pub(crate) mailbox: Arc<Mailbox<ApplyItem>>,
    pub(crate) core: Arc<Mailbox<CoreItem>>,
    pub(crate) log: Arc<Mailbox<LogItem>>,
    pub(crate) snapshots: Arc<Mailbox<Capture>>,
    pub(crate) connections: Arc<Connections>,
    pub(crate) access: Access,
    /// Permits of requests that were let in; one is given back for each that is answered.
    pub(crate) permits: Arc<Semaphore>,
    pub(crate) pace: SnapshotPace,
    /// Whether a capture exists.
    pub(crate) is_capturing: bool,
}

/// Who got something in this batch.
#[derive(Default)]
struct Touched {
    /// To be woken once.
    conns: BTreeMap<ConnId, Arc<Conn>>,
    /// Writes that were answered.
    answered: usize,
}

impl ApplyStage {
    /// Runs until the mailbox is closed.
    pub(crate) fn run(mut self) -> Result<(), StopCause> {
        let mut items = Vec::new();
        while self.mailbox.take(None, &mut items) != Taken::Closed {
            let mut rest = items.drain(..).peekable();
            while rest.peek().is_some() {
                self.batch(rest.by_ref().take(BATCH_MAX))?;
            }
        }
        Ok(())
    }

    fn batch(&mut self, items: impl Iterator<Item = ApplyItem>) -> Result<(), StopCause> {
        let mut touched = Touched::default();
        let mut capture = None;
        let shared = Arc::clone(&self.tree);
        let before = shared.applied();
        let mut guard = shared.apply();
        for item in items {
            match item {
                ApplyItem::Action(ApplyAction::Apply(proposal)) => {
                    self.apply(&mut guard, &proposal, &mut touched)?;
                    let bytes = u64::try_from(encoded_len(&proposal)).unwrap_or(0);
                    if self.pace.count(bytes) {
                        self.log.send([LogItem::Roll]);
                        if !self.is_capturing {
                            self.is_capturing = true;
                            capture = Some(guard.tree_mut().capture());
                        }
                    }
                }
                ApplyItem::Action(ApplyAction::Barrier(barrier)) => {
                    self.barrier(&guard, &barrier, &mut touched)?;
                }
                // Of members only.
                ApplyItem::Action(
                    ApplyAction::Capture { .. }
                    | ApplyAction::Install { .. }
                    | ApplyAction::SaveSnapshot,
                ) => {}
                ApplyItem::Captured(done) => {
                    guard.tree_mut().end_capture(done);
                    self.is_capturing = false;
                }
            }
        }
        let applied = guard.applied();
        drop(guard);
        self.permits.add_permits(touched.answered);
        for conn in touched.conns.values() {
            conn.outbox.wake_if_work();
        }
        self.snapshots.send(capture);
        if applied > before {
            self.core.send([CoreItem::Event(Event::Applied(applied))]);
        }
        Ok(())
    }

    fn apply(
        &self,
        guard: &mut Applying<'_>,
        proposal: &Proposal,
        touched: &mut Touched,
    ) -> Result<(), StopCause> {
        let Proposal { entry, asker, .. } = proposal;
        let zxid = entry.header.zxid;
        let client = match *asker {
            Asker::Client { origin, op } => {
                let conn = self.connections.get(origin.conn);
                conn.map(|conn| (conn, origin, op))
            }
            Asker::Handshake(_) | Asker::Server => None,
        };
        if let Some((conn, ..)) = &client {
            let state = guard.applied();
            let mut run = |job| self.read(guard, conn, job);
            conn.outbox.run_before_write(state, &mut run)?;
        }

        let applied = guard.tree_mut().apply(&entry.header, &entry.txn);
        let check = guard.tree_mut().check_digest(zxid, entry.digest.as_ref());
        if let DigestCheck::Different(..) = check {
            return Err(StopCause::Digest { zxid });
        }
        let mut told = Vec::new();
        let who = |conn| self.connections.identities(conn);
        for effect in &applied.effects {
            guard.fire(effect, &self.access, &who, &mut told);
        }
        for notification in &told {
            let frame = notification.frame(zxid);
            for &receiver in &notification.receivers {
                if let Some(conn) = self.connections.get(receiver) {
                    conn.outbox.push_event(zxid, frame.clone())?;
                    touched.conns.insert(receiver, conn);
                }
            }
        }

        match *asker {
            Asker::Client { .. } => {
                if let Some((conn, origin, op)) = client {
                    let mut bytes = BytesMut::new();
                    let txn = &entry.txn;
                    let then = answer_write(
                        op,
                        origin.xid,
                        zxid,
                        txn,
                        &applied.result,
                        guard,
                        &mut bytes,
                    );
                    let is_awaited = self.commit(guard, &conn, origin, zxid, bytes, then)?;
                    touched.answered += usize::from(is_awaited);
                    touched.conns.insert(origin.conn, conn);
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
    fn barrier(
        &self,
        guard: &Applying<'_>,
        barrier: &Barrier,
        touched: &mut Touched,
    ) -> Result<(), StopCause> {
        let origin = barrier.origin;
        let Some(conn) = self.connections.get(origin.conn) else {
            return Ok(());
        };
        let state = guard.applied();
        let mut run = |job| self.read(guard, &conn, job);
        conn.outbox.run_before_write(state, &mut run)?;
        let mut bytes = BytesMut::new();
        let mut then = Then::Continue;
        match &barrier.outcome {
            Ok(path) => answer_sync(origin.xid, state, path.as_ref(), &mut bytes),
            Err(ErrorCode::SessionMoved) => then = Then::Close,
            Err(code) => bytes.extend_from_slice(&error_frame(origin.xid, state, *code)),
        }
        let is_awaited = self.commit(guard, &conn, origin, state, bytes, then)?;
        touched.answered += usize::from(is_awaited);
        touched.conns.insert(origin.conn, conn);
        Ok(())
    }

    fn commit(
        &self,
        guard: &Applying<'_>,
        conn: &Arc<Conn>,
        origin: Origin,
        zxid: Zxid,
        bytes: BytesMut,
        then: Then,
    ) -> Result<bool, Broken> {
        let answer = Answer {
            bytes: bytes.freeze(),
            then,
        };
        let mut run = |job| self.read(guard, conn, job);
        conn.outbox.commit(origin.ticket, zxid, answer, &mut run)
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

/// About what a transaction takes in the log.
fn encoded_len(proposal: &Proposal) -> usize {
    zk_proto::jute::Encode::encoded_len(&proposal.entry)
}
