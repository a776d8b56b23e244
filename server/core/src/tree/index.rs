//! From a path to its znode, without storing paths.

use std::cell::RefCell;

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
        let others = RefCell::new(Siblings::default());
        let rehash = |&handle: &Handle| match known.get(handle.slot() as usize) {
            None | Some(&UNKNOWN) => others.borrow_mut().hash(seed, handle, arena),
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

/// Hashes of paths, one after the other: of siblings, what stands before their names is put together
/// once.
#[derive(Default)]
struct Siblings {
    /// Of the last one; none of the root.
    parent: Option<Handle>,
    /// Path of the parent.
    path: String,
}

impl Siblings {
    fn hash(&mut self, seed: u64, handle: Handle, arena: &Arena) -> u64 {
        let record = arena.at(handle);
        if self.parent != record.parent {
            self.parent = record.parent;
            self.path = self.parent.map_or_else(String::new, |at| arena.path(at));
        }
        let len = self.path.len();
        if self.parent.is_some() {
            self.path.push('/');
            self.path.push_str(arena.name(record));
        }
        let hash = hash_of(seed, &self.path);
        self.path.truncate(len);
        hash
    }
}

/// From bits in the middle: a table uses the lowest and highest.
fn shard_of(hash: u64) -> usize {
    (hash >> 40) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_after_the_other_paths_have_the_hashes_that_they_have_alone() {
        let mut arena = Arena::default();
        let mut add = |name: &str, parent| {
            let mut record = arena.record(name, None);
            record.parent = parent;
            arena.insert(record, false)
        };
        let root = add("", None);
        let a = add("a", Some(root));
        let b = add("b", Some(root));
        let mut all = vec![root, a, b];
        all.extend(["c", "d", "a name that has no room in place"].map(|name| add(name, Some(a))));
        all.extend(["e", "f"].map(|name| add(name, Some(b))));
        all.push(root);
        let mut siblings = Siblings::default();
        for handle in all.iter().chain(all.iter().rev()) {
            let alone = hash_of(7, &arena.path(*handle));
            assert_eq!(siblings.hash(7, *handle, &arena), alone);
        }
    }
}
