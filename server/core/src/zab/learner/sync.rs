//! How a learner gets the leader's history.
//!
//! What the leader says is committed goes to log and tree at once: nobody is served from this tree
//! yet, and what is logged is applied anyway before the next election. What is not committed waits
//! for UPTODATE, so that no acknowledgement of it comes before that of the epoch.
//!
//! The order at NEWLEADER is that of ZOOKEEPER-4643 and 4646: first the transactions on disk, then
//! the epoch on disk, then the acknowledgement.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `Learner#syncWithLeader`.

use zk_proto::{Bytes, Zxid};

use crate::mutation::mutated;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{Asker, LeaveReason, Mismatch, Proposal, SnapshotId, SyncPlan, Transition};
use crate::wire::quorum::{LeaderPacket, LearnerKind};
use crate::wire::txn::TxnEntry;
use crate::zab::history::follows;

use super::broadcast::committed;
use super::reconfig::Committed;
use super::{Learner, LearnerPhase, misplaced};

impl Learner {
    /// The leader tells how it synchronises this server.
    pub(super) fn handle_plan(
        &mut self,
        packet: &LeaderPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let plan = match packet {
            LeaderPacket::Diff { .. } => SyncPlan::Diff,
            LeaderPacket::Trunc { target } => SyncPlan::Trunc(*target),
            LeaderPacket::Snap { zxid } => SyncPlan::Snap(*zxid),
            LeaderPacket::Unknown { .. } | LeaderPacket::Ping { .. } => return Ok(()),
            LeaderPacket::LeaderInfo { .. }
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
        turn.note(Transition::SyncReceived {
            attempt: self.attempt,
            plan,
        });
        self.last = shared.local.logged();
        self.phase = LearnerPhase::Receiving;
        self.mismatch = match plan {
            SyncPlan::Diff | SyncPlan::Trunc(_) => Mismatch::Divergence,
            SyncPlan::Snap(_) => Mismatch::Expected,
        };
        match plan {
            SyncPlan::Diff => {}
            SyncPlan::Trunc(target) => {
                if target > self.last || target < Zxid::ZERO {
                    shared.wants_tree = true;
                    return Err(LeaveReason::BadTruncation.into());
                }
                if target < self.last && !mutated!(TruncationIgnored) {
                    self.last = target;
                    shared.local.truncate(target, turn.out);
                }
            }
            SyncPlan::Snap(zxid) => {
                if zxid < Zxid::ZERO || zxid.epoch() > self.epoch {
                    return Err(LeaveReason::BadPacket("SNAP of a later epoch, or of none").into());
                }
                self.phase = LearnerPhase::AwaitingTree(zxid);
            }
        }
        Ok(())
    }

    /// The leader's tree came whole.
    pub(crate) fn handle_tree(
        &mut self,
        snapshot: SnapshotId,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let LearnerPhase::AwaitingTree(zxid) = self.phase else {
            return Err(LeaveReason::BadPacket("a tree out of place").into());
        };
        self.heard = turn.now.time;
        self.last = zxid;
        self.phase = LearnerPhase::Receiving;
        shared.local.install(snapshot, turn.out);
        Ok(())
    }

    /// A packet of the leader's history.
    pub(super) fn receive(
        &mut self,
        packet: LeaderPacket,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        match packet {
            LeaderPacket::Proposal { zxid, entry } => {
                if let Some(proposal) = self.next(zxid, entry, self.mismatch, shared, turn)? {
                    self.pending.push_back(proposal);
                }
                Ok(())
            }
            LeaderPacket::Commit { zxid } => {
                self.commit_pending(committed(zxid, None), shared, turn)
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => {
                self.commit_pending(committed(zxid, Some(leader)), shared, turn)
            }
            LeaderPacket::Inform { zxid, entry } => {
                if let Some(proposal) = self.next(zxid, entry, self.mismatch, shared, turn)? {
                    self.pending.push_back(proposal);
                }
                self.commit_pending(committed(zxid, None), shared, turn)
            }
            LeaderPacket::InformAndActivate {
                zxid,
                leader,
                entry,
            } => {
                if let Some(proposal) = self.next(zxid, entry, self.mismatch, shared, turn)? {
                    self.pending.push_back(proposal);
                }
                self.commit_pending(committed(zxid, Some(leader)), shared, turn)
            }
            LeaderPacket::NewLeader { epoch, config } => {
                if epoch != self.epoch {
                    return Err(LeaveReason::BadPacket("NEWLEADER of another epoch").into());
                }
                self.see_announced(config.as_ref(), shared, turn)?;
                self.phase = LearnerPhase::AwaitingLog;
                self.save_epoch_when_durable(shared, turn);
                Ok(())
            }
            LeaderPacket::Ping { .. } | LeaderPacket::Unknown { .. } => Ok(()),
            LeaderPacket::LeaderInfo { .. }
            | LeaderPacket::Diff { .. }
            | LeaderPacket::Trunc { .. }
            | LeaderPacket::Snap { .. }
            | LeaderPacket::UpToDate
            | LeaderPacket::Revalidate { .. }
            | LeaderPacket::Sync => Err(misplaced(&packet).into()),
        }
    }

    /// With all of the initial history on disk, takes the epoch as its own, and says so when that is
    /// on disk too.
    pub(super) fn save_epoch_when_durable(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        let is_durable = shared.local.is_durable() || mutated!(CurrentEpochBeforeLog);
        if self.phase != LearnerPhase::AwaitingLog || !is_durable {
            return;
        }
        if shared.local.current() == self.epoch {
            self.send_history_ack(turn);
            return;
        }
        self.phase = LearnerPhase::SavingCurrent;
        shared.local.save_current(self.epoch, turn.out);
        if mutated!(HistoryAckBeforeDisk) {
            self.send_ack(self.epoch_start(), turn);
        }
    }

    /// The initial history of the epoch, and that it is this server's epoch, are on disk.
    pub(super) fn send_history_ack(&mut self, turn: &mut Turn<'_>) {
        self.phase = LearnerPhase::AwaitingUpToDate;
        self.send_ack(self.epoch_start(), turn);
    }

    /// A packet behind NEWLEADER.
    pub(super) fn handle_synced(
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
                    self.pending.push_back(proposal);
                }
                Ok(())
            }
            LeaderPacket::Commit { zxid } => {
                self.commits.push_back(committed(zxid, None));
                Ok(())
            }
            LeaderPacket::CommitAndActivate { zxid, leader } => {
                self.commits.push_back(committed(zxid, Some(leader)));
                Ok(())
            }
            LeaderPacket::Inform { zxid, entry } => {
                if let Some(proposal) =
                    self.next(zxid, entry, Mismatch::Divergence, shared, turn)?
                {
                    self.pending.push_back(proposal);
                    self.commits.push_back(committed(zxid, None));
                }
                Ok(())
            }
            LeaderPacket::InformAndActivate {
                zxid,
                leader,
                entry,
            } => {
                if let Some(proposal) =
                    self.next(zxid, entry, Mismatch::Divergence, shared, turn)?
                {
                    self.pending.push_back(proposal);
                    self.commits.push_back(committed(zxid, Some(leader)));
                }
                Ok(())
            }
            LeaderPacket::UpToDate if self.phase == LearnerPhase::AwaitingUpToDate => {
                self.begin_to_follow(shared, turn)
            }
            LeaderPacket::Ping { .. } | LeaderPacket::Unknown { .. } => Ok(()),
            LeaderPacket::UpToDate
            | LeaderPacket::NewLeader { .. }
            | LeaderPacket::LeaderInfo { .. }
            | LeaderPacket::Diff { .. }
            | LeaderPacket::Trunc { .. }
            | LeaderPacket::Snap { .. }
            | LeaderPacket::Revalidate { .. }
            | LeaderPacket::Sync => Err(misplaced(&packet).into()),
        }
    }

    /// A quorum has the initial history: logs what is not committed yet, and follows.
    fn begin_to_follow(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) -> Result<(), Halt> {
        // The leader knows what is proposed.
        shared.forget_heard(turn);
        self.activate_announced(shared, turn)?;
        self.send_ack(self.epoch_start(), turn);
        self.phase = LearnerPhase::Following;
        self.note_synced(turn);
        for proposal in std::mem::take(&mut self.pending) {
            self.log(proposal, shared, turn);
        }
        for committed in std::mem::take(&mut self.commits) {
            self.commit(committed, shared, turn)?;
        }
        self.serve_at = Some(shared.local.handed());
        self.handle_applied(shared, turn);
        self.acknowledge(shared, turn);
        Ok(())
    }

    /// Checks that a transaction is the next one. One that was there already is no news.
    ///
    /// `mismatch`: what a digest tells of the tree that it meets.
    pub(super) fn next(
        &mut self,
        zxid: Zxid,
        bytes: Bytes,
        mismatch: Mismatch,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<Option<Proposal>, Halt> {
        if zxid <= self.last {
            return Ok(None);
        }
        if !follows(self.last, zxid) && !mutated!(GapAccepted) {
            shared.wants_tree = true;
            let after = self.last;
            return Err(LeaveReason::Gap { after, found: zxid }.into());
        }
        if zxid.epoch() > self.epoch {
            return Err(LeaveReason::BadPacket("a transaction of a later epoch").into());
        }
        let Ok(entry) = TxnEntry::decode(&bytes) else {
            return Err(LeaveReason::BadPacket("a transaction that does not decode").into());
        };
        if entry.header.zxid != zxid {
            return Err(LeaveReason::BadPacket("a transaction with two zxids").into());
        }
        Self::see_proposed(&entry, shared, turn)?;
        self.last = zxid;
        Ok(Some(Proposal {
            entry,
            bytes,
            asker: Asker::Server,
            mismatch,
        }))
    }

    /// A transaction of the initial history goes to log and tree.
    fn commit_pending(
        &mut self,
        Committed { zxid, designated }: Committed,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        if zxid <= shared.local.handed() {
            return Ok(());
        }
        match self.pending.pop_front() {
            Some(proposal) if proposal.entry.header.zxid == zxid => {
                if mutated!(SyncedTxnsNotLogged) {
                    return Ok(());
                }
                shared.local.append(proposal, turn.out);
                let handed = shared.local.hand(|_| Asker::Server, turn.out);
                match (handed, designated) {
                    (Some(proposal), Some(leader)) => {
                        self.activate(&proposal, leader, shared, turn)
                    }
                    (Some(_) | None, _) => Ok(()),
                }
            }
            Some(_) | None => {
                Err(LeaveReason::BadPacket("COMMIT of what is not the next one").into())
            }
        }
    }

    /// Whether it acknowledges proposals.
    pub(super) fn acknowledges(&self) -> bool {
        self.kind == LearnerKind::Follower || mutated!(ObserversAck)
    }
}
