//! What a connection and the apply thread share: the pipeline of the connection, a bell, and the socket.
//!
//! Answers and events that are put in while the connection task rests need not wake it: whoever put
//! them in writes them to the socket. It rests from the moment when it has written all that it took
//! from here until it takes more, so that bytes leave in the order of the pipeline whoever writes.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use atomic_waker::AtomicWaker;

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
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

use super::admission::{Admission, NoRoom};
use super::delivery::Scratch;
use super::shared_writer::SharedWriter;
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
    /// Where the permits of writes go that are never answered, and the room of large ones.
    admission: Arc<Admission>,
}

#[derive(Debug)]
struct Inner {
    pipeline: Pipeline<ReadJob>,
    /// The writes in flight, oldest first.
    started: VecDeque<Started>,
    /// How long writes took, since the connection task looked.
    took: Vec<Duration>,
    /// The socket, if others than the connection task may write there.
    socket: Option<SharedWriter>,
    /// Whether the connection task has written all that it took.
    is_resting: bool,
    /// What somebody else took for the socket, which did not take it: rare, and so elsewhere.
    unsent: Option<Box<Bytes>>,
}

/// A write in flight.
#[derive(Debug)]
struct Started {
    /// When it came in.
    at: Instant,
    /// Room that it took as a large one.
    large_bytes: usize,
}

/// Why a write is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAdmitted {
    /// By the pipeline.
    Refused(Refused),
    /// It is large, and there are too many of those.
    NoRoom(NoRoom),
}

/// Bytes that are written in the place of the connection task at most: more is its own business.
const SENT_MAX: usize = 16 << 10;
/// Pieces written with one call.
const SLICES_MAX: usize = 16;

impl Outbox {
    pub(crate) fn new(admission: Arc<Admission>) -> Self {
        Self {
            admission,
            inner: Mutex::new(Inner {
                pipeline: Pipeline::new(&LIMITS),
                started: VecDeque::new(),
                took: Vec::new(),
                socket: None,
                is_resting: false,
                unsent: None,
            }),
            bell: Bell::default(),
            is_touched: AtomicBool::new(false),
            is_aborted: AtomicBool::new(false),
        }
    }

    // The connection task.

    /// Lets others write to the socket, too.
    pub(crate) fn lend(&self, socket: SharedWriter) {
        let mut inner = self.inner.lock();
        // One that was aborted by now is done with.
        if inner.pipeline.closed().is_none() {
            inner.socket = Some(socket);
        }
    }

    /// All that was drained is written, and the connection task goes to sleep.
    pub(crate) fn rest(&self) {
        self.inner.lock().is_resting = true;
    }

    /// Takes in a read, or gives it back.
    #[expect(clippy::result_large_err, reason = "given back, not reported")]
    pub(crate) fn admit_read(&self, job: ReadJob, bytes: usize) -> Result<(), (Refused, ReadJob)> {
        let admitted = self.inner.lock().pipeline.admit_read(job, bytes);
        admitted.map(|_| ())
    }

    /// Takes in a write that came at `now`.
    pub(crate) fn admit_write(&self, bytes: usize, now: Instant) -> Result<Ticket, NotAdmitted> {
        let large_bytes = self.admission.take(bytes).map_err(NotAdmitted::NoRoom)?;
        let mut inner = self.inner.lock();
        match inner.pipeline.admit_write(bytes) {
            Ok(ticket) => {
                let at = now;
                inner.started.push_back(Started { at, large_bytes });
                Ok(ticket)
            }
            Err(refused) => {
                self.admission.give_back(large_bytes);
                Err(NotAdmitted::Refused(refused))
            }
        }
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
        inner.is_resting = false;
        took.append(&mut inner.took);
        if let Some(unsent) = inner.unsent.take() {
            out.push(*unsent);
        }
        inner.pipeline.drain(bytes_max, out)
    }

    /// Whether [`Outbox::abort`] was called.
    pub(crate) fn is_aborted(&self) -> bool {
        self.is_aborted.load(Ordering::Acquire)
    }

    /// Whether nothing will be said beyond what is there.
    pub(crate) fn is_closed(&self) -> bool {
        self.inner.lock().pipeline.closed().is_some()
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
        if let Some(started) = &started {
            inner.took.push(now.saturating_duration_since(started.at));
            self.admission.give_back(started.large_bytes);
        }
        let committed = inner.pipeline.commit(ticket, zxid, answer, run);
        drop(inner);
        if committed.is_err() && started.is_some() {
            self.admission.permits.add_permits(1);
        }
        committed.map(|()| started.is_some())
    }

    /// Notes that something was put in; true if that was not noted before.
    pub(crate) fn touch(&self) -> bool {
        !self.is_touched.swap(true, Ordering::Relaxed)
    }

    /// Writes what was put in, if the connection task rests and the socket takes it at once; else
    /// rings for it. Appends how long the writes took that are answered with it.
    pub(super) fn send_or_ring(&self, scratch: &mut Scratch) {
        self.is_touched.store(false, Ordering::Relaxed);
        let is_sent = self.inner.lock().send(scratch);
        if !is_sent {
            self.bell.ring();
        }
    }

    // Anybody.

