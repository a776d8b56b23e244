//! From a path to its znode, without storing paths.

use std::cell::RefCell;

use hashbrown::HashTable;

use crate::hash::hash_of;

use super::arena::{Arena, Handle};
use super::prepare::Known;

/// Tables; a rehash pauses for one of them only. A million znodes make about a thousand per table: from
/// the first to the last twice as many, so that they do not all double at the same size of the tree.
const SHARDS: usize = 1024;
/// Bits of a hash that tell the table.
const SHARD_BITS: u32 = 20;
/// 0.3435 of 2 to the [`SHARD_BITS`].
const CURVE: u64 = 360_185;
/// Stands for a key that is not remembered; what really has it is computed again.
const UNKNOWN: u32 = 0;
/// Keys that are remembered in one allocation.
const SLAB_LEN: usize = 4096;

/// Handles by hash of the full path. Whether a candidate is the one is told by comparing names up
/// to the root, so an entry takes five bytes and some slack.
#[derive(Debug)]
pub(super) struct PathIndex {
    shards: Box<[HashTable<Handle>]>,
    /// Keeps clients from choosing paths that collide.
    seed: u64,
    /// Keys by slot, while a tree is being loaded: a table that grows needs those of all its entries,
    /// and would put each path together for that.
    known: Option<Vec<Vec<u32>>>,
}

impl PathIndex {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashTable::new()).collect(),
            seed,
            known: None,
        }
    }

    /// Begins or ends to remember keys.
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
            .find(spread(key_of(hash)), |&handle| is_it(handle))
            .copied()
    }

    /// Looks where these will stand, and at nothing else: one look does not wait for the other, as each
    /// would that is followed by what is done with it.
    pub(super) fn prefetch(&self, znodes: impl Iterator<Item = Option<Known>>) {
        let looks = znodes.flatten().map(|it| self.find(it.hash, |_| true));
        std::hint::black_box(looks.flatten().count());
    }

    /// Adds a znode that is in the arena and not in here.
    pub(super) fn insert(&mut self, hash: u64, handle: Handle, arena: &Arena) {
        let seed = self.seed;
        let place = |handle: Handle| {
            let slot = handle.slot() as usize;
            (slot / SLAB_LEN, slot % SLAB_LEN)
        };
        if let Some(known) = &mut self.known {
            let (slab, at) = place(handle);
            while known.len() <= slab {
                known.push(vec![UNKNOWN; SLAB_LEN]);
            }
            if let Some(key) = known.get_mut(slab).and_then(|slab| slab.get_mut(at)) {
                *key = key_of(hash);
            }
        }
        let known = self.known.as_deref().unwrap_or_default();
        let others = RefCell::new(Siblings::default());
        let rehash = |&handle: &Handle| {
            let (slab, at) = place(handle);
            spread(match known.get(slab).and_then(|slab| slab.get(at)) {
                None | Some(&UNKNOWN) => key_of(others.borrow_mut().hash(seed, handle, arena)),
                Some(&key) => key,
            })
        };
        let shard = self.shards.get_mut(shard_of(hash)).expect("one of SHARDS");
        shard.insert_unique(spread(key_of(hash)), handle, rehash);
    }

    pub(super) fn remove(&mut self, hash: u64, handle: Handle) {
        if let Ok(entry) = self
            .shard_mut(hash)
            .find_entry(spread(key_of(hash)), |&found| found == handle)
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

/// From bits that are not in [`key_of`]: of a number u from 0 to 1, log₂ (1 + u), which is about
/// u + 0.3435 u (1 − u).
fn shard_of(hash: u64) -> usize {
    let one = 1 << SHARD_BITS;
    let u = (hash >> 32) % one;
    let log = u * (one + CURVE - CURVE * u / one) / one;
    usize::try_from(log >> (SHARD_BITS - SHARDS.ilog2())).unwrap_or_default()
}

/// What of a hash tells entries of a table apart.
fn key_of(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A table uses the lowest bits and the seven highest.
fn spread(key: u32) -> u64 {
    u64::from(key) << 32 | u64::from(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_from_one_to_two_times_as_large_as_the_first() {
        let mut counts = vec![0_u32; SHARDS];
        for u in 0..1_u64 << SHARD_BITS {
            counts[shard_of(u << 32)] += 1;
        }
        assert!(counts.is_sorted_by(|a, b| *a <= *b + 1), "{counts:?}");
        let (first, last) = (counts[0], counts[SHARDS - 1]);
        assert!(
            (first * 19 / 10..=first * 21 / 10).contains(&last),
            "{first} {last}"
        );
    }

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
