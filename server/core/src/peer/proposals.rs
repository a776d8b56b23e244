//! Proposals between the log and the tree.

use std::collections::VecDeque;
use std::sync::Arc;

use zk_proto::Zxid;

use super::Fatal;
use super::action::{Actions, ApplyAction, Barrier, Proposal};

/// Transactions that are proposed and not committed, and the syncs that wait for them.
///
/// The quorum is this server alone: a proposal is committed when it is durable here.
///
/// # Invariants
/// - Zxids in `waiting` ascend, and all are above `committed`.
/// - `committed ≤ durable ≤ proposed`.
/// - The first in `waiting` is no barrier: one with nothing before it waits for nothing.
#[derive(Debug)]
pub(super) struct Proposals {
    waiting: VecDeque<Waiting>,
    proposed: Zxid,
    durable: Zxid,
    committed: Zxid,
}

#[derive(Debug)]
enum Waiting {
    Proposal(Arc<Proposal>),
    Barrier(Barrier),
}

impl Proposals {
    /// Behind a history that is applied, and so durable and committed.
    pub(super) fn new(last: Zxid) -> Self {
        Self {
            waiting: VecDeque::new(),
            proposed: last,
            durable: last,
            committed: last,
        }
    }

    pub(super) fn durable(&self) -> Zxid {
        self.durable
    }

    pub(super) fn committed(&self) -> Zxid {
        self.committed
    }

    /// Number of proposals and syncs that wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes a proposal that is on its way to the log.
    ///
    /// # Panics
    /// If it is not the next one.
    pub(super) fn push(&mut self, proposal: Arc<Proposal>) {
        let zxid = proposal.entry.header.zxid;
        assert!(zxid > self.proposed, "proposals are numbered in order");
        self.proposed = zxid;
        self.waiting.push_back(Waiting::Proposal(proposal));
    }

    /// Takes a sync: it is done when all proposals before it are handed to the tree.
    pub(super) fn push_barrier(&mut self, barrier: Barrier, out: &mut Actions) {
        if self.waiting.is_empty() {
            out.apply.push(ApplyAction::Barrier(barrier));
        } else {
            self.waiting.push_back(Waiting::Barrier(barrier));
        }
    }

    /// Takes the log's report, and hands what is committed by it to the tree.
    ///
    /// # Errors
    /// [`Fatal::Durable`] if it reports what it was not given, or takes something back.
    pub(super) fn set_durable(&mut self, reported: Zxid, out: &mut Actions) -> Result<(), Fatal> {
        let (durable, proposed) = (self.durable, self.proposed);
        if reported < durable || reported > proposed {
            return Err(Fatal::Durable {
                reported,
                durable,
                proposed,
            });
        }
        self.durable = reported;
        let is_done = |waiting: &mut Waiting| match waiting {
            Waiting::Proposal(proposal) => proposal.entry.header.zxid <= reported,
            Waiting::Barrier(_) => true,
        };
        while let Some(done) = self.waiting.pop_front_if(is_done) {
            out.apply.push(match done {
                Waiting::Proposal(proposal) => {
                    self.committed = proposal.entry.header.zxid;
                    ApplyAction::Apply(proposal)
                }
                Waiting::Barrier(barrier) => ApplyAction::Barrier(barrier),
            });
        }
        Ok(())
    }
}
