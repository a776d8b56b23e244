use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use zk_proto::jute::{Decode as _, Encode, Reader};
use zk_proto::request::AddWatchMode;
use zk_proto::{ErrorCode, OpCode, SessionId, Xid};

use super::Time;

/// Bytes in front of a request's body: length, xid, opcode.
const PREFIX_LEN: usize = 12;

/// Names a watch for as long as somebody holds it. Never used twice by a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WatchId(pub(crate) u64);

/// The side of a request that waits for its outcome.
pub(crate) trait Waiter {
    /// Whether nobody waits any more. A request that was not sent yet is then withdrawn.
    fn is_abandoned(&self) -> bool;
}

/// The bytes of a request, its length filled in, its xid to be filled in when it is sent.
#[derive(Debug, Default)]
pub(crate) struct Frame(BytesMut);

impl Frame {
    /// A frame whose body will have this many bytes.
    pub(crate) fn with_body_len(op: OpCode, body_len: usize) -> Self {
        let mut bytes = BytesMut::with_capacity(PREFIX_LEN + body_len);
        bytes.put_bytes(0, 8);
        bytes.put_i32(op.code());
        Self(bytes)
    }

    /// The frame of a whole record.
    pub(crate) fn of(op: OpCode, body: &dyn Encode) -> Self {
        let mut frame = Self::with_body_len(op, body.encoded_len());
        body.encode(frame.body());
        frame.sealed()
    }

    /// Where to append the body.
    pub(crate) fn body(&mut self) -> &mut BytesMut {
        &mut self.0
    }

    /// Fills in the length. To be called when the body is complete.
    pub(crate) fn sealed(mut self) -> Self {
        let len = self.payload_len();
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        if let Some(field) = self.0.first_chunk_mut() {
            *field = len;
        }
        self
    }

    /// Bytes behind the length: what the server's limit applies to.
    pub(crate) fn payload_len(&self) -> usize {
        self.0.len().saturating_sub(4)
    }

    /// All bytes, the length included.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Appends the frame under this xid.
    pub(super) fn write(&mut self, xid: Xid, out: &mut BytesMut) {
        if let Some(field) = self.0.get_mut(4..8) {
            field.copy_from_slice(&xid.get().to_be_bytes());
        }
        out.put_slice(&self.0);
    }

    /// Sets the watch flag, which is the last byte of every request that has one.
    pub(super) fn set_watch_flag(&mut self, watch: bool) {
        if let Some(flag) = self.0.last_mut() {
            *flag = u8::from(watch);
        }
    }

    /// The opcode, if it is one that is known.
    pub(crate) fn op(&self) -> Option<OpCode> {
        let code = self.0.get(8..PREFIX_LEN)?.first_chunk()?;
        OpCode::from_code(i32::from_be_bytes(*code))
    }

    /// Whether the leader has to do with the answer, which it gives no session that it has let end.
    pub(super) fn asks_leader(&self) -> bool {
        self.op() == Some(OpCode::Sync) || self.is_write()
    }

    /// Whether it changes znodes.
    pub(super) fn is_write(&self) -> bool {
        matches!(
            self.op(),
            Some(
                OpCode::Create
                    | OpCode::Create2
                    | OpCode::CreateContainer
                    | OpCode::CreateTtl
                    | OpCode::Delete
                    | OpCode::SetData
                    | OpCode::SetAcl
                    | OpCode::Multi
            )
        )
    }

    /// The path that most bodies start with, for error messages.
    pub(crate) fn path(&self) -> Option<ByteString> {
        if let Some(OpCode::Multi | OpCode::MultiRead | OpCode::Reconfig) = self.op() {
            return None;
        }
        let mut body = Reader::new(self.0.get(PREFIX_LEN..)?);
        Option::<ByteString>::decode(&mut body).ok().flatten()
    }
}

/// What is to be done.
#[derive(Debug)]
pub(crate) struct Request<W, S> {
    pub(crate) frame: Frame,
    /// Session, by its number, outside which the request must not be sent.
    pub(crate) epoch: Option<u64>,
    /// How long it may take from its submission.
    pub(crate) timeout: Duration,
    /// Whether it may be sent again after its outcome was lost with a connection.
    pub(crate) resend: bool,
    /// The watch that it registers.
    pub(crate) watch: Option<Box<WatchRequest<S>>>,
    /// Who is told; nobody for internal and detached requests.
    pub(crate) waiter: Option<W>,
}

