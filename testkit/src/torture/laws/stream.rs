//! A recursive watch tells every change outside its gaps, in the order of transactions, each once.
//!
//! # Source
//! Apache `ZooKeeper`, "Persistent, recursive watches"; the contract of `zk_client::WatchItem`.

use std::collections::BTreeMap;

use super::object;
use super::registers::Known;
use crate::check::Violation;
use crate::torture::history::{Answer, Item, Slice, Stream, Tick};

/// Name of the law.
pub const LAW: &str = "stream";

/// Judges a slice; returns how many changes were told that had to be.
pub fn judge(slice: &Slice, known: &Known, found: &mut Vec<Violation>) -> usize {
    // Acknowledged writes of registers: transaction, path, when.
    let mut writes: Vec<(i64, String, Tick, Tick)> = Vec::new();
    for operation in &slice.operations {
        if let Answer::Wrote(seen) = operation.answer {
            let path = slice.path_of(operation.key);
            writes.push((seen.zxid, path, operation.begin, operation.end));
        }
    }
    let mut told = 0;
    for stream in &slice.streams {
        let events = events(slice, stream, found);
        strangers(slice, known, &events, found);
        let covered = covered(stream);
        for (zxid, path, begin, end) in &writes {
            let is_covered = covered.iter().any(|part| part.has(*zxid));
            let is_within = *begin > stream.begin && *end < stream.end;
            if !is_covered || !is_within {
                continue;
            }
            if events.contains_key(&(*zxid, path.clone())) {
                told += 1;
            } else {
                let what = format!("{zxid:x} changed {path}, and the watch does not tell");
                object(found, LAW, what);
            }
        }
    }
    told
}

/// The events, by transaction and path.
fn events(
    slice: &Slice,
    stream: &Stream,
    found: &mut Vec<Violation>,
) -> BTreeMap<(i64, String), usize> {
    let mut events = BTreeMap::new();
    let mut before = 0;
    for item in &stream.items {
        let Item::Event { path, zxid } = item else {
            continue;
        };
        if *zxid == 0 {
            continue;
        }
        if *zxid < before {
            let what = format!(
                "{} {path} is told after {before:x}",
                format_args!("{zxid:x}")
            );
            object(found, LAW, what);
        }
        before = before.max(*zxid);
        let count = events.entry((*zxid, path.clone())).or_insert(0);
        *count += 1;
        if *count > 1 {
            let what = format!("{zxid:x} {path} is told twice below {}", slice.root);
            object(found, LAW, what);
        }
    }
    events
}

/// What is told of a register is what clients did: a change that nobody was shown is one of those that
/// were not answered, or a deletion, whose transaction is not told.
fn strangers(
    slice: &Slice,
    known: &Known,
    events: &BTreeMap<(i64, String), usize>,
    found: &mut Vec<Violation>,
) {
    let mut spare: BTreeMap<String, usize> = BTreeMap::new();
    for operation in &slice.operations {
        let states = known.registers.get(&operation.key);
        let is_shown = |value: u64| {
            let mut states = states.iter().flat_map(|register| register.states.values());
            states.any(|seen| seen.value == value)
        };
        let is_spare = match operation.answer {
            Answer::Deleted => true,
            Answer::Unknown => !operation.action.value().is_some_and(is_shown),
            Answer::Wrote(_) | Answer::Saw(_) | Answer::Rejected | Answer::NotSent => false,
        };
        if is_spare {
            *spare.entry(slice.path_of(operation.key)).or_default() += 1;
        }
    }
    let registers = known.registers.iter();
    let registers: BTreeMap<String, _> = registers
        .map(|(key, register)| (slice.path_of(*key), register))
        .collect();
    for (zxid, path) in events.keys() {
        let Some(register) = registers.get(path) else {
            continue;
        };
        if register.states.contains_key(zxid) {
            continue;
        }
        match spare.get_mut(path) {
            Some(count) if *count > 0 => *count -= 1,
            _ => object(found, LAW, format!("{zxid:x} of {path} is nobody's")),
        }
    }
}

/// Transactions of which nothing is missing: behind the first, up to the last.
#[derive(Debug)]
struct Part {
    behind: i64,
    to: i64,
}

impl Part {
    fn has(&self, zxid: i64) -> bool {
        zxid > self.behind && zxid <= self.to
    }
}

fn covered(stream: &Stream) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut behind = Some(0);
    for item in &stream.items {
        match item {
            Item::Gap(since) => {
                if let Some(behind) = behind.take() {
                    parts.push(Part { behind, to: *since });
                }
            }
            Item::Armed(zxid) => behind = Some(*zxid),
            Item::Event { .. } => {}
        }
    }
    if let Some(behind) = behind {
        parts.push(Part {
            behind,
            to: i64::MAX,
        });
    }
    parts
}
