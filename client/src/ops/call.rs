//! What all operations share: a request on its way, and the value that waits for its answer.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use zk_proto::jute::{Decode, DecodeError, Encode, Reader, Reason};
use zk_proto::{ByteString, ErrorCode, OpCode, PathError, ZPath, ZPathBuf, strip_chroot};

use crate::client::Client;
use crate::core::{Cause, Failure, Frame, Reply, Request, WatchId, WatchKind, WatchRequest};
use crate::error::{Error, ErrorKind, Outcome};
use crate::watch::{Watch, WatchCell, WatchStream};

/// Data up to this length is copied out of the buffer that it came in, so that holding it does not
/// hold up to 64 KiB.
const COPY_MAX: usize = 4 * 1024;
/// Bytes of a request that its length counts in front of the body: xid and opcode.
const HEADER_LEN: usize = 8;

/// An operation that is ready to be submitted.
pub(crate) struct Call<T> {
    client: Client,
    op: OpCode,
    frame: Result<Frame, Error>,
    timeout: Duration,
    /// Session outside which it must not be sent.
    epoch: Option<u64>,
    resend: bool,
    watch: Option<(WatchKind, usize)>,
    decode: Decoder<T>,
}

/// Makes the result of an operation of what came back.
pub(crate) type Decoder<T> = fn(Answer<'_>) -> Result<T, Error>;

/// What came back of a request.
pub(crate) struct Answer<'a> {
    pub(crate) client: &'a Client,
    pub(crate) op: OpCode,
    pub(crate) result: Result<Reply, Failure>,
    watch: Option<Seed>,
}

/// A watch that becomes one when its registration is answered.
struct Seed {
    id: WatchId,
    cell: Arc<WatchCell>,
    client: Client,
    /// Whether it has become a watch, which unsubscribes by itself.
    is_grown: bool,
}

impl Drop for Seed {
    fn drop(&mut self) {
        if !self.is_grown {
            self.client.shared().unsubscribe(self.id);
        }
    }
}

impl<T> Call<T> {
    /// An operation with this request, sealed.
    pub(crate) fn new(
        client: &Client,
        op: OpCode,
        frame: Result<Frame, Error>,
        decode: Decoder<T>,
    ) -> Self {
        Self {
            client: client.clone(),
            op,
            frame,
            timeout: client.config().timeout,
            epoch: client.epoch(),
            resend: false,
            watch: None,
            decode,
        }
    }

    /// It may be sent again when its outcome was lost, as every read may.
    pub(crate) fn resent(mut self, resend: bool) -> Self {
        self.resend = resend;
        self
    }

    pub(crate) fn within(mut self, timeout: Option<Duration>) -> Self {
        self.timeout = timeout.unwrap_or(self.timeout);
        self
    }

    /// It makes sense only in the session that is, or will be next.
    pub(crate) fn bound(self) -> Self {
        let epoch = self.client.shared().epoch();
        self.bound_to(epoch)
    }

    /// It makes sense only in the session with this number, unless the client is bound to another.
    pub(crate) fn bound_to(mut self, epoch: u64) -> Self {
        self.epoch = self.epoch.or(Some(epoch));
        self
    }

    pub(crate) fn watching(mut self, kind: WatchKind, capacity: usize) -> Self {
        self.watch = Some((kind, capacity));
        self
    }

    /// Submits it, whatever is under way.
    pub(crate) fn submit(self) -> Pending<T> {
        self.submit_within(false)
    }

    /// Submits it, unless too much is under way.
    pub(crate) fn submit_bounded(self) -> Pending<T> {
        self.submit_within(true)
    }

    fn submit_within(self, bounded: bool) -> Pending<T> {
        let (slot, reply) = oneshot::channel();
        match self.request(Some(slot)) {
            Err((client, op, decode, error)) => Pending {
                client,
                op,
                decode,
                seed: None,
                state: State::Failed(Some(error)),
            },
            Ok((client, op, decode, request, seed)) => {
                let limit = bounded.then_some(client.config().load_max);
                let state = match client.shared().submit(request, limit) {
                    Ok(()) => State::Waiting(reply),
                    Err(refused) => {
                        let error = Error::new(ErrorKind::Backpressure, Outcome::NotSent)
                            .with_op(op)
                            .with_path(shown(&client, &refused.frame));
                        State::Failed(Some(error))
                    }
                };
                Pending {
                    client,
                    op,
                    decode,
                    seed,
                    state,
                }
            }
        }
    }

    /// Submits it and lets go of it.
    pub(crate) fn detach(self) -> Result<(), Error> {
        match self.request(None) {
            Err((_, _, _, error)) => Err(error),
            Ok((client, op, _, request, _)) => {
                let limit = Some(client.config().load_max);
                client.shared().submit(request, limit).map_err(|refused| {
                    Error::new(ErrorKind::Backpressure, Outcome::NotSent)
                        .with_op(op)
                        .with_path(shown(&client, &refused.frame))
                })
            }
        }
    }

