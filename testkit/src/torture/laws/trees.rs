//! All members have the same tree, to the last field of every stat.
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
