//! S16: TRUNC and SNAP take nothing off a disk that is committed, and leave nothing behind of what
//! they were to take.
//!
//! # Source
//! Apache `ZooKeeper`, `Learner#syncWithLeader`; it reloads snapshots above the target and keeps a
//! transaction too many (still in 3.9), ZOOKEEPER-1154, 1489, 2872, 3642.

use zk_proto::Zxid;

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "truncation (S16)";

/// What is on a disk was replaced. A leader may tell a learner to drop a proposal, send it again, and
/// commit it meanwhile: then a quorum must have it without the learner, as `is_durable` tells.
///
/// # Errors
/// If something committed is gone, and is not on the disks of a quorum any more.
pub fn replaced(
    pasts: &Pasts,
    member: Member,
    old: Past,
    new: Past,
    committed: Past,
    is_durable: impl FnOnce(Past) -> bool,
) -> Verdict {
    let common = pasts.common(old, committed);
    hold(LAW, pasts.has(new, common) || is_durable(common), || {
        format!(
            "member {member} had {} of what is committed on disk, and has {} now",
            pasts.show(common, 6),
            pasts.show(new, 6)
        )
    })
}

/// A log was cut behind `target`; the disk and the tree have these histories now.
///
/// # Errors
/// If one of them has something above the target, or they differ.
pub fn truncated(
    pasts: &Pasts,
    member: Member,
    target: Zxid,
    durable: Past,
    tree: Past,
) -> Verdict {
    hold(
        LAW,
        pasts.last(durable) <= target && tree == durable,
        || {
            format!(
                "member {member} truncated to {target} and has {} on disk, {} in its tree",
                pasts.show(durable, 6),
                pasts.show(tree, 6)
            )
        },
    )
}
