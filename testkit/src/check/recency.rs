//! S14: a leader that sends NEWLEADER has heard from a quorum, and knows as much as each of it.
//!
//! # Source
//! Zab, phase 1; Apache `ZooKeeper`, `Leader#waitForEpochAck`, `StateSummary`. ZOOKEEPER-2959 counted
//! observers.

use std::collections::BTreeMap;

use zk_proto::{Epoch, Zxid};

use super::{Member, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "leader recency (S14)";

/// How much a member knows: its current epoch and last transaction.
pub type Summary = (Epoch, Zxid);

/// What leaders were told.
#[derive(Debug, Default)]
pub struct Recency {
    /// By leader and epoch.
    told: BTreeMap<(Member, Epoch), BTreeMap<Member, Summary>>,
}

impl Recency {
    /// A voter's answer to a leader's epoch arrives; one that promised the epoch before does not
    /// count and is not told here.
    pub fn told(&mut self, leader: Member, epoch: Epoch, voter: Member, summary: Summary) {
        let told = self.told.entry((leader, epoch)).or_default();
        told.insert(voter, summary);
    }

    /// A leader sends NEWLEADER; `own` is what it knew when it began.
    pub fn announced(
        &self,
        leader: Member,
        epoch: Epoch,
        own: Summary,
        is_quorum: impl FnOnce(&dyn Fn(Member) -> bool) -> bool,
    ) -> Verdict {
        let told = self.told.get(&(leader, epoch));
        let summary = |voter| told.and_then(|told| told.get(&voter)).copied();
        let counts = |voter| voter == leader || summary(voter).is_some_and(|theirs| theirs <= own);
        hold(LAW, is_quorum(&counts), || {
            format!("member {leader} leads epoch {epoch} with {own:?}, and was told {told:?}")
        })
    }
}