    #[expect(
        clippy::type_complexity,
        reason = "the parts of a call, taken apart once"
    )]
    fn request(
        self,
        waiter: Option<crate::shared::ReplySlot>,
    ) -> Result<
        (
            Client,
            OpCode,
            Decoder<T>,
            crate::shared::DriverRequest,
            Option<Seed>,
        ),
        (Client, OpCode, Decoder<T>, Error),
    > {
        let Self {
            client,
            op,
            frame,
            timeout,
            epoch,
            resend,
            watch,
            decode,
        } = self;
        let frame = match frame.and_then(|frame| checked(&client, op, frame)) {
            Ok(frame) => frame,
            Err(error) => {
                let error = error.with_op(op);
                return Err((client, op, decode, error));
            }
        };
        let mut seed = None;
        let watch = watch.map(|(kind, capacity)| {
            let (id, cell) = (client.shared().next_watch(), WatchCell::new(capacity));
            let sink = Arc::clone(&cell);
            seed = Some(Seed {
                id,
                cell,
                client: client.clone(),
                is_grown: false,
            });
            let path = frame.path().unwrap_or_default();
            Box::new(WatchRequest {
                id,
                kind,
                path,
                sink,
                epoch,
            })
        });
        let request = Request {
            frame,
            epoch,
            timeout,
            resend,
            watch,
            waiter,
        };
        Ok((client, op, decode, request, seed))
    }
}

/// A request that a server would refuse by closing the connection is not sent, nor made.
fn fits(client: &Client, op: OpCode, body_len: usize) -> Result<(), Error> {
    let (len, max) = (
        HEADER_LEN.saturating_add(body_len),
        client.config().frame_max,
    );
    if len <= max {
        return Ok(());
    }
    let detail = format!("{len} bytes exceed the limit of {max} (jute.maxbuffer)");
    let error = Error::new(ErrorKind::DataTooLarge, Outcome::NotSent).with_op(op);
    Err(error.with_detail(detail))
}

fn checked(client: &Client, op: OpCode, frame: Frame) -> Result<Frame, Error> {
    match fits(client, op, frame.payload_len().saturating_sub(HEADER_LEN)) {
        Ok(()) => Ok(frame),
        Err(error) => Err(error.with_path(shown(client, &frame))),
    }
}

/// The frame of a whole record.
pub(crate) fn whole_frame(client: &Client, op: OpCode, body: &dyn Encode) -> Result<Frame, Error> {
    fits(client, op, body.encoded_len())?;
    Ok(Frame::of(op, body))
}

/// The path that a request is about, as the caller named it.
fn shown(client: &Client, frame: &Frame) -> Option<ByteString> {
    let path = frame.path()?;
    match strip_chroot(client.config().chroot.as_path(), &path) {
        Some(stripped) => Some(stripped.into()),
        None => Some(path),
    }
}

/// A request that was submitted: its place in the order is fixed. A future of its result.
///
/// # Cancel safety
/// Dropping it withdraws a request that was not sent yet. A read that was sent is ignored when it is
/// answered, and a watch of it removed; a write that was sent may still take effect.
#[must_use = "dropping it withdraws the request if that is still possible"]
pub struct Pending<T> {
    client: Client,
    op: OpCode,
    decode: Decoder<T>,
    seed: Option<Seed>,
    state: State,
}

enum State {
    /// Refused before it was submitted.
    Failed(Option<Error>),
    Waiting(oneshot::Receiver<Result<Reply, Failure>>),
}

impl<T> Future for Pending<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match &mut this.state {
            State::Failed(error) => match error.take() {
                Some(error) => return Poll::Ready(Err(error)),
                None => return Poll::Pending,
            },
            State::Waiting(reply) => match Pin::new(reply).poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(result)) => result,
                // The driver went down with the runtime.
                Poll::Ready(Err(_)) => {
                    let error = Error::new(ErrorKind::Closed, Outcome::Unknown);
                    return Poll::Ready(Err(error.with_op(this.op)));
                }
            },
        };
        let watch = this.seed.take();
        Poll::Ready((this.decode)(Answer {
            client: &this.client,
            op: this.op,
            result,
            watch,
        }))
    }
}

impl<T> fmt::Debug for Pending<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pending")
            .field("op", &self.op)
            .finish_non_exhaustive()
    }
}

/// The future of an operation that is awaited as it is: submits it at the first poll, then waits.
pub struct CallFuture<T>(Submission<T>);

enum Submission<T> {
    Ready(Option<Call<T>>),
    Submitted(Pending<T>),
}

