//! Other members: what this server has seen proposed, and what it does when that is in force.

use std::sync::Arc;

use zk_proto::{Bytes, ServerId, Zxid};

use crate::ensemble::EnsembleConfig;
use crate::mutation::mutated;
use crate::peer::reconfig::{config_of, parse};
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{Asker, LeaveReason, Proposal};
use crate::wire::txn::TxnEntry;
use crate::zab::history::is_boundary;

use super::Learner;

/// Part of a tick that a server stays in its role when whoever asked for the change is its own client,
/// who is to be answered.
const ANSWER_PART: u32 = 10;

/// What the leader said is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Committed {
    pub(super) zxid: Zxid,
    /// Of a change of the ensemble, who is to lead it.
    pub(super) designated: Option<ServerId>,
}

impl Learner {
    /// Takes notice of a change that is proposed.
    pub(super) fn see_proposed(
        entry: &TxnEntry,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        match config_of(entry) {
            Ok(None) => Ok(()),
            Ok(Some(config)) => {
                let before = shared.configs.next().cloned();
                let is_change = |before: &Arc<EnsembleConfig>| {
                    before.version() < config.version() && !is_boundary(before.version())
                };
                if let Some(before) = before.filter(is_change) {
                    // One change is made at a time: the last one is committed.
                    shared.activate(before, turn);
                }
                if mutated!(ActivatedWhenProposed) {
                    shared.activate(Arc::clone(&config), turn);
                }
                shared.see(config, turn);
                Ok(())
            }
            Err(_unreadable) if shared.is_reconfigurable() => {
                Err(LeaveReason::BadPacket("a change of the ensemble that cannot be read").into())
            }
            Err(_unreadable) => Ok(()),
        }
    }

    /// Takes notice of what a new leader has for the youngest configuration: it is as good as
    /// proposed, and no other is.
    pub(super) fn see_announced(
        &mut self,
        config: Option<&Bytes>,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let Some(config) = config.filter(|_| shared.is_reconfigurable()) else {
            return Ok(());
        };
        let Some(config) = parse(config) else {
            return Err(
                LeaveReason::BadPacket("NEWLEADER with an unreadable configuration").into(),
            );
        };
        // What is proposed behind the leader's own is known from its history.
        let is_proposed = |next: &Arc<EnsembleConfig>| {
            let version = next.version();
            version > config.version() && version <= self.last && !is_boundary(version)
        };
        if !shared.configs.next().is_some_and(is_proposed) {
            shared.see(Arc::clone(&config), turn);
        }
        self.announced = Some(config);
        Ok(())
    }

    /// A quorum has the initial history, and the configuration with it; unless that is only proposed
    /// behind the history.
    ///
    /// # Errors
    /// If this server is another learner now, or the leader none.
    pub(super) fn activate_announced(
        &mut self,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let handed = shared.local.handed();
        let is_committed = |config: &Arc<EnsembleConfig>| {
            let version = config.version();
            version <= handed || is_boundary(version)
        };
        let announced = self.announced.take().filter(is_committed);
        let is_other = announced.is_some_and(|config| self.is_other(config, None, shared, turn));
        let stays = !shared.is_reconfigurable()
            || self.kind == shared.learner_kind() && shared.configs.current().is_voter(self.leader);
        if is_other || !stays {
            return Err(LeaveReason::Reconfigured.into());
        }
        Ok(())
    }

    /// A change is committed. If this server is another learner with it, or another is to lead, it
    /// leaves, and knows already where to.
    pub(super) fn activate(
        &mut self,
        proposal: &Proposal,
        designated: ServerId,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> Result<(), Halt> {
        let Ok(Some(config)) = config_of(&proposal.entry) else {
            return Ok(());
        };
        if !self.is_other(config, Some(designated), shared, turn) {
            return Ok(());
        }
        shared.designated = Some(designated);
        if proposal.asker == Asker::Server {
            return Err(LeaveReason::Reconfigured.into());
        }
        let answered = turn.now.time + shared.options.tick / ANSWER_PART;
        self.leaves_at.get_or_insert(answered);
        Ok(())
    }

    /// Puts a configuration in force, and tells whether this server's role or leader is another.
    fn is_other(
        &self,
        config: Arc<EnsembleConfig>,
        designated: Option<ServerId>,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) -> bool {
        let Some(before) = shared.activate(config, turn) else {
            return false;
        };
        let now = shared.configs.current();
        let leader = self.leader;
        let leader_stays = match designated {
            Some(designated) => designated == leader,
            None => before.keeps_leader(now, leader),
        };
        !leader_stays || shared.learner_kind() != self.kind
    }
}