/// The watch that a request registers.
#[derive(Debug)]
pub(crate) struct WatchRequest<S> {
    pub(crate) id: WatchId,
    pub(crate) kind: WatchKind,
    /// As the server knows it.
    pub(crate) path: ByteString,
    /// Where events go.
    pub(crate) sink: S,
    /// Session, by its number, that it ends with.
    pub(crate) epoch: Option<u64>,
}

/// How a watch comes to be, and what it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum WatchKind {
    /// Left by getData.
    Data,
    /// Left by exists: a data watch if the znode is there, an exist watch if not.
    Exists,
    /// Left by getChildren.
    Children,
    /// Added, with its reach.
    Added(AddWatchMode),
}

/// A reply without error.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The bytes behind the header.
    pub(crate) body: Bytes,
    /// The request, for those who trace.
    pub(crate) frame: Frame,
}

/// Why there is no reply, or none that says yes.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) cause: Cause,
    /// Whether bytes of the request may have reached a server that did not answer, whatever another one
    /// has answered to it since.
    pub(crate) unknown: bool,
    /// Session at the time.
    pub(crate) session: SessionId,
    /// The request, for its path.
    pub(crate) frame: Option<Frame>,
}

/// What happened to a request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The server said no.
    Server(ErrorCode),
    /// The connection was lost.
    Disconnected,
    /// The reply was longer than the client takes, and the connection was given up over it.
    ReplyTooLong(String),
    /// It took longer than it may.
    Timeout,
    /// The session that it belongs to is over.
    SessionExpired,
    /// The client is closed, with the reason.
    Closed(CloseReason),
}

/// Why a client is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The user closed it.
    Requested,
    /// The user detached it: the session lives on at the servers until its timeout.
    Detached,
    /// The session expired, and the client was told to stop then.
    SessionExpired,
    /// A server refused the credentials.
    AuthFailed,
    /// Another client goes on with the session, and each drove the other out time and again: a dozen
    /// connections in a row were ended by the servers, soon and without an error. Only a client whose
    /// [session token](crate::Client::session_token) was taken, or that was made from one, finds that
    /// this is so.
    SessionHijacked,
}

/// A request that waits to be sent.
#[derive(Debug)]
pub(super) struct Queued<W, S> {
    pub(super) request: Request<W, S>,
    pub(super) submitted: Time,
    pub(super) deadline: Time,
    /// What it is for.
    pub(super) purpose: Purpose,
    /// Whether its bytes may have reached a server, on this connection or an earlier one.
    pub(super) was_sent: bool,
    /// Whether they may have before it was sent on this connection.
    pub(super) was_resent: bool,
    /// Whether its watch was not asked for, because an added watch on the path tells the same.
    pub(super) is_covered: bool,
}

/// Who wants a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The user.
    User,
    /// The client: an added watch of this path is not wanted any more.
    RemoveWatch(ByteString),
    /// The client: no watch of this path is wanted as it is.
    RemoveAny(ByteString),
    /// The client: what is wanted on this path, registered anew. Its frame is made when it is sent.
    Rearm(ByteString),
    /// The client: keeps a recursive watch of this path that a persistent one might have ended.
    KeepRecursive(ByteString),
    /// The client: registers the child watch of this path anew, behind its recursive watch.
    RearmList(ByteString),
    /// The client: tidies up, and does not mind what becomes of it.
    Tidy,
    /// The client: the leader is to show that the session lives.
    Prove,
    /// The client: the session is to be closed.
    CloseSession,
}

impl<W, S> Queued<W, S> {
    pub(super) fn new(request: Request<W, S>, submitted: Time, purpose: Purpose) -> Self {
        Self {
            deadline: submitted + request.timeout,
            request,
            submitted,
            purpose,
            was_sent: false,
            was_resent: false,
            is_covered: false,
        }
    }
}
