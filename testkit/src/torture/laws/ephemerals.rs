//! An ephemeral znode is there as long as its session: no listing behind a sync lacks one whose session
//! writes afterwards, and when all is quiet none is left of a session that is over.
//!
//! # Source
//! Apache `ZooKeeper`, "Ephemeral nodes"; ZOOKEEPER-1367, 2355, 3144, 3471, 4837 left some behind.

use std::collections::BTreeMap;

use super::object;
use crate::check::Violation;
use crate::torture::history::{Session, Slice, Tick};

/// Name of the law.
pub const LAW: &str = "ephemerals";

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) {
    // When the last write began that a session was told of.
    let mut active: BTreeMap<Session, Tick> = BTreeMap::new();
    for write in slice.acknowledged() {
        let last = active.entry(write.session).or_default();
        *last = write.begin.max(*last);
    }
    for listing in &slice.listings {
        for ephemeral in &slice.ephemerals {
            let only = listing.only.as_ref();
            let is_meant = only.is_none_or(|only| *only == ephemeral.name);
            let was_there =
                is_meant && ephemeral.end < listing.begin && ephemeral.released > listing.end;
            let last = active.get(&ephemeral.session).copied().unwrap_or(0);
            if was_there && last > listing.end && !listing.names.contains(&ephemeral.name) {
                let what = format!(
                    "{ephemeral:?} was not there from {} to {}, and its session wrote at {last}",
                    listing.begin, listing.end
                );
                object(found, LAW, what);
            }
        }
    }
    for (member, tree) in &slice.quiet.trees {
        for (path, (_, stat)) in tree {
            let owner = stat.ephemeral_owner.get();
            if owner != 0 && !slice.quiet.alive.contains(&owner) {
                let what = format!("{path} of {owner:x} is left at member {member}");
                object(found, LAW, what);
            }
        }
    }
}
