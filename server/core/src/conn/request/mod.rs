//! From a frame to a classified request.
//!
//! ```text
//!  frame ─► header ─► opcode ─► body ─┬─► Read   answered in its place, from the tree or at once
//!             │         │        │    ├─► Write  submitted; its place is kept
//!           close    UNIMPLE-   MAR-  ├─► Auth, Sasl   answered at once, overtaking
//!                    MENTED     SHALLINGERROR, or close for Auth and Sasl
//! ```
//!
//! What does not decode is answered like a read, in its place among the others, and leaves no trace
//! in the log; the reference logs an error under a zxid that is taken already.

mod classify;
mod fault;

#[cfg(test)]
mod tests;

pub(crate) use classify::is_legal_write;
pub use fault::{Fault, auth_answer, error_frame, reply_frame, sasl_answer};

use bytestring::ByteString;
use zk_proto::header::RequestHeader;
use zk_proto::jute::{Decode as _, Reader};
use zk_proto::request::{AuthPacket, CreateFlags, GetSaslRequest, MultiOp, Request, WatcherType};
use zk_proto::{Bytes, OpCode, Xid};

use crate::watch::{WatchKind, WatchLists};

use super::auth::Identities;
use super::handshake::ServingMode;

use classify::{classify, fault};

/// A request as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// What the reply echoes.
    pub xid: Xid,
    /// What it asks for.
    pub class: Class,
}

/// What sort of a request it is: who answers it, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// Answered here, in its place.
    Read(Read),
    /// Answered when the apply thread comes to it.
    Write(Box<Write>),
    /// Answered at once.
    Auth(AuthPacket),
    /// Answered at once.
    Sasl(GetSaslRequest),
}

/// A request that is executed against the tree and the watches of this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// The answer has the xid [`Xid::PING`].
    Ping,
    /// Identities of the connection.
    WhoAmI,
    /// Stat of a znode.
    Exists {
        /// Path.
        path: ByteString,
        /// Whether to set a watch.
        watch: bool,
    },
    /// Data and stat.
    GetData {
        /// Path.
        path: ByteString,
        /// Whether to set a watch.
        watch: bool,
    },
    /// Names of the children.
    GetChildren {
        /// Path.
        path: ByteString,
        /// Whether to set a watch.
        watch: bool,
    },
    /// Names of the children and stat.
    GetChildren2 {
        /// Path.
        path: ByteString,
        /// Whether to set a watch.
        watch: bool,
    },
    /// ACL and stat.
    GetAcl {
        /// Path.
        path: ByteString,
    },
    /// Number of descendants.
    GetAllChildrenNumber {
        /// Path.
        path: ByteString,
    },
    /// Ephemeral znodes of the session; null and `/` stand for all.
    GetEphemerals {
        /// What their paths start with.
        prefix: Option<ByteString>,
    },
    /// Several reads; getData and getChildren only. Their watch flags mean nothing.
    MultiRead(Vec<MultiOp>),
    /// Whether there is a watch.
    CheckWatches {
        /// Path.
        path: ByteString,
        /// Of which kind.
        watcher_type: WatcherType,
    },
    /// Removes watches.
    RemoveWatches {
        /// Path.
        path: ByteString,
        /// Of which kind.
        watcher_type: WatcherType,
    },
    /// Adds a persistent watch.
    AddWatch {
        /// Path.
        path: ByteString,
        /// Persistent, or persistent and recursive.
        kind: WatchKind,
    },
    /// setWatches and setWatches2.
    SetWatches(WatchLists),
    /// An error that is known already.
    Fault(Fault),
}

/// A request that the leader turns into a transaction, or sync, which waits like one.
///
/// Invariant: a multi has only writes whose paths are there and whose flags it may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    request: Request,
    body: Bytes,
}

/// Why a frame closes the connection without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadFrame {
    /// It is too short for a header.
    #[error("frame is too short for a request header")]
    Header,
    /// It is an auth or sasl request that does not decode.
    #[error("body of {0} does not decode")]
    Credentials(OpCode),
}

