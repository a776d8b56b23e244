use std::fmt;
use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::{ErrorCode, OpCode, PathError, SessionId};

use crate::connect_string::ConnectStringError;
use crate::core::CloseReason;

/// What went wrong, with what is known of the outcome.
///
/// One pointer wide. [`Error::outcome`] tells whether the operation may have taken effect.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    outcome: Outcome,
    op: Option<OpCode>,
    path: Option<ByteString>,
    session: SessionId,
    /// Position of the operation in its transaction.
    index: Option<usize>,
    /// Facts beside the kind.
    detail: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// Whether a failed operation may have taken effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// No byte of it left the client: it did not and will not take effect.
    NotSent,
    /// A server answered that it did not take effect.
    Rejected,
    /// It was sent and not answered: it may have taken effect, or still do. So may a write that was
    /// declared idempotent, sent again for want of an answer, and then refused: its first attempt.
    Unknown,
}

/// What went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such znode, or no parent for a new one.
    NoNode,
    /// The znode exists already.
    NodeExists,
    /// The version is not the one expected.
    BadVersion,
    /// The znode has children.
    NotEmpty,
    /// Ephemeral znodes cannot have children.
    NoChildrenForEphemerals,
    /// The ACL does not allow it.
    NoAuth,
    /// The ACL is empty or names an identity that is not valid.
    InvalidAcl,
    /// A hard quota would be exceeded.
    QuotaExceeded,
    /// Reconfiguration is switched off at the server.
    ReconfigDisabled,
    /// Another reconfiguration is not finished.
    ReconfigInProgress,
    /// The new ensemble would have no quorum of connected servers.
    NewConfigNoQuorum,
    /// A local session cannot own an ephemeral znode.
    EphemeralOnLocalSession,
    /// There is no such watch.
    NoWatcher,
    /// The server was overloaded and did not execute the operation.
    Throttled,
    /// The server is read-only.
    NotReadOnly,
    /// The server does not know the operation, or has it switched off.
    Unimplemented,
    /// An illegal path, mode or argument.
    BadArguments,
    /// The server could not read the request, or failed unexpectedly.
    Marshalling,
    /// The request is longer than a server accepts.
    DataTooLarge,
    /// The reply is longer than [`crate::Config::reply_max`].
    ReplyTooLarge,
    /// In a transaction: an operation that was not tried, because another failed.
    RuntimeInconsistency,
    /// The connection was lost, or there is none.
    Disconnected,
    /// The operation took longer than it may.
    Timeout,
    /// The session is over.
    SessionExpired,
    /// The session goes on at another server.
    SessionMoved,
    /// Another client goes on with the session, and each drove the other out time and again. The
    /// client is closed; the session is not.
    SessionHijacked,
    /// A server refused the credentials. The client is closed.
    AuthFailed,
    /// A server wants an authentication that the client does not have. The client is closed.
    SessionClosedRequireSasl,
    /// The client is closed.
    Closed,
    /// As many requests are under way as the client's limits allow.
    Backpressure,
    /// The other side does not speak the protocol.
    Protocol,
    /// A host name could not be resolved.
    Dns,
    /// The [`CredentialProvider`](crate::CredentialProvider) gave nothing to connect with.
    Credentials,
    /// No connection to a server.
    Io,
    /// No TLS connection to a server: a certificate that is not accepted, or no TLS at all.
    Tls,
    /// The connect string is not one.
    ConnectString,
    /// The client's configuration contradicts itself.
    Config,
    /// A code that this client does not know.
    Server(i32),
}

