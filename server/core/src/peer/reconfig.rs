//! Other members while a server runs: what it has seen proposed, and what is in force.
//!
//! What is proposed is in the log, or in a tree that a leader sent, before anybody hears that this
//! server has it; so it is known again after a crash, whatever files there are besides.
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `QuorumPeer#processReconfig`, `QuorumPeer#setLastSeenQuorumVerifier`.

use std::sync::Arc;

use zk_proto::Zxid;

use crate::ensemble::EnsembleConfig;
use crate::tree::{CONFIG_PATH, Tree};
use crate::wire::quorum::LearnerKind;
use crate::wire::txn::{Op, Txn, TxnEntry};

use super::action::NetAction;
use super::shared::{Shared, Turn};
use super::transition::Transition;

/// A transaction that changes the ensemble, with what cannot be read.
#[derive(Debug)]
pub(crate) struct Unreadable;

/// The configuration that a transaction makes, if it is one that does.
pub(crate) fn config_of(entry: &TxnEntry) -> Result<Option<Arc<EnsembleConfig>>, Unreadable> {
    let Txn::Single(Op::Reconfig(record)) = &entry.txn else {
        return Ok(None);
    };
    let data = record.data.as_deref().unwrap_or_default();
    parse(data).map(Some).ok_or(Unreadable)
}

/// A configuration as members exchange it.
pub(crate) fn parse(text: &[u8]) -> Option<Arc<EnsembleConfig>> {
    let text = std::str::from_utf8(text).ok()?;
    EnsembleConfig::parse(text).ok().map(Arc::new)
}

/// The version of what a tree says of the members; zero if it says nothing.
pub(crate) fn config_in(tree: &Tree) -> Option<Arc<EnsembleConfig>> {
    parse(tree.get(CONFIG_PATH)?.data()?)
}

impl Shared {
    /// Whether members come and go while this server runs.
    pub(crate) fn is_reconfigurable(&self) -> bool {
        self.options.prep.reconfig_enabled && !self.is_alone
    }

    /// A configuration is proposed, or another is not any more.
    pub(crate) fn see(&mut self, config: Arc<EnsembleConfig>, turn: &mut Turn<'_>) {
        if self.is_reconfigurable() && self.configs.see(config) {
            turn.net(NetAction::Configure(self.configs.clone()));
        }
    }

    /// Another server says that a configuration is proposed: its members may have to be dialled.
    pub(crate) fn hear(&mut self, config: Arc<EnsembleConfig>, turn: &mut Turn<'_>) {
        if self.is_reconfigurable() && self.configs.hear(config) {
            turn.net(NetAction::Configure(self.configs.clone()));
        }
    }

    /// What others said is of no interest any more.
    pub(crate) fn forget_heard(&mut self, turn: &mut Turn<'_>) {
        if self.configs.forget_heard() {
            turn.net(NetAction::Configure(self.configs.clone()));
        }
    }

    /// The tree is another one: what it says of the members, its history knows to be proposed, and
    /// nothing else is.
    pub(crate) fn see_tree(&mut self, turn: &mut Turn<'_>) {
        if !self.is_reconfigurable() {
            return;
        }
        let config = config_in(turn.tree);
        self.see(
            config.unwrap_or_else(|| Arc::clone(self.configs.current())),
            turn,
        );
    }

    /// Puts a configuration in force that is committed, unless one as young is. Returns the one before
    /// if the members are others.
    pub(crate) fn activate(
        &mut self,
        config: Arc<EnsembleConfig>,
        turn: &mut Turn<'_>,
    ) -> Option<Arc<EnsembleConfig>> {
        if !self.is_reconfigurable() {
            return None;
        }
        let before = Arc::clone(self.configs.current());
        let version = config.version();
        if !self.configs.activate(config) {
            return None;
        }
        turn.note(Transition::Configured(version));
        turn.net(NetAction::Configure(self.configs.clone()));
        Some(before).filter(|before| !before.has_same_members(self.configs.current()))
    }

    /// The configuration that a leader of this epoch gives the ensemble which has none but that of its
    /// files: so that it is younger than that of servers which are not added yet.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `Leader#lead`; ZOOKEEPER-1783.
    pub(crate) fn see_first(&mut self, start: Zxid, turn: &mut Turn<'_>) {
        let current = self.configs.current();
        if current.version() == Zxid::ZERO && self.configs.next().is_none() {
            let first = Arc::new(current.with_version(start));
            self.see(first, turn);
        }
    }

    /// What this server is as learner: an observer, or a follower, with a vote or without. One that is
    /// about to get a vote follows: that vote may be needed.
    pub(crate) fn learner_kind(&self) -> LearnerKind {
        if self.configs.observes(self.me()) {
            LearnerKind::Observer
        } else {
            LearnerKind::Follower
        }
    }
}
