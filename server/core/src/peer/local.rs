//! What is in the log and in the tree of this server, as they report it.

use std::collections::VecDeque;
use std::sync::Arc;

use zk_proto::{Epoch, Zxid};

use crate::zab::history::History;

use super::Fatal;
use super::action::{Actions, ApplyAction, Asker, LogAction, Proposal};
use super::event::EpochKind;
use super::ids::SnapshotId;

/// Log, epochs and tree: what they were given, and what they have done.
///
/// It outlives roles: whatever a role gave to a lane is accounted for here, so that the next one
/// begins only when log and tree agree.
///
/// # Invariants
/// - `durable ≤ logged`, `applied ≤ handed ≤ logged`; the last as long as no tree is being replaced.
/// - `unhanded` is what is behind `handed` up to `logged`.
#[derive(Debug)]
pub(crate) struct Local {
    /// Last transaction given to the log.
    logged: Zxid,
    /// Last transaction that is durable.
    durable: Zxid,
    /// Last transaction given to the tree.
    handed: Zxid,
    /// Last transaction that the tree has.
    applied: Zxid,
    /// In the log, or on the way there, and not given to the tree.
    unhanded: VecDeque<Proposal>,
    accepted: Epoch,
    current: Epoch,
    /// Epochs on their way to disk.
    saving: VecDeque<(EpochKind, Epoch)>,
    replacing: Option<Replacing>,
    history: History,
}

/// A tree on its way into the place of the tree. Nothing else is given to log or tree meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replacing {
    /// The log is cut behind this, and the tree loaded again.
    Truncating(Zxid),
    /// The tree that a leader sent takes the place of the tree.
    Installing(SnapshotId),
    /// That tree goes to disk.
    Saving(Zxid),
}

impl Local {
    /// Behind what was recovered, which is on disk and in the tree.
    pub(crate) fn new(last: Zxid, accepted: Epoch, current: Epoch, history: History) -> Self {
        Self {
            logged: last,
            durable: last,
            handed: last,
            applied: last,
            unhanded: VecDeque::new(),
            accepted,
            current,
            saving: VecDeque::new(),
            replacing: None,
            history,
        }
    }

    pub(crate) fn logged(&self) -> Zxid {
        self.logged
    }

    pub(crate) fn durable(&self) -> Zxid {
        self.durable
    }

    pub(crate) fn handed(&self) -> Zxid {
        self.handed
    }

    pub(crate) fn applied(&self) -> Zxid {
        self.applied
    }

    /// The last epoch promised, on disk.
    pub(crate) fn accepted(&self) -> Epoch {
        self.accepted
    }

    /// The last epoch whose initial history is here, on disk.
    pub(crate) fn current(&self) -> Epoch {
        self.current
    }

    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// What is logged and not given to the tree, in order.
    pub(crate) fn unhanded(&self) -> &VecDeque<Proposal> {
        &self.unhanded
    }

    /// Whether the tree is being replaced.
    pub(crate) fn is_replacing(&self) -> bool {
        self.replacing.is_some()
    }

