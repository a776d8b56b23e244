//! Znodes that are kept in being, and groups of them.

mod group;
mod node;
mod own;

pub use self::group::{Group, GroupFormat, Member, Membership};
pub use self::node::{Conflict, KeepMode, KeepNode, KeepState, Kept};
