//! What a connection and the apply thread share: the pipeline of the connection, and a bell.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use zk_core::answer::{ConnWatches, Viewer, answer_read};
use zk_core::conn::ConnId;
use zk_core::conn::auth::{Access, Identities};
use zk_core::conn::pipeline::{
    Answer, Broken, Drained, Pipeline, PipelineLimits, Refused, Then, Ticket,
};
use zk_core::conn::request::Read;
use zk_core::tree::Tree;
use zk_core::watch::WatchKind;
use zk_proto::request::WatcherType;
use zk_proto::{Bytes, SessionId, Xid, Zxid};

use crate::shared_tree::WatchSet;

/// Bounds of each connection: enough for a client that pipelines deeply, little enough that one
/// that does not read what it is told costs a few megabytes at most.
pub(crate) const LIMITS: PipelineLimits = PipelineLimits {
    waiting_max: 10_000,
    waiting_bytes_max: 4 << 20,
    outgoing_max: 100_000,
    outgoing_bytes_max: 16 << 20,
};

/// A read on its way to be executed.
#[derive(Debug)]
pub(crate) struct ReadJob {
    pub(crate) xid: Xid,
    pub(crate) read: Read,
    pub(crate) session: SessionId,
    /// Identities that the connection had when it sent the request.
    pub(crate) identities: Identities,
}

impl ReadJob {
    /// Executes the read, and appends the answer. The caller holds a guard of the tree.
    pub(crate) fn run(
        self,
        conn: ConnId,
        access: &Access,
        tree: &Tree,
        watches: &WatchSet,
        out: &mut BytesMut,
    ) -> Then {
        let viewer = Viewer {
            session: self.session,
            identities: &self.identities,
            access,
        };
        let mut watches = OfConn { conn, watches };
        answer_read(self.read, self.xid, &viewer, tree, &mut watches, out)
    }
}

/// The watches of one connection.
struct OfConn<'a> {
    conn: ConnId,
    watches: &'a WatchSet,
}

impl ConnWatches for OfConn<'_> {
    fn register(&mut self, path: &str, kind: WatchKind) {
        self.watches.register(self.conn, path, kind);
    }

    fn has(&self, path: &str, watcher_type: WatcherType) -> bool {
        self.watches.has(self.conn, path, watcher_type)
    }

    fn remove(&mut self, path: &str, watcher_type: WatcherType) -> bool {
        self.watches.remove(self.conn, path, watcher_type)
    }
}

/// Wakes one task.
#[derive(Debug, Default)]
struct Bell {
    has_rung: AtomicBool,
    waker: AtomicWaker,
}

