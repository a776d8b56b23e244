//! Answers that need no look at the tree.

use zk_proto::header::ReplyHeader;
use zk_proto::jute::Encode;
use zk_proto::response::SetSaslResponse;
use zk_proto::{Bytes, ErrorCode, Xid, Zxid, frame};

use crate::conn::auth::{AuthRefused, Identities};
use crate::conn::pipeline::{Answer, Then};

/// An error that is answered without looking at the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The error.
    pub code: ErrorCode,
    /// What the header says for a zxid; `None` is the last one applied.
    zxid: Option<Zxid>,
    /// Whether the connection is closed after it.
    pub then: Then,
}

impl Fault {
    /// The body does not decode, or says what no request of its kind may say.
    pub const UNDECODABLE: Self = Self::of(ErrorCode::MarshallingError);
    /// The request changes something, and the server is read-only.
    pub const NOT_READ_ONLY: Self = Self::of(ErrorCode::NotReadOnly);
    /// The request waited too long and was not executed.
    pub const THROTTLED: Self = Self::of(ErrorCode::ThrottledOp);
    /// No request of a client has this opcode.
    pub const UNIMPLEMENTED: Self = Self {
        code: ErrorCode::Unimplemented,
        zxid: Some(Zxid::new(-1)),
        then: Then::Close,
    };
    /// The connection lacks an identity that the server wants of everyone.
    pub const UNAUTHENTICATED: Self = Self {
        code: ErrorCode::SessionClosedRequireSaslAuth,
        zxid: Some(Zxid::ZERO),
        then: Then::Close,
    };

    pub(super) const fn of(code: ErrorCode) -> Self {
        Self {
            code,
            zxid: None,
            then: Then::Continue,
        }
    }

    /// The answer, at a server whose last transaction applied is `applied`.
    pub fn answer(&self, xid: Xid, applied: Zxid) -> Answer {
        Answer {
            bytes: error_frame(xid, self.zxid.unwrap_or(applied), self.code),
            then: self.then,
        }
    }
}

/// Frame of a reply without a body that tells an error.
pub fn error_frame(xid: Xid, zxid: Zxid, code: ErrorCode) -> Bytes {
    to_frame(xid, zxid, code.code(), None)
}

/// Frame of a reply that tells success.
pub fn reply_frame(xid: Xid, zxid: Zxid, body: Option<&dyn Encode>) -> Bytes {
    to_frame(xid, zxid, 0, body)
}

fn to_frame(xid: Xid, zxid: Zxid, err: i32, body: Option<&dyn Encode>) -> Bytes {
    let header = ReplyHeader { xid, zxid, err };
    let mut out = bytes::BytesMut::new();
    frame::write_reply(&mut out, &header, body);
    out.freeze()
}

/// Frame of the answer to a SASL token, whose zxid is 0; an error has a body too.
pub fn sasl_answer(xid: Xid, error: Option<ErrorCode>, token: Option<String>) -> Bytes {
    let token = token.map(Bytes::from);
    let code = error.map_or(0, ErrorCode::code);
    to_frame(xid, Zxid::ZERO, code, Some(&SetSaslResponse { token }))
}

/// The answer to an auth packet, whose zxid is 0; refused credentials close the connection.
pub fn auth_answer(xid: Xid, outcome: &Result<Identities, AuthRefused>) -> Answer {
    match outcome {
        Ok(_) => Answer {
            bytes: reply_frame(xid, Zxid::ZERO, None),
            then: Then::Continue,
        },
        Err(AuthRefused) => Answer {
            bytes: error_frame(xid, Zxid::ZERO, ErrorCode::AuthFailed),
            then: Then::Close,
        },
    }
}