impl ErrorKind {
    /// The kind that a server's error code stands for.
    pub const fn from_code(code: ErrorCode) -> Self {
        #[expect(
            clippy::wildcard_enum_match_arm,
            reason = "all others are never sent by servers"
        )]
        match code {
            ErrorCode::NoNode => Self::NoNode,
            ErrorCode::NodeExists => Self::NodeExists,
            ErrorCode::BadVersion => Self::BadVersion,
            ErrorCode::NotEmpty => Self::NotEmpty,
            ErrorCode::NoChildrenForEphemerals => Self::NoChildrenForEphemerals,
            ErrorCode::NoAuth => Self::NoAuth,
            ErrorCode::InvalidAcl => Self::InvalidAcl,
            ErrorCode::QuotaExceeded => Self::QuotaExceeded,
            ErrorCode::ReconfigDisabled => Self::ReconfigDisabled,
            ErrorCode::ReconfigInProgress => Self::ReconfigInProgress,
            ErrorCode::NewConfigNoQuorum => Self::NewConfigNoQuorum,
            ErrorCode::EphemeralOnLocalSession => Self::EphemeralOnLocalSession,
            ErrorCode::NoWatcher => Self::NoWatcher,
            ErrorCode::ThrottledOp => Self::Throttled,
            ErrorCode::NotReadOnly => Self::NotReadOnly,
            ErrorCode::Unimplemented => Self::Unimplemented,
            ErrorCode::BadArguments => Self::BadArguments,
            ErrorCode::MarshallingError => Self::Marshalling,
            ErrorCode::RuntimeInconsistency => Self::RuntimeInconsistency,
            ErrorCode::ConnectionLoss => Self::Disconnected,
            ErrorCode::SessionExpired | ErrorCode::UnknownSession => Self::SessionExpired,
            ErrorCode::SessionMoved => Self::SessionMoved,
            ErrorCode::AuthFailed => Self::AuthFailed,
            ErrorCode::SessionClosedRequireSaslAuth => Self::SessionClosedRequireSasl,
            other => Self::Server(other.code()),
        }
    }

    const fn text(self) -> &'static str {
        match self {
            Self::NoNode => "no such znode",
            Self::NodeExists => "the znode exists already",
            Self::BadVersion => "the version is not the one expected",
            Self::NotEmpty => "the znode has children",
            Self::NoChildrenForEphemerals => "an ephemeral znode cannot have children",
            Self::NoAuth => "the ACL does not allow it",
            Self::InvalidAcl => "the ACL is not valid",
            Self::QuotaExceeded => "the quota would be exceeded",
            Self::ReconfigDisabled => "reconfiguration is disabled at the server",
            Self::ReconfigInProgress => "another reconfiguration is in progress",
            Self::NewConfigNoQuorum => "the new ensemble has no quorum of connected servers",
            Self::EphemeralOnLocalSession => "a local session cannot own an ephemeral znode",
            Self::NoWatcher => "there is no such watch",
            Self::Throttled => "the server is overloaded and did not execute it",
            Self::NotReadOnly => "the server is read-only",
            Self::Unimplemented => "the server does not implement it",
            Self::BadArguments => "illegal argument",
            Self::Marshalling => "the server could not process the request",
            Self::DataTooLarge => "the request is too large",
            Self::ReplyTooLarge => "the reply is too large",
            Self::RuntimeInconsistency => "not tried, because another operation failed",
            Self::Disconnected => "the connection was lost",
            Self::Timeout => "the deadline has passed",
            Self::SessionExpired => "the session has expired",
            Self::SessionMoved => "the session goes on at another server",
            Self::SessionHijacked => "another client goes on with the session",
            Self::AuthFailed => "authentication failed",
            Self::SessionClosedRequireSasl => "the server requires authentication",
            Self::Closed => "the client is closed",
            Self::Backpressure => "too many requests are under way",
            Self::Protocol => "the server does not speak the protocol",
            Self::Dns => "the host name cannot be resolved",
            Self::Credentials => "there are no credentials to connect with",
            Self::Io => "no connection",
            Self::Tls => "no TLS connection",
            Self::ConnectString => "illegal connect string",
            Self::Config => "illegal configuration",
            Self::Server(_) => "the server answers an unknown error code",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        if let Self::Server(code) = self {
            write!(f, " {code}")
        } else {
            Ok(())
        }
    }
}

impl Error {
    pub(crate) fn new(kind: ErrorKind, outcome: Outcome) -> Self {
        Self(Box::new(Inner {
            kind,
            outcome,
            op: None,
            path: None,
            session: SessionId::NONE,
            index: None,
            detail: None,
            source: None,
        }))
    }

    pub(crate) fn closed(reason: CloseReason, outcome: Outcome) -> Self {
        let kind = match reason {
            CloseReason::Requested | CloseReason::Detached => ErrorKind::Closed,
            CloseReason::SessionExpired => ErrorKind::SessionExpired,
            CloseReason::AuthFailed => ErrorKind::AuthFailed,
            CloseReason::SessionHijacked => ErrorKind::SessionHijacked,
        };
        Self::new(kind, outcome)
    }

