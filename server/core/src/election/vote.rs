//! Votes: which is better, which are the same, how many there are.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `FastLeaderElection#totalOrderPredicate`, `Vote#equals`,
//! `FastLeaderElection#getVoteTracker`.

use std::collections::BTreeMap;

use zk_proto::{Epoch, ServerId, Zxid};

use crate::ensemble::Configs;
use crate::wire::election::{Notification, PeerState, Round};

/// Whom a server wants to lead, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vote {
    /// The server.
    pub leader: ServerId,
    /// Its last logged transaction.
    pub zxid: Zxid,
    /// Round in which the vote was cast.
    pub round: Round,
    /// Its current epoch; `i64::MIN` in a vote for nobody.
    pub peer_epoch: i64,
}

impl Vote {
    /// What a server without a vote says.
    pub const NOBODY: Self = Self {
        leader: ServerId::new(i64::MIN),
        zxid: Zxid::new(i64::MIN),
        round: Round::NONE,
        peer_epoch: i64::MIN,
    };

    /// A server's vote for itself, in no round yet.
    pub fn initial(me: ServerId, zxid: Zxid, current: Epoch) -> Self {
        Self {
            leader: me,
            zxid,
            round: Round::NONE,
            peer_epoch: i64::from(current.get()),
        }
    }

    /// Whether its candidate should lead rather than that of `other`. Looks at no round.
    ///
    /// Of those that know as much, one that has a vote already is better than one that is about to get
    /// it: servers of the reference that have not heard of the change would not know that one.
    pub fn is_better(&self, other: &Self, config: &Configs) -> bool {
        config.weight(self.leader) != 0 && self.rank(config) > other.rank(config)
    }

    fn rank(&self, config: &Configs) -> (i64, Zxid, bool, ServerId) {
        let has_vote = config.current().is_voter(self.leader);
        (self.peer_epoch, self.zxid, has_vote, self.leader)
    }
}

/// A vote as it is counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cast {
    pub(super) vote: Vote,
    pub(super) state: PeerState,
    /// Whether it came in a format with a version.
    pub(super) has_version: bool,
}

impl Cast {
    /// The vote of a server that is looking.
    pub(super) fn looking(vote: Vote) -> Self {
        Self {
            vote,
            state: PeerState::Looking,
            has_version: false,
        }
    }

    pub(super) fn new(notification: &Notification, state: PeerState) -> Self {
        Self {
            vote: Vote {
                leader: notification.leader,
                zxid: notification.zxid,
                round: notification.round,
                peer_epoch: notification.peer_epoch,
            },
            state,
            has_version: notification.version > 0,
        }
    }

    /// Whether both count for the same.
    ///
    /// In an established ensemble servers may report another zxid and round for one leader, so
    /// only leader and epoch tell votes apart there.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let (a, b) = (&self.vote, &other.vote);
        if self.state == PeerState::Looking || other.state == PeerState::Looking {
            a == b
        } else if self.has_version == other.has_version {
            a.leader == b.leader && a.peer_epoch == b.peer_epoch
        } else {
            a.leader == b.leader
        }
    }
}

/// Whether those whose vote is the same as this one decide.
pub(super) fn is_elected(votes: &BTreeMap<ServerId, Cast>, cast: &Cast, config: &Configs) -> bool {
    let same = votes.iter().filter(|(_, vote)| vote.is_same(cast));
    config.is_quorum(same.map(|(id, _)| id))
}
