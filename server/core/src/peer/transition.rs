//! What a member does next, as data: for the operator's timeline, and for whoever checks the protocol.

use zk_proto::{Epoch, ServerId, Zxid};

use super::ids::{Attempt, LinkId};
use super::status::Role;

/// A step of the protocol that was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Transition {
    /// It looks for a leader, with this to show.
    Looking {
        /// Its current epoch.
        epoch: Epoch,
        /// Last transaction of its log, all of which is in its tree.
        logged: Zxid,
    },
    /// The election is over.
    Elected {
        /// The winner.
        leader: ServerId,
        /// What this server is now.
        role: Role,
    },
    /// As leader: a quorum told its epochs, and the new epoch is fixed.
    EpochFixed(Epoch),
    /// As leader: a quorum has promised to follow in this epoch, and none of it knows more.
    EpochAcked(Epoch),
    /// As leader: a quorum has the initial history, and proposals begin.
    Established(Epoch),
    /// As leader: a learner is being synchronised.
    SyncStarted {
        /// Its connection.
        link: LinkId,
        /// Who it is, if it said.
        server: Option<ServerId>,
        /// Last transaction of its log, as it said.
        from: Zxid,
        /// In which way.
        plan: SyncPlan,
    },
    /// As leader: a learner is synchronised, and follows.
    LearnerSynced {
        /// Its connection.
        link: LinkId,
        /// Who it is, if it said.
        server: Option<ServerId>,
    },
    /// As leader: a learner's connection is closed from this side.
    LearnerDropped {
        /// The connection.
        link: LinkId,
        /// Who it is, if it said.
        server: Option<ServerId>,
        /// Why.
        reason: DropReason,
    },
    /// As learner: the leader told how it synchronises this server.
    SyncReceived {
        /// The connection.
        attempt: Attempt,
        /// In which way.
        plan: SyncPlan,
    },
    /// A configuration of this version is in force here.
    Configured(Zxid),
    /// As learner: synchronised, and following in this epoch.
    Synced(Epoch),
    /// It leaves its role: what is logged is brought into the tree, then it looks for a leader.
    Left(LeaveReason),
}

/// How a learner is brought to the leader's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SyncPlan {
    /// By the transactions that it lacks.
    Diff,
    /// By cutting its log behind this transaction first.
    Trunc(Zxid),
    /// By the whole tree as of this transaction.
    Snap(Zxid),
}

/// Why a leader closes the connection of a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// It said nothing for too long.
    Silent,
    /// It left a proposal unacknowledged for too long.
    SlowAck,
    /// It sent what does not belong there.
    BadPacket(&'static str),
    /// It has a history that the leader does not have.
    KnowsMore,
    /// It has promised a later epoch, and must not follow in this one.
    LaterEpoch,
    /// Commits pile up that it does not take.
    Overfull,
    /// It has a younger configuration than the leader.
    NewerConfig,
    /// It does not know the members that are in force, and would get a change of them that is not
    /// committed.
    OlderConfig,
    /// Another connection of the same server took its place.
    Replaced,
    /// The leader stops leading.
    Leaving,
    /// The log that it needs cannot be read any more.
    NoHistory,
}

/// Why a member leaves its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaveReason {
    /// Leader: no quorum came within the time for it.
    NoQuorumInTime,
    /// Leader: those that voted for it look for another, before a quorum followed.
    SupportLost,
    /// Leader: a quorum does not follow any more.
    QuorumLost,
    /// Leader: a learner has promised a later epoch, and could never follow in this one.
    EpochBehind,
    /// Leader: the epoch has no number left for another transaction.
    EpochExhausted,
    /// Learner: the leader cannot be reached.
    Unreachable,
    /// Learner: the connection is lost.
    LeaderLost,
    /// Learner: the leader said nothing for too long.
    LeaderSilent,
    /// Learner: the leader sent what does not belong there.
    BadPacket(&'static str),
    /// Learner: the leader's epoch is older than what was promised.
    OldEpoch,
    /// Learner: the transactions of the leader have a gap.
    Gap {
        /// The last one before it.
        after: Zxid,
        /// The first one behind it.
        found: Zxid,
    },
    /// The ensemble was changed, and this server's role with it, or its leader.
    Reconfigured,
    /// Learner: the log could not be cut where the leader said.
    BadTruncation,
    /// It was told to stop.
    Shutdown,
}
