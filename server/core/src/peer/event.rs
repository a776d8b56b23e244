//! What happens to a server, as its core hears of it.

use zk_proto::{Bytes, Epoch, ServerId, SessionId, Xid, Zxid};

use crate::conn::ConnId;
use crate::conn::auth::Identities;
use crate::conn::pipeline::Ticket;
use crate::conn::request::Write;
use crate::session::SessionTimeout;
use crate::time::Time;
use crate::wire::election::Notification;
use crate::wire::quorum::{LeaderPacket, LearnerPacket};

use super::ids::{Attempt, LinkId, RangeToken, SnapshotId};

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
    /// A member tells its vote.
    Election {
        /// Which member.
        from: ServerId,
        /// What it says.
        notification: Notification,
    },
    /// A connection for elections was made. What was sent before may be lost.
    PeerReachable(ServerId),
    /// A member cannot be reached for elections: its port refused, or the connection is gone and
    /// could not be made again. A hint: it may come back at any time.
    PeerUnreachable(ServerId),
    /// A learner connected.
    LearnerUp {
        /// Its link.
        link: LinkId,
    },
    /// A learner sent a packet.
    LearnerPacket {
        /// Its link.
        link: LinkId,
        /// The packet.
        packet: LearnerPacket,
    },
    /// All of a captured tree was sent to a learner.
    SnapshotSent {
        /// Its link.
        link: LinkId,
    },
    /// A learner is gone: by itself, or because it was dropped.
    LearnerDown {
        /// Its link.
        link: LinkId,
    },
    /// A leader accepted the connection.
    LeaderUp {
        /// The try.
        attempt: Attempt,
    },
    /// The leader sent a packet.
    LeaderPacket {
        /// The try.
        attempt: Attempt,
        /// The packet.
        packet: LeaderPacket,
    },
    /// The stream behind a SNAP packet was read whole, and made into a tree.
    LeaderSnapshot {
        /// The try.
        attempt: Attempt,
        /// The tree.
        snapshot: SnapshotId,
    },
    /// A leader refused the connection, took too long, closed it, or sent what cannot be read.
    LeaderDown {
        /// The try.
        attempt: Attempt,
    },
    /// An epoch file is written.
    EpochSaved {
        /// Which.
        kind: EpochKind,
        /// With what.
        epoch: Epoch,
    },
    /// The log was cut, and the tree loaded again.
    Truncated {
        /// The last transaction in the tree now.
        applied: Zxid,
    },
    /// A received tree is the tree.
    Installed {
        /// Which one.
        snapshot: SnapshotId,
        /// Its last transaction, as the leader said.
        zxid: Zxid,
    },
    /// The tree is on disk, and the log goes on behind it.
    SnapshotSaved {
        /// The last transaction in it.
        zxid: Zxid,
    },
    /// A part of the log was read.
    LogRange {
        /// Which part.
        token: RangeToken,
        /// Its entries, in order and without a gap.
        entries: Vec<LogEntry>,
        /// Whether all that was wanted is there. Not so if the log begins later, cannot be read, or
        /// holds more than was wanted.
        is_complete: bool,
    },
    /// The server is to stop in an orderly way.
    ShutdownRequested,
}

/// One of the two epochs that a member keeps on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpochKind {
    /// The last one that it promised to follow in.
    Accepted,
    /// The last one whose initial history it has.
    Current,
}

/// A transaction of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in history.
    pub zxid: Zxid,
    /// The entry.
    pub bytes: Bytes,
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
