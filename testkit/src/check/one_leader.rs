//! S1: at most one server is ever the established leader of an epoch.
//!
//! # Source
//! Zab, lemma 2 ("a unique primary per epoch"); Apache `ZooKeeper`, `Leader#waitForEpochAck`.

use std::collections::BTreeMap;

use zk_proto::Epoch;

use super::{Member, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "one leader per epoch (S1)";

/// Who was established when.
#[derive(Debug, Default)]
pub struct OneLeader {
    leaders: BTreeMap<Epoch, (Member, u32)>,
}

impl OneLeader {
    /// A member, in one of its lives, has the acks that establish it as leader of an epoch.
    pub fn established(&mut self, member: Member, life: u32, epoch: Epoch) -> Verdict {
        let first = *self.leaders.entry(epoch).or_insert((member, life));
        hold(LAW, first == (member, life), || {
            format!(
                "member {member} (life {life}) leads epoch {epoch}, which member {} (life {}) led",
                first.0, first.1
            )
        })
    }

    /// Number of epochs that had a leader.
    pub fn epochs(&self) -> usize {
        self.leaders.len()
    }
}
