//! One client connection, from its first byte to its last.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::net::tcp;
use tokio::sync::SemaphorePermit;
use tokio_util::io::poll_read_buf;
use zk_core::conn::auth::Identities;
use zk_core::conn::handshake::ServingMode;
use zk_core::conn::pipeline::{Answer, Drained, Refused, Then};
use zk_core::conn::request::{Class, Fault, Incoming, Read, auth_answer, sasl_answer};
use zk_core::peer::{Event, Origin, Submission};
use zk_proto::sasl::Challenge;
use zk_proto::{OpCode, SessionId, Xid, frame};

use super::activity::{Activity, four_letters};
use super::admission::NoRoom;
use super::connections::{Caller, Conn, Place};
use super::delivery::Scratch;
use super::handshake::{Established, establish};
use super::outbox::{NotAdmitted, ReadJob};
use super::service::Service;
use super::shared_writer::SharedWriter;
use super::write_buf::WriteBuf;
use crate::metrics::{Advanced, Counter};
use crate::stage::core::CoreItem;
use crate::stage::heard::Pulse;

/// Most bytes read at a time.
const READ_BYTES: usize = 64 << 10;
/// Room for a read below which the buffer grows.
const READ_BYTES_MIN: usize = 1 << 10;
/// Bytes that may wait for the socket before no more are taken from the outbox.
const WRITE_BYTES: usize = 64 << 10;
/// Reads executed under one guard of the tree, so that the apply thread never waits long.
const GROUP_MAX: u32 = 128;

/// A socket that is read and written at the same time.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {
    /// Its reading half.
    type Reader: AsyncRead + Unpin + Send;
    /// Its writing half.
    type Writer: AsyncWrite + Unpin + Send;

    /// Both halves, and the writing one once more if others may write, too.
    fn halves(self) -> (Self::Reader, Self::Writer, Option<SharedWriter>);
}

impl Duplex for TcpStream {
    type Reader = tcp::OwnedReadHalf;
    type Writer = SharedWriter;

    fn halves(self) -> (Self::Reader, Self::Writer, Option<SharedWriter>) {
        let (reader, writer) = self.into_split();
        let writer = SharedWriter::new(writer);
        (reader, writer.clone(), Some(writer))
    }
}

impl Duplex for tokio_rustls::server::TlsStream<TcpStream> {
    type Reader = ReadHalf<Self>;
    type Writer = WriteHalf<Self>;

    fn halves(self) -> (Self::Reader, Self::Writer, Option<SharedWriter>) {
        let (reader, writer) = tokio::io::split(self);
        (reader, writer, None)
    }
}

/// Answers to a group of reads beyond which their buffer is not kept for the next group.
const ANSWERS_KEPT: usize = 256 << 10;
/// Turns without waiting after which others get theirs.
const TURNS_MAX: usize = 16;