impl Incoming {
    /// Decodes and classifies the payload of a frame. What follows the body is ignored.
    ///
    /// Strings and buffers of the request are slices of the frame: whoever keeps them copies them.
    ///
    /// # Errors
    /// [`BadFrame`]: the connection is closed without a word. All other errors are answered.
    pub fn decode(payload: &Bytes) -> Result<Self, BadFrame> {
        let mut reader = Reader::shared(payload);
        let header = RequestHeader::decode(&mut reader).map_err(|_| BadFrame::Header)?;
        let class = match header.op() {
            // Of these, servers send some to themselves, and check is a part of a multi only.
            None | Some(OpCode::CreateSession | OpCode::Check) => fault(Fault::UNIMPLEMENTED),
            Some(op) => {
                let body = reader.share(reader.rest());
                match Request::decode(op, &mut reader) {
                    Ok(request) => classify(request, body),
                    Err(_) if matches!(op, OpCode::Auth | OpCode::Sasl) => {
                        return Err(BadFrame::Credentials(op));
                    }
                    Err(_) => fault(Fault::UNDECODABLE),
                }
            }
        };
        let xid = header.xid;
        Ok(Self { xid, class })
    }

    /// What the header of the reply says for an xid: the request's own, except for a ping.
    pub fn reply_xid(&self) -> Xid {
        match self.class {
            Class::Read(Read::Ping) => Xid::PING,
            Class::Read(_) | Class::Write(_) | Class::Auth(_) | Class::Sasl(_) => self.xid,
        }
    }

    /// The same, or the error in its place if the server's mode forbids it: a read-only server
    /// refuses what writes, except the end of a session that is its own.
    #[must_use]
    pub fn allowed_in(self, mode: ServingMode, is_local_session: bool) -> Self {
        let is_refused = mode == ServingMode::ReadOnly
            && match &self.class {
                Class::Write(write) => !(write.op() == OpCode::CloseSession && is_local_session),
                Class::Read(_) | Class::Auth(_) | Class::Sasl(_) => false,
            };
        self.or_fault(is_refused, Fault::NOT_READ_ONLY)
    }

    /// The same, or the error in its place if the server wants of everyone an identity of one of
    /// the schemes `wanted`, and the connection has none. An empty list wants nothing.
    #[must_use]
    pub fn allowed_for(self, own: &Identities, wanted: &[ByteString]) -> Self {
        let is_proof = matches!(self.class, Class::Auth(_) | Class::Sasl(_));
        let has_proof = wanted.is_empty() || wanted.iter().any(|scheme| own.has_scheme(scheme));
        self.or_fault(!is_proof && !has_proof, Fault::UNAUTHENTICATED)
    }

    fn or_fault(self, is_refused: bool, with: Fault) -> Self {
        if is_refused {
            let class = fault(with);
            Self { class, ..self }
        } else {
            self
        }
    }
}

impl Write {
    /// The opcode.
    pub fn op(&self) -> OpCode {
        self.request.op()
    }

    /// The request, decoded.
    pub fn request(&self) -> &Request {
        &self.request
    }

    /// The body as the client sent it, which is what a learner forwards.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether it creates an ephemeral znode, which a local session cannot own.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `QuorumZooKeeperServer#checkUpgradeSession`.
    #[expect(clippy::wildcard_enum_match_arm, reason = "no other request creates")]
    pub fn needs_global_session(&self) -> bool {
        let is_ephemeral =
            |flags| CreateFlags::from_code(flags).is_some_and(CreateFlags::is_ephemeral);
        match &self.request {
            Request::Create(create) | Request::Create2(create) => is_ephemeral(create.flags),
            Request::Multi(multi) => multi.ops.iter().any(|op| match op {
                MultiOp::Create(create) | MultiOp::Create2(create) => is_ephemeral(create.flags),
                MultiOp::CreateContainer(_)
                | MultiOp::CreateTtl(_)
                | MultiOp::Delete(_)
                | MultiOp::SetData(_)
                | MultiOp::Check(_)
                | MultiOp::GetData(_)
                | MultiOp::GetChildren(_) => false,
            }),
            _ => false,
        }
    }
}
