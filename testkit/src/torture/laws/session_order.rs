//! Within a session, writes have ascending transactions, and a read sees all that the session was
//! shown before: its own writes, and every transaction up to the latest that it knows of.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees": sequential consistency, single system image.

use std::collections::BTreeMap;

use super::object;
use super::registers::Known;
use crate::check::Violation;
use crate::torture::history::{Answer, Operation, Session, Slice};

/// Name of the law.
pub const LAW: &str = "session order";

/// Judges a slice.
pub fn judge(slice: &Slice, known: &Known, found: &mut Vec<Violation>) {
    let mut by_session: BTreeMap<Session, Vec<&Operation>> = BTreeMap::new();
    for operation in &slice.operations {
        let operations = by_session.entry(operation.session).or_default();
        operations.push(operation);
    }
    for (session, mut operations) in by_session {
        operations.sort_by_key(|operation| operation.order);
        let start = slice.floors.get(&session).copied().unwrap_or(0);
        let mut written = start;
        let mut shown = start;
        for operation in operations {
            let path = slice.path_of(operation.key);
            match operation.answer {
                Answer::Wrote(seen) => {
                    if seen.zxid <= written {
                        let what = format!("{session:x} wrote {written:x} before {operation:?}");
                        object(found, LAW, what);
                    }
                    written = written.max(seen.zxid);
                    shown = shown.max(seen.zxid);
                }
                Answer::Saw(seen) => {
                    let register = known.registers.get(&operation.key);
                    let states = register.map(|register| &register.states);
                    let after = seen.map_or(0, |seen| seen.zxid);
                    // Without a state to go by, a znode may have been deleted meanwhile.
                    let has_deletes = register.is_some_and(|register| register.has_deletes);
                    let missed = states
                        .filter(|_| seen.is_some() || !has_deletes)
                        .filter(|_| after < shown)
                        .and_then(|states| states.range(after + 1..=shown).next_back());
                    if let Some((_, missed)) = missed {
                        let what = format!(
                            "{path}: {session:x} was shown {shown:x}, and then {operation:?} \
                             instead of {missed:?}"
                        );
                        object(found, LAW, what);
                    }
                    shown = shown.max(after);
                }
                Answer::Deleted | Answer::Rejected | Answer::NotSent | Answer::Unknown => {}
            }
        }
    }
}

/// The highest transaction that each session was shown.
pub fn floors(slice: &Slice) -> BTreeMap<Session, i64> {
    let mut floors = slice.floors.clone();
    for operation in &slice.operations {
        if let Answer::Wrote(seen) | Answer::Saw(Some(seen)) = operation.answer {
            let floor = floors.entry(operation.session).or_default();
            *floor = seen.zxid.max(*floor);
        }
    }
    floors
}
