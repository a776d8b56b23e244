//! A server at a glance.

use zk_proto::{Epoch, ServerId, Zxid};

use crate::conn::handshake::ServingMode;
use crate::time::Time;

/// What a server is to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// On its own.
    Alone,
    /// Looks for a leader.
    Looking,
    /// Leads.
    Leading,
    /// Follows a leader, and votes.
    Following,
    /// Follows a leader, without a vote.
    Observing,
    /// Has stopped.
    Stopped,
}

/// How far a server is in its role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Brings into its tree what is in its log, before it looks for a leader.
    Draining,
    /// Elects.
    Election,
    /// Agrees on an epoch.
    Discovery,
    /// Agrees on the initial history.
    Synchronization,
    /// Works.
    Broadcast,
    /// Lets the last proposals out, and stops.
    Stopping,
}

/// How long the transactions are that a leader proposed, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProposalSizes {
    /// The last one.
    pub last: usize,
    /// The shortest.
    pub min: usize,
    /// The longest.
    pub max: usize,
}

impl ProposalSizes {
    /// These and one more.
    pub(crate) fn with(before: Option<Self>, last: usize) -> Self {
        Self {
            last,
            min: before.map_or(last, |sizes| sizes.min.min(last)),
            max: before.map_or(last, |sizes| sizes.max.max(last)),
        }
    }
}

/// A server at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerStatus {
    /// What it is to the others.
    pub role: Role,
    /// How far it is in its role.
    pub phase: Phase,
    /// What it lets its clients do.
    pub mode: ServingMode,
    /// The leader, if it knows one; itself if it leads.
    pub leader: Option<ServerId>,
    /// The last epoch that it promised to follow in, on disk.
    pub accepted_epoch: Epoch,
    /// The last epoch whose initial history it has, on disk.
    pub current_epoch: Epoch,
    /// Last transaction proposed, as far as it knows; of an epoch that has none yet, its zeroth.
    pub proposed: Zxid,
    /// Last transaction handed to the log.
    pub logged: Zxid,
    /// Last transaction durable here.
    pub durable: Zxid,
    /// Last transaction handed to the tree.
    pub committed: Zxid,
    /// Last transaction known to be applied here.
    pub applied: Zxid,
    /// Requests that are not applied yet.
    pub outstanding: usize,
    /// Sessions, closing ones included.
    pub sessions: usize,
    /// Leader: connections of followers.
    pub followers: usize,
    /// Leader: followers that are synchronised.
    pub synced_followers: usize,
    /// Leader: synchronised followers that have no vote.
    pub synced_non_voting: usize,
    /// Leader: connections of observers.
    pub observers: usize,
    /// Leader: observers that are synchronised.
    pub synced_observers: usize,
    /// Leader: learners that are being synchronised.
    pub pending_syncs: usize,
    /// Leader: since when it proposes.
    pub leading_since: Option<Time>,
    /// Leader: sizes of its proposals, if there was one.
    pub proposal_sizes: Option<ProposalSizes>,
}
