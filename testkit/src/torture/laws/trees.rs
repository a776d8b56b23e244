//! All members have the same tree, to the last field of every stat, and can be read.
//!
//! # Source
//! Apache `ZooKeeper`, "Consistency guarantees": single system image.

use super::object;
use crate::check::Violation;
use crate::torture::history::{Slice, Tree};

/// Name of the law.
pub const LAW: &str = "trees";

/// Judges a slice.
pub fn judge(slice: &Slice, found: &mut Vec<Violation>) {
    for (member, why) in &slice.quiet.unread {
        object(found, LAW, format!("member {member} cannot be read: {why}"));
    }
    let Some(((first, tree), others)) = slice.quiet.trees.split_first() else {
        return;
    };
    for (member, other) in others {
        if let Some(what) = difference(tree, other) {
            object(found, LAW, format!("members {first} and {member}: {what}"));
        }
    }
}

/// The first znode that differs.
pub fn difference(one: &Tree, other: &Tree) -> Option<String> {
    let differs = one
        .iter()
        .find(|(path, znode)| other.get(*path) != Some(*znode));
    if let Some((path, znode)) = differs {
        return Some(format!("{path} is {znode:?}, and {:?}", other.get(path)));
    }
    let more = other.iter().find(|(path, _)| !one.contains_key(*path));
    more.map(|(path, znode)| format!("{path} is nothing, and {znode:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_cannot_be_read_breaks_the_law() {
        let mut slice = Slice::default();
        slice.quiet.trees = vec![(0, Tree::new()), (1, Tree::new())];
        let mut found = Vec::new();
        judge(&slice, &mut found);
        assert!(found.is_empty(), "{found:?}");
        slice.quiet.unread = vec![(2, "no connection".to_owned())];
        judge(&slice, &mut found);
        assert_eq!(found.len(), 1, "{found:?}");
    }
}
