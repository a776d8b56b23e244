//! A leader: of an ensemble, or of itself alone.
//!
//! ```text
//!  CollectingEpochs ─quorum─► SavingAccepted ─disk─► CollectingEpochAcks ─quorum─► CollectingHistoryAcks
//!                                                                                        │ quorum, and
//!                              Stopping ◄─shutdown, last number─ Broadcasting ◄──────────┘ current epoch on disk
//! ```
//!
//! | file | what it is about |
//! |---|---|
//! | `discovery` | a new epoch, and that nobody in a quorum knows more |
//! | `sync` | how a learner gets the leader's history |
//! | `follower_link` | what is known of one learner |
//! | `held` | commits that wait for a learner to follow |
//! | `broadcast` | proposals, acknowledgements, commits |
//! | `pieces` | memory for proposals |
//! | `requests` | what clients ask for, here and through learners |
//! | `syncs` | syncs, and that a quorum follows still |
//! | `reconfig` | other members, and what follows for who leads |
//! | `pace` | pings, limits of time, who is given up when |

mod broadcast;
mod discovery;
mod follower_link;
mod held;
mod pace;
mod pieces;
mod reconfig;
mod requests;
mod sync;
mod syncs;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use zk_proto::{Epoch, ServerId, SessionId, Zxid};

use crate::conn::handshake::ServingMode;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{
    DropReason, LeaveReason, LinkId, NetAction, PeerStatus, Phase, ProposalSizes, Transition,
};
use crate::prep::Prep;
use crate::session::SessionTracker;
use crate::time::Time;
use crate::wire::quorum::{LearnerKind, LearnerPacket};

use follower_link::{FollowerLink, LinkState};
use pieces::Pieces;
use reconfig::Retired;
use syncs::{Rounds, Syncing};

/// A leader.
#[derive(Debug)]
pub(crate) struct Leader {
    phase: LeaderPhase,
    /// The new epoch, or as far as it is known: one above all that were told.
    epoch: Epoch,
    /// When the current phase is given up; only before broadcast.
    deadline: Option<Time>,
    links: BTreeMap<LinkId, FollowerLink>,
    /// Voters that told their promised epoch.
    told: BTreeSet<ServerId>,
    /// Voters that promised this epoch, and know no more than this server.
    epoch_acks: BTreeSet<ServerId>,
    /// Voters that have the initial history on disk.
    history_acks: BTreeSet<ServerId>,
    /// What this server had when it was elected: nobody in the quorum may have more.
    summary: (Epoch, Zxid),
    /// The last transaction that each voter acknowledged, since it was last synchronised.
    acks: BTreeMap<ServerId, Zxid>,
    /// Syncs that wait for everything proposed before them.
    syncs: VecDeque<Syncing>,
    rounds: Rounds,
    prep: Prep,
    pieces: Pieces,
    /// Since when it proposes, and how long its proposals are.
    since: Option<Time>,
    sizes: Option<ProposalSizes>,
    tracker: SessionTracker,
    /// Sessions whose end is proposed and not applied, by the transaction that ends them.
    ending: BTreeMap<Zxid, SessionId>,
    next_reap: Time,
    /// When pings go out next, and whether that is the middle of a tick.
    next_ping: Time,
    is_mid_tick: bool,
    /// Why it stops, in [`LeaderPhase::Stopping`].
    stopping: LeaveReason,
    /// Whether another is to lead.
    retired: Option<Retired>,
}

/// How far a leader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LeaderPhase {
    /// Waits for a quorum to tell its epochs.
    CollectingEpochs,
    /// Waits for its own promise to be on disk.
    SavingAccepted,
    /// Waits for a quorum to promise the epoch.
    CollectingEpochAcks,
    /// Waits for a quorum to have the initial history, itself included.
    CollectingHistoryAcks,
    /// Proposes and commits.
    Broadcasting,
    /// Proposes nothing more, and lets out what is proposed.
    Stopping,
}

impl Leader {
    /// One that was just elected.
    pub(crate) fn elected(shared: &mut Shared, turn: &mut Turn<'_>) -> Self {
        let mut leader = Self::new(shared, turn);
        leader.deadline = Some(turn.now.time + shared.init_time());
        turn.net(NetAction::Listen(true));
        leader
    }

    /// One on its own: its history is what it has.
    pub(crate) fn alone(shared: &mut Shared, turn: &mut Turn<'_>) -> Self {
        let mut leader = Self::new(shared, turn);
        leader.phase = LeaderPhase::Broadcasting;
        leader.track_sessions(turn);
        leader
    }

