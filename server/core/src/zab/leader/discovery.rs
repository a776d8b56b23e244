//! A new epoch, and that nobody in a quorum knows more.

use std::collections::BTreeSet;

use zk_proto::{Epoch, ServerId, Zxid};

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{DropReason, EpochKind, LeaveReason, LinkId, NetAction, Transition};
use crate::wire::quorum::{LeaderPacket, LearnerInfo, LearnerKind, PROTOCOL_VERSION};

use super::follower_link::LinkState;
use super::{Leader, LeaderPhase};

/// Epochs from here on are refused: they would leave too few to follow.
const EPOCH_MAX: i32 = 1 << 30;
/// By how much a promise may be ahead of this server's own: far more than elections can fail meanwhile.
/// What is beyond is of another ensemble, or damaged, and would use up the epochs of this one.
const EPOCH_LEAD_MAX: i32 = 1 << 16;

impl Leader {
    /// Takes this server's own promise into account.
    pub(crate) fn begin(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        let accepted = shared.local.accepted().max(shared.epoch_floor);
        self.tell(accepted);
        self.told.insert(shared.me());
        self.fix_epoch(shared, turn);
    }

    /// A learner says who it is.
    pub(super) fn handle_info(
        &mut self,
        id: LinkId,
        kind: LearnerKind,
        accepted: Epoch,
        info: LearnerInfo,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        // Not those of others: one such promise after the other would lead out of reach.
        let known = shared.local.accepted();
        let refused = if info.protocol < PROTOCOL_VERSION {
            Some(DropReason::BadPacket("protocol before 3.4"))
        } else if info.server == Some(shared.me()) {
            Some(DropReason::BadPacket("the leader's own id"))
        } else if accepted < Epoch::new(0)
            || accepted.get() >= EPOCH_MAX
            || accepted.get() - known.get() > EPOCH_LEAD_MAX
        {
            Some(DropReason::BadPacket("no epoch"))
        } else if info.config_version > shared.configs.current().version() {
            Some(DropReason::NewerConfig)
        } else if self.needs_current_config(shared)
            && info.config_version < shared.configs.current().version()
        {
            Some(DropReason::OlderConfig)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.drop_link(id, reason, turn);
            return Ok(());
        }
        let votes = kind == LearnerKind::Follower
            && info
                .server
                .is_some_and(|server| shared.configs.is_voter(server));
        shared.epoch_floor = shared.epoch_floor.max(accepted);
        let is_later = accepted > self.epoch && !mutated!(OldEpochAccepted);
        if self.phase != LeaderPhase::CollectingEpochs && is_later {
            // It gave its promise to a leader that nobody else heard of. The next epoch is above. That is
            // so without a vote, too: it may have lost it since, and can get none before it is in step.
            self.drop_link(id, DropReason::LaterEpoch, turn);
            return self.stop(LeaveReason::EpochBehind, shared);
        }
        if info.server.is_some() {
            // Whatever comes through the old connection is of a server that is not there any more.
            let old = self
                .links
                .iter()
                .find(|(other, link)| **other != id && link.server == info.server);
            if let Some((&old, _)) = old {
                self.drop_link(old, DropReason::Replaced, turn);
            }
        }
        let Some(link) = self.links.get_mut(&id) else {
            return Ok(());
        };
        link.server = info.server;
        link.kind = kind;
        link.is_ours = info.is_ours;
        link.state = LinkState::AwaitingEpoch;
        match self.phase {
            LeaderPhase::CollectingEpochs => {
                self.tell(accepted);
                if let Some(server) = info.server.filter(|_| votes) {
                    self.told.insert(server);
                }
                self.fix_epoch(shared, turn);
            }
            LeaderPhase::SavingAccepted => {}
            LeaderPhase::CollectingEpochAcks
            | LeaderPhase::CollectingHistoryAcks
            | LeaderPhase::Broadcasting
            | LeaderPhase::Stopping => self.send_epoch(turn),
        }
        Ok(())
    }

    /// Somebody promised this epoch: the new one is above.
    fn tell(&mut self, accepted: Epoch) {
        if accepted >= self.epoch {
            self.epoch = Epoch::new(accepted.get().saturating_add(1));
        }
    }

