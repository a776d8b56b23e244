//! The connection to the leader, and the promise of an epoch.

use std::time::Duration;

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{EpochKind, LeaveReason};
use crate::wire::quorum::{LeaderPacket, LearnerInfo, LearnerPacket};

use super::{Learner, LearnerPhase, misplaced};

/// Pauses between tries to connect: a leader that was elected a moment ago may not listen yet, and
/// one that is gone is soon given up. After the last pause comes the last try.
const PAUSES_MS: [u64; 8] = [2, 5, 10, 25, 50, 100, 100, 100];

impl Learner {
    /// The leader took the connection.
    pub(crate) fn handle_up(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        if self.phase != LearnerPhase::Connecting {
            return;
        }
        self.phase = LearnerPhase::AwaitingEpoch;
        self.heard = turn.now.time;
        let info = LearnerPacket::Info {
            kind: self.kind,
            accepted: shared.local.accepted(),
            info: LearnerInfo::ours(shared.me(), shared.configs.current().version()),
        };
        self.send(info, turn);
    }

    /// The connection is gone, or never came.
    pub(crate) fn handle_down(&mut self, turn: &Turn<'_>) -> Result<(), Halt> {
        if self.phase != LearnerPhase::Connecting {
            return Err(LeaveReason::LeaderLost.into());
        }
        let pause = usize::try_from(self.failed)
            .ok()
            .and_then(|failed| PAUSES_MS.get(failed));
        let Some(&pause) = pause else {
            return Err(LeaveReason::Unreachable.into());
        };
        self.failed += 1;
        self.retry = Some(turn.now.time + Duration::from_millis(pause));
        Ok(())
    }

    /// The leader tells its epoch.
    pub(super) fn handle_epoch(
        &mut self,
        packet: &LeaderPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let epoch = match packet {
            LeaderPacket::LeaderInfo { epoch } => *epoch,
            LeaderPacket::Unknown { .. } | LeaderPacket::Ping { .. } => return Ok(()),
            LeaderPacket::Diff { .. }
            | LeaderPacket::Trunc { .. }
            | LeaderPacket::Snap { .. }
            | LeaderPacket::NewLeader { .. }
            | LeaderPacket::UpToDate
            | LeaderPacket::Proposal { .. }
            | LeaderPacket::Commit { .. }
            | LeaderPacket::Inform { .. }
            | LeaderPacket::CommitAndActivate { .. }
            | LeaderPacket::InformAndActivate { .. }
            | LeaderPacket::Revalidate { .. }
            | LeaderPacket::Sync => return Err(misplaced(packet).into()),
        };
        let accepted = shared.local.accepted();
        if epoch < accepted && !mutated!(OldEpochAccepted) {
            return Err(LeaveReason::OldEpoch.into());
        }
        self.epoch = epoch;
        if epoch == accepted {
            // Promised before, perhaps to somebody else: this server cannot vouch for what it has.
            self.send_epoch_ack(false, shared, turn);
            return Ok(());
        }
        self.phase = LearnerPhase::SavingAccepted;
        shared.local.save_accepted(epoch, turn.out);
        if mutated!(EpochAckBeforeDisk) {
            self.send_epoch_ack(true, shared, turn);
        }
        Ok(())
    }

    pub(crate) fn handle_epoch_saved(
        &mut self,
        kind: EpochKind,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        match (kind, self.phase) {
            (EpochKind::Accepted, LearnerPhase::SavingAccepted) => {
                self.send_epoch_ack(true, shared, turn);
            }
            (EpochKind::Current, LearnerPhase::SavingCurrent) => {
                self.send_history_ack(turn);
            }
            (EpochKind::Accepted | EpochKind::Current, _) => {}
        }
    }

    fn send_epoch_ack(&mut self, counts: bool, shared: &mut Shared, turn: &mut Turn<'_>) {
        self.phase = LearnerPhase::AwaitingPlan;
        self.heard = turn.now.time;
        let wants_tree = std::mem::take(&mut shared.wants_tree);
        // The leader has to see that this server knows no more than it does, whatever it is sent: a
        // quorum may need this promise.
        let packet = LearnerPacket::AckEpoch {
            zxid: shared.local.logged(),
            current: counts.then_some(shared.local.current()),
            wants_tree,
        };
        self.send(packet, turn);
    }
}
