//! What a server's core wants done.

use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::{Bytes, ErrorCode, OpCode, SessionId, Zxid};

use crate::conn::ConnId;
use crate::conn::handshake::ServingMode;
use crate::prep::QuotaWarning;
use crate::wire::txn::TxnEntry;

use super::event::Origin;

/// What is to be done, lane by lane. Reused: the driver drains it after each batch of events.
#[derive(Debug, Default)]
pub struct Actions {
    /// The durable lane, for the log thread.
    pub log: Vec<LogAction>,
    /// The apply lane, for the apply thread.
    pub apply: Vec<ApplyAction>,
    /// For connections and listeners.
    pub control: Vec<ControlAction>,
    /// For people.
    pub notes: Vec<Note>,
}

/// In the durable lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogAction {
    /// Append a transaction to the log, and report it once it is durable.
    Append {
        /// Its place in history.
        zxid: Zxid,
        /// The log entry.
        bytes: Bytes,
    },
}

/// In the apply lane.
#[derive(Debug, Clone)]
pub enum ApplyAction {
    /// Apply a transaction, tell who watches, and answer who asked for it.
    Apply(Arc<Proposal>),
    /// Answer a sync, now that everything before it is applied.
    Barrier(Barrier),
}

/// A transaction on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The transaction.
    pub entry: TxnEntry,
    /// Who waits for it.
    pub asker: Asker,
}

/// Who waits for a transaction to be applied here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// A client, with a request of this kind.
    Client {
        /// Where the answer goes.
        origin: Origin,
        /// The kind.
        op: OpCode,
    },
    /// A connection whose session begins with it.
    Handshake(ConnId),
    /// Nobody here: the end of a session that ran out, a znode whose time is over.
    Server,
}

/// A sync that waits for everything before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Where the answer goes.
    pub origin: Origin,
    /// The path to echo, or the error to answer.
    pub outcome: Result<Option<ByteString>, ErrorCode>,
}

/// To be done at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlAction {
    /// Let clients do this from now on.
    Serve(ServingMode),
    /// Go on with the handshake of a connection that claimed a session.
    SessionAnswered {
        /// The connection.
        conn: ConnId,
        /// The session that it claimed.
        session: SessionId,
        /// Whether it may have it.
        is_alive: bool,
    },
}

/// What an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A session ran out, and is being ended.
    SessionExpired(SessionId),
    /// A soft limit was passed.
    Quota(QuotaWarning),
}

impl Actions {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            log,
            apply,
            control,
            notes,
        } = self;
        log.is_empty() && apply.is_empty() && control.is_empty() && notes.is_empty()
    }
}