    /// With a quorum, fixes the epoch: promises it itself, on disk, before anybody else is asked to.
    fn fix_epoch(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        let is_quorum = are_quorum(&self.told, shared)
            || (mutated!(ObserversCountForEpoch) && !self.links.is_empty());
        if self.phase == LeaderPhase::CollectingEpochs && is_quorum {
            self.phase = LeaderPhase::SavingAccepted;
            turn.note(Transition::EpochFixed(self.epoch));
            shared.local.save_accepted(self.epoch, turn.out);
        }
    }

    pub(crate) fn handle_epoch_saved(
        &mut self,
        kind: EpochKind,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        match (kind, self.phase) {
            (EpochKind::Accepted, LeaderPhase::SavingAccepted) => {
                self.phase = LeaderPhase::CollectingEpochAcks;
                self.deadline = Some(turn.now.time + shared.init_time());
                self.epoch_acks.insert(shared.me());
                shared.see_first(Zxid::from_parts(self.epoch, 0), turn);
                self.send_epoch(turn);
                self.check_epoch_acks(shared, turn);
            }
            (EpochKind::Current, LeaderPhase::CollectingHistoryAcks) => {
                self.history_acks.insert(shared.me());
                self.establish(shared, turn);
            }
            (EpochKind::Accepted | EpochKind::Current, _) => {}
        }
    }

    /// Asks those who wait for it to promise the epoch.
    fn send_epoch(&mut self, turn: &mut Turn<'_>) {
        let epoch = self.epoch;
        for (&id, link) in &mut self.links {
            if link.state == LinkState::AwaitingEpoch {
                link.state = LinkState::AwaitingEpochAck;
                link.heard = turn.now.time;
                let packet = LeaderPacket::LeaderInfo { epoch };
                turn.net(NetAction::SendLearner { link: id, packet });
            }
        }
    }

    /// A learner promises the epoch, or had promised it before: then it does not count, because it
    /// may have done so to somebody else.
    pub(super) fn handle_epoch_ack(
        &mut self,
        id: LinkId,
        zxid: Zxid,
        current: Option<Epoch>,
        wants_tree: bool,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let last = if wants_tree { Zxid::new(-1) } else { zxid };
        link.state = LinkState::AwaitingEpochQuorum(last);
        if self.phase != LeaderPhase::CollectingEpochAcks {
            self.start_sync(id, last, shared, turn);
            return;
        }
        let current = match current {
            None if mutated!(OldPromiseCounts) => Some(Epoch::default()),
            current => current,
        };
        if let Some(current) = current {
            let knows_more = (current, zxid) > self.summary;
            if knows_more && !mutated!(LearnerMayKnowMore) {
                self.drop_link(id, DropReason::KnowsMore, turn);
                return;
            }
            let is_follower = link.kind == LearnerKind::Follower;
            if zxid != Zxid::new(-1)
                && let Some(server) = link.server
                && ((is_follower && shared.configs.is_voter(server))
                    || mutated!(ObserversCountForEpoch))
            {
                self.epoch_acks.insert(server);
            }
        }
        self.check_epoch_acks(shared, turn);
    }

    /// With a quorum, synchronises everybody, and takes the epoch as its own.
    fn check_epoch_acks(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        if self.phase != LeaderPhase::CollectingEpochAcks
            || !(are_quorum(&self.epoch_acks, shared)
                || (mutated!(ObserversCountForEpoch) && self.epoch_acks.len() > 1))
        {
            return;
        }
        self.phase = LeaderPhase::CollectingHistoryAcks;
        self.deadline = Some(turn.now.time + shared.init_time());
        turn.note(Transition::EpochAcked(self.epoch));
        shared.local.save_current(self.epoch, turn.out);
        let waiting: Vec<(LinkId, Zxid)> = self
            .links
            .iter()
            .filter_map(|(&id, link)| Some((id, link.waits_with()?)))
            .collect();
        for (id, zxid) in waiting {
            self.start_sync(id, zxid, shared, turn);
        }
    }
}

/// Whether these decide about the epoch: by the members in force, and by those that are proposed.
fn are_quorum(servers: &BTreeSet<ServerId>, shared: &Shared) -> bool {
    if mutated!(EpochsByOldConfig) {
        return shared.configs.current().is_quorum(servers);
    }
    shared.configs.is_quorum(servers)
}