    fn new(shared: &Shared, turn: &Turn<'_>) -> Self {
        let last = shared.local.logged();
        Self {
            phase: LeaderPhase::CollectingEpochs,
            epoch: Epoch::new(0),
            deadline: None,
            links: BTreeMap::new(),
            told: BTreeSet::new(),
            epoch_acks: BTreeSet::new(),
            history_acks: BTreeSet::new(),
            summary: (shared.local.current(), last),
            acks: BTreeMap::new(),
            syncs: VecDeque::new(),
            rounds: Rounds::default(),
            prep: Prep::new(shared.options.prep.clone(), last),
            pieces: Pieces::default(),
            since: None,
            sizes: None,
            tracker: SessionTracker::new(shared.options.tick),
            ending: BTreeMap::new(),
            next_reap: turn.now.time + shared.options.reap_interval,
            next_ping: turn.now.time,
            is_mid_tick: false,
            stopping: LeaveReason::Shutdown,
            retired: None,
        }
    }

    pub(crate) fn handle_up(&mut self, link: LinkId, turn: &mut Turn<'_>) {
        self.links.insert(link, FollowerLink::new(turn.now.time));
    }

    pub(crate) fn handle_down(
        &mut self,
        link: LinkId,
        shared: &Shared,
        turn: &Turn<'_>,
    ) -> Result<(), Halt> {
        self.links.remove(&link);
        self.leave_if_retired(shared, turn.now.time)
    }

    pub(crate) fn handle_packet(
        &mut self,
        id: LinkId,
        packet: LearnerPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let Some(link) = self.links.get_mut(&id) else {
            // Sent before it was dropped.
            return Ok(());
        };
        link.heard = turn.now.time;
        match (&link.state, packet) {
            (_, LearnerPacket::Unknown { .. }) => Ok(()),
            (
                LinkState::AwaitingInfo,
                LearnerPacket::Info {
                    kind,
                    accepted,
                    info,
                },
            ) => self.handle_info(id, kind, accepted, info, shared, turn),
            (
                LinkState::AwaitingEpochAck,
                LearnerPacket::AckEpoch {
                    zxid,
                    current,
                    wants_tree,
                },
            ) => {
                self.handle_epoch_ack(id, zxid, current, wants_tree, shared, turn);
                Ok(())
            }
            (
                LinkState::AwaitingHistoryAck | LinkState::AwaitingEstablished | LinkState::Synced,
                LearnerPacket::Ack { zxid },
            ) => self.handle_ack(id, zxid, shared, turn),
            (LinkState::Synced, LearnerPacket::Ping { touches, .. }) => {
                self.handle_touches(&touches, turn);
                self.handle_pong(id, shared, turn);
                Ok(())
            }
            (LinkState::Synced, LearnerPacket::Request(request)) => {
                self.handle_forwarded(id, &request, shared, turn)
            }
            (LinkState::Synced, LearnerPacket::Revalidate { session, timeout }) => {
                self.revalidate(id, session, timeout, shared, turn);
                Ok(())
            }
            (_, packet) => {
                let reason = DropReason::BadPacket(misplaced(&packet));
                self.drop_link(id, reason, turn);
                Ok(())
            }
        }
    }

    /// What was given to the log is durable up to some point.
    pub(crate) fn handle_durable(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        self.commit(shared, turn)
    }

    /// What was given to the tree is applied up to some point.
    pub(crate) fn handle_applied(&mut self, shared: &Shared, turn: &Turn<'_>) -> Result<(), Halt> {
        let applied = shared.local.applied();
        self.prep.release(applied);
        while let Some(entry) = self
            .ending
            .first_entry()
            .filter(|entry| *entry.key() <= applied)
        {
            self.tracker.remove(entry.remove());
        }
        self.leave_if_retired(shared, turn.now.time)
    }

    /// Stops to propose; leaves when all that is proposed is out.
    pub(crate) fn stop(&mut self, reason: LeaveReason, shared: &Shared) -> Result<(), Halt> {
        self.stopping = reason;
        match self.phase {
            // What is proposed is for another to commit.
            _ if self.retired.is_some() => Err(reason.into()),
            LeaderPhase::Broadcasting | LeaderPhase::Stopping => {
                self.phase = LeaderPhase::Stopping;
                self.leave_if_stopped(shared)
            }
            LeaderPhase::CollectingEpochs
            | LeaderPhase::SavingAccepted
            | LeaderPhase::CollectingEpochAcks
            | LeaderPhase::CollectingHistoryAcks => Err(reason.into()),
        }
    }

