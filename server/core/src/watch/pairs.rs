//! An ordered map from pairs of handles to a small value, dense enough for millions of watches.
//!
//! Sorted blocks of at most [`BLOCK_MAX`] entries. A block's allocation grows by an eighth at a time,
//! so that an entry costs its own bytes and about a tenth, whatever the order of insertion; the
//! standard B-tree leaves its nodes half empty when keys come in order.

/// Most entries in a block: bounds what an insertion moves (2 KiB of keys).
const BLOCK_MAX: usize = 256;

/// Ordered map from `(major, minor)` to `V`. `PairMap<()>` is a set and pays nothing for the value.
#[derive(Debug, Clone)]
pub(super) struct PairMap<V> {
    /// First key of each block, to search without touching the blocks.
    firsts: Vec<u64>,
    /// Never empty blocks, in key order.
    blocks: Vec<Block<V>>,
    /// Entries in all blocks.
    len: usize,
}

/// Parallel vectors of equal length: no padding between key and value.
#[derive(Debug, Clone)]
struct Block<V> {
    keys: Vec<u64>,
    values: Vec<V>,
}

const fn key(major: u32, minor: u32) -> u64 {
    (major as u64) << 32 | minor as u64
}

const fn unkey(key: u64) -> (u32, u32) {
    #[expect(clippy::cast_possible_truncation, reason = "the halves of the key")]
    ((key >> 32) as u32, key as u32)
}