thread_local! {
    /// What is read from sockets by this thread, as long as it is looked at; an idle connection has
    /// no buffer of its own.
    static READ: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    /// Answers being written by this thread.
    static ANSWERS: RefCell<BytesMut> = RefCell::new(BytesMut::new());
    /// Pieces on their way from an outbox to its connection task, and how long their writes took.
    static DRAINED: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Serves a connection until it ends, however it ends; then its place is given back.
///
/// A task is as large as its largest state for as long as it lives. So the handshake, which takes more
/// than all that follows, has an allocation of its own, and nothing stands in the task twice.
pub(crate) fn serve<S: Duplex>(
    socket: S,
    caller: Caller,
    place: Place,
    service: Arc<Service>,
) -> impl Future<Output = ()> + Send + use<S> {
    let greeted = Box::pin(greet(socket, caller, Arc::clone(&service)));
    async move {
        // Captured, and so given back last of all.
        let _: &Place = &place;
        let service = &*service;
        let Some((socket, established)) = greeted.await else {
            return;
        };
        // Closed behind all else: whoever sees its end finds nothing of it any more.
        let (mut reader, mut writer, mut task) = begin(socket, established, service);
        // A server that stops aborts the connections that it finds; one that came too late sees it here.
        // To wait for the stop beside everything else would cost each turn two locks that all share.
        let end = if service.fail_stop.stopping().is_cancelled() {
            Ok(())
        } else {
            task.run(&mut reader, &mut writer).await
        };
        task.end(&end);
    }
}

/// What serves a connection that has its session. Not in the future that calls it, which would keep
/// the room of all that is looked at here.
fn begin<S: Duplex>(
    socket: S,
    established: Established,
    service: &Service,
) -> (S::Reader, S::Writer, ConnTask<'_>) {
    let conn = &established.conn;
    tracing::debug!(peer = %conn.remote, session = %established.session, "session attached");
    let (reader, writer, shared) = socket.halves();
    if let Some(shared) = shared {
        conn.outbox.lend(shared);
    }
    (reader, writer, ConnTask::new(established, service))
}

/// Waits for a connection to get its session; `None` if it is at its end instead.
async fn greet<S: Duplex>(
    mut socket: S,
    caller: Caller,
    service: Arc<Service>,
) -> Option<(S, Established)> {
    let remote = caller.remote;
    let stopping = service.fail_stop.stopping();
    let deadline = service.config.limits.sessionless_timeout;
    let established = tokio::select! {
        () = stopping.cancelled() => return None,
        done = tokio::time::timeout(deadline, establish(&mut socket, &caller, &service)) => done,
    };
    match established {
        Ok(Ok(established)) => established.map(|established| (socket, established)),
        Ok(Err(error)) => {
            tracing::debug!(peer = %remote, err = %error, "connection lost before its session");
            None
        }
        Err(_elapsed) => {
            let metrics = &service.metrics;
            metrics.count(Counter::SessionlessConnectionsExpired, 1);
            tracing::info!(peer = %remote, "no session in time");
            None
        }
    }
}

/// A connection with a session.
struct ConnTask<'a> {
    service: &'a Service,
    conn: Arc<Conn>,
    session: SessionId,
    pulse: Arc<Pulse>,
    /// Who it is; the same as in `conn`, where others look.
    identities: Identities,
    /// What SASL has asked it, if the answer is due.
    challenge: Option<Box<Option<Challenge>>>,
    input: BytesMut,
    output: WriteBuf,
    /// A request that found no room yet, and its length; nothing behind it is looked at.
    held: Option<Box<(Incoming, usize)>>,
    /// For the next write.
    permit: Option<SemaphorePermit<'a>>,
    /// Writes on their way to the core, each with its permit.
    submitted: Vec<CoreItem>,
    /// When the reads of the current turn came.
    arrived: Instant,
    /// Reads taken in since the last group was executed.
    grouped: u32,
    /// Whether what came then has waited too long for a permit to be executed.
    is_late: bool,
    /// Whether only the rest of what there is to say is waited for.
    is_ending: bool,
    /// Seconds that it may stand still.
    patience: u32,
}

/// How far the requests that came were taken in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Intake {
    /// All of them: read on.
    Drained,
    /// Not the next one: wait until something is answered.
    Full,
    /// Not the next one: wait for a permit.
    NoPermit,
}

/// Why a connection ends by the server's decision.
fn closed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, why)
}

/// Whole seconds that are no less, whatever part of the first is over already.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs() + 2).unwrap_or(u32::MAX)
}

/// The writes among what is on its way to the core.
fn submissions(items: &[CoreItem]) -> impl Iterator<Item = &Submission> {
    items.iter().filter_map(|item| match item {
        CoreItem::Event(Event::Submitted(submission)) => Some(&**submission),
        CoreItem::Event(_) | CoreItem::Inspect(_) => None,
    })
}

impl<'a> ConnTask<'a> {
    fn new(established: Established, service: &'a Service) -> Self {
        let Established {
            conn,
            session,
            timeout,
            rest,
            reply,
        } = established;
        let wall = service.clock.now().wall.as_millis();
        *conn.activity.lock() = Some(Activity::new(wall, timeout.as_millis()));
        let mut output = WriteBuf::default();
        output.push(reply);
        let identities = conn.identities.lock().clone();
        Self {
            service,
            session,
            pulse: Pulse::new(session, timeout),
            identities,
            conn,
            challenge: None,
            input: rest,
            output,
            held: None,
            permit: None,
            submitted: Vec::new(),
            arrived: Instant::now(),
            grouped: 0,
            is_late: false,
            is_ending: false,
            // By then its session has ended, if it is still here.
            patience: seconds(timeout.as_duration() + service.config.tick),
        }
    }

