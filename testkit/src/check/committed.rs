//! S3, S5, S8, S9: there is one committed history. It only grows, by what is on the disks of a
//! quorum; whoever serves clients has a part of it, and whoever leads begins with all of it.
//!
//! # Source
//! Zab: agreement, leader's initial history, primary integrity. Apache `ZooKeeper`,
//! `Leader#tryToCommit`; ZOOKEEPER-2845, 3642, 3911, 4643, 4646, 4785 are ways to break it.

use zk_proto::{Epoch, Zxid};

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "committed history (S3, S5, S8, S9)";

/// A member serves clients with a tree of this history; `promised` is what it was synchronised with.
///
/// # Errors
/// If it has not applied all of that.
pub fn serves(pasts: &Pasts, member: Member, promised: Past, tree: Past) -> Verdict {
    hold(LAW, pasts.has(tree, promised), || {
        format!(
            "member {member} serves {}, and was synchronised with {}",
            pasts.show(tree, 6),
            pasts.show(promised, 6)
        )
    })
}

/// What was committed.
#[derive(Debug)]
pub struct Committed {
    past: Past,
}

impl Default for Committed {
    fn default() -> Self {
        Self { past: Past::EMPTY }
    }
}

impl Committed {
    /// Everything that was committed so far.
    pub fn past(&self) -> Past {
        self.past
    }

    /// Somebody takes a history for committed: a leader that says so to others, a member that serves
    /// clients with it. `is_durable` tells whether a quorum has a history on disk.
    pub fn taken(
        &mut self,
        pasts: &Pasts,
        member: Member,
        past: Past,
        is_durable: impl FnOnce(Past) -> bool,
    ) -> Verdict {
        if pasts.has(self.past, past) {
            return Ok(());
        }
        hold(LAW, pasts.has(past, self.past), || {
            format!(
                "member {member} takes {} for committed, which was {}; common is {}",
                pasts.show(past, 6),
                pasts.show(self.past, 6),
                pasts.show(pasts.common(past, self.past), 2)
            )
        })?;
        hold(LAW, is_durable(past), || {
            format!(
                "member {member} takes {} for committed, which no quorum has on disk",
                pasts.show(past, 6)
            )
        })?;
        self.past = past;
        Ok(())
    }

    /// A leader is established with a history: it has everything that was committed in the epochs
    /// before its own. One that slept may be established when others lead already.
    pub fn established(
        &self,
        pasts: &Pasts,
        member: Member,
        epoch: Epoch,
        history: Past,
    ) -> Verdict {
        let before = pasts.up_to(self.past, Zxid::from_parts(epoch, 0));
        hold(LAW, pasts.has(history, before), || {
            format!(
                "member {member} leads with {}, and committed was {}",
                pasts.show(history, 6),
                pasts.show(self.past, 6)
            )
        })
    }

    /// A leader proposes its first transaction; its tree has this history then.
    pub fn first_proposal(
        &self,
        pasts: &Pasts,
        member: Member,
        zxid: Zxid,
        history: Past,
        tree: Past,
    ) -> Verdict {
        hold(LAW, tree == history, || {
            format!(
                "member {member} proposes {zxid} behind {}, and has applied {}",
                pasts.show(history, 6),
                pasts.show(tree, 6)
            )
        })
    }
}
