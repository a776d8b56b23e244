//! Snapshot files: written under a temporary name, read newest first.
//!
//! A snapshot of ours has its final name only when all of it is durable. The reference writes
//! most of its snapshots under the final name without syncing them, so every file is checked
//! before it is trusted: first by its ends, then by its seals.

mod read;
mod snappy;
mod write;

#[cfg(all(test, feature = "sim"))]
mod tests;

pub use read::{
    LoadedSnapshot, SnapshotReadError, SnapshotReader, load_newest_snapshot, looks_whole,
};
pub use write::{SnapshotWriter, remove_unfinished_snapshots};
