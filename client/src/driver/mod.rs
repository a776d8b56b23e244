//! The task that drives one client's core: it waits for sockets, timers and handles, and carries out
//! what the core wants done. It decides nothing.

mod dial;
#[cfg(feature = "srv")]
mod dns;
mod low_water;
mod measure;
mod transport;

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::io::poll_read_buf;
use zk_proto::frame::{self, FrameError};

pub(crate) use self::dial::Dialer;
#[cfg(feature = "srv")]
pub use self::dns::DnsResolver;
pub(crate) use self::transport::TcpConnector;
pub use self::transport::{ConnectError, ConnectErrorKind, Connector, Io, Resolver};

use self::dial::Dialed;
use self::low_water::LowWater;
use self::measure::Measure;
use crate::connect_string::Server;
use crate::core::{
    Action, AttemptError, AttemptErrorKind, Cause, CloseReason, Core, CoreConfig, Delivery, Event,
    Failure, Load, Reply, Time, Transition, Trip,
};
use crate::shared::{DriverEvent, ReplySlot, Shared};
use crate::state::ConnState;
use crate::watch::WatchCell;

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 64 * 1024;
/// Longest wait that a timer is set for: the runtime's clock ends before the longest wait does.
const WAIT_MAX: Duration = Duration::from_hours(24 * 365);
/// How an alert of TLS begins: as a frame longer than any. A server sends one to who speaks no TLS.
const TLS_ALERT: &[u8] = &[0x15, 3];
/// Reads in one turn of the loop.
const READS_MAX: usize = 4;
/// Turns of the loop before other tasks of the runtime get theirs.
const TURNS_MAX: usize = 16;

type DriverAction = Action<ReplySlot, Arc<WatchCell>>;
type Dialing = Pin<Box<dyn Future<Output = Result<Dialed, AttemptError>> + Send>>;
type Probing = Pin<Box<dyn Future<Output = (Server, bool)> + Send>>;

/// See the module's text. It ends when the client is closed.
pub(crate) struct Driver {
    core: Core<ReplySlot, Arc<WatchCell>>,
    shared: Arc<Shared>,
    dialer: Arc<Dialer>,
    /// Longest frame taken from a server, in bytes.
    frame_max: usize,
    start: Instant,
    /// When this turn began.
    turned: Time,
    measure: Measure,
    /// Session timeout asked for.
    session_timeout: Duration,
    io: Option<Box<dyn Io>>,
    /// Where the connection leads, until the server there has shown that it is of use.
    unproven: Option<SocketAddr>,
    /// Whether the server tried last has other addresses that wait for their turn.
    has_others: bool,
    low_water: LowWater,
    /// Received and not complete.
    input: BytesMut,
    /// To be sent.
    output: BytesMut,
    /// Whether something was written that may sit in a buffer of the connection.
    needs_flush: bool,
    dialing: Option<Dialing>,
    probing: Option<Probing>,
    timer: Pin<Box<Sleep>>,
    events: Vec<DriverEvent>,
    actions: Vec<DriverAction>,
}

impl Driver {
    pub(crate) fn new(
        config: CoreConfig,
        shared: Arc<Shared>,
        dialer: Dialer,
        frame_max: usize,
    ) -> Self {
        let start = Instant::now();
        Self {
            turned: Time::default(),
            measure: Measure::default(),
            session_timeout: config.session_timeout,
            core: Core::new(config),
            shared,
            dialer: Arc::new(dialer),
            frame_max,
            start,
            io: None,
            unproven: None,
            has_others: false,
            low_water: LowWater::new(),
            input: BytesMut::new(),
            output: BytesMut::new(),
            needs_flush: false,
            dialing: None,
            probing: None,
            timer: Box::pin(sleep_until(start)),
            events: Vec::new(),
            actions: Vec::new(),
        }
    }

    /// Runs until the client is closed.
    pub(crate) async fn run(mut self) {
        std::future::poll_fn(|cx| self.poll(cx)).await;
    }

