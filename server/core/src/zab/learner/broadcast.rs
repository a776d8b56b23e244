//! Proposals, acknowledgements, commits.

use zk_proto::{Bytes, ServerId, Zxid};

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{LeaveReason, Mismatch, Proposal};
use crate::wire::quorum::{LeaderPacket, LearnerPacket};

use super::reconfig::Committed;
use super::{Learner, misplaced};

impl Learner {
    /// A packet while following.
    pub(super) fn follow(
        &mut self,
        packet: LeaderPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        match packet {
            LeaderPacket::Proposal { zxid, entry } => {
                if let Some(proposal) =
                    self.next(zxid, entry, Mismatch::Divergence, shared, turn)?
                {
                    self.log(proposal, shared, turn);
                }
                Ok(())
            }
            LeaderPacket::Commit { zxid } => self.commit(committed(zxid, None), shared, turn),
            LeaderPacket::CommitAndActivate { zxid, leader } => {
                self.commit(committed(zxid, Some(leader)), shared, turn)
            }
            LeaderPacket::Inform { zxid, entry } => {
                self.inform(committed(zxid, None), entry, shared, turn)
            }
            LeaderPacket::InformAndActivate {
                zxid,
                leader,
                entry,
            } => self.inform(committed(zxid, Some(leader)), entry, shared, turn),
            LeaderPacket::Ping { .. } if mutated!(PingsNotAnswered) => Ok(()),
            LeaderPacket::Ping { zxid } => {
                let touches = self
                    .requests
                    .take_touches(shared.options.prep.buffer_bytes_max);
                self.send(LearnerPacket::Ping { zxid, touches }, turn);
                Ok(())
            }
            LeaderPacket::Revalidate { session, is_valid } => {
                self.requests.handle_revalidated(session, is_valid, turn);
                Ok(())
            }
            LeaderPacket::Sync => {
                self.requests.handle_synced(turn);
                Ok(())
            }
            LeaderPacket::Unknown { .. } => Ok(()),
            LeaderPacket::LeaderInfo { .. }
            | LeaderPacket::Diff { .. }
            | LeaderPacket::Trunc { .. }
            | LeaderPacket::Snap { .. }
            | LeaderPacket::NewLeader { .. }
            | LeaderPacket::UpToDate => Err(misplaced(&packet).into()),
        }
    }

    /// A committed transaction for an observer.
    fn inform(
        &mut self,
        committed: Committed,
        entry: Bytes,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if let Some(proposal) =
            self.next(committed.zxid, entry, Mismatch::Divergence, shared, turn)?
        {
            self.log(proposal, shared, turn);
        }
        self.commit(committed, shared, turn)
    }

    /// Gives a proposal to the log.
    pub(super) fn log(&mut self, proposal: Proposal, shared: &mut Shared, turn: &mut Turn<'_>) {
        let zxid = proposal.entry.header.zxid;
        if self.acknowledges() {
            self.unacked.push_back(zxid);
        }
        shared.local.append(proposal, turn.out);
        if mutated!(AppliedBeforeCommit) {
            let _handed = shared.local.hand(|_| crate::peer::Asker::Server, turn.out);
        }
        if mutated!(AckBeforeDisk) {
            self.acknowledge(shared, turn);
        }
    }

    /// Gives a committed proposal to the tree. A quorum has it on disk; this server need not.
    pub(super) fn commit(
        &mut self,
        Committed { zxid, designated }: Committed,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if zxid <= shared.local.handed() {
            return Ok(());
        }
        match shared.local.unhanded().front() {
            Some(first) if first.entry.header.zxid == zxid => {}
            Some(_) => {
                return Err(LeaveReason::BadPacket("COMMIT of what is not the next one").into());
            }
            // If something is missing, the next proposal shows the gap.
            None => return Ok(()),
        }
        let requests = &mut self.requests;
        let asker = |proposal: &mut Proposal| requests.asker(proposal);
        let handed = shared.local.hand(asker, turn.out);
        match (handed, designated) {
            (Some(proposal), Some(leader)) => self.activate(&proposal, leader, shared, turn),
            (Some(_) | None, _) => Ok(()),
        }
    }

    /// Acknowledges what is durable here, each in its turn: a leader that samples acknowledgements
    /// waits for exactly these.
    pub(super) fn acknowledge(&mut self, shared: &Shared, turn: &mut Turn<'_>) {
        let durable = if mutated!(AckBeforeDisk) {
            shared.local.logged()
        } else {
            shared.local.durable()
        };
        while let Some(zxid) = self.unacked.pop_front_if(|zxid| *zxid <= durable) {
            self.send_ack(zxid, turn);
        }
    }
}

pub(super) fn committed(zxid: Zxid, designated: Option<ServerId>) -> Committed {
    Committed { zxid, designated }
}
