//! Names of sequential znodes below one parent are unique and increase with the transactions that
//! created them; a creation that begins after another was acknowledged has a higher number. No creation
//! is done twice, and none that was acknowledged is lost.
//!
//! # Source
//! Apache `ZooKeeper`, "Sequence nodes -- unique naming".

use std::collections::{BTreeMap, BTreeSet};

use super::object;
use crate::check::Violation;
use crate::torture::history::{NEVER, Numbered, NumberedOutcome, Slice, Tick, Write};

/// Name of the law.
pub const LAW: &str = "sequence";

/// The folder of sequential znodes below the one of a slice, and how their names begin.
pub const FOLDER: &str = "q";
/// How the names begin.
pub const PREFIX: &str = "s-";

/// The write that a creation is.
pub(super) fn write(numbered: &Numbered) -> Option<Write> {
    let NumberedOutcome::Created { zxid, .. } = numbered.outcome else {
        return None;
    };
    let Numbered { begin, end, .. } = *numbered;
    Some(Write {
        session: 0,
        begin,
        end,
        zxid,
    })
}

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) {
    let created = slice.numbered.iter().filter_map(|numbered| {
        let NumberedOutcome::Created { number, zxid } = numbered.outcome else {
            return None;
        };
        Some((number, zxid, numbered))
    });
    let mut by_number: BTreeMap<i32, (i64, &Numbered)> = BTreeMap::new();
    for (number, zxid, numbered) in created {
        if let Some((_, other)) = by_number.insert(number, (zxid, numbered)) {
            object(found, LAW, format!("{numbered:?} and {other:?}"));
        }
    }
    let mut before = 0;
    for (zxid, numbered) in by_number.values() {
        if *zxid <= before {
            object(found, LAW, format!("{numbered:?} comes after {before:x}"));
        }
        before = *zxid;
    }
    real_time(&by_number, found);
    for (member, tree) in &slice.quiet.trees {
        let prefix = format!("{}/{FOLDER}/{PREFIX}", slice.root);
        let there = tree.range(prefix.clone()..);
        let there = there.take_while(|(path, _)| path.starts_with(&prefix));
        let mut numbers: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for (path, (data, _)) in there {
            let number = path.get(prefix.len()..).and_then(|rest| rest.parse().ok());
            let value = std::str::from_utf8(data).ok();
            let value = value.and_then(|text| text.parse().ok());
            let (Some(number), Some(value)) = (number, value) else {
                object(found, LAW, format!("{path} holds {data:?}"));
                continue;
            };
            numbers.entry(value).or_default().push(number);
        }
        let mut asked = BTreeSet::new();
        for numbered in &slice.numbered {
            asked.insert(numbered.value);
            let there = numbers.get(&numbered.value).map_or(&[][..], Vec::as_slice);
            let is_right = match numbered.outcome {
                NumberedOutcome::Created { number, .. } => there == [number],
                NumberedOutcome::Unknown => there.len() <= 1,
                NumberedOutcome::Failed => there.is_empty(),
            };
            if !is_right {
                let what = format!("member {member} has {there:?} of {numbered:?}");
                object(found, LAW, what);
            }
        }
        for value in numbers.keys().filter(|value| !asked.contains(value)) {
            object(found, LAW, format!("nobody created {value} of {member}"));
        }
    }
}

/// What begins after an acknowledgement gets a higher number than what was acknowledged.
fn real_time(by_number: &BTreeMap<i32, (i64, &Numbered)>, found: &mut Vec<Violation>) {
    // From the highest number down: whatever has a lower number may not begin after the earliest end.
    let mut earliest: (Tick, Option<&Numbered>) = (NEVER, None);
    for (_, numbered) in by_number.values().rev() {
        if numbered.begin > earliest.0 {
            let other = earliest.1;
            object(found, LAW, format!("{numbered:?} begins after {other:?}"));
        }
        if numbered.end < earliest.0 {
            earliest = (numbered.end, Some(numbered));
        }
    }
}
