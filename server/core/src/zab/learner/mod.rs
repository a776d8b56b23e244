//! A learner: a follower, or an observer, which is a follower that never acknowledges a proposal.
//!
//! ```text
//!  Connecting ─► AwaitingEpoch ─► SavingAccepted ─► AwaitingPlan ─┬─ SNAP ──► AwaitingTree ─┐
//!      ▲ │ refused: again                                 TRUNC, DIFF                       │
//!      └─┘                                                        └─► Receiving ◄───────────┘
//!                                                                       │ NEWLEADER
//!     Following ◄─UPTODATE─ AwaitingUpToDate ◄─disk─ SavingCurrent ◄─disk─ AwaitingLog
//! ```
//!
//! While the tree is being replaced, what the leader sends meanwhile waits in a backlog, which the
//! driver bounds by reading no further ([`Peer::keeps_packets`](crate::peer::Peer::keeps_packets)).
//!
//! | file | what it is about |
//! |---|---|
//! | `discovery` | the connection, and the promise of an epoch |
//! | `sync` | how this server gets the leader's history |
//! | `broadcast` | proposals, acknowledgements, commits |
//! | `reconfig` | other members, and what follows for this server |
//! | `requests` | what clients here ask the leader for |

mod broadcast;
mod discovery;
mod reconfig;
mod requests;
mod sync;

use std::collections::VecDeque;
use std::sync::Arc;

use zk_proto::{Epoch, ServerId, Zxid};

use crate::conn::handshake::ServingMode;
use crate::election::Failed;
use crate::ensemble::EnsembleConfig;
use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{
    Attempt, LeaveReason, Mismatch, NetAction, PeerStatus, Phase, Proposal, TimerKind, Transition,
};
use crate::time::Time;
use crate::wire::quorum::{LeaderPacket, LearnerKind, LearnerPacket};

use reconfig::Committed;
use requests::Requests;

/// A learner.
#[derive(Debug)]
pub(crate) struct Learner {
    leader: ServerId,
    kind: LearnerKind,
    attempt: Attempt,
    phase: LearnerPhase,
    /// When the leader last said something.
    heard: Time,
    /// Tries to connect that failed.
    failed: u32,
    /// When to try again.
    retry: Option<Time>,
    /// When connecting is given up.
    connect_deadline: Time,
    /// The epoch of the leader, once it told.
    epoch: Epoch,
    /// Packets that came while the tree was being replaced.
    backlog: VecDeque<LeaderPacket>,
    /// Received during synchronisation, and not yet in the log.
    pending: VecDeque<Proposal>,
    /// Commits that came behind NEWLEADER, of what is pending.
    commits: VecDeque<Committed>,
    /// The configuration of NEWLEADER, which UPTODATE puts in force.
    announced: Option<Arc<EnsembleConfig>>,
    /// When it leaves, because its leader or its role is another.
    leaves_at: Option<Time>,
    /// What digests of the leader's history tell of the tree that the plan leads to.
    mismatch: Mismatch,
    /// The last transaction received, or where the plan begins.
    last: Zxid,
    /// In the log, or on the way there, and not acknowledged.
    unacked: VecDeque<Zxid>,
    /// Clients are served once this is applied.
    serve_at: Option<Zxid>,
    requests: Requests,
}

/// How far a learner is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LearnerPhase {
    /// Waits for the connection.
    Connecting,
    /// Waits for LEADERINFO.
    AwaitingEpoch,
    /// Waits for its promise to be on disk.
    SavingAccepted,
    /// Waits to hear how it is synchronised.
    AwaitingPlan,
    /// Waits for the leader's tree, as of this.
    AwaitingTree(Zxid),
    /// Receives the leader's history.
    Receiving,
    /// NEWLEADER came: waits for the log.
    AwaitingLog,
    /// Waits for the current epoch to be on disk.
    SavingCurrent,
    /// Waits for UPTODATE.
    AwaitingUpToDate,
    /// Follows.
    Following,
}

