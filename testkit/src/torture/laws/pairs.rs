//! Two znodes that are only ever written in one transaction are seen to hold the same, by the same
//! transaction.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees": atomicity, of `multi`.

use super::object;
use crate::check::Violation;
use crate::torture::history::Slice;

/// Name of the law.
pub const LAW: &str = "pairs";

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) {
    for pair in &slice.pairs {
        if pair.first != pair.second {
            object(found, LAW, format!("{pair:?}"));
        }
    }
}