impl<V> Default for PairMap<V> {
    fn default() -> Self {
        Self {
            firsts: Vec::new(),
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<V: Copy> PairMap<V> {
    /// Number of entries.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Bytes allocated, in vectors of all kinds.
    #[cfg(test)]
    pub(super) fn heap_bytes(&self) -> usize {
        let blocks = self.blocks.iter().map(|block| {
            block.keys.capacity() * size_of::<u64>() + block.values.capacity() * size_of::<V>()
        });
        blocks.sum::<usize>()
            + self.blocks.capacity() * size_of::<Block<V>>()
            + self.firsts.capacity() * size_of::<u64>()
    }

    /// The value of a pair.
    pub(super) fn get(&self, major: u32, minor: u32) -> Option<V> {
        let key = key(major, minor);
        let block = self.blocks.get(self.block_of(key)?)?;
        let at = block.keys.binary_search(&key).ok()?;
        block.values.get(at).copied()
    }

    /// Gives a pair a value; answers the one before.
    pub(super) fn insert(&mut self, major: u32, minor: u32, value: V) -> Option<V> {
        let key = key(major, minor);
        // A key before the first block goes into the first block.
        let at = self.block_of(key).unwrap_or(0);
        let Some(block) = self.blocks.get_mut(at) else {
            self.firsts.push(key);
            self.blocks.push(Block {
                keys: vec![key],
                values: vec![value],
            });
            self.len = 1;
            return None;
        };
        let spot = match block.keys.binary_search(&key) {
            Ok(spot) => {
                return block
                    .values
                    .get_mut(spot)
                    .map(|old| std::mem::replace(old, value));
            }
            Err(spot) => spot,
        };
        self.len += 1;
        if block.keys.len() < BLOCK_MAX {
            block.insert(spot, key, value);
            self.note_first(at);
            return None;
        }
        // Keys that come in order leave full blocks behind, others half full ones.
        let split = if spot == BLOCK_MAX {
            BLOCK_MAX
        } else {
            BLOCK_MAX / 2
        };
        let mut upper = block.split_off(split);
        if spot < split {
            block.insert(spot, key, value);
        } else {
            upper.insert(spot - split, key, value);
        }
        self.firsts.insert(at + 1, upper.first());
        self.blocks.insert(at + 1, upper);
        self.note_first(at);
        None
    }

    /// Removes a pair; answers its value.
    pub(super) fn remove(&mut self, major: u32, minor: u32) -> Option<V> {
        let key = key(major, minor);
        let at = self.block_of(key)?;
        let block = self.blocks.get_mut(at)?;
        let spot = block.keys.binary_search(&key).ok()?;
        block.keys.remove(spot);
        let value = block.values.remove(spot);
        self.len -= 1;
        self.settle(at);
        Some(value)
    }

    /// The entries of a major handle, by minor handle.
    pub(super) fn of(&self, major: u32) -> impl Iterator<Item = (u32, V)> + '_ {
        let start = self.block_of(key(major, 0)).unwrap_or(0);
        let blocks = self.blocks.get(start..).unwrap_or_default();
        blocks
            .iter()
            .flat_map(Block::iter)
            .skip_while(move |&((at, _), _)| at < major)
            .take_while(move |&((at, _), _)| at == major)
            .map(|((_, minor), value)| (minor, value))
    }

    /// All entries, by major and then minor handle.
    pub(super) fn iter(&self) -> impl Iterator<Item = ((u32, u32), V)> + '_ {
        self.blocks.iter().flat_map(Block::iter)
    }

    /// Shows each entry of a major handle, by minor handle, and drops those that `keep` refuses.
    pub(super) fn retain(&mut self, major: u32, mut keep: impl FnMut(u32, &mut V) -> bool) {
        let (low, high) = (key(major, 0), key(major, u32::MAX));
        let mut at = self.block_of(low).unwrap_or(0);
        while let Some(block) = self.blocks.get_mut(at) {
            if block.first() > high {
                break;
            }
            let before = block.keys.len();
            block.retain(low, high, &mut keep);
            let removed = before - block.keys.len();
            self.len -= removed;
            if removed == 0 {
                at += 1;
            } else if block.keys.is_empty() {
                self.drop_block(at);
            } else {
                self.note_first(at);
                at += 1;
            }
        }
    }

    /// The last block that starts at or before `key`.
    fn block_of(&self, key: u64) -> Option<usize> {
        self.firsts
            .partition_point(|&first| first <= key)
            .checked_sub(1)
    }

    /// Restores the invariants of a block that lost an entry: not empty, not sparse beside another
    /// sparse one, `firsts` right.
    fn settle(&mut self, at: usize) {
        let len = |blocks: &[Block<V>], at: usize| blocks.get(at).map_or(BLOCK_MAX, Block::len);
        let own = len(&self.blocks, at);
        if own == 0 {
            self.drop_block(at);
            return;
        }
        if own < BLOCK_MAX / 4 && own + len(&self.blocks, at + 1) <= BLOCK_MAX / 2 {
            self.firsts.remove(at + 1);
            let upper = self.blocks.remove(at + 1);
            if let Some(block) = self.blocks.get_mut(at) {
                block.append(upper);
            }
        }
        if let Some(block) = self.blocks.get_mut(at) {
            block.shrink();
        }
        self.note_first(at);
    }

    fn drop_block(&mut self, at: usize) {
        self.firsts.remove(at);
        self.blocks.remove(at);
        if self.blocks.is_empty() {
            *self = Self::default();
        }
    }

    fn note_first(&mut self, at: usize) {
        if let (Some(first), Some(block)) = (self.firsts.get_mut(at), self.blocks.get(at)) {
            *first = block.first();
        }
    }
}

impl<V: Copy> Block<V> {
    fn len(&self) -> usize {
        self.keys.len()
    }

    /// First key. Blocks in a map are never empty.
    fn first(&self) -> u64 {
        self.keys.first().copied().unwrap_or(u64::MAX)
    }

    fn iter(&self) -> impl Iterator<Item = ((u32, u32), V)> + '_ {
        let keys = self.keys.iter().map(|&key| unkey(key));
        keys.zip(self.values.iter().copied())
    }

    fn insert(&mut self, spot: usize, key: u64, value: V) {
        if self.keys.len() == self.keys.capacity() {
            let more = self.keys.len() / 8 + 1;
            self.keys.reserve_exact(more);
            self.values.reserve_exact(more);
        }
        self.keys.insert(spot, key);
        self.values.insert(spot, value);
    }

    /// Keeps the first `split` entries, in an allocation of their size; answers the others.
    fn split_off(&mut self, split: usize) -> Self {
        let mut upper = Self {
            keys: self.keys.split_off(split),
            values: self.values.split_off(split),
        };
        for half in [self, &mut upper] {
            half.keys.shrink_to_fit();
            half.values.shrink_to_fit();
        }
        upper
    }