impl<T> CallFuture<T> {
    pub(crate) fn new(call: Call<T>) -> Self {
        Self(Submission::Ready(Some(call)))
    }

    /// Submits it if it was not yet.
    pub(super) fn submit(&mut self) {
        if let Submission::Ready(call) = &mut self.0
            && let Some(call) = call.take()
        {
            self.0 = Submission::Submitted(call.submit());
        }
    }
}

impl<T> Future for CallFuture<T> {
    type Output = Result<T, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.submit();
        match &mut self.0 {
            Submission::Submitted(pending) => Pin::new(pending).poll(cx),
            Submission::Ready(_) => Poll::Pending,
        }
    }
}

impl<T> fmt::Debug for CallFuture<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallFuture").finish_non_exhaustive()
    }
}

/// Gives a builder its ways of being submitted.
macro_rules! operation {
    ($builder:ident => $output:ty) => {
        impl $builder<'_> {
            /// Submits the request now: its place in the order is fixed when this returns. The
            /// result is awaited through the value returned.
            ///
            /// With as much under way as [`crate::Config::in_flight_max`] and
            /// [`crate::Config::in_flight_bytes_max`] allow, the result is
            /// [`crate::ErrorKind::Backpressure`]; awaiting the builder itself waits instead.
            pub fn send(self) -> $crate::Pending<$output> {
                self.into_call().submit_bounded()
            }

            /// Submits the request and lets go of it: nobody hears of its outcome.
            ///
            /// # Errors
            /// Only what is known at once: illegal arguments, [`crate::ErrorKind::DataTooLarge`],
            /// [`crate::ErrorKind::Backpressure`].
            pub fn detach(self) -> Result<(), $crate::Error> {
                self.into_call().detach()
            }
        }

        impl IntoFuture for $builder<'_> {
            type Output = Result<$output, $crate::Error>;
            type IntoFuture = $crate::ops::CallFuture<$output>;

            fn into_future(self) -> Self::IntoFuture {
                $crate::ops::CallFuture::new(self.into_call())
            }
        }
    };
}

pub(crate) use operation;

impl Client {
    /// The error that a failure is.
    pub(crate) fn error(&self, op: OpCode, failure: Failure) -> Error {
        let Failure {
            cause,
            unknown,
            session,
            frame,
        } = failure;
        let outcome = if unknown {
            Outcome::Unknown
        } else {
            Outcome::NotSent
        };
        let error = match cause {
            Cause::Server(code) => {
                // Nothing is known of what these mean.
                let is_vague = matches!(code, ErrorCode::SystemError | ErrorCode::Other(_));
                let outcome = if unknown || is_vague {
                    Outcome::Unknown
                } else {
                    Outcome::Rejected
                };
                Error::new(ErrorKind::from_code(code), outcome)
            }
            Cause::Disconnected => Error::new(ErrorKind::Disconnected, outcome),
            Cause::ReplyTooLong(message) => {
                Error::new(ErrorKind::ReplyTooLarge, outcome).with_detail(message)
            }
            Cause::Timeout => self.explain(Error::new(ErrorKind::Timeout, outcome)),
            Cause::SessionExpired => Error::new(ErrorKind::SessionExpired, outcome),
            Cause::Closed(reason) => Error::closed(reason, outcome),
        };
        let path = frame.and_then(|frame| shown(self, &frame));
        error.with_op(op).with_path(path).with_session(session)
    }
}

impl Answer<'_> {
    /// The body, decoded.
    pub(crate) fn body<R: Decode>(self) -> Result<R, Error> {
        match self.result {
            Ok(reply) => decode(self.op, &reply.body),
            Err(failure) => Err(self.client.error(self.op, failure)),
        }
    }

    /// As [`Answer::body`], and `None` if the server answered with this code.
    pub(crate) fn body_unless<R: Decode>(self, absent: ErrorCode) -> Result<Option<R>, Error> {
        match self.result {
            Err(failure) if failure.cause == Cause::Server(absent) => Ok(None),
            _ => self.body().map(Some),
        }
    }

    /// For operations without a body.
    pub(crate) fn empty(self) -> Result<(), Error> {
        match self.result {
            Ok(_) => Ok(()),
            Err(failure) => Err(self.client.error(self.op, failure)),
        }
    }

    /// Takes the one-shot watch that the request registered.
    pub(crate) fn take_watch(&mut self) -> Option<Watch> {
        let mut seed = self.watch.take()?;
        seed.is_grown = true;
        let (shared, cell) = (Arc::clone(self.client.shared()), Arc::clone(&seed.cell));
        Some(Watch::new(
            shared,
            seed.id,
            cell,
            self.client.config().chroot.clone(),
        ))
    }

    /// Takes the watch stream that the request registered.
    pub(crate) fn take_stream(&mut self) -> Option<WatchStream> {
        let mut seed = self.watch.take()?;
        seed.is_grown = true;
        let (shared, cell) = (Arc::clone(self.client.shared()), Arc::clone(&seed.cell));
        Some(WatchStream::new(
            shared,
            seed.id,
            cell,
            self.client.config().chroot.clone(),
        ))
    }
}