    /// Whether all that was given to the log is durable.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable == self.logged && self.saving.is_empty() && !self.is_replacing()
    }

    /// Whether log and tree have done all that they were given, and agree.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_durable() && self.unhanded.is_empty() && self.applied == self.handed
    }

    /// Gives a transaction to the log.
    ///
    /// # Panics
    /// If it is not behind the last one, or the tree is being replaced.
    pub(crate) fn append(&mut self, proposal: Proposal, out: &mut Actions) {
        let zxid = proposal.entry.header.zxid;
        assert!(zxid > self.logged, "the log is in order");
        assert!(!self.is_replacing(), "the log may be cut");
        self.logged = zxid;
        out.log.push(LogAction::Append {
            zxid,
            bytes: proposal.bytes.clone(),
        });
        self.unhanded.push_back(proposal);
    }

    /// Gives the next transaction to the tree, with those who wait for it. Returns it.
    pub(crate) fn hand(
        &mut self,
        asker: impl FnOnce(&mut Proposal) -> Asker,
        out: &mut Actions,
    ) -> Option<Arc<Proposal>> {
        let mut proposal = self.unhanded.pop_front()?;
        proposal.asker = asker(&mut proposal);
        self.handed = proposal.entry.header.zxid;
        self.history.push(self.handed, proposal.bytes.clone());
        let proposal = Arc::new(proposal);
        out.apply.push(ApplyAction::Apply(Arc::clone(&proposal)));
        Some(proposal)
    }

    /// Gives all that is logged to the tree: what follows on a role begins with it.
    pub(crate) fn hand_all(&mut self, out: &mut Actions) {
        while self.hand(|_| Asker::Server, out).is_some() {}
    }

    /// Promises an epoch.
    pub(crate) fn save_accepted(&mut self, epoch: Epoch, out: &mut Actions) {
        self.saving.push_back((EpochKind::Accepted, epoch));
        out.log.push(LogAction::SaveAcceptedEpoch(epoch));
    }

    /// Has the initial history of an epoch.
    pub(crate) fn save_current(&mut self, epoch: Epoch, out: &mut Actions) {
        self.saving.push_back((EpochKind::Current, epoch));
        out.log.push(LogAction::SaveCurrentEpoch(epoch));
    }

    /// Cuts the log behind a transaction, and loads the tree again.
    ///
    /// # Panics
    /// If log and tree do not agree.
    pub(crate) fn truncate(&mut self, target: Zxid, out: &mut Actions) {
        assert!(self.is_settled(), "nothing may overtake the cut");
        self.replacing = Some(Replacing::Truncating(target));
        out.log.push(LogAction::Truncate(target));
    }

    /// Puts a tree that a leader sent in the place of the tree, and then on disk.
    ///
    /// # Panics
    /// If log and tree do not agree.
    pub(crate) fn install(&mut self, snapshot: SnapshotId, out: &mut Actions) {
        assert!(self.is_settled(), "nothing may overtake the new tree");
        self.replacing = Some(Replacing::Installing(snapshot));
        out.apply.push(ApplyAction::Install { snapshot });
    }

    /// # Errors
    /// [`Fatal::Durable`] if the log reports what it was not given, or takes something back.
    pub(crate) fn set_durable(&mut self, reported: Zxid) -> Result<(), Fatal> {
        if self.is_replacing() {
            // Of before: all of it was reported already.
            return Ok(());
        }
        let (durable, proposed) = (self.durable, self.logged);
        if reported < durable || reported > proposed {
            return Err(Fatal::Durable {
                reported,
                durable,
                proposed,
            });
        }
        self.durable = reported;
        Ok(())
    }

    /// # Errors
    /// [`Fatal::Applied`] if the tree reports what it was not given, or takes something back.
    pub(crate) fn set_applied(&mut self, reported: Zxid) -> Result<(), Fatal> {
        if self.is_replacing() {
            // The other report will tell.
            return Ok(());
        }
        let (applied, committed) = (self.applied, self.handed);
        if reported < applied || reported > committed {
            return Err(Fatal::Applied {
                reported,
                applied,
                committed,
            });
        }
        self.applied = reported;
        Ok(())
    }

    /// # Errors
    /// [`Fatal::Report`] if this was not asked for.
    pub(crate) fn set_saved(&mut self, kind: EpochKind, epoch: Epoch) -> Result<(), Fatal> {
        if self.saving.pop_front() != Some((kind, epoch)) {
            return Err(Fatal::Report("an epoch as saved that was not asked for"));
        }
        match kind {
            EpochKind::Accepted => self.accepted = epoch,
            EpochKind::Current => self.current = epoch,
        }
        Ok(())
    }

    /// # Errors
    /// [`Fatal::Report`] if this was not asked for.
    pub(crate) fn set_truncated(&mut self, applied: Zxid) -> Result<(), Fatal> {
        if !matches!(self.replacing, Some(Replacing::Truncating(_))) {
            return Err(Fatal::Report("the log as cut, which nobody asked for"));
        }
        self.replacing = None;
        self.logged = applied;
        self.durable = applied;
        self.set_tree(applied);
        Ok(())
    }

    /// The tree goes on to disk: until then the log is that of another history.
    ///
    /// # Errors
    /// [`Fatal::Report`] if this was not asked for.
    pub(crate) fn set_installed(
        &mut self,
        snapshot: SnapshotId,
        zxid: Zxid,
        out: &mut Actions,
    ) -> Result<(), Fatal> {
        if self.replacing != Some(Replacing::Installing(snapshot)) {
            return Err(Fatal::Report("a tree as installed that was not asked for"));
        }
        self.set_tree(zxid);
        self.replacing = Some(Replacing::Saving(zxid));
        out.apply.push(ApplyAction::SaveSnapshot);
        Ok(())
    }

    /// # Errors
    /// [`Fatal::Report`] if this was not asked for.
    pub(crate) fn set_snapshot_saved(&mut self, zxid: Zxid) -> Result<(), Fatal> {
        if self.replacing != Some(Replacing::Saving(zxid)) {
            return Err(Fatal::Report("a snapshot as saved that was not asked for"));
        }
        self.replacing = None;
        self.logged = zxid;
        self.durable = zxid;
        Ok(())
    }

    fn set_tree(&mut self, zxid: Zxid) {
        self.handed = zxid;
        self.applied = zxid;
        self.history.reset(zxid);
    }
}
