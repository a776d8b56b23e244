//! What a server's core wants done.

use std::sync::Arc;

use bytestring::ByteString;
use zk_proto::{Bytes, Epoch, ErrorCode, OpCode, ServerId, SessionId, Zxid};

use crate::conn::ConnId;
use crate::conn::handshake::ServingMode;
use crate::election::ElectionNote;
use crate::ensemble::Configs;
use crate::prep::{QuotaWarning, ReconfigRefusal};
use crate::wire::election::Notification;
use crate::wire::quorum::{LeaderPacket, LearnerPacket};
use crate::wire::txn::TxnEntry;

use super::event::Origin;
use super::ids::{Attempt, LinkId, RangeToken, SnapshotId};
use super::transition::Transition;

/// What is to be done, lane by lane. Reused: the driver drains it after each batch of events.
#[derive(Debug, Default)]
pub struct Actions {
    /// The durable lane, for the log thread.
    pub log: Vec<LogAction>,
    /// The apply lane, for the apply thread.
    pub apply: Vec<ApplyAction>,
    /// For the other members: in order per link and per server.
    pub net: Vec<NetAction>,
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
    /// Write the file `acceptedEpoch`, durably, and report it.
    SaveAcceptedEpoch(Epoch),
    /// Write the file `currentEpoch`, durably, and report it.
    SaveCurrentEpoch(Epoch),
    /// Cut the log behind this transaction, remove the snapshots above it, load the tree from disk
    /// again, and report what is in it: `Truncated`.
    Truncate(Zxid),
}

/// In the apply lane.
#[derive(Debug, Clone)]
pub enum ApplyAction {
    /// Apply a transaction, tell who watches, and answer who asked for it.
    Apply(Arc<Proposal>),
    /// Answer a sync, now that everything before it is applied.
    Barrier(Barrier),
    /// Capture the tree as it is at this point of the lane, for [`NetAction::StreamSnapshot`] of the
    /// same link, which follows.
    Capture {
        /// The link.
        link: LinkId,
    },
    /// Put a received tree in the place of the tree, and report it: `Installed`.
    Install {
        /// The tree.
        snapshot: SnapshotId,
    },
    /// Write the tree, as it is at this point of the lane, as a durable snapshot; let the log go on
    /// behind it, without the logs of a history that the tree does not have; and report it:
    /// `SnapshotSaved`.
    SaveSnapshot,
}

/// For the other members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetAction {
    /// Tell a member this server's vote. Only the latest matters.
    SendElection {
        /// Which member.
        to: ServerId,
        /// What to say.
        notification: Notification,
    },
    /// The members are others, or are about to be: from here on both can be reached. Keep the one in
    /// force, durably; show it to clients, unless the tree has a younger one.
    Configure(Configs),
    /// Accept learners, or refuse them.
    Listen(bool),
    /// Send a packet to a learner.
    SendLearner {
        /// Its link.
        link: LinkId,
        /// The packet.
        packet: LeaderPacket,
    },
    /// Send a COMMIT of each transaction from the first to the last to a learner.
    SendCommits {
        /// The link.
        link: LinkId,
        /// The first.
        first: Zxid,
        /// The last, of the same epoch.
        last: Zxid,
    },
    /// Send a SNAP packet with this zxid, then the stream of the tree that was captured for this
    /// link; report when it is sent: `SnapshotSent`. Packets for the link wait behind it.
    StreamSnapshot {
        /// The link.
        link: LinkId,
        /// The last transaction in the tree.
        zxid: Zxid,
    },
    /// Close the connection of a learner, behind what was sent to it.
    DropLearner {
        /// The link.
        link: LinkId,
    },
    /// Connect to the quorum port of a member.
    ConnectLeader {
        /// The name of this try.
        attempt: Attempt,
        /// The member.
        leader: ServerId,
    },
    /// Send a packet to the leader.
    SendLeader {
        /// The try that succeeded.
        attempt: Attempt,
        /// The packet.
        packet: LearnerPacket,
    },
    /// Close the connection to the leader, or give the try up.
    DropLeader {
        /// The try.
        attempt: Attempt,
    },
}

/// A transaction on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The transaction.
    pub entry: TxnEntry,
    /// The same, as it stands in the log and in packets.
    pub bytes: Bytes,
    /// Who waits for it.
    pub asker: Asker,
    /// What it means if the tree behind it does not have its digest.
    pub mismatch: Mismatch,
}

/// What it means if the tree does not have the digest of the transaction applied last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mismatch {
    /// This server made the transaction from this tree: nothing that it knows can be relied upon.
    OwnFault,
    /// This tree and the leader's differ, or the leader has computed a wrong digest, as Apache's do now
    /// and then: somebody has to be told, and nothing stops.
    Divergence,
    /// Nothing: the tree was sent while it changed, and may have some of the effects already.
    Expected,
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
    /// Go on with the handshake of a connection that got a session by no transaction: a local one.
    SessionOpened {
        /// The connection.
        conn: ConnId,
        /// Its session.
        session: SessionId,
    },
    /// Close the connection of a session that has run out here: a local one.
    SessionEnded {
        /// The session.
        session: SessionId,
    },
    /// Read a part of the log, and report it: `LogRange`.
    ReadLog {
        /// The name of the part.
        token: RangeToken,
        /// Entries behind this one.
        after: Zxid,
        /// The last one wanted.
        upto: Zxid,
        /// Entries beyond this many bytes are not wanted: the part is reported as incomplete then.
        bytes_max: usize,
    },
    /// The server has come to rest, and may be taken down.
    Stopped,
}

/// What an operator may want to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A session ran out, and is being ended.
    SessionExpired(SessionId),
    /// A soft limit was passed.
    Quota(QuotaWarning),
    /// A change of the members was refused.
    ReconfigRefused(Box<ReconfigRefusal>),
    /// An election met something odd.
    Election(ElectionNote),
    /// A step of the protocol was taken.
    Transition(Transition),
}

impl Actions {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let Self {
            log,
            apply,
            net,
            control,
            notes,
        } = self;
        log.is_empty()
            && apply.is_empty()
            && net.is_empty()
            && control.is_empty()
            && notes.is_empty()
    }
}
