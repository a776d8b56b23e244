//! S17, S18: equal histories make equal trees and sessions, whether they were applied as they came,
//! replayed from a log, or loaded from a snapshot; and the digest in a transaction is that of the
//! tree behind it.
//!
//! # Source
//! Apache `ZooKeeper`, `DataTree#compareDigest`; ZOOKEEPER-3125, 3144, 3145, 3249 made replicas
//! differ.

use zk_core::tree::{DigestCheck, Tree};

use super::{Member, Past, Pasts, Verdict, hold};

/// Name of the law.
pub const LAW: &str = "equal replicas (S17, S18)";

/// A member's tree has this history. `sessions` stands for the sessions of the tree.
///
/// # Errors
/// If another tree with this history was different.
pub fn has(pasts: &mut Pasts, member: Member, past: Past, tree: &Tree, sessions: u64) -> Verdict {
    let ours = tree.digest().unwrap_or(0).wrapping_add(sessions);
    let known = pasts.check_digest(past, ours);
    hold(LAW, known.is_ok(), || {
        format!(
            "member {member} has digest {ours:#x} after {}, another had {:#x}",
            pasts.show(past, 6),
            known.err().unwrap_or(0)
        )
    })
}

/// A transaction was applied, and the tree compared with the digest in it.
///
/// # Errors
/// If they differ.
pub fn checked(pasts: &Pasts, member: Member, past: Past, check: DigestCheck) -> Verdict {
    hold(LAW, !matches!(check, DigestCheck::Different(..)), || {
        format!("member {member} after {}: {check:?}", pasts.show(past, 6))
    })
}

/// Stands for the sessions of a tree.
pub fn sessions(tree: &Tree) -> u64 {
    let each = tree.sessions().map(|(session, timeout_ms)| {
        let timeout = u64::from(timeout_ms.cast_unsigned());
        (session.get().cast_unsigned() ^ timeout.rotate_left(40))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
    });
    each.fold(0, u64::wrapping_add)
}