    /// Notes that the other side took or said something just now, and so is waited for.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `NIOServerCnxnFactory#touchCnxn`.
    fn moved(&self, now: Instant) {
        let now = self.service.clock.seconds(now);
        self.conn.wait_until(now.saturating_add(self.patience));
    }

    /// Nothing more is asked or answered. Who has no session any longer is waited for like one who has
    /// none yet.
    fn begin_to_end(&mut self) {
        self.is_ending = true;
        self.patience = seconds(self.service.config.limits.sessionless_timeout);
        self.moved(Instant::now());
    }

    /// Nothing of the connection is left behind it.
    fn end(&self, end: &io::Result<()>) {
        let (conn, session) = (&*self.conn, self.session);
        // From here on the apply thread puts nothing in, and registers nothing for this connection.
        conn.outbox.abort();
        self.service.connections.remove(conn);
        self.service.tree.watches().drop_connection(conn.id);
        match end {
            Ok(()) => tracing::debug!(peer = %conn.remote, %session, "connection closed"),
            Err(error) => {
                tracing::debug!(peer = %conn.remote, %session, err = %error, "connection lost");
            }
        }
    }

    /// Reads, executes and writes until one side has had enough.
    async fn run(
        &mut self,
        reader: &mut (impl AsyncRead + Unpin),
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let service = self.service;
        let conn = Arc::clone(&self.conn);
        self.moved(self.arrived);
        let mut turns = 0;
        loop {
            if conn.outbox.is_aborted() {
                return Ok(());
            }
            let intake = self.take_in()?;
            self.run_group()?;
            let drained = self.drain();
            self.output.write_now(writer).await?;
            if self.output.is_empty() {
                match drained {
                    Drained::Close => return Ok(()),
                    Drained::More => {
                        turns += 1;
                        if turns % TURNS_MAX == 0 {
                            tokio::task::yield_now().await;
                        }
                        continue;
                    }
                    // With no room for the next request, it waits for answers.
                    Drained::Empty if intake == Intake::Full => {}
                    Drained::Empty => conn.outbox.rest(),
                    Drained::GroupRunning => {}
                }
            } else if !self.is_ending && conn.outbox.is_closed() {
                self.begin_to_end();
            }
            if self.input.is_empty() {
                // An idle connection holds no buffer.
                self.input = BytesMut::new();
            }
            // Boxed, as all that is waited for takes room in the task, and this is rare.
            let wants_permit = intake == Intake::NoPermit;
            let mut acquired = wants_permit.then(|| Box::pin(service.admission.permits.acquire()));
            let may_read = intake == Intake::Drained && self.output.len() < WRITE_BYTES;
            tokio::select! {
                read = read_some(reader, &mut self.input), if may_read => {
                    match u64::try_from(read?) {
                        Ok(0) => return Ok(()),
                        Ok(count) => service.metrics.count(Counter::BytesReceivedCount, count),
                        Err(_) => {}
                    }
                    self.arrived = Instant::now();
                    self.moved(self.arrived);
                    self.is_late = false;
                }
                written = self.output.write_some(writer), if !self.output.is_empty() => {
                    written?;
                    self.moved(Instant::now());
                }
                () = conn.outbox.rung() => {}
                permit = poll_fn(|cx| match &mut acquired {
                    Some(acquired) => acquired.as_mut().poll(cx),
                    None => Poll::Pending,
                }), if wants_permit => {
                    self.permit = Some(permit.map_err(|_| closed("the server stops"))?);
                    self.note_wait();
                }
            }
        }
    }

    /// Notes how long a write has waited for its permit, with all that came when it did.
    fn note_wait(&mut self) {
        let waited = self.arrived.elapsed();
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        let metrics = &self.service.metrics;
        metrics.add_many(Advanced::RequestThrottleQueueTimeMs, ms, 1);
        let wait_max = self.service.admission.wait_max;
        self.is_late = wait_max.is_some_and(|max| waited > max);
    }