impl Learner {
    /// One that begins to follow a leader.
    pub(crate) fn new(
        leader: ServerId,
        kind: LearnerKind,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Self {
        let now = turn.now.time;
        let attempt = shared.next_attempt();
        turn.net(NetAction::ConnectLeader { attempt, leader });
        Self {
            leader,
            kind,
            attempt,
            phase: LearnerPhase::Connecting,
            heard: now,
            failed: 0,
            retry: None,
            connect_deadline: now + shared.connect_time(),
            epoch: Epoch::new(0),
            backlog: VecDeque::new(),
            pending: VecDeque::new(),
            commits: VecDeque::new(),
            announced: None,
            leaves_at: None,
            last: shared.local.logged(),
            unacked: VecDeque::new(),
            mismatch: Mismatch::Expected,
            serve_at: None,
            requests: Requests::default(),
        }
    }

    /// Whether an event of this try is about the connection that is.
    pub(crate) fn is_current(&self, attempt: Attempt) -> bool {
        self.attempt == attempt && self.retry.is_none()
    }

    pub(crate) fn handle_packet(
        &mut self,
        packet: LeaderPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        self.heard = turn.now.time;
        if shared.local.is_replacing() {
            if !matches!(packet, LeaderPacket::Ping { .. }) {
                self.backlog.push_back(packet);
            }
            return Ok(());
        }
        match self.phase {
            LearnerPhase::Connecting
            | LearnerPhase::SavingAccepted
            | LearnerPhase::AwaitingTree(_) => Err(misplaced(&packet).into()),
            LearnerPhase::AwaitingEpoch => self.handle_epoch(&packet, shared, turn),
            LearnerPhase::AwaitingPlan => self.handle_plan(&packet, shared, turn),
            LearnerPhase::Receiving => self.receive(packet, shared, turn),
            LearnerPhase::AwaitingLog
            | LearnerPhase::SavingCurrent
            | LearnerPhase::AwaitingUpToDate => self.handle_synced(packet, shared, turn),
            LearnerPhase::Following => self.follow(packet, shared, turn),
        }
    }

    /// The tree was replaced, by whatever the plan said: goes on with what came meanwhile.
    pub(crate) fn handle_replaced(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if shared.local.is_replacing() {
            return Ok(());
        }
        let last = shared.local.logged();
        if last != self.last {
            // The log does not have the transaction behind which it was to be cut.
            shared.wants_tree = true;
            return Err(LeaveReason::BadTruncation.into());
        }
        while let Some(packet) = self.backlog.pop_front() {
            self.handle_packet(packet, shared, turn)?;
        }
        Ok(())
    }

    /// What was given to the log is durable up to some point.
    pub(crate) fn handle_durable(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        match self.phase {
            LearnerPhase::AwaitingLog => self.save_epoch_when_durable(shared, turn),
            LearnerPhase::Following => self.acknowledge(shared, turn),
            LearnerPhase::Connecting
            | LearnerPhase::AwaitingEpoch
            | LearnerPhase::SavingAccepted
            | LearnerPhase::AwaitingPlan
            | LearnerPhase::AwaitingTree(_)
            | LearnerPhase::Receiving
            | LearnerPhase::SavingCurrent
            | LearnerPhase::AwaitingUpToDate => {}
        }
    }

    /// What was given to the tree is applied up to some point.
    pub(crate) fn handle_applied(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        if let Some(at) = self.serve_at
            && (shared.local.applied() >= at || mutated!(ServeBeforeApplied))
        {
            self.serve_at = None;
            shared.serve(ServingMode::Full, turn.out);
        }
    }

    pub(crate) fn handle_deadlines(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let now = turn.now.time;
        if self.leaves_at.is_some_and(|at| now >= at) {
            return Err(LeaveReason::Reconfigured.into());
        }
        match self.silence_limit(shared) {
            Some((at, _)) if now >= at => {
                return Err(match self.phase {
                    LearnerPhase::Connecting => LeaveReason::Unreachable.into(),
                    LearnerPhase::AwaitingEpoch
                    | LearnerPhase::SavingAccepted
                    | LearnerPhase::AwaitingPlan
                    | LearnerPhase::AwaitingTree(_)
                    | LearnerPhase::Receiving
                    | LearnerPhase::AwaitingLog
                    | LearnerPhase::SavingCurrent
                    | LearnerPhase::AwaitingUpToDate
                    | LearnerPhase::Following => LeaveReason::LeaderSilent.into(),
                });
            }
            Some(_) | None => {}
        }
        if self.retry.is_some_and(|at| now >= at) {
            self.retry = None;
            self.attempt = shared.next_attempt();
            let (attempt, leader) = (self.attempt, self.leader);
            turn.net(NetAction::ConnectLeader { attempt, leader });
        }
        Ok(())
    }

    pub(crate) fn next_deadline(&self, shared: &Shared) -> Option<(Time, TimerKind)> {
        let retry = self.retry.map(|at| (at, TimerKind::Reconnect));
        let silence = self.silence_limit(shared);
        let leaves = self.leaves_at.map(|at| (at, TimerKind::Reconnect));
        [retry, silence, leaves].into_iter().flatten().min()
    }

    /// When the leader is given up unless it says something. While it sends its tree, the driver
    /// looks after the connection; while this server works, the leader need not say anything.
    fn silence_limit(&self, shared: &Shared) -> Option<(Time, TimerKind)> {
        match self.phase {
            LearnerPhase::Connecting => Some((self.connect_deadline, TimerKind::Connect)),
            LearnerPhase::AwaitingEpoch | LearnerPhase::AwaitingPlan | LearnerPhase::Receiving => {
                let limit = self.heard + shared.init_time();
                (!shared.local.is_replacing()).then_some((limit, TimerKind::LeaderSilent))
            }
            LearnerPhase::SavingAccepted | LearnerPhase::AwaitingTree(_) => None,
            LearnerPhase::AwaitingLog
            | LearnerPhase::SavingCurrent
            | LearnerPhase::AwaitingUpToDate
            | LearnerPhase::Following => {
                Some((self.heard + shared.sync_time(), TimerKind::LeaderSilent))
            }
        }
    }

    /// What to think of the leader, left for this reason.
    pub(crate) fn failed(&self, reason: LeaveReason, now: Time) -> Option<Failed> {
        let is_in_step = self.phase == LearnerPhase::Following;
        match reason {
            LeaveReason::LeaderSilent => Some(Failed::Silent),
            LeaveReason::Unreachable if now >= self.connect_deadline => Some(Failed::Silent),
            LeaveReason::Unreachable => Some(Failed::Refused),
            LeaveReason::LeaderLost => (!is_in_step).then_some(Failed::Refused),
            LeaveReason::NoQuorumInTime
            | LeaveReason::SupportLost
            | LeaveReason::QuorumLost
            | LeaveReason::EpochBehind
            | LeaveReason::EpochExhausted
            | LeaveReason::BadPacket(_)
            | LeaveReason::OldEpoch
            | LeaveReason::Gap { .. }
            | LeaveReason::BadTruncation
            | LeaveReason::Reconfigured
            | LeaveReason::Shutdown => None,
        }
    }

    /// Whether packets are kept until this server's disk has done something.
    pub(crate) fn keeps_packets(&self, shared: &Shared) -> bool {
        match self.phase {
            LearnerPhase::AwaitingLog | LearnerPhase::SavingCurrent => true,
            LearnerPhase::Connecting
            | LearnerPhase::AwaitingEpoch
            | LearnerPhase::SavingAccepted
            | LearnerPhase::AwaitingPlan
            | LearnerPhase::AwaitingTree(_)
            | LearnerPhase::Receiving
            | LearnerPhase::AwaitingUpToDate
            | LearnerPhase::Following => shared.local.is_replacing(),
        }
    }

    /// Closes the connection, or gives up the try.
    pub(crate) fn close(&self, turn: &mut Turn<'_>) {
        let attempt = self.attempt;
        turn.net(NetAction::DropLeader { attempt });
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase {
            LearnerPhase::Connecting
            | LearnerPhase::AwaitingEpoch
            | LearnerPhase::SavingAccepted => Phase::Discovery,
            LearnerPhase::AwaitingPlan
            | LearnerPhase::AwaitingTree(_)
            | LearnerPhase::Receiving
            | LearnerPhase::AwaitingLog
            | LearnerPhase::SavingCurrent
            | LearnerPhase::AwaitingUpToDate => Phase::Synchronization,
            LearnerPhase::Following => Phase::Broadcast,
        }
    }

    /// Fills in what only a learner knows.
    pub(crate) fn fill(&self, status: &mut PeerStatus) {
        status.leader = Some(self.leader);
        status.proposed = self.last.max(status.logged);
        status.outstanding = self.requests.len();
    }

    fn send(&self, packet: LearnerPacket, turn: &mut Turn<'_>) {
        let attempt = self.attempt;
        turn.net(NetAction::SendLeader { attempt, packet });
    }

    /// Sends that it has something, and all before it, on disk.
    fn send_ack(&self, zxid: Zxid, turn: &mut Turn<'_>) {
        self.send(LearnerPacket::Ack { zxid }, turn);
    }

    /// The epoch's beginning, as a zxid.
    fn epoch_start(&self) -> Zxid {
        Zxid::from_parts(self.epoch, 0)
    }

    /// The epoch, once this server is in step with its leader.
    pub(crate) fn synced_epoch(&self) -> Option<Epoch> {
        (self.phase == LearnerPhase::Following).then_some(self.epoch)
    }

    fn note_synced(&self, turn: &mut Turn<'_>) {
        turn.note(Transition::Synced(self.epoch));
    }
}

/// A packet that the leader may not send now.
fn misplaced(packet: &LeaderPacket) -> LeaveReason {
    LeaveReason::BadPacket(match packet {
        LeaderPacket::LeaderInfo { .. } => "LEADERINFO out of place",
        LeaderPacket::Diff { .. } => "DIFF out of place",
        LeaderPacket::Trunc { .. } => "TRUNC out of place",
        LeaderPacket::Snap { .. } => "SNAP out of place",
        LeaderPacket::NewLeader { .. } => "NEWLEADER out of place",
        LeaderPacket::UpToDate => "UPTODATE out of place",
        LeaderPacket::Proposal { .. } => "PROPOSAL out of place",
        LeaderPacket::Commit { .. } => "COMMIT out of place",
        LeaderPacket::Inform { .. } => "INFORM out of place",
        LeaderPacket::CommitAndActivate { .. } => "COMMITANDACTIVATE out of place",
        LeaderPacket::InformAndActivate { .. } => "INFORMANDACTIVATE out of place",
        LeaderPacket::Ping { .. } => "PING out of place",
        LeaderPacket::Revalidate { .. } => "REVALIDATE out of place",
        LeaderPacket::Sync => "SYNC out of place",
        LeaderPacket::Unknown { .. } => "unknown packet out of place",
    })
}
