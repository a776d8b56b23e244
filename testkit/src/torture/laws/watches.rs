//! A watch that fires once has fired before its client is shown what changed; and when it fires, there
//! was a change.
//!
//! # Source
//! Apache `ZooKeeper`, "Watches": ordering guarantees.

use super::object;
use crate::check::Violation;
use crate::torture::history::{Look, Slice, Watched};

/// Name of the law.
pub const LAW: &str = "watches";

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) {
    for look in &slice.looks {
        let has_changed = has_changed(look);
        if has_changed && !look.has_fired {
            object(found, LAW, format!("shown before its event: {look:?}"));
        }
        // Children that came and went are an event that leaves nothing to see.
        let is_data = matches!(look.before, Watched::Data(_, Some(_)));
        if look.has_fired && look.is_synced && is_data && !has_changed {
            object(found, LAW, format!("an event without a change: {look:?}"));
        }
    }
}

fn has_changed(look: &Look) -> bool {
    look.before != look.now
}
