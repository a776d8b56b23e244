//! S10, S11, S15: what a member acknowledges is on its disk, and a crash leaves it there.
//!
//! # Source
//! Zab, step "follower acks once durable"; Apache `ZooKeeper`, `SendAckRequestProcessor`,
//! `Learner#syncWithLeader`; ZOOKEEPER-3023, 3911, 4643, 4646, 4785 acknowledged too early.

use zk_proto::{Epoch, Zxid};

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "durable acks (S10, S11, S15)";

/// A voter tells the leader that it has a transaction. `past` is the history up to it, `durable` what
/// is on the voter's disk.
///
/// # Errors
/// If it is not on disk, or nobody proposed it.
pub fn acked(
    pasts: &Pasts,
    member: Member,
    zxid: Zxid,
    past: Option<Past>,
    durable: Past,
) -> Verdict {
    let is_durable = past.is_some_and(|past| pasts.has(durable, past));
    hold(LAW, is_durable, || {
        let durable = pasts.show(durable, 6);
        format!("member {member} acks {zxid} and has {durable} on disk")
    })
}

/// A voter tells the leader that it has all that came before NEWLEADER, which was `promised`.
///
/// # Errors
/// If it has not, or its current epoch is not on disk.
pub fn acked_new_leader(
    pasts: &Pasts,
    member: Member,
    epoch: Epoch,
    promised: Past,
    durable: Past,
    current: Epoch,
) -> Verdict {
    hold(LAW, current == epoch, || {
        format!("member {member} acks epoch {epoch} and has {current} on disk as the current one")
    })?;
    hold(LAW, pasts.has(durable, promised), || {
        format!(
            "member {member} acks epoch {epoch}, was sent {} and has {} on disk",
            pasts.show(promised, 6),
            pasts.show(durable, 6)
        )
    })
}

/// A member starts again, with what is on its disk; `acked` is all that it ever acknowledged and was
/// not told to drop.
///
/// # Errors
/// If something of it is gone.
pub fn restarted(pasts: &Pasts, member: Member, acked: Past, durable: Past) -> Verdict {
    hold(LAW, pasts.has(durable, acked), || {
        format!(
            "member {member} starts with {} and had acked {}",
            pasts.show(durable, 6),
            pasts.show(acked, 6)
        )
    })
}