    /// Ends the connection without another word. Writes on their way are not waited for any more.
    pub(crate) fn abort(&self) {
        let mut inner = self.inner.lock();
        inner.pipeline.abort();
        inner.socket = None;
        inner.unsent = None;
        let unanswered = std::mem::take(&mut inner.started);
        drop(inner);
        self.admission.permits.add_permits(unanswered.len());
        let large_bytes = unanswered.iter().map(|write| write.large_bytes).sum();
        self.admission.give_back(large_bytes);
        self.is_aborted.store(true, Ordering::Release);
        self.bell.ring();
    }
}

impl Inner {
    /// Writes what is there in the place of the connection task; false if there is something left
    /// for that to do.
    fn send(&mut self, scratch: &mut Scratch) -> bool {
        let Some(socket) = self.socket.as_ref().filter(|_| self.is_resting) else {
            return false;
        };
        let Scratch { took, pieces } = scratch;
        let drained = self.pipeline.drain(SENT_MAX, pieces);
        took.append(&mut self.took);
        if !pieces.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            for (slice, piece) in slices.iter_mut().zip(pieces.iter()) {
                *slice = IoSlice::new(piece);
            }
            let slices = slices.get(..pieces.len().min(SLICES_MAX));
            // Whatever is wrong with the socket, the connection task will meet it.
            let written = slices.map_or(0, |slices| socket.try_write(slices).unwrap_or(0));
            let unsent = rest_of(pieces, written);
            self.unsent = (!unsent.is_empty()).then(|| Box::new(unsent));
            pieces.clear();
        }
        self.is_resting = self.unsent.is_none();
        self.is_resting && drained == Drained::Empty
    }
}

/// What is left of pieces behind their first bytes.
fn rest_of(pieces: &mut [Bytes], mut written: usize) -> Bytes {
    for piece in pieces.iter_mut() {
        let here = written.min(piece.len());
        piece.advance(here);
        written -= here;
    }
    match pieces {
        [piece] => std::mem::take(piece),
        pieces if pieces.iter().all(Bytes::is_empty) => Bytes::new(),
        pieces => pieces.concat().into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::net::TcpListener;

    use tokio::net::TcpStream;

    use super::*;
    use crate::net::admission::of_lines;

    /// An outbox with a socket, and its other end.
    async fn connected() -> (Outbox, SharedWriter, std::net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let near = TcpStream::connect(address).await.expect("connected");
        let (far, _) = listener.accept().expect("accepted");
        near.writable().await.expect("writable");
        let (_, writer) = near.into_split();
        let writer = SharedWriter::new(writer);
        let outbox = Outbox::new(Arc::new(of_lines(1, "")));
        outbox.lend(writer.clone());
        (outbox, writer, far)
    }

    fn drained(outbox: &Outbox) -> Vec<u8> {
        let mut pieces = Vec::new();
        outbox.drain(usize::MAX, &mut pieces, &mut Vec::new());
        pieces.concat()
    }

    fn has_rung(outbox: &Outbox) -> bool {
        outbox.bell.has_rung.load(Ordering::Acquire)
    }

    #[tokio::test]
    async fn a_task_that_rests_is_not_woken_for_what_the_socket_takes() {
        let (outbox, _writer, mut far) = connected().await;
        let mut scratch = Scratch::default();
        outbox
            .push_event(Zxid::new(1), Bytes::from_static(b"one"))
            .expect("in order");
        outbox.send_or_ring(&mut scratch);
        // It did not rest yet.
        assert!(has_rung(&outbox));
        assert_eq!(drained(&outbox), b"one");
        outbox.bell.rung().await;
        outbox.rest();
        for (zxid, text) in [(2, "two"), (3, "three")] {
            outbox
                .push_event(Zxid::new(zxid), Bytes::from(text))
                .expect("in order");
        }
        outbox.send_or_ring(&mut scratch);
        assert!(!has_rung(&outbox));
        let mut got = [0; 8];
        far.read_exact(&mut got).expect("sent");
        assert_eq!(&got, b"twothree");
        assert_eq!(drained(&outbox), b"");
    }

    #[tokio::test]
    async fn what_the_socket_does_not_take_comes_first_when_the_task_goes_on() {
        let (outbox, writer, mut far) = connected().await;
        let fill = vec![b'.'; 1 << 20];
        let mut before = 0;
        while let Ok(count) = writer.try_write(&[IoSlice::new(&fill)]) {
            before += count;
        }
        outbox.rest();
        let mut scratch = Scratch::default();
        for (zxid, text) in [(1, "one"), (2, "two")] {
            outbox
                .push_event(Zxid::new(zxid), Bytes::from(text))
                .expect("in order");
            outbox.send_or_ring(&mut scratch);
            assert!(has_rung(&outbox));
        }
        assert_eq!(drained(&outbox), b"onetwo");
        let mut got = vec![0; before];
        far.read_exact(&mut got).expect("sent");
        assert!(got.iter().all(|&byte| byte == b'.'));
    }

    #[test]
    fn what_is_left_of_pieces_begins_where_writing_ended() {
        for written in 0..=10 {
            let mut pieces = [&b"abc"[..], b"", b"defg", b"hij"].map(Bytes::from_static);
            let left = rest_of(&mut pieces, written);
            assert_eq!(left, b"abcdefghij"[written..], "{written}");
        }
    }
}
