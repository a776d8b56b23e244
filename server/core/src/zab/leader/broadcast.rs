//! Proposals, acknowledgements, commits.

use std::sync::Arc;

use zk_proto::request::Request;
use zk_proto::{Epoch, ServerId, SessionId, Zxid};

use crate::mutation::mutated;
use crate::peer::reconfig::config_of;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{
    Asker, DropReason, LinkId, Mismatch, NetAction, Note, Proposal, ProposalSizes, Transition,
};
use crate::prep::{EpochExhausted, Prep, Prepared, Requester};
use crate::session::SessionTimeout;
use crate::wire::quorum::{LeaderPacket, LearnerKind};
use crate::wire::txn::Txn;

use super::follower_link::LinkState;
use super::{Leader, LeaderPhase};
use crate::peer::LeaveReason;

impl Leader {
    /// With a quorum that has the initial history, this server included: the history is committed,
    /// and proposals begin.
    pub(super) fn establish(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        if self.phase != LeaderPhase::CollectingHistoryAcks
            || !self.history_acks.contains(&shared.me())
            || !(shared.configs.is_quorum(&self.history_acks) || mutated!(EstablishedAlone))
        {
            return;
        }
        self.phase = LeaderPhase::Broadcasting;
        self.since = Some(turn.now.time);
        self.deadline = None;
        self.next_ping = turn.now.time + shared.options.tick / 2;
        self.is_mid_tick = true;
        self.prep = Prep::new(shared.options.prep.clone(), Zxid::from_parts(self.epoch, 0));
        // Whatever else was proposed is not, or not any more: nobody is to hear of it from here.
        shared.forget_heard(turn);
        self.activate_pending(shared, turn);
        self.track_sessions(turn);
        turn.note(Transition::Established(self.epoch));
        let waiting: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, link)| link.state == LinkState::AwaitingEstablished)
            .map(|(&id, _)| id)
            .collect();
        for id in waiting {
            self.admit(id, turn);
        }
        if self.is_proposing() {
            Self::serve(shared, turn);
        }
    }

    /// All sessions, each with its full timeout: who leads anew cannot know better.
    pub(super) fn track_sessions(&mut self, turn: &Turn<'_>) {
        for (session, timeout_ms) in turn.tree.sessions() {
            let timeout = SessionTimeout::from_millis(timeout_ms);
            self.tracker.track(turn.now.time, session, timeout);
        }
    }

    /// The epoch, once this leader is established in it.
    pub(crate) fn synced_epoch(&self) -> Option<Epoch> {
        self.is_established().then_some(self.epoch)
    }

    /// Makes a proposal of a request. When the epoch has no number left, stops.
    pub(super) fn propose(
        &mut self,
        from: &Requester,
        request: &Request,
        asker: Asker,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        self.show_ensemble(request, shared);
        let prepared = self.prep.prepare(turn.now.wall, from, request, turn.tree);
        self.send_proposal(prepared, asker, shared, turn)
    }

    pub(super) fn send_proposal(
        &mut self,
        prepared: Result<Prepared, EpochExhausted>,
        asker: Asker,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let Prepared {
            entry,
            warnings,
            refusal,
        } = match prepared {
            Ok(prepared) => prepared,
            Err(EpochExhausted { .. }) => return self.stop(LeaveReason::EpochExhausted, shared),
        };
        turn.out.notes.extend(warnings.into_iter().map(Note::Quota));
        let refused = refusal.map(|refusal| Note::ReconfigRefused(Box::new(refusal)));
        turn.out.notes.extend(refused);
        let zxid = entry.header.zxid;
        if matches!(entry.txn, Txn::CloseSession(_)) {
            self.ending.insert(zxid, entry.header.session);
        }
        if let Ok(Some(config)) = config_of(&entry) {
            shared.see(config, turn);
        }
        let bytes = self.pieces.encode(&entry);
        self.sizes = Some(ProposalSizes::with(self.sizes, bytes.len()));
        for (&link, learner) in &mut self.links {
            if learner.is_forwarding() && learner.kind == LearnerKind::Follower {
                learner.proposed(zxid, turn.now.time);
                let entry = bytes.clone();
                let packet = LeaderPacket::Proposal { zxid, entry };
                turn.net(NetAction::SendLearner { link, packet });
            }
        }
        let proposal = Proposal {
            entry,
            bytes,
            asker,
            mismatch: Mismatch::OwnFault,
        };
        shared.local.append(proposal, turn.out);
        Ok(())
    }

    /// A learner has a proposal, and all before it, on disk.
    pub(super) fn handle_proposal_ack(
        &mut self,
        id: LinkId,
        zxid: Zxid,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if zxid > shared.local.logged() {
            self.drop_link(
                id,
                DropReason::BadPacket("ACK of what was not proposed"),
                turn,
            );
            return Ok(());
        }
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        link.acked(zxid);
        let is_voting = link.kind == LearnerKind::Follower || mutated!(ObserversAck);
        let Some(server) = link.server.filter(|_| is_voting) else {
            return Ok(());
        };
        if zxid <= shared.local.handed() {
            return Ok(());
        }
        let acked = self.acks.entry(server).or_insert(zxid);
        *acked = (*acked).max(zxid);
        self.commit(shared, turn)
    }

    /// Commits, in order, what a quorum has on disk.
    pub(super) fn commit(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) -> Result<(), Halt> {
        let mut has_committed = false;
        while let Some(first) = shared.local.unhanded().front()
            && self.retired.is_none()
        {
            let zxid = first.entry.header.zxid;
            if !self.has_quorum(zxid, shared) {
                break;
            }
            let asker = first.asker;
            self.confirm_before(zxid, shared, turn);
            let Some(proposal) = shared.local.hand(|_| asker, turn.out) else {
                break;
            };
            let activation = self.activation(&proposal, shared);
            let designated = activation.as_ref().map(|(_, designated)| *designated);
            self.tell_committed(&proposal, designated, turn);
            if let Some(activation) = activation {
                self.activate(activation, zxid, shared, turn);
            }
            has_committed = true;
        }
        if has_committed {
            self.finish_syncs(shared, turn);
            self.finish_answers(shared, turn);
            self.sync_waiting(shared, turn);
        }
        self.leave_if_stopped(shared)
    }

    /// Whether a quorum has a proposal on disk.
    fn has_quorum(&self, zxid: Zxid, shared: &Shared) -> bool {
        let me = shared.me();
        if mutated!(EveryAckCommits) && !self.acks.is_empty() {
            return true;
        }
        let is_durable_here = shared.local.durable() >= zxid || mutated!(CommitBeforeOwnDisk);
        let others = self
            .acks
            .iter()
            .filter(|(_, acked)| **acked >= zxid || mutated!(AnyAckCounts))
            .map(|(server, _)| server);
        let all: Vec<&ServerId> = others.chain(is_durable_here.then_some(&me)).collect();
        if mutated!(CommitBelowQuorum) {
            return !all.is_empty();
        }
        if mutated!(ObserversAck) {
            return 2 * all.len() > shared.configs.current().voters().count();
        }
        if mutated!(OldConfigDecides) {
            return shared.configs.current().is_quorum(all);
        }
        shared.configs.is_quorum_for(zxid, all)
    }

    /// Tells all learners that a proposal is committed, and of one that changes the ensemble, who is
    /// to lead it.
    fn tell_committed(
        &mut self,
        proposal: &Arc<Proposal>,
        designated: Option<ServerId>,
        turn: &mut Turn<'_>,
    ) {
        let zxid = proposal.entry.header.zxid;
        let mut overfull = Vec::new();
        for (&link, learner) in &mut self.links {
            let is_deaf = mutated!(ObserversNotInformed) && learner.kind == LearnerKind::Observer;
            if !learner.is_forwarding() || is_deaf {
                continue;
            }
            if learner.waits_to_follow() {
                if !learner.held.push(zxid, designated) {
                    overfull.push(link);
                }
                continue;
            }
            let entry = || proposal.bytes.clone();
            let packet = match (learner.kind, designated) {
                (LearnerKind::Follower, None) => LeaderPacket::Commit { zxid },
                (LearnerKind::Follower, Some(leader)) => {
                    LeaderPacket::CommitAndActivate { zxid, leader }
                }
                (LearnerKind::Observer, None) => LeaderPacket::Inform {
                    zxid,
                    entry: entry(),
                },
                (LearnerKind::Observer, Some(leader)) => LeaderPacket::InformAndActivate {
                    zxid,
                    leader,
                    entry: entry(),
                },
            };
            turn.net(NetAction::SendLearner { link, packet });
        }
        for link in overfull {
            self.drop_link(link, DropReason::Overfull, turn);
        }
    }

    /// Whether a session is being ended by a transaction that is not applied.
    pub(super) fn set_closing(&mut self, session: SessionId) {
        self.tracker.set_closing(session);
    }
}