    pub(crate) fn with_op(mut self, op: OpCode) -> Self {
        self.0.op = Some(op);
        self
    }

    pub(crate) fn with_path(mut self, path: Option<ByteString>) -> Self {
        self.0.path = path;
        self
    }

    pub(crate) fn with_transaction_index(mut self, index: usize) -> Self {
        self.0.index = Some(index);
        self
    }

    pub(crate) fn with_session(mut self, session: SessionId) -> Self {
        self.0.session = session;
        self
    }

    pub(crate) fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    pub(crate) fn with_source(
        mut self,
        source: impl std::error::Error + Send + Sync + 'static,
    ) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the operation may have taken effect.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The operation that failed; `None` if it was none, such as connecting.
    pub fn op(&self) -> Option<OpCode> {
        self.0.op
    }

    /// The path that the operation was about, as the caller named it.
    pub fn path(&self) -> Option<&str> {
        self.0.path.as_deref()
    }

    /// The session at the time; [`SessionId::NONE`] if there was none.
    pub fn session(&self) -> SessionId {
        self.0.session
    }

    /// Position, from 0, of the operation of a transaction that failed and made all of it fail.
    pub fn transaction_index(&self) -> Option<usize> {
        self.0.index
    }

    /// Whether the same call may succeed later without anybody's doing. Says nothing of whether it
    /// is safe to repeat: see [`Error::outcome`].
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Disconnected
                | ErrorKind::Timeout
                | ErrorKind::Throttled
                | ErrorKind::NotReadOnly
                | ErrorKind::Backpressure
                | ErrorKind::Protocol
                | ErrorKind::SessionMoved
                | ErrorKind::Io
                | ErrorKind::Dns
                | ErrorKind::Credentials
        )
    }

    /// Whether the session is over, and with it every ephemeral znode and every lock of it.
    pub fn is_session_fatal(&self) -> bool {
        matches!(self.kind(), ErrorKind::SessionExpired) || self.is_client_fatal()
    }

    /// Whether the client is of no use any more.
    pub fn is_client_fatal(&self) -> bool {
        matches!(
            self.kind(),
            ErrorKind::Closed
                | ErrorKind::AuthFailed
                | ErrorKind::SessionHijacked
                | ErrorKind::SessionClosedRequireSasl
        )
    }
}

/// `create /a: the connection was lost (outcome unknown)`.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            outcome,
            op,
            path,
            index,
            detail,
            ..
        } = &*self.0;
        match (op, path) {
            (Some(op), Some(path)) => write!(f, "{op} {path}: ")?,
            (Some(op), None) => write!(f, "{op}: ")?,
            (None, Some(path)) => write!(f, "{path}: ")?,
            (None, None) => {}
        }
        if let Some(index) = index {
            write!(f, "operation {index}: ")?;
        }
        write!(f, "{kind}")?;
        if let Some(detail) = detail {
            write!(f, ": {detail}")?;
        }
        match outcome {
            Outcome::Unknown => f.write_str(" (outcome unknown)"),
            Outcome::NotSent | Outcome::Rejected => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner {
            kind,
            outcome,
            op,
            path,
            session,
            index,
            detail,
            source,
        } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("outcome", outcome)
            .field("op", op)
            .field("path", path)
            .field("session", session)
            .field("index", index)
            .field("detail", detail)
            .field("source", source)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The texts of an error and of all that caused it.
pub(crate) fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let mut text = err.to_string();
    let mut next = err.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}

impl From<PathError> for Error {
    fn from(err: PathError) -> Self {
        Self::new(ErrorKind::BadArguments, Outcome::NotSent)
            .with_detail(err.to_string())
            .with_source(err)
    }
}

impl From<ConnectStringError> for Error {
    fn from(err: ConnectStringError) -> Self {
        Self::new(ErrorKind::ConnectString, Outcome::NotSent)
            .with_detail(err.to_string())
            .with_source(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_one_pointer_wide() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
    }

    #[test]
    fn message_names_operation_path_and_outcome() {
        let err = Error::new(ErrorKind::Disconnected, Outcome::Unknown)
            .with_op(OpCode::Create)
            .with_path(Some("/a".into()));
        assert_eq!(
            err.to_string(),
            "create /a: the connection was lost (outcome unknown)"
        );
    }
}