    fn append(&mut self, upper: Self) {
        self.keys.reserve_exact(upper.keys.len());
        self.values.reserve_exact(upper.values.len());
        self.keys.extend(upper.keys);
        self.values.extend(upper.values);
    }

    /// Gives memory back when a quarter of it is unused.
    fn shrink(&mut self) {
        if self.keys.len() + self.keys.len() / 3 + 1 < self.keys.capacity() {
            self.keys.shrink_to_fit();
            self.values.shrink_to_fit();
        }
    }

    /// Drops the entries between two keys that `keep` refuses.
    fn retain(&mut self, low: u64, high: u64, keep: &mut impl FnMut(u32, &mut V) -> bool) {
        let mut kept = 0;
        for at in 0..self.keys.len() {
            let (Some(&key), Some(&value)) = (self.keys.get(at), self.values.get(at)) else {
                break;
            };
            let mut value = value;
            if key < low || key > high || keep(unkey(key).1, &mut value) {
                if let (Some(to), Some(into)) = (self.keys.get_mut(kept), self.values.get_mut(kept))
                {
                    *to = key;
                    *into = value;
                }
                kept += 1;
            }
        }
        self.keys.truncate(kept);
        self.values.truncate(kept);
        self.shrink();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u32, u32, u8),
        Remove(u32, u32),
        Retain(u32, u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0u32..6, 0u32..300, any::<u8>()).prop_map(|(a, b, v)| Step::Insert(a, b, v)),
            2 => (0u32..6, 0u32..300).prop_map(|(a, b)| Step::Remove(a, b)),
            1 => (0u32..6, 1u32..5).prop_map(|(a, n)| Step::Retain(a, n)),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn pair_map_is_an_ordered_map(
            bulk in proptest::collection::vec((0u32..6, 0u32..400), 0..1500),
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut map = PairMap::default();
            let mut model = BTreeMap::new();
            for (a, b) in bulk {
                prop_assert_eq!(map.insert(a, b, 0), model.insert((a, b), 0));
            }
            for step in steps {
                match step {
                    Step::Insert(a, b, v) => {
                        prop_assert_eq!(map.insert(a, b, v), model.insert((a, b), v));
                    }
                    Step::Remove(a, b) => {
                        prop_assert_eq!(map.remove(a, b), model.remove(&(a, b)));
                    }
                    Step::Retain(a, n) => {
                        let mut shown = Vec::new();
                        map.retain(a, |b, v| {
                            shown.push((b, *v));
                            *v = v.wrapping_add(1);
                            b % n == 0
                        });
                        let expected: Vec<_> = model
                            .range((a, 0)..=(a, u32::MAX))
                            .map(|(&(_, b), &v)| (b, v))
                            .collect();
                        prop_assert_eq!(shown, expected);
                        model.retain(|&(x, b), v| {
                            if x == a {
                                *v = v.wrapping_add(1);
                            }
                            x != a || b % n == 0
                        });
                    }
                }
                prop_assert_eq!(map.len(), model.len());
            }
            prop_assert!(map.iter().eq(model.iter().map(|(&k, &v)| (k, v))));
            for a in 0..6 {
                let of = model.range((a, 0)..=(a, u32::MAX)).map(|(&(_, b), &v)| (b, v));
                prop_assert!(map.of(a).eq(of));
            }
            for (&(a, b), &v) in &model {
                prop_assert_eq!(map.get(a, b), Some(v));
            }
        }
    }

    #[test]
    fn ordered_and_random_insertion_both_leave_little_spare_room() {
        let spare = |map: &PairMap<u8>| {
            let room: usize = map.blocks.iter().map(|b| b.keys.capacity()).sum();
            room * 100 / map.len()
        };
        let (mut ordered, mut random) = (PairMap::default(), PairMap::default());
        for n in 0..100_000u32 {
            ordered.insert(n / 100, n, 1);
            random.insert(n.wrapping_mul(0x9e37_79b9) >> 20, n, 1);
        }
        assert!(spare(&ordered) <= 113, "{}", spare(&ordered));
        assert!(spare(&random) <= 113, "{}", spare(&random));
    }
}
