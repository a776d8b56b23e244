//! What happens to a server, as its core hears of it.

use zk_proto::{SessionId, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::Identities;
use crate::conn::pipeline::Ticket;
use crate::conn::request::Write;
use crate::session::SessionTimeout;
use crate::time::Time;

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A client asked for something that is decided here: a write, a sync, the end of its session.
    Submitted(Box<Submission>),
    /// A connection wants a new session.
    SessionRequested {
        /// The connection.
        conn: ConnId,
        /// Timeout that it is granted.
        timeout: SessionTimeout,
    },
    /// A connection wants a session that it says is its own.
    SessionClaimed {
        /// The connection.
        conn: ConnId,
        /// The session.
        session: SessionId,
        /// Timeout that it is granted now.
        timeout: SessionTimeout,
    },
    /// A client was heard of: any request counts, also one that is answered from the tree. Signs of
    /// one session come in order; several may be told as the last of them.
    SessionHeard {
        /// The session.
        session: SessionId,
        /// Timeout that its connection was granted.
        timeout: SessionTimeout,
        /// When.
        at: Time,
    },
    /// Everything appended up to this transaction is durable.
    LogDurable(Zxid),
    /// Everything handed to the tree up to this transaction is applied.
    Applied(Zxid),
}

/// A request on its way to be decided.
#[derive(Debug, Clone)]
pub struct Submission {
    /// Where the answer goes.
    pub origin: Origin,
    /// Session of the connection.
    pub session: SessionId,
    /// Identities that the connection had when it sent the request.
    pub identities: Identities,
    /// The request.
    pub write: Box<Write>,
}

/// Where the answer to a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The connection.
    pub conn: ConnId,
    /// The request's place on it.
    pub ticket: Ticket,
    /// What the reply echoes.
    pub xid: Xid,
}
