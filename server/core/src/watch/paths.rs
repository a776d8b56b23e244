//! Paths that have watches, each stored once and known by a handle.

use crate::hash::hash_of;

/// Hash of a path, to pick one of several tables.
///
/// `seed` keeps clients from choosing paths that collide; draw it at random once per process. The
/// root is `/`; the empty path, which reads take for it, hashes the same.
pub fn path_hash(seed: u64, path: &str) -> u64 {
    hash_of(seed, canonical(path))
}

/// The path under which a watch is kept: the empty one is an alias of the root.
pub(super) fn canonical(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// Paths and their handles. A handle is given out again after [`Self::release`].
#[derive(Debug, Clone)]
pub(super) struct PathStore {
    seed: u64,
    /// Text by handle; `None` for handles that are free.
    texts: Vec<Option<Box<str>>>,
    free: Vec<u32>,
    /// Open addressing with linear probing; a power of two long, at most ¾ full.
    index: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    /// Handle, or [`VACANT`].
    id: u32,
}

const VACANT: u32 = u32::MAX;

impl PathStore {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            texts: Vec::new(),
            free: Vec::new(),
            index: Vec::new(),
        }
    }

    /// Number of paths.
    pub(super) fn len(&self) -> usize {
        self.texts.len() - self.free.len()
    }

    /// The text of a handle.
    pub(super) fn text(&self, id: u32) -> &str {
        let text = self.texts.get(id as usize).and_then(Option::as_deref);
        text.unwrap_or_default()
    }

    /// The handle of a path that is here.
    pub(super) fn find(&self, path: &str) -> Option<u32> {
        if self.len() == 0 {
            return None;
        }
        self.slot_of(path, self.hash(path)).ok()
    }

    /// The handle of a path, given out if need be.
    ///
    /// # Panics
    /// At 2³² − 1 paths.
    pub(super) fn intern(&mut self, path: &str) -> u32 {
        if (self.len() + 1) * 4 > self.index.len() * 3 {
            self.grow();
        }
        let hash = self.hash(path);
        let slot = match self.slot_of(path, hash) {
            Ok(id) => return id,
            Err(slot) => slot,
        };
        let text = Some(Box::from(path));
        let id = if let Some(id) = self.free.pop() {
            if let Some(place) = self.texts.get_mut(id as usize) {
                *place = text;
            }
            id
        } else {
            let id = u32::try_from(self.texts.len()).expect("fewer than 2^32 watched paths");
            assert_ne!(id, VACANT, "fewer than 2^32 - 1 watched paths");
            self.texts.push(text);
            id
        };
        if let Some(place) = self.index.get_mut(slot) {
            *place = Slot { hash, id };
        }
        id
    }

    /// Forgets a path that has no watch left.
    pub(super) fn release(&mut self, id: u32) {
        let Some(text) = self.texts.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        let mask = self.index.len() - 1;
        let mut hole = self.hash(&text) as usize & mask;
        while self.at(hole).id != id {
            hole = (hole + 1) & mask;
        }
        // Whatever stands behind the hole and would be found from it moves up.
        let mut at = hole;
        loop {
            at = (at + 1) & mask;
            let slot = self.at(at);
            if slot.id == VACANT {
                break;
            }
            let origin = slot.hash as usize & mask;
            if (at.wrapping_sub(origin) & mask) >= (at.wrapping_sub(hole) & mask) {
                self.put(hole, slot);
                hole = at;
            }
        }
        self.put(
            hole,
            Slot {
                hash: 0,
                id: VACANT,
            },
        );
        self.free.push(id);
        if self.len() == 0 {
            *self = Self::new(self.seed);
        }
    }

    fn hash(&self, path: &str) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "the low half of a hash")]
        {
            path_hash(self.seed, path) as u32
        }
    }

    /// The handle of a path, or the slot where it would go.
    fn slot_of(&self, path: &str, hash: u32) -> Result<u32, usize> {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.at(at);
            if slot.id == VACANT {
                return Err(at);
            }
            if slot.hash == hash && self.text(slot.id) == path {
                return Ok(slot.id);
            }
            at = (at + 1) & mask;
        }
    }

    fn at(&self, at: usize) -> Slot {
        let vacant = Slot {
            hash: 0,
            id: VACANT,
        };
        self.index.get(at).copied().unwrap_or(vacant)
    }

    fn put(&mut self, at: usize, slot: Slot) {
        if let Some(place) = self.index.get_mut(at) {
            *place = slot;
        }
    }

    fn grow(&mut self) {
        let vacant = Slot {
            hash: 0,
            id: VACANT,
        };
        let len = (self.index.len() * 2).max(8);
        let old = std::mem::replace(&mut self.index, vec![vacant; len]);
        for slot in old.into_iter().filter(|slot| slot.id != VACANT) {
            let mut at = slot.hash as usize & (len - 1);
            while self.at(at).id != VACANT {
                at = (at + 1) & (len - 1);
            }
            self.put(at, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn handles_stand_for_their_paths(
            seed in any::<u64>(),
            steps in proptest::collection::vec((0u32..60, any::<bool>()), 0..400),
        ) {
            let mut store = PathStore::new(seed);
            let mut model = BTreeMap::new();
            for (n, add) in steps {
                let path = format!("/p{n}");
                if add {
                    let id = store.intern(&path);
                    prop_assert_eq!(*model.entry(path).or_insert(id), id);
                } else if let Some(id) = model.remove(&path) {
                    store.release(id);
                }
                prop_assert_eq!(store.len(), model.len());
            }
            for n in 0..60 {
                let path = format!("/p{n}");
                prop_assert_eq!(store.find(&path), model.get(&path).copied());
            }
            for (path, id) in model {
                prop_assert_eq!(store.text(id), path);
            }
        }
    }
}