/// Reads the body of a reply.
pub(crate) fn decode<R: Decode>(op: OpCode, body: &Bytes) -> Result<R, Error> {
    R::decode(&mut Reader::shared(body)).map_err(|err| undecodable(op, err))
}

pub(crate) fn undecodable(op: OpCode, err: DecodeError) -> Error {
    Error::new(ErrorKind::Protocol, Outcome::Unknown)
        .with_op(op)
        .with_detail(err.to_string())
        .with_source(err)
}

/// Data that does not hold the buffer that it came in, unless it is most of it. Null is empty.
pub(crate) fn owned(data: Option<Bytes>) -> Bytes {
    match data {
        None => Bytes::new(),
        Some(data) if data.len() <= COPY_MAX => Bytes::copy_from_slice(&data),
        Some(data) => data,
    }
}

/// Names that do not hold the buffer that they came in.
pub(crate) fn strings(reader: &mut Reader<'_>) -> Result<Vec<String>, DecodeError> {
    let names = Vec::<ByteString>::decode(reader)?;
    Ok(names.iter().map(ToString::to_string).collect())
}

/// The frame of a request whose body starts with a path, with room for `rest` more bytes.
///
/// The path is checked and put behind the chroot on the way, without a buffer of its own.
pub(crate) fn path_frame(
    client: &Client,
    op: OpCode,
    path: &str,
    rest: usize,
) -> Result<Frame, Error> {
    let path = ZPath::new(path).map_err(|err| illegal(op, err))?;
    let is_chroot = path.is_root() && !client.config().chroot.as_path().is_root();
    let below = if is_chroot { "" } else { path.as_str() };
    prefixed(client, op, path.as_str(), below, rest)
}

/// As [`path_frame`], for a path that a server completes with a number.
pub(crate) fn sequential_path_frame(
    client: &Client,
    op: OpCode,
    path: &str,
    rest: usize,
) -> Result<Frame, Error> {
    ZPath::check_sequential(path).map_err(|err| illegal(op, err))?;
    // The number goes behind the slash, also behind that of the root: else it would stand beside the chroot.
    prefixed(client, op, path, path, rest)
}

/// `path` as the server knows it, checked, for a server to complete with a number.
pub(crate) fn full_sequential_path(
    client: &Client,
    op: OpCode,
    path: &str,
) -> Result<ByteString, Error> {
    ZPath::check_sequential(path).map_err(|err| illegal(op, err))?;
    Ok(ByteString::from([chroot_prefix(client), path].concat()))
}

/// What stands in front of every path that is not the root.
fn chroot_prefix(client: &Client) -> &str {
    match client.config().chroot.as_str() {
        "/" => "",
        chroot => chroot,
    }
}

/// A frame for the path `below` the chroot, which the caller has `named` so.
fn prefixed(
    client: &Client,
    op: OpCode,
    named: &str,
    below: &str,
    rest: usize,
) -> Result<Frame, Error> {
    let chroot = chroot_prefix(client);
    let len = chroot.len() + below.len();
    let body_len = 4 + len + rest;
    fits(client, op, body_len).map_err(|error| error.with_path(Some(named.into())))?;
    let mut frame = Frame::with_body_len(op, body_len);
    let body = frame.body();
    i32::try_from(len).unwrap_or(i32::MAX).encode(body);
    body.extend_from_slice(chroot.as_bytes());
    body.extend_from_slice(below.as_bytes());
    Ok(frame)
}

/// `path` as the server knows it, checked.
pub(crate) fn full_path(client: &Client, op: OpCode, path: &str) -> Result<ZPathBuf, Error> {
    let path = ZPath::new(path).map_err(|err| illegal(op, err))?;
    let full = zk_proto::join_chroot(client.config().chroot.as_path(), path.as_str());
    ZPathBuf::new(full).map_err(|err| illegal(op, err))
}

/// `path` as the caller knows it.
pub(crate) fn relative(client: &Client, path: &str) -> String {
    strip_chroot(client.config().chroot.as_path(), path)
        .unwrap_or(path)
        .to_owned()
}

pub(crate) fn illegal(op: OpCode, err: PathError) -> Error {
    let path = ByteString::from(err.path.as_str());
    Error::from(err).with_op(op).with_path(Some(path))
}

/// A reply that lacks what it must have.
pub(crate) fn incomplete(op: OpCode, what: &'static str) -> Error {
    undecodable(op, DecodeError::new(Reason::Null).at("reply", what))
}
