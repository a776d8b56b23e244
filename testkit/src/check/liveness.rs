//! L1: once a quorum is connected and nothing more goes wrong, there is a leader, every member
//! follows it, new writes are done, sessions without clients end, and all members have the same tree.
//!
//! # Source
//! Zab, "liveness"; ZOOKEEPER-2164, 2930, 3769 and a well-known outage of an etcd (2020-11-02) are
//! elections that never ended.

use zk_proto::SessionId;

use super::model::Model;
use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "liveness (L1)";

/// After the time that it may take, something is not as it should be: `missing` says what.
///
/// # Errors
/// If anything is missing.
pub fn well(after_ms: u64, missing: &[String]) -> Verdict {
    hold(LAW, missing.is_empty(), || {
        format!("{after_ms} ms after all was healed: {}", missing.join("; "))
    })
}

/// Clients that could reach their servers all the time had these sessions before, and have those after.
///
/// # Errors
/// If one has been lost, or ended.
pub fn sessions_last(
    before: &[Option<SessionId>],
    after: &[Option<SessionId>],
    model: &Model,
) -> Verdict {
    let is_alive = |session: &Option<SessionId>| session.is_none_or(|it| model.is_alive(it));
    hold(LAW, before == after && after.iter().all(is_alive), || {
        format!("sessions {before:?} of clients that were there became {after:?}, or ended")
    })
}
