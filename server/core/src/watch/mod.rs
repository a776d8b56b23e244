//! Watches: who wants to be told about which znode, and what they are told.
//!
//! ```text
//!  register ─► WatchTable ◄─ check / remove / drop_connection
//!                  │
//!  Change ──► trigger ──► Notification { event, path, receivers } ──► one frame for all receivers
//! ```
//!
//! A watch belongs to a *connection*. Per path and connection there is a set of modes; each mode
//! listens in one or both of two tables, and a change fires each table it touches once:
//!
//! | mode | data table | child table | fires |
//! |---|---|---|---|
//! | data (getData, exists) | yes | | once |
//! | child (getChildren) | | yes | once |
//! | persistent | yes | yes | ever |
//! | persistent recursive | yes, also for all below | | ever |
//!
//! | change of P | data table | child table |
//! |---|---|---|
//! | created | `NodeCreated` at P | `NodeChildrenChanged` at the parent |
//! | deleted | `NodeDeleted` at P | `NodeDeleted` at P, but not twice to one connection; then `NodeChildrenChanged` at the parent |
//! | data set | `NodeDataChanged` at P | |
//!
//! There is no lock here. A driver that wants several holds several [`WatchTable`]s, picks one by
//! [`path_hash`], and lends them to [`trigger`] through [`WatchShards`].
//!
//! # Source
//! Apache `ZooKeeper` 3.9, `WatchManager#triggerWatch`, `DataTree`.

mod catch_up;
mod mode;
mod pairs;
mod paths;
mod report;
mod table;
mod trigger;

#[cfg(test)]
mod tests;

pub use catch_up::{CatchUp, ChangeZxids, WatchLists, catch_up};
pub use mode::{WatchKind, WatchSide};
pub use paths::path_hash;
pub use report::{WatchCounts, WatchReport};
pub use table::WatchTable;
pub use trigger::{Change, Notification, Readers, WatchShards, trigger, trigger_effect};
