//! What a leader knows of one learner.

use std::collections::VecDeque;

use zk_proto::{ServerId, Zxid};

use crate::peer::RangeToken;
use crate::time::Time;
use crate::wire::quorum::{LeaderPacket, LearnerKind};

use super::held::Held;

/// What a leader knows of one learner.
#[derive(Debug)]
pub(super) struct FollowerLink {
    pub(super) state: LinkState,
    /// Its id, if it told one.
    pub(super) server: Option<ServerId>,
    pub(super) kind: LearnerKind,
    /// Whether it is a server of ours, which cuts its log as it should.
    pub(super) is_ours: bool,
    /// When it last said something, or was last given something to do.
    pub(super) heard: Time,
    /// Whether the tree is still being sent: it has nothing to say meanwhile.
    pub(super) is_streaming: bool,
    /// What is committed since its NEWLEADER was sent, if it has to wait.
    pub(super) held: Held,
    /// Answers for an observer that wait for a transaction to be committed, in their order.
    pub(super) answers: VecDeque<(Zxid, LeaderPacket)>,
    /// The proposals by which it is judged: an old one, and one that takes its place when it is
    /// acknowledged. Two are enough, because acknowledgements come in order.
    pub(super) samples: [Option<(Zxid, Time)>; 2],
    /// Pings sent since it follows, and how many of them it answered.
    pub(super) pings: u64,
    pub(super) pongs: u64,
    /// So many answers tell that it followed after the current round of syncs began.
    pub(super) mark: u64,
}

/// What is awaited of a learner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// Who it is.
    AwaitingInfo,
    /// The leader waits for a quorum to tell its epochs.
    AwaitingEpoch,
    /// Its promise.
    AwaitingEpochAck,
    /// The leader waits for a quorum of promises; this was the last zxid that it told.
    AwaitingEpochQuorum(Zxid),
    /// Its last transaction, which is proposed and not committed, to be committed.
    AwaitingCommit(Zxid),
    /// The leader reads its own log; the learner's last zxid.
    ReadingLog(RangeToken, Zxid),
    /// That it has the initial history on disk.
    AwaitingHistoryAck,
    /// The leader waits for a quorum to have the initial history.
    AwaitingEstablished,
    /// Nothing: it follows.
    Synced,
}

impl FollowerLink {
    pub(super) fn new(now: Time) -> Self {
        Self {
            state: LinkState::AwaitingInfo,
            server: None,
            kind: LearnerKind::Follower,
            is_ours: false,
            heard: now,
            is_streaming: false,
            held: Held::default(),
            answers: VecDeque::new(),
            samples: [None; 2],
            pings: 0,
            pongs: 0,
            mark: 0,
        }
    }

    /// Whether it is told of what is proposed and committed.
    pub(super) fn is_forwarding(&self) -> bool {
        match self.state {
            LinkState::AwaitingHistoryAck | LinkState::AwaitingEstablished | LinkState::Synced => {
                true
            }
            LinkState::AwaitingInfo
            | LinkState::AwaitingEpoch
            | LinkState::AwaitingEpochAck
            | LinkState::AwaitingEpochQuorum(_)
            | LinkState::AwaitingCommit(_)
            | LinkState::ReadingLog(..) => false,
        }
    }

    /// Whether a COMMIT has to wait until it is told that it is up to date. Followers before 3.9.3 do not
    /// bear one between NEWLEADER and UPTODATE (rule M3). Observers, which are informed, and servers of
    /// ours keep in order what comes there.
    pub(super) fn waits_to_follow(&self) -> bool {
        self.state != LinkState::Synced && self.kind == LearnerKind::Follower && !self.is_ours
    }

    /// Whether its silence counts: not while it is the leader who keeps it waiting.
    pub(super) fn owes(&self) -> bool {
        match self.state {
            LinkState::AwaitingInfo
            | LinkState::AwaitingEpochAck
            | LinkState::AwaitingHistoryAck
            | LinkState::Synced => !self.is_streaming,
            LinkState::AwaitingEpoch
            | LinkState::AwaitingEpochQuorum(_)
            | LinkState::AwaitingCommit(_)
            | LinkState::ReadingLog(..)
            | LinkState::AwaitingEstablished => false,
        }
    }

    /// The last transaction of a learner that waits to be synchronised: for a quorum of promises, or
    /// for the transaction to be committed.
    pub(super) fn waits_with(&self) -> Option<Zxid> {
        match self.state {
            LinkState::AwaitingEpochQuorum(zxid) | LinkState::AwaitingCommit(zxid) => Some(zxid),
            LinkState::AwaitingInfo
            | LinkState::AwaitingEpoch
            | LinkState::AwaitingEpochAck
            | LinkState::ReadingLog(..)
            | LinkState::AwaitingHistoryAck
            | LinkState::AwaitingEstablished
            | LinkState::Synced => None,
        }
    }

    /// A proposal is on its way to it.
    pub(super) fn proposed(&mut self, zxid: Zxid, now: Time) {
        if let Some(free) = self.samples.iter_mut().find(|sample| sample.is_none()) {
            *free = Some((zxid, now));
        }
    }

    /// It acknowledged all up to this.
    pub(super) fn acked(&mut self, zxid: Zxid) {
        while let [Some((oldest, _)), next] = self.samples
            && oldest <= zxid
        {
            self.samples = [next, None];
        }
    }

    /// Since when a proposal waits for its acknowledgement.
    pub(super) fn oldest_unacked(&self) -> Option<Time> {
        self.samples[0].map(|(_, since)| since)
    }
}