    /// What becomes of a request that has waited too long: it is refused in its place. The end of a
    /// session, and signs of life, are not.
    ///
    /// # Source
    ///
    /// Apache `ZooKeeper` 3.9, `RequestThrottler#throttledOpWaitTime`, `Request#isThrottlable`.
    fn throttled(&mut self, class: Class) -> Class {
        let is_exempt = match &class {
            Class::Auth(_) | Class::Sasl(_) | Class::Read(Read::Ping) => true,
            Class::Read(_) => false,
            Class::Write(write) => write.op() == OpCode::CloseSession,
        };
        if is_exempt {
            return class;
        }
        // Whoever else waits for it.
        self.permit = None;
        self.service.metrics.count(Counter::ThrottledOps, 1);
        Class::Read(Read::Fault(Fault::THROTTLED))
    }

    /// Takes in the requests that came, as far as there is room, and hands on the writes among them.
    fn take_in(&mut self) -> io::Result<Intake> {
        let intake = self.take_in_frames();
        self.submit()?;
        intake
    }

    fn take_in_frames(&mut self) -> io::Result<Intake> {
        let mut heard = 0;
        let mut last = None;
        let mode = self.service.connections.mode();
        let intake = loop {
            let (incoming, len) = match self.held.take() {
                Some(held) => *held,
                None => match frame::take(&mut self.input, self.service.frame_max()) {
                    Ok(None) => {
                        if let Ok(Some(len)) =
                            frame::payload_len(&self.input, self.service.frame_max())
                        {
                            self.check_size(len)?;
                        }
                        break Intake::Drained;
                    }
                    Ok(Some(payload)) => {
                        heard += 1;
                        let incoming = self.decode(&payload, mode)?;
                        last = Some((four_letters(&incoming.class), incoming.xid));
                        (incoming, payload.len())
                    }
                    Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                },
            };
            match self.admit(incoming, len)? {
                None => {}
                Some(intake) => break intake,
            }
        };
        if let (Some((operation, xid)), Some(activity)) = (last, &mut *self.conn.activity.lock()) {
            activity.asked(operation, xid);
        }
        if heard > 0 {
            let at = self.service.clock.time();
            self.service.heard.note(&self.pulse, at);
            self.conn.received.fetch_add(heard, Ordering::Relaxed);
            self.service
                .tally
                .stats
                .received
                .fetch_add(heard, Ordering::Relaxed);
        }
        Ok(intake)
    }

    fn decode(&self, payload: &Bytes, mode: ServingMode) -> io::Result<Incoming> {
        let incoming = Incoming::decode(payload)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        // Whoever is served without a leader has a session that only this server knows.
        let incoming = incoming.allowed_in(mode, true);
        let wanted = &self.service.wanted_schemes;
        Ok(incoming.allowed_for(&self.identities, wanted))
    }

    /// Takes in one request; what there is no room for is held.
    fn admit(&mut self, incoming: Incoming, len: usize) -> io::Result<Option<Intake>> {
        let xid = incoming.reply_xid();
        let class = if self.is_late {
            self.throttled(incoming.class)
        } else {
            incoming.class
        };
        match class {
            Class::Auth(packet) => {
                let schemes = &self.service.access.schemes;
                let outcome =
                    schemes.authenticate(&packet, self.conn.remote.ip(), &self.identities);
                if let Ok(more) = &outcome {
                    self.identities = more.clone();
                    *self.conn.identities.lock() = more.clone();
                }
                self.conn.outbox.answer_now(auth_answer(xid, &outcome));
                Ok(None)
            }
            Class::Sasl(request) => {
                let answer = match &self.service.sasl {
                    Some(sasl) => {
                        let token = request.token.unwrap_or_default();
                        let (answer, proved) =
                            sasl.step(xid, self.challenge.get_or_insert_default(), &token);
                        self.identities = self.identities.with(proved);
                        *self.conn.identities.lock() = self.identities.clone();
                        answer
                    }
                    // No mechanism is configured: what the reference answers then.
                    None => Answer {
                        bytes: sasl_answer(xid, None, None),
                        then: Then::Continue,
                    },
                };
                self.conn.outbox.answer_now(answer);
                Ok(None)
            }
            Class::Read(read) => {
                let job = ReadJob {
                    xid,
                    read,
                    session: self.session,
                    identities: self.identities.clone(),
                };
                self.admit_read(incoming.xid, job, len)
            }
            Class::Write(write) => {
                if self.permit.is_none() {
                    self.permit = self.service.admission.permits.try_acquire().ok();
                }
                let class = Class::Write(write);
                let incoming = Incoming {
                    xid: incoming.xid,
                    class,
                };
                if self.permit.is_none() {
                    self.held = Some(Box::new((incoming, len)));
                    self.service
                        .metrics
                        .count(Counter::RequestThrottleWaitCount, 1);
                    return Ok(Some(Intake::NoPermit));
                }
                self.admit_write(incoming, len)
            }
        }
    }