    fn leave_if_stopped(&self, shared: &Shared) -> Result<(), Halt> {
        if self.phase == LeaderPhase::Stopping && shared.local.unhanded().is_empty() {
            Err(self.stopping.into())
        } else {
            Ok(())
        }
    }

    /// Closes everything that is a leader's.
    pub(crate) fn close(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for link in links {
            self.drop_link(link, DropReason::Leaving, turn);
        }
        if !shared.is_alone {
            turn.net(NetAction::Listen(false));
        }
    }

    /// Lets nobody in whose epoch is not fixed, and everybody else out.
    fn drop_link(&mut self, id: LinkId, reason: DropReason, turn: &mut Turn<'_>) {
        if let Some(link) = self.links.remove(&id) {
            turn.note(Transition::LearnerDropped {
                link: id,
                server: link.server,
                reason,
            });
            turn.net(NetAction::DropLearner { link: id });
        }
    }

    /// Whether proposals are made.
    fn is_proposing(&self) -> bool {
        self.phase == LeaderPhase::Broadcasting && self.retired.is_none()
    }

    /// Whether a quorum has the initial history.
    fn is_established(&self) -> bool {
        matches!(
            self.phase,
            LeaderPhase::Broadcasting | LeaderPhase::Stopping
        )
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase {
            LeaderPhase::CollectingEpochs
            | LeaderPhase::SavingAccepted
            | LeaderPhase::CollectingEpochAcks => Phase::Discovery,
            LeaderPhase::CollectingHistoryAcks => Phase::Synchronization,
            LeaderPhase::Broadcasting => Phase::Broadcast,
            LeaderPhase::Stopping => Phase::Stopping,
        }
    }

    /// Fills in what only a leader knows.
    pub(crate) fn fill(&self, shared: &Shared, status: &mut PeerStatus) {
        status.leader = (!shared.is_alone).then_some(shared.me());
        status.proposed = self.prep.last_zxid();
        status.outstanding = shared.local.unhanded().len() + self.syncs.len();
        status.sessions = self.tracker.len();
        status.leading_since = self.since;
        status.proposal_sizes = self.sizes;
        for link in self.links.values() {
            let is_synced = link.state == LinkState::Synced;
            match link.kind {
                LearnerKind::Follower => {
                    status.followers += 1;
                    status.synced_followers += usize::from(is_synced);
                    let votes = link
                        .server
                        .is_some_and(|server| shared.configs.is_voter(server));
                    status.synced_non_voting += usize::from(is_synced && !votes);
                }
                LearnerKind::Observer => {
                    status.observers += 1;
                    status.synced_observers += usize::from(is_synced);
                }
            }
            status.pending_syncs += usize::from(link.state == LinkState::AwaitingHistoryAck);
        }
    }

    /// All sessions with the time of their expiry, by id; closing ones have none.
    pub(crate) fn sessions(&self) -> BTreeMap<SessionId, Option<Time>> {
        self.tracker.sessions()
    }

    /// Has it believe that its epoch has no number left.
    #[cfg(test)]
    pub(crate) fn exhaust_epoch(&mut self) {
        let options = self.prep.options().clone();
        self.prep = Prep::new(options, Zxid::from_parts(self.epoch, u32::MAX - 1));
    }

    /// Serves clients, unless leaders do not.
    fn serve(shared: &mut Shared, turn: &mut Turn<'_>) {
        if shared.is_alone || shared.member.leader_serves {
            shared.serve(ServingMode::Full, turn.out);
        }
    }
}

/// A packet that its sender may not send now.
fn misplaced(packet: &LearnerPacket) -> &'static str {
    match packet {
        LearnerPacket::Info { .. } => "FOLLOWERINFO out of place",
        LearnerPacket::AckEpoch { .. } => "ACKEPOCH out of place",
        LearnerPacket::Ack { .. } => "ACK out of place",
        LearnerPacket::Ping { .. } => "PING out of place",
        LearnerPacket::Request(_) => "REQUEST out of place",
        LearnerPacket::Revalidate { .. } => "REVALIDATE out of place",
        LearnerPacket::Unknown { .. } => "unknown packet out of place",
    }
}