impl Bell {
    fn ring(&self) {
        // One that rang and was not heard yet will be.
        if !self.has_rung.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    async fn rung(&self) {
        poll_fn(|cx| {
            if self.has_rung.swap(false, Ordering::AcqRel) {
                return Poll::Ready(());
            }
            self.waker.register(cx.waker());
            if self.has_rung.swap(false, Ordering::AcqRel) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

/// The pipeline of a connection under its lock, with a bell for the connection task.
///
/// # Ordering
///
/// The apply thread takes the lock while it holds the tree alone; the connection task never asks
/// for the tree while it holds the lock.
#[derive(Debug)]
pub(crate) struct Outbox {
    inner: Mutex<Inner>,
    bell: Bell,
    /// Whether the apply thread put something in and has not rung yet.
    is_touched: AtomicBool,
    /// Whether the connection is to end without another word.
    is_aborted: AtomicBool,
    /// Where the permits of writes go that are never answered.
    permits: Arc<Semaphore>,
}

#[derive(Debug)]
struct Inner {
    pipeline: Pipeline<ReadJob>,
    /// When the writes in flight came in, oldest first.
    started: VecDeque<Instant>,
    /// How long writes took, since the connection task looked.
    took: Vec<Duration>,
}

impl Outbox {
    pub(crate) fn new(permits: Arc<Semaphore>) -> Self {
        Self {
            permits,
            inner: Mutex::new(Inner {
                pipeline: Pipeline::new(LIMITS),
                started: VecDeque::new(),
                took: Vec::new(),
            }),
            bell: Bell::default(),
            is_touched: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
        }
    }

    // The connection task.

    /// Takes in a read, or gives it back.
    #[expect(clippy::result_large_err, reason = "given back, not reported")]
    pub(crate) fn admit_read(&self, job: ReadJob, bytes: usize) -> Result<(), (Refused, ReadJob)> {
        let admitted = self.inner.lock().pipeline.admit_read(job, bytes);
        admitted.map(|_| ())
    }

    /// Takes in a write that came at `now`.
    pub(crate) fn admit_write(&self, bytes: usize, now: Instant) -> Result<Ticket, Refused> {
        let mut inner = self.inner.lock();
        let ticket = inner.pipeline.admit_write(bytes)?;
        inner.started.push_back(now);
        Ok(ticket)
    }

    /// The reads to be executed now, if there are any.
    pub(crate) fn start_group(&self) -> Option<Vec<ReadJob>> {
        self.inner.lock().pipeline.start_group()
    }

    /// Their answers.
    pub(crate) fn finish_group(&self, zxid: Zxid, bytes: Bytes, then: Then) -> Result<(), Broken> {
        let mut inner = self.inner.lock();
        inner.pipeline.finish_group(zxid, [bytes], then)
    }

    /// An answer that overtakes.
    pub(crate) fn answer_now(&self, answer: Answer) {
        self.inner.lock().pipeline.answer_now(answer);
    }

    /// Takes what is to be sent, and how long the writes took that were answered.
    pub(crate) fn drain(
        &self,
        bytes_max: usize,
        out: &mut Vec<Bytes>,
        took: &mut Vec<Duration>,
    ) -> Drained {
        let mut inner = self.inner.lock();
        took.append(&mut inner.took);
        inner.pipeline.drain(bytes_max, out)
    }

    /// Whether [`Outbox::abort`] was called.
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Requests that are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.inner.lock().pipeline.waiting()
    }

    /// Waits until somebody else put something in.
    ///
    /// # Cancel safety
    ///
    /// Safe: a bell that rang is not lost.
    pub(crate) async fn rung(&self) {
        self.bell.rung().await;
    }

    // The apply thread, under the guard that it has alone.

    /// See [`Pipeline::push_event`].
    pub(crate) fn push_event(&self, zxid: Zxid, frame: Bytes) -> Result<(), Broken> {
        self.inner.lock().pipeline.push_event(zxid, frame)
    }

    /// See [`Pipeline::run_before_write`].
    pub(crate) fn run_before_write(
        &self,
        zxid: Zxid,
        run: &mut dyn FnMut(ReadJob) -> Answer,
    ) -> Result<(), Broken> {
        self.inner.lock().pipeline.run_before_write(zxid, run)
    }

    /// See [`Pipeline::commit`]; it is `now`. Says whether the write was still waited for: then its
    /// permit is the caller's to give back.
    pub(crate) fn commit(
        &self,
        ticket: Ticket,
        zxid: Zxid,
        now: Instant,
        answer: Answer,
        run: &mut dyn FnMut(ReadJob) -> Answer,
    ) -> Result<bool, Broken> {
        let mut inner = self.inner.lock();
        let started = inner.started.pop_front();
        if let Some(started) = started {
            inner.took.push(now.saturating_duration_since(started));
        }
        let committed = inner.pipeline.commit(ticket, zxid, answer, run);
        drop(inner);
        if committed.is_err() && started.is_some() {
            self.permits.add_permits(1);
        }
        committed.map(|()| started.is_some())
    }

    /// Notes that something was put in; true if that was not noted before.
    pub(crate) fn touch(&self) -> bool {
        !self.is_touched.swap(true, Ordering::Relaxed)
    }

    /// Rings for what was put in.
    pub(crate) fn ring(&self) {
        self.is_touched.store(false, Ordering::Relaxed);
        self.bell.ring();
    }

    // Anybody.

    /// Ends the connection without another word. Writes on their way are not waited for any more.
    pub(crate) fn abort(&self) {
        let mut inner = self.inner.lock();
        inner.pipeline.abort();
        let unanswered = inner.started.len();
        inner.started.clear();
        drop(inner);
        self.permits.add_permits(unanswered);
        self.is_aborted.store(true, Ordering::Release);
        self.bell.ring();
    }
}
