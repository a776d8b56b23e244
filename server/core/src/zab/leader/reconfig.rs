//! Other members: what has to be known to propose them, and what follows once that is committed.

use std::collections::BTreeSet;
use std::sync::Arc;

use zk_proto::request::Request;
use zk_proto::{ServerId, Zxid};

use crate::ensemble::EnsembleConfig;
use crate::mutation::mutated;
use crate::peer::reconfig::config_of;
use crate::peer::shared::{Halt, Shared, Turn};
use crate::peer::{LeaveReason, Proposal};
use crate::prep::EnsembleView;
use crate::time::Time;
use crate::wire::quorum::LearnerKind;
use crate::zab::history::is_boundary;

use super::Leader;
use super::follower_link::LinkState;

/// A leader that does not lead any more: it has told the others, and lets them go.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retired {
    /// The change that made it so: whoever asked for it is to be answered.
    after: Zxid,
    /// When it leaves at the latest.
    until: Time,
}

impl Leader {
    /// Shows prep the ensemble, if that is what is to be changed.
    pub(super) fn show_ensemble(&mut self, request: &Request, shared: &Shared) {
        if matches!(request, Request::Reconfig(_)) && shared.is_reconfigurable() {
            self.prep.set_ensemble(EnsembleView {
                configs: shared.configs.clone(),
                in_step: self.in_step(shared),
            });
        }
    }

    /// This server, and the followers that are in step with it, with a vote or without.
    pub(super) fn in_step(&self, shared: &Shared) -> BTreeSet<ServerId> {
        let synced = self
            .links
            .values()
            .filter(|link| link.state == LinkState::Synced && link.kind == LearnerKind::Follower)
            .filter_map(|link| link.server);
        synced.chain([shared.me()]).collect()
    }

    /// Whether a learner must know the members in force before it is synchronised: with the history, or
    /// the tree, it gets a change that is not known to be committed, and has to know what that changes.
    /// It hears of them while it looks.
    pub(super) fn needs_current_config(&self, shared: &Shared) -> bool {
        let next = shared.configs.next();
        let is_open = next.is_some_and(|next| !is_boundary(next.version()));
        !self.is_established() && is_open && !mutated!(ChangeWithoutPast)
    }

    /// The configuration that goes with NEWLEADER, and that UPTODATE puts in force: before this server
    /// is established, the youngest, which is committed with the initial history; then the one in force.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `LearnerHandler#run`, always sends the youngest: a learner that comes late
    /// puts it in force before it is committed.
    pub(super) fn announced<'a>(&self, shared: &'a Shared) -> &'a EnsembleConfig {
        if self.is_established() {
            shared.configs.current()
        } else {
            shared.configs.last_seen()
        }
    }

    /// Who is to lead once a configuration is in force that a transaction made: this server if it may,
    /// else the voter that has acknowledged most.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `Leader#getDesignatedLeader`.
    pub(super) fn designate(
        &self,
        zxid: Zxid,
        config: &EnsembleConfig,
        shared: &Shared,
    ) -> ServerId {
        let me = shared.me();
        let before = shared.configs.current();
        if config.is_voter(me) && before.has_same_quorum_address(config, me) {
            return me;
        }
        let candidates = self
            .acks
            .iter()
            .filter(|(id, acked)| **id != me && **acked >= zxid && config.is_voter(**id));
        let best = candidates.max_by_key(|(id, acked)| (**acked, std::cmp::Reverse(**id)));
        best.map_or(me, |(id, _)| *id)
    }

    /// The configuration that a proposal makes, with the leader that follows; as of its commit.
    pub(super) fn activation(
        &self,
        proposal: &Proposal,
        shared: &Shared,
    ) -> Option<(Arc<EnsembleConfig>, ServerId)> {
        if !shared.is_reconfigurable() {
            return None;
        }
        let config = config_of(&proposal.entry).ok().flatten()?;
        let designated = self.designate(proposal.entry.header.zxid, &config, shared);
        Some((config, designated))
    }

    /// Puts a configuration in force. From here on the old one has no say; if this server has none
    /// either, it commits nothing any more.
    pub(super) fn activate(
        &mut self,
        (config, designated): (Arc<EnsembleConfig>, ServerId),
        zxid: Zxid,
        shared: &mut Shared,
        turn: &mut Turn<'_>,
    ) {
        shared.activate(config, turn);
        if designated != shared.me() {
            shared.designated = Some(designated);
            self.retire(zxid, shared, turn);
        }
    }

    /// The change that an earlier leader proposed is committed with this one's history. If there is none
    /// that gives this server its vote, it led only because nobody else could.
    pub(super) fn activate_pending(&mut self, shared: &mut Shared, turn: &mut Turn<'_>) {
        let me = shared.me();
        let before = Arc::clone(shared.configs.current());
        let may_lead = match shared.configs.next().cloned() {
            Some(config) => {
                let may_lead = before.keeps_leader(&config, me);
                shared.activate(config, turn);
                may_lead
            }
            None => before.is_voter(me),
        };
        if !may_lead {
            // Those who follow look for another when they hear of it.
            self.retire(Zxid::ZERO, shared, turn);
        }
    }

    fn retire(&mut self, after: Zxid, shared: &Shared, turn: &Turn<'_>) {
        let until = turn.now.time + shared.options.tick / 2;
        self.retired.get_or_insert(Retired { after, until });
    }

    /// Leaves if nobody is left who follows, or in any case after a while.
    ///
    /// That learners go first makes sure that they have heard what they were told.
    pub(super) fn leave_if_retired(&self, shared: &Shared, now: Time) -> Result<(), Halt> {
        let Some(Retired { after, until }) = self.retired else {
            return Ok(());
        };
        let is_alone = self
            .links
            .values()
            .all(|link| link.state != LinkState::Synced);
        if now >= until || is_alone && shared.local.applied() >= after {
            return Err(LeaveReason::Reconfigured.into());
        }
        Ok(())
    }

    /// When it leaves because it does not lead any more.
    pub(super) fn retires_at(&self) -> Option<Time> {
        self.retired.map(|retired| retired.until)
    }
}
