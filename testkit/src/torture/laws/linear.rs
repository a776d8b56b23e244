//! There is an order of all writes and synced reads of a register that explains all answers. This law
//! believes no zxid and no version: it sees values only.
//!
//! # Source
//! See [`crate::check::linearizability`], which searches.

use std::collections::BTreeMap;

use super::{Judgement, object};
use crate::check::linearizability::{self, Search, search};
use crate::torture::history::{Action, Answer, Key, Slice};

/// States that are searched for one register before the search is given up.
const STATES_MAX: usize = 100_000;

/// Judges a slice.
pub fn judge(slice: &Slice, judgement: &mut Judgement) {
    let mut by_key: BTreeMap<Key, Vec<linearizability::Operation>> = BTreeMap::new();
    for operation in &slice.operations {
        let action = match (operation.action, operation.answer) {
            (Action::SyncedRead, Answer::Saw(seen)) => {
                linearizability::Action::Read(seen.map(|seen| seen.value))
            }
            (_, Answer::Rejected | Answer::NotSent) | (Action::Read | Action::SyncedRead, _) => {
                continue;
            }
            (Action::Create(value), _) => linearizability::Action::Swap(None, Some(value)),
            (Action::Delete, _) => linearizability::Action::Remove,
            (Action::Set(value), _) => linearizability::Action::Replace(value),
            // The version of what was there may be that of another life of the znode: only where
            // nobody deletes does it mean the value.
            (Action::Swap { new, .. }, _) if has_deletes(operation.key) => {
                linearizability::Action::Replace(new)
            }
            (Action::Swap { old, new }, _) => {
                linearizability::Action::Swap(Some(old.value), Some(new))
            }
        };
        let end = (operation.answer != Answer::Unknown).then_some(operation.end);
        let operations = by_key.entry(operation.key).or_default();
        operations.push(linearizability::Operation {
            begin: operation.begin,
            end,
            action,
        });
    }
    for (key, operations) in by_key {
        match search(&operations, STATES_MAX) {
            Search::Found => judgement.explained += 1,
            Search::GivenUp => judgement.given_up += 1,
            Search::Impossible => {
                let path = slice.path_of(key);
                let what = format!("no order explains the operations on {path}: {operations:?}");
                object(&mut judgement.violations, linearizability::LAW, what);
            }
        }
    }
}

/// Whether clients delete this register now and then; the others are only ever written.
pub fn has_deletes(key: Key) -> bool {
    key % 2 == 1
}
