//! A znode has one history: a transaction gives it one value and one version, later transactions give
//! it higher versions. What is acknowledged is in that history once, with the transaction that was
//! told; what was rejected or never sent is not; versions in between are those of requests that were
//! not answered. A read behind a sync sees no less than what was acknowledged before it.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees": atomicity, single system image, reliability; its
//! `setData` documentation for versions.

use std::collections::BTreeMap;

use super::object;
use crate::check::Violation;
use crate::torture::history::{Action, Answer, Key, NEVER, Operation, Seen, Slice, Tick, Write};

/// Name of the law.
pub const LAW: &str = "registers";

/// What is known of the history of one register.
#[derive(Debug, Default)]
pub struct Register {
    /// Everything that anybody was shown, by transaction.
    pub states: BTreeMap<i64, Seen>,
    /// Whether anybody asked to delete it, and may have succeeded.
    pub has_deletes: bool,
}

/// What the answers together say.
#[derive(Debug, Default)]
pub struct Known {
    /// Registers by number.
    pub registers: BTreeMap<Key, Register>,
    /// Writes that were not answered, and were done all the same.
    pub late: Vec<Write>,
}

impl Known {
    /// Number of unanswered writes that were done.
    pub fn resolved(&self) -> usize {
        self.late.len()
    }
}

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) -> Known {
    let mut by_key: BTreeMap<Key, Vec<&Operation>> = BTreeMap::new();
    for operation in &slice.operations {
        by_key.entry(operation.key).or_default().push(operation);
    }
    let mut known = Known::default();
    for (key, operations) in by_key {
        let path = slice.path_of(key);
        let register = history(&path, &operations, &mut known.late, found);
        own_answers(&path, &operations, found);
        versions(&path, &register, &operations, found);
        synced_reads(&path, &operations, found);
        known.registers.insert(key, register);
    }
    known
}

/// Puts together what was shown, and who wrote it.
fn history(
    path: &str,
    operations: &[&Operation],
    late: &mut Vec<Write>,
    found: &mut Vec<Violation>,
) -> Register {
    let mut register = Register::default();
    let writer = |value: u64| {
        let mut writers = operations.iter();
        writers.find(|operation| operation.action.value() == Some(value))
    };
    let mut of_value: BTreeMap<u64, i64> = BTreeMap::new();
    for operation in operations {
        register.has_deletes |= matches!(
            (operation.action, operation.answer),
            (Action::Delete, Answer::Deleted | Answer::Unknown)
        );
        let (Answer::Wrote(seen) | Answer::Saw(Some(seen))) = operation.answer else {
            continue;
        };
        if let Some(other) = register.states.insert(seen.zxid, seen)
            && other != seen
        {
            let what = format!("{path} was shown as {seen:?}, and as {other:?}");
            object(found, LAW, what);
        }
        let zxid = *of_value.entry(seen.value).or_insert(seen.zxid);
        if zxid != seen.zxid {
            let zxids = [zxid, seen.zxid];
            let what = format!("{path}: value {} was written twice, {zxids:x?}", seen.value);
            object(found, LAW, what);
        }
    }
    for (value, zxid) in of_value {
        let Some(writer) = writer(value) else {
            let what = format!("{path} holds {value}, which nobody wrote there");
            object(found, LAW, what);
            continue;
        };
        match writer.answer {
            Answer::Wrote(seen) => {
                if seen.zxid != zxid {
                    let what = format!("{path}: {writer:?} is shown as transaction {zxid:x}");
                    object(found, LAW, what);
                }
            }
            Answer::Unknown => late.push(Write {
                session: writer.session,
                begin: writer.begin,
                end: NEVER,
                zxid,
            }),
            Answer::Rejected | Answer::NotSent | Answer::Deleted | Answer::Saw(_) => {
                object(found, LAW, format!("{path}: {writer:?} was done"));
            }
        }
    }
    register
}

/// What an answer must be in itself.
fn own_answers(path: &str, operations: &[&Operation], found: &mut Vec<Violation>) {
    for operation in operations {
        let Answer::Wrote(seen) = operation.answer else {
            continue;
        };
        let is_right = match operation.action {
            Action::Create(value) => {
                seen.value == value && seen.version == 0 && seen.created == seen.zxid
            }
            Action::Set(value) => {
                seen.value == value && seen.version > 0 && seen.created < seen.zxid
            }
            Action::Swap { old, new } => {
                seen.value == new && seen.version == old.version + 1 && seen.zxid > old.zxid
            }
            Action::Delete | Action::Read | Action::SyncedRead => false,
        };
        if !is_right {
            object(found, LAW, format!("{path}: {operation:?}"));
        }
    }
}

/// Versions of one life of a znode go up with its transactions, by one each.
fn versions(
    path: &str,
    register: &Register,
    operations: &[&Operation],
    found: &mut Vec<Violation>,
) {
    let mut lives: BTreeMap<i64, Vec<Seen>> = BTreeMap::new();
    for seen in register.states.values() {
        lives.entry(seen.created).or_default().push(*seen);
    }
    let mut missing = 0;
    let mut ended = 0;
    for (created, states) in lives {
        if created <= ended {
            let what = format!("{path}: its life from {created:x} overlaps one to {ended:x}");
            object(found, LAW, what);
        }
        let mut before = -1;
        for seen in states {
            if seen.version <= before {
                let what = format!("{path}: {seen:?} comes after version {before}");
                object(found, LAW, what);
            }
            missing += i64::from(seen.version) - i64::from(before) - 1;
            before = seen.version;
            ended = ended.max(seen.zxid);
        }
    }
    let is_unseen = |operation: &&&Operation| {
        operation.answer == Answer::Unknown
            && operation.action.value().is_some_and(|value| {
                let mut states = register.states.values();
                !states.any(|seen| seen.value == value)
            })
    };
    let unknown = operations.iter().filter(is_unseen).count();
    if missing > i64::try_from(unknown).unwrap_or(i64::MAX) {
        let what = format!("{path}: {missing} versions are nobody's, {unknown} writes are unknown");
        object(found, LAW, what);
    }
}

/// A read behind a sync sees what was acknowledged before the sync began.
fn synced_reads(path: &str, operations: &[&Operation], found: &mut Vec<Violation>) {
    let deletes: Vec<_> = operations
        .iter()
        .filter(|operation| operation.action == Action::Delete)
        .collect();
    for read in operations {
        let (Action::SyncedRead, Answer::Saw(seen)) = (read.action, read.answer) else {
            continue;
        };
        let mut last: Option<(i64, Tick)> = None;
        for write in operations.iter().filter(|write| write.end < read.begin) {
            if let Answer::Wrote(seen) = write.answer {
                last = last.max(Some((seen.zxid, write.begin)));
            }
        }
        let Some((zxid, begin)) = last else {
            continue;
        };
        let is_right = match seen {
            Some(seen) => seen.zxid >= zxid,
            None => deletes.iter().any(|delete| {
                let end = match delete.answer {
                    Answer::Deleted => delete.end,
                    Answer::Unknown => NEVER,
                    Answer::Wrote(_) | Answer::Saw(_) | Answer::Rejected | Answer::NotSent => 0,
                };
                end > begin && delete.begin < read.end
            }),
        };
        if !is_right {
            let what = format!("{path}: {read:?} does not see transaction {zxid:x}");
            object(found, LAW, what);
        }
    }
}