    fn now(&self) -> Time {
        Time::from_start(self.start.elapsed())
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS_MAX {
            let busy = self.turn(cx);
            if self.core.is_closed() {
                return Poll::Ready(());
            }
            if !busy {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Takes in what there is, then acts on all of it at once. Returns whether there may be more to
    /// do already; if not, the task is woken for whatever comes.
    ///
    /// Replies are taken in before requests, so that the load that handles see does not count a
    /// request whose answer they have.
    fn turn(&mut self, cx: &mut Context<'_>) -> bool {
        let now = self.now();
        self.turned = now;
        let mut busy = self.poll_dialing(now, cx);
        busy |= self.poll_probing(now, cx);
        busy |= self.read(now, cx);
        let told = self.take_inbox(now, cx);
        if self.core.next_deadline() <= now {
            self.core.handle(now, Event::Tick, &mut self.actions);
            busy = true;
        }
        if let Some(address) = self.unproven.take_if(|_| self.core.is_of_use()) {
            self.dialer.tcp.served(address);
        }
        self.tell_progress();
        busy |= self.perform();
        let is_cut = self.core.transmit(now, &mut self.output);
        busy |= self.write(now, cx) || is_cut && self.output.is_empty();
        busy |= self.perform();
        if let Some(io) = &self.io {
            self.low_water
                .set(now, io.as_ref(), self.core.replies_worthwhile());
        }
        busy |= self.poll_timer(cx);
        // Requests that nobody waited for were withdrawn, or failed at once: the next turn tells handles
        // that there is room again.
        let load = self.core.load();
        busy || load.requests < told.requests || load.bytes < told.bytes
    }

    /// Returns the load that handles see from now on.
    fn take_inbox(&mut self, now: Time, cx: &Context<'_>) -> Load {
        let mut events = std::mem::take(&mut self.events);
        let told = self.shared.take(&mut events, self.core.load(), cx);
        for event in events.drain(..) {
            self.core.handle(now, event, &mut self.actions);
        }
        self.events = events;
        told
    }

    fn poll_dialing(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let Some(dialing) = &mut self.dialing else {
            return false;
        };
        let Poll::Ready(result) = dialing.as_mut().poll(cx) else {
            return false;
        };
        self.dialing = None;
        self.has_others = false;
        let event = match result {
            Ok(Dialed::Found(records)) => Event::Found(records),
            Ok(Dialed::Connected(connection)) => {
                self.io = Some(connection.io);
                self.unproven = connection.address;
                self.has_others = connection.has_others;
                if let Some(proofs) = connection.proofs {
                    let event = Event::Provided(Box::new(proofs));
                    self.core.handle(now, event, &mut self.actions);
                }
                Event::Dialed
            }
            Err(err) => Event::DialFailed(err),
        };
        self.core.handle(now, event, &mut self.actions);
        true
    }

    fn poll_probing(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let Some(probing) = &mut self.probing else {
            return false;
        };
        let Poll::Ready((server, writable)) = probing.as_mut().poll(cx) else {
            return false;
        };
        self.probing = None;
        self.core
            .handle(now, Event::Probed { server, writable }, &mut self.actions);
        true
    }

    /// Reads and takes in the frames that are complete, until nothing is left to read. Returns
    /// whether there may be more.
    fn read(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        for _ in 0..READS_MAX {
            let Some(io) = &mut self.io else { return false };
            let (kind, message) = match poll_read(io.as_mut(), &mut self.input, cx) {
                Poll::Pending => return false,
                Poll::Ready(Ok(0)) if self.input.is_empty() => {
                    let message = "the server closed the connection".to_owned();
                    (AttemptErrorKind::Ended, message)
                }
                Poll::Ready(Ok(0)) => {
                    let message = "the connection ended within a frame".to_owned();
                    (AttemptErrorKind::Io, message)
                }
                Poll::Ready(Ok(count)) => {
                    self.shared.counters.bytes_in.add(count as u64);
                    self.core.received(now);
                    let frames = self.take_frames(now);
                    self.low_water.came(now, count, frames);
                    if self.core.is_connected() {
                        continue;
                    }
                    break;
                }
                // Over TLS, from a server that does not say so first.
                Poll::Ready(Err(err))
                    if err.kind() == std::io::ErrorKind::UnexpectedEof && self.input.is_empty() =>
                {
                    (AttemptErrorKind::Ended, format!("cannot read: {err}"))
                }
                Poll::Ready(Err(err)) => (io_kind(&err), format!("cannot read: {err}")),
            };
            self.lost(now, kind, message);
            break;
        }
        true
    }

    /// Returns how many there were.
    fn take_frames(&mut self, now: Time) -> usize {
        let mut count = 0;
        while self.core.is_connected() {
            match frame::take(&mut self.input, self.frame_max) {
                Ok(Some(payload)) => {
                    self.core.frame(now, payload, &mut self.actions);
                    count += 1;
                }
                Ok(None) => break,
                Err(err) => {
                    let (kind, message) = if self.input.starts_with(TLS_ALERT) {
                        let message = "the server speaks TLS, which is not configured here";
                        (AttemptErrorKind::Tls, message.to_owned())
                    } else if matches!(err, FrameError::TooLong { .. }) {
                        (AttemptErrorKind::TooLong, err.to_string())
                    } else {
                        (AttemptErrorKind::Protocol, err.to_string())
                    };
                    self.lost(now, kind, message);
                    break;
                }
            }
        }
        count
    }

    /// Writes what there is. Returns whether the connection was lost over it.
    fn write(&mut self, now: Time, cx: &mut Context<'_>) -> bool {
        let Some(io) = &mut self.io else {
            self.output.clear();
            return false;
        };
        match poll_write(io.as_mut(), &mut self.output, &mut self.needs_flush, cx) {
            Poll::Pending => false,
            Poll::Ready(Ok(count)) => {
                self.shared.counters.bytes_out.add(count as u64);
                false
            }
            Poll::Ready(Err(err)) => {
                self.lost(now, io_kind(&err), format!("cannot write: {err}"));
                true
            }
        }
    }

    fn lost(&mut self, now: Time, kind: AttemptErrorKind, message: String) {
        self.hang_up();
        self.core.handle(
            now,
            Event::Lost(AttemptError::new(kind, message)),
            &mut self.actions,
        );
    }

    fn hang_up(&mut self) {
        self.io = None;
        self.unproven = None;
        // What it waits for comes no more.
        self.low_water = LowWater::new();
        self.dialing = None;
        self.probing = None;
        self.needs_flush = false;
        self.input.clear();
        self.output.clear();
    }

    /// Arms the timer for the core's next deadline. Returns whether that has come already.
    fn poll_timer(&mut self, cx: &mut Context<'_>) -> bool {
        let due = self.core.next_deadline().min(self.low_water.until());
        let wait = due.since_start().min(WAIT_MAX);
        let deadline = self.start + wait;
        // A timer that goes off early costs less than one that is set anew each turn.
        if self.timer.is_elapsed() || self.timer.deadline() > deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx).is_ready()
    }

    /// Lets handles see how far replies have come, before anybody has one of them.
    fn tell_progress(&self) {
        self.shared.set_last_zxid(self.core.last_zxid());
        if let Some(confirmed) = self.core.proven() {
            let start = self.start.into_std();
            self.shared.set_confirmed(start, confirmed.since_start());
        }
    }

    /// Carries out what the core wants done, in its order. Returns whether there is something else
    /// to wait for than before.
    fn perform(&mut self) -> bool {
        let mut actions = std::mem::take(&mut self.actions);
        let mut busy = false;
        // First, so that whoever is told something finds the count that goes with it; and without
        // any action, because a watch that is dropped causes none.
        let (counters, load) = (&self.shared.counters, self.core.load());
        counters.watches.set(self.core.watches() as u64);
        counters.outstanding.set(load.requests as u64);
        counters.outstanding_bytes.set(load.bytes as u64);
        for action in actions.drain(..) {
            busy |= !matches!(action, Action::Complete(..) | Action::Deliver(..));
            match action {
                Action::Complete(slot, result, trip) => self.complete(slot, result, &trip),
                Action::Deliver(cell, delivery) => {
                    match delivery {
                        Delivery::Event { .. } => self.shared.counters.watch_events.add(1),
                        Delivery::Gap { .. } => self.shared.counters.watch_gaps.add(1),
                        Delivery::Armed { .. }
                        | Delivery::SessionEnded(_)
                        | Delivery::Closed(_) => {}
                    }
                    if cell.deliver(delivery) {
                        self.shared.counters.watch_overflows.add(1);
                    }
                }
                Action::Dial { server, within } => {
                    self.hang_up();
                    let dialer = Arc::clone(&self.dialer);
                    self.dialing =
                        Some(Box::pin(async move { dialer.dial(&server, within).await }));
                }
                Action::HangUp => self.hang_up(),
                Action::Probe { server } => {
                    let dialer = Arc::clone(&self.dialer);
                    self.probing = Some(Box::pin(async move {
                        match dialer.find_writable(&server).await {
                            Some(found) => (found, true),
                            None => (server, false),
                        }
                    }));
                }
                Action::Transition(transition) => self.publish(transition),
            }
        }
        self.actions = actions;
        busy
    }

    fn complete(&mut self, slot: ReplySlot, result: Result<Reply, Failure>, trip: &Trip) {
        self.measure.request(self.turned, &result, trip);
        let counters = &self.shared.counters;
        match &result {
            Ok(_) => counters.succeeded.add(1),
            Err(failure) if failure.unknown => counters.unknown.add(1),
            Err(failure) if matches!(failure.cause, Cause::Server(_)) => counters.rejected.add(1),
            Err(_) => counters.not_sent.add(1),
        }
        // Whoever waited may have gone: then nobody wants to know.
        let _gone = slot.send(result);
    }

    /// Tells whoever follows the connection.
    fn publish(&mut self, transition: Transition) {
        self.measure.transition(self.turned, &transition);
        let shared = &self.shared;
        let counters = &shared.counters;
        let at = |time: Time| (self.start + time.since_start()).into_std();
        // Nothing but the end follows for those who look on, whatever it takes to get there.
        let is_closing = matches!(*shared.state.borrow(), ConnState::Closing);
        match transition {
            Transition::AttemptFailed {
                server,
                error,
                passed,
            } => {
                if error.kind == AttemptErrorKind::Credentials {
                    tracing::warn!(%server, err = %error.message, "no credentials to connect with");
                } else {
                    tracing::debug!(%server, err = %error.message, "attempt to connect failed");
                }
                counters.attempts_failed.add(1);
                let passed = passed && !self.has_others;
                shared.attempt_failed(server.to_string(), error, passed);
            }
            Transition::Connected {
                server,
                session,
                timeout,
                read_only,
            } => {
                tracing::info!(%server, %session, ?timeout, read_only, "connected");
                if timeout < self.session_timeout {
                    let asked = self.session_timeout;
                    tracing::warn!(%session, ?timeout, ?asked, "session timeout was cut");
                }
                counters.connects.add(1);
                *shared
                    .trouble
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = None;
                self.publish_session();
                if !is_closing {
                    shared.set_state(ConnState::Connected {
                        session,
                        timeout,
                        read_only,
                        server,
                    });
                }
            }
            Transition::Suspended {
                session,
                since,
                safe_until,
                cause,
            } => {
                tracing::info!(%session, err = %cause.message, "connection lost");
                counters.disconnects.add(1);
                let (since, safe_until) = (at(since), at(safe_until));
                if !is_closing {
                    shared.set_state(ConnState::Suspended {
                        session,
                        since,
                        safe_until,
                    });
                }
            }
            Transition::Expired { session } => {
                tracing::warn!(%session, "session expired");
                counters.expirations.add(1);
                self.publish_session();
                shared.set_state(ConnState::Expired { session });
            }
            Transition::Pinged { after } => tracing::trace!(?after, "ping answered"),
            Transition::Closing => shared.set_state(ConnState::Closing),
            Transition::Closed { reason } => {
                tracing::info!(?reason, "client closed");
                shared.settle();
                shared.set_state(ConnState::Closed(reason));
            }
            Transition::Ignored { what, code } => {
                tracing::debug!(what, code, "ignored what has no use here");
            }
        }
    }

    /// Lets handles see the session.
    fn publish_session(&self) {
        self.shared.set_epoch(self.core.epoch());
        let granted = self.core.granted().cloned();
        *self
            .shared
            .granted
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = granted;
    }
}

impl Drop for Driver {
    /// The client was closed, or its runtime is going down: whoever waits is told.
    fn drop(&mut self) {
        let now = self.now();
        self.core.handle(now, Event::Detach, &mut self.actions);
        self.perform();
        let closed = self.shared.state.borrow().closed();
        let reason = closed.unwrap_or(CloseReason::Detached);
        for event in self.shared.close(reason) {
            self.core.handle(now, event, &mut self.actions);
        }
        self.perform();
    }
}

/// What a connection broke of: servers refuse a client's certificate after the handshake of TLS 1.3.
#[cfg(feature = "tls")]
fn io_kind(err: &std::io::Error) -> AttemptErrorKind {
    match err.get_ref() {
        Some(source) if source.is::<rustls::Error>() => AttemptErrorKind::Tls,
        _ => AttemptErrorKind::Io,
    }
}

/// What a connection broke of.
#[cfg(not(feature = "tls"))]
fn io_kind(_: &std::io::Error) -> AttemptErrorKind {
    AttemptErrorKind::Io
}

/// Appends what the connection has; 0 at its end.
fn poll_read(
    io: &mut dyn Io,
    input: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    // A frame longer than a chunk grows the buffer as it comes, not by the length it claims.
    if input.capacity() - input.len() < READ_CHUNK / 4 {
        input.reserve(READ_CHUNK);
    }
    poll_read_buf(Pin::new(io), cx, input)
}

/// Writes what there is; returns how much went, and 0 when nothing is left to do.
fn poll_write(
    io: &mut dyn Io,
    output: &mut BytesMut,
    needs_flush: &mut bool,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let mut written = 0;
    while !output.is_empty() {
        let count = match Pin::new(&mut *io).poll_write(cx, output) {
            Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
            Poll::Ready(Ok(count)) => count,
            Poll::Ready(Err(err)) => return Poll::Ready(Err(err)),
            Poll::Pending if written > 0 => return Poll::Ready(Ok(written)),
            Poll::Pending => return Poll::Pending,
        };
        output.advance(count);
        written += count;
        *needs_flush = true;
    }
    if *needs_flush {
        match Pin::new(io).poll_flush(cx) {
            Poll::Ready(result) => {
                result?;
                *needs_flush = false;
            }
            Poll::Pending => {}
        }
    }
    Poll::Ready(Ok(written))
}
