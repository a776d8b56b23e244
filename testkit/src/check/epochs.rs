//! S12, S13: the epochs on a disk never go back, the accepted one is never below the current one, and
//! nobody hears of an epoch that is not on disk.
//!
//! # Source
//! Zab, phase 1: "a follower never accepts an epoch below its last promise". Apache `ZooKeeper`,
//! `Learner#registerWithLeader`; ZOOKEEPER-1653, 2307, 2354, 4269.

use zk_proto::{Epoch, Zxid};

use super::{Member, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "epochs (S12, S13)";

/// The epochs on the disk of a member.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stored {
    /// The last that it promised.
    pub accepted: Epoch,
    /// The last that it was synchronised in.
    pub current: Epoch,
}

/// The epochs on a disk change.
///
/// # Errors
/// If one goes back, or the accepted one is below the current one.
pub fn saved(member: Member, old: Stored, new: Stored) -> Verdict {
    let holds =
        new.accepted >= old.accepted && new.current >= old.current && new.accepted >= new.current;
    hold(LAW, holds, || {
        format!("member {member} replaces {old:?} by {new:?} on disk")
    })
}

/// A member answers the epoch that a leader announced.
///
/// # Errors
/// If the epoch is not what it has on disk as accepted.
pub fn promised(member: Member, epoch: Epoch, stored: Stored) -> Verdict {
    hold(LAW, stored.accepted == epoch, || {
        format!("member {member} promises epoch {epoch} and has {stored:?} on disk")
    })
}

/// A leader announces an epoch.
///
/// # Errors
/// If it is not on its own disk as accepted.
pub fn announced(member: Member, epoch: Epoch, stored: Stored) -> Verdict {
    hold(LAW, stored.accepted >= epoch, || {
        format!("member {member} announces epoch {epoch} and has {stored:?} on disk")
    })
}

/// A member looks for a leader, follows or leads: its current epoch cannot be below the one of its last
/// transaction. It would say that it knows less than it does, and Apache's servers do not start on such a
/// disk (`QuorumPeer#loadDataBase`).
///
/// # Errors
/// If it is.
pub fn settled(member: Member, stored: Stored, last: Zxid) -> Verdict {
    hold(LAW, stored.current >= last.epoch(), || {
        format!("member {member} is settled with {last} in its log and {stored:?} on disk")
    })
}
