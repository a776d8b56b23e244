//! L1 while a minority is cut off: voters that are a quorum, and can talk to each other, serve within a
//! bound of time, whatever the others can still say to them, or hear.
//!
//! A leader that is heard in elections, and cannot be reached as leader, must not be elected for ever.
//!
//! # Source
//! Zab, "liveness" needs a quorum that can communicate, and no more; the outage of Cloudflare's etcd
//! (2020-11-02) was a member that could be heard by some and could hear others.

use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "a majority serves (L1)";

/// So long after a minority was cut off, or after the others served last: `missing` says what keeps
/// these from it.
pub fn serves(after_ms: u64, missing: &[String]) -> Verdict {
    hold(LAW, missing.is_empty(), || {
        let missing = missing.join("; ");
        format!("{after_ms} ms after a minority was cut off: {missing}")
    })
}
