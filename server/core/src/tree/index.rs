//! From a path to its znode, without storing paths.

use hashbrown::HashTable;

use crate::hash::hash_of;

use super::arena::{Arena, Handle};

/// Tables; a rehash pauses for one of them only. A million znodes make about a thousand per table.
const SHARDS: usize = 1024;
/// Stands for a hash that is not remembered; what really has it is computed again.
const UNKNOWN: u64 = 0;

/// Handles by hash of the full path. Whether a candidate is the one is told by comparing names up
/// to the root, so an entry takes five bytes and some slack.
#[derive(Debug)]
pub(super) struct PathIndex {
    shards: Box<[HashTable<Handle>]>,
    /// Keeps clients from choosing paths that collide.
    seed: u64,
    /// Hashes by slot, while a tree is being loaded: a table that grows needs those of all its
    /// entries, and would put each path together for that.
    known: Option<Vec<u64>>,
}

impl PathIndex {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            seed,
            known: None,
        }
    }

    /// Begins or ends to remember hashes.
    pub(super) fn remember(&mut self, does: bool) {
        self.known = does.then(Vec::new);
    }

    /// Hash of a path; the root's is empty.
    pub(super) fn hash(&self, path: &str) -> u64 {
        hash_of(self.seed, path)
    }

    /// The znode whose path has this hash and that `is_it` accepts.
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(Handle) -> bool) -> Option<Handle> {
        self.shard(hash)
            .find(hash, |&handle| is_it(handle))
            .copied()
    }

    /// Adds a znode that is in the arena and not in here.
    pub(super) fn insert(&mut self, hash: u64, handle: Handle, arena: &Arena) {
        let seed = self.seed;
        let known = self.known.as_mut();
        if let Some(known) = known {
            let slot = handle.slot() as usize;
            known.resize(known.len().max(slot + 1), UNKNOWN);
            if let Some(place) = known.get_mut(slot) {
                *place = hash;
            }
        }
        let known = self.known.as_deref().unwrap_or_default();
        let rehash = |&handle: &Handle| match known.get(handle.slot() as usize) {
            None | Some(&UNKNOWN) => hash_of(seed, &arena.path(handle)),
            Some(&hash) => hash,
        };
        let shard = self.shards.get_mut(shard_of(hash)).expect("one of SHARDS");
        shard.insert_unique(hash, handle, rehash);
    }

    pub(super) fn remove(&mut self, hash: u64, handle: Handle) {
        if let Ok(entry) = self
            .shard_mut(hash)
            .find_entry(hash, |&found| found == handle)
        {
            entry.remove();
        }
    }

    fn shard(&self, hash: u64) -> &HashTable<Handle> {
        self.shards.get(shard_of(hash)).expect("one of SHARDS")
    }

    fn shard_mut(&mut self, hash: u64) -> &mut HashTable<Handle> {
        self.shards.get_mut(shard_of(hash)).expect("one of SHARDS")
    }
}

/// From bits in the middle: a table uses the lowest and highest.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}