    fn admit_read(&mut self, xid: Xid, mut job: ReadJob, len: usize) -> io::Result<Option<Intake>> {
        let mut has_made_room = false;
        // The answer of a multi-read may be as long as those of a whole group.
        let is_long = matches!(job.read, Read::MultiRead(_));
        let weight = if is_long { GROUP_MAX } else { 1 };
        loop {
            match self.conn.outbox.admit_read(job, len) {
                Ok(()) => {
                    self.grouped += weight;
                    if self.grouped >= GROUP_MAX {
                        self.run_group()?;
                    }
                    return Ok(None);
                }
                Err((Refused::Closed, _)) => return Ok(Some(Intake::Full)),
                Err((Refused::Full | Refused::GroupFirst, back)) if has_made_room => {
                    let class = Class::Read(back.read);
                    self.held = Some(Box::new((Incoming { xid, class }, len)));
                    return Ok(Some(Intake::Full));
                }
                Err((Refused::Full | Refused::GroupFirst, back)) => {
                    job = back;
                    self.run_group()?;
                    has_made_room = true;
                }
            }
        }
    }

    fn admit_write(&mut self, incoming: Incoming, len: usize) -> io::Result<Option<Intake>> {
        // Reads in front of it are executed first: law L5.
        self.run_group()?;
        let ticket = match self.conn.outbox.admit_write(len, self.arrived) {
            Ok(ticket) => ticket,
            Err(NotAdmitted::Refused(Refused::Full)) => {
                self.held = Some(Box::new((incoming, len)));
                return Ok(Some(Intake::Full));
            }
            Err(NotAdmitted::Refused(Refused::Closed)) => return Ok(Some(Intake::Full)),
            Err(NotAdmitted::Refused(Refused::GroupFirst)) => {
                return Err(closed("a group of reads did not end"));
            }
            Err(NotAdmitted::NoRoom(error)) => return Err(self.too_large(error)),
        };
        let Class::Write(write) = incoming.class else {
            return Err(closed("a read was taken for a write"));
        };
        if let Some(permit) = self.permit.take() {
            // Given back when the request is answered, or the connection ends.
            permit.forget();
        }
        let submission = Submission {
            origin: Origin {
                conn: self.conn.id,
                ticket,
                xid: incoming.xid,
            },
            session: self.session,
            identities: self.identities.clone(),
            write,
        };
        let event = Event::Submitted(Box::new(submission));
        self.submitted.push(CoreItem::Event(event));
        Ok(None)
    }

    /// Looks whether a request of this length may come.
    fn check_size(&self, len: usize) -> io::Result<()> {
        let checked = self.service.admission.check(len);
        checked.map_err(|error| self.too_large(error))
    }

    fn too_large(&self, error: NoRoom) -> io::Error {
        let metrics = &self.service.metrics;
        metrics.count(Counter::LargeRequestsRejected, 1);
        tracing::warn!(peer = %self.conn.remote, bytes = error.len, "large request refused");
        io::Error::new(io::ErrorKind::QuotaExceeded, error)
    }

    /// Hands the writes that were taken in to the core.
    fn submit(&mut self) -> io::Result<()> {
        if self.submitted.is_empty() {
            return Ok(());
        }
        if let Some(audit) = &self.service.audit {
            audit.asked(submissions(&self.submitted), self.conn.remote.ip());
        }
        if self.service.ask(&mut self.submitted).is_err() {
            if let Some(audit) = &self.service.audit {
                audit.refused(submissions(&self.submitted));
            }
            // The permits are given back with the outbox.
            self.submitted.clear();
            return Err(closed("the server has too much to do, or stops"));
        }
        Ok(())
    }

