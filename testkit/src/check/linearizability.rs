//! There is an order of all operations on a znode that agrees with the order in real time and explains
//! every answer. An operation without an answer may have happened at any time since it began, or not
//! at all.
//!
//! Unlike the other laws, this one does not believe in zxids: it sees values only, and so judges any
//! store, also one that runs for real.
//!
//! # Source
//! Herlihy, Wing: "Linearizability" (1990). The search is the one of Wing, Gong (1993) with the memory
//! of Lowe (2017): a state that was reached with the same operations done is not searched again.

use std::collections::BTreeSet;

use super::{Violation, hold};

/// Name of the law.
pub const LAW: &str = "linearizability";

/// An operation on one znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// When it began.
    pub begin: u64,
    /// When it was answered; never if its outcome is unknown.
    pub end: Option<u64>,
    /// What it did.
    pub action: Action,
}

/// What an operation does to a register; `None` is a znode that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Sees a value.
    Read(Option<u64>),
    /// Replaces any value by one.
    Write(u64),
    /// Replaces a value by one, and would have failed on a znode that is not there.
    Replace(u64),
    /// Deletes a znode that is there.
    Remove,
    /// Replaces the first value by the second, and would have failed on any other.
    Swap(Option<u64>, Option<u64>),
}

impl Action {
    /// The value after it, if it can be done on this one.
    #[expect(
        clippy::option_option,
        reason = "no order, and an order that leaves no znode"
    )]
    fn on(self, value: Option<u64>) -> Option<Option<u64>> {
        match self {
            Self::Read(seen) => (seen == value).then_some(value),
            Self::Write(new) => Some(Some(new)),
            Self::Replace(new) => value.map(|_| Some(new)),
            Self::Remove => value.map(|_| None),
            Self::Swap(old, new) => (old == value).then_some(new),
        }
    }
}

/// States that are searched before the search is given up: operations that all overlap have more
/// orders than anybody can look at.
pub const STATES_MAX: usize = 5_000;

/// What a search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// There is an order.
    Found,
    /// There is none.
    Impossible,
    /// It was given up.
    GivenUp,
}

/// Looks for an order that explains the answers, from a znode that is not there. Whether it was found,
/// and the search not given up.
///
/// # Errors
/// If there is none.
pub fn explains(
    what: &str,
    operations: &[Operation],
    states_max: usize,
) -> Result<bool, Violation> {
    let search = search(operations, states_max);
    hold(LAW, search != Search::Impossible, || {
        format!("no order explains the operations on {what}: {operations:?}")
    })?;
    Ok(search == Search::Found)
}

/// Depth first, with the operations that are done and the value reached as what is remembered.
pub fn search(operations: &[Operation], states_max: usize) -> Search {
    let mut order: Vec<Operation> = operations.to_vec();
    order.sort_by_key(|operation| operation.begin);
    let answered = order
        .iter()
        .filter(|operation| operation.end.is_some())
        .count();
    let words = order.len().div_ceil(64);
    let mut seen: BTreeSet<(Vec<u64>, Option<u64>)> = BTreeSet::new();
    let mut stack = vec![(vec![0u64; words], None, 0usize)];
    while let Some((done, value, count)) = stack.pop() {
        if count == answered {
            return Search::Found;
        }
        if seen.len() >= states_max {
            return Search::GivenUp;
        }
        let is_done = |index: usize| {
            let word = done.get(index / 64).copied().unwrap_or(0);
            word >> (index % 64) & 1 == 1
        };
        // Nothing that begins after an answer can come before what was answered.
        let open = order
            .iter()
            .enumerate()
            .filter(|(index, _)| !is_done(*index));
        let limit = open
            .clone()
            .filter_map(|(_, operation)| operation.end)
            .min();
        let limit = limit.unwrap_or(u64::MAX);
        for (index, operation) in open {
            if operation.begin > limit {
                break;
            }
            if let Some(next) = operation.action.on(value) {
                let mut with = done.clone();
                if let Some(word) = with.get_mut(index / 64) {
                    *word |= 1 << (index % 64);
                }
                if seen.insert((with.clone(), next)) {
                    let count = count + usize::from(operation.end.is_some());
                    stack.push((with, next, count));
                }
            }
        }
    }
    Search::Impossible
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(begin: u64, end: impl Into<Option<u64>>, action: Action) -> Operation {
        Operation {
            begin,
            end: end.into(),
            action,
        }
    }

    #[test]
    fn overlapping_writes_may_come_in_any_order() {
        let operations = [
            op(0, 10, Action::Write(1)),
            op(0, 10, Action::Write(2)),
            op(11, 12, Action::Read(Some(1))),
        ];
        assert_eq!(search(&operations, STATES_MAX), Search::Found);
    }

    #[test]
    fn a_stale_read_is_found() {
        let operations = [
            op(0, 1, Action::Write(1)),
            op(2, 3, Action::Write(2)),
            op(4, 5, Action::Read(Some(1))),
        ];
        assert_eq!(search(&operations, STATES_MAX), Search::Impossible);
    }

    #[test]
    fn a_write_of_unknown_outcome_may_come_late_or_never() {
        let late = [
            op(0, None, Action::Write(1)),
            op(2, 3, Action::Write(2)),
            op(4, 5, Action::Read(Some(2))),
            op(6, 7, Action::Read(Some(1))),
        ];
        assert_eq!(search(&late, STATES_MAX), Search::Found);
        let never = [
            op(0, None, Action::Write(1)),
            op(2, 3, Action::Write(2)),
            op(4, 5, Action::Read(Some(2))),
        ];
        assert_eq!(search(&never, STATES_MAX), Search::Found);
        let back = [
            op(0, None, Action::Write(1)),
            op(2, 3, Action::Write(2)),
            op(4, 5, Action::Read(Some(1))),
            op(6, 7, Action::Read(Some(2))),
        ];
        assert_eq!(search(&back, STATES_MAX), Search::Impossible);
    }

    #[test]
    fn a_swap_needs_what_it_replaces() {
        let lost = [
            op(0, 1, Action::Write(1)),
            op(2, 3, Action::Swap(Some(1), Some(2))),
            op(4, 5, Action::Swap(Some(1), Some(3))),
        ];
        assert_eq!(search(&lost, STATES_MAX), Search::Impossible);
        let gone = [
            op(0, 1, Action::Swap(None, Some(1))),
            op(2, 3, Action::Swap(Some(1), None)),
            op(4, 5, Action::Read(None)),
        ];
        assert_eq!(search(&gone, STATES_MAX), Search::Found);
    }
}