    /// Executes the reads that wait for this task, each part of them under one guard.
    fn run_group(&mut self) -> io::Result<()> {
        self.grouped = 0;
        let Some(jobs) = self.conn.outbox.start_group() else {
            return Ok(());
        };
        let service = self.service;
        let mut then = Then::Continue;
        let mut count = 0;
        let (zxid, bytes) = ANSWERS.with_borrow_mut(|answers| {
            // Nothing is there, unless a task died here: what it has read is not for others.
            answers.clear();
            let reading = service.tree.read();
            for job in jobs {
                count += 1;
                then = job.run(
                    self.conn.id,
                    &service.access,
                    &reading,
                    reading.watches(),
                    answers,
                );
                if then == Then::Close {
                    break;
                }
            }
            let zxid = reading.applied();
            drop(reading);
            // An answer that was given up leaves a large buffer with little in it.
            let is_wide = answers.capacity() > 2 * ANSWERS_KEPT && answers.len() <= ANSWERS_KEPT;
            let bytes = if is_wide {
                Bytes::copy_from_slice(answers)
            } else {
                answers.split().freeze()
            };
            if is_wide || bytes.len() > ANSWERS_KEPT {
                *answers = BytesMut::new();
            } else if answers.capacity() < READ_BYTES_MIN {
                // Takes the same bytes again, if all of them are sent.
                answers.reserve(READ_BYTES);
            }
            (zxid, bytes)
        });
        let took = self.arrived.elapsed();
        let finished = self.conn.outbox.finish_group(zxid, bytes, then);
        if let Err(broken) = finished {
            tracing::error!(peer = %self.conn.remote, err = %broken, "order of answers");
            return Err(closed("the order of answers is broken"));
        }
        service.tally.read(&self.conn, took, count);
        Ok(())
    }

    /// Moves what is to be sent towards the socket.
    fn drain(&mut self) -> Drained {
        DRAINED.with_borrow_mut(|Scratch { took, pieces }| {
            let mut left = Drained::More;
            while self.output.len() < WRITE_BYTES {
                let room = WRITE_BYTES - self.output.len();
                left = self.conn.outbox.drain(room, pieces, took);
                for piece in pieces.drain(..) {
                    self.output.push(piece);
                }
                if left != Drained::More {
                    break;
                }
            }
            self.service.tally.wrote(&self.conn, took);
            took.clear();
            left
        })
    }
}

/// Reads what has come, into `input`, which gets a buffer of its own only for what comes behind the
/// first part of a frame.
///
/// # Cancel safety
///
/// Safe: nothing is read unless it completes.
fn read_some(
    reader: &mut (impl AsyncRead + Unpin),
    input: &mut BytesMut,
) -> impl Future<Output = io::Result<usize>> {
    poll_fn(|cx| {
        if !input.is_empty() {
            if input.capacity() - input.len() < READ_BYTES_MIN {
                // Grows with what has come, not with what a length claims.
                let more = input.len().clamp(4 * READ_BYTES_MIN, READ_BYTES);
                input.reserve(more);
            }
            return poll_read_buf(Pin::new(&mut *reader), cx, input);
        }
        READ.with_borrow_mut(|shared| {
            if shared.capacity() < 4 * READ_BYTES_MIN {
                // Takes the same bytes again, if nobody looks at them any more.
                shared.reserve(READ_BYTES);
            }
            let read = ready!(poll_read_buf(Pin::new(&mut *reader), cx, shared));
            *input = shared.split();
            Poll::Ready(read)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session costs that says nothing, beside what the runtime and the kernel take for it.
    /// The allocator takes steps of 128 bytes: the runtime adds 112 to the one, `Arc` 16 to the other.
    #[test]
    fn an_idle_connection_takes_little() {
        fn size<S, F>(_: impl FnOnce(S, Caller, Place, Arc<Service>) -> F) -> usize {
            size_of::<F>()
        }
        let (task, shared) = (size(serve::<TcpStream>), size_of::<Conn>());
        assert!(
            task <= 640 - 112 && shared <= 512 - 16,
            "{task} and {shared} bytes"
        );
    }
}
