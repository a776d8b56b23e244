//! The data of znodes, and names that have no room in their records, packed.
//!
//! An allocation of its own costs a value of a hundred bytes a fifth more: what the allocator rounds
//! up, and a header. So short values stand side by side in blocks, one kind of block for each
//! length, rounded up to [`STEP`]; long ones have an allocation each. A znode keeps where its value
//! is and how long it is in eight bytes.
//!
//! A place that is given up is used again for a value of its kind. Blocks are never given back: what
//! a tree once had in short values of a kind it may have again.

/// Values are given places of this many bytes, and multiples of it.
const STEP: usize = 4;
/// Longest value that stands in a block.
const SHORT_MAX: usize = 1024;
/// Bytes of a block. They are asked of the allocator at once, and touched as they are filled.
const BLOCK: usize = 16 << 10;

/// Where the data of a znode is. It is worth nothing without the [`Values`] that it comes from, and
/// must be given back there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ValueRef {
    /// Length in bytes; [`NULL`] for null.
    len: u32,
    /// Among the short values of its kind, or among the long ones; 0 if it is empty.
    place: u32,
}

/// The length of null, which is not empty.
const NULL: u32 = u32::MAX;

impl ValueRef {
    pub(super) const NULL: Self = Self {
        len: NULL,
        place: 0,
    };
    pub(super) const EMPTY: Self = Self { len: 0, place: 0 };

    /// Eight bytes that tell it, for [`Self::from_bytes`].
    pub(super) fn to_bytes(self) -> [u8; 8] {
        let (len, place) = (u64::from(self.len), u64::from(self.place));
        (len << 32 | place).to_le_bytes()
    }

    /// What [`Self::to_bytes`] gave; anything for other bytes.
    pub(super) fn from_bytes(bytes: [u8; 8]) -> Self {
        let both = u64::from_le_bytes(bytes);
        let [len, place] = [both >> 32, both & u64::from(u32::MAX)];
        Self {
            len: u32::try_from(len).unwrap_or_default(),
            place: u32::try_from(place).unwrap_or_default(),
        }
    }

    /// Length in bytes; null counts as none.
    pub(super) fn len(self) -> usize {
        if self.len == NULL {
            0
        } else {
            self.len as usize
        }
    }
}

/// All values of a tree.
#[derive(Debug, Default)]
pub(super) struct Values {
    /// By length in steps, less one.
    short: Vec<Kind>,
    long: Vec<Option<Box<[u8]>>>,
    long_free: Vec<u32>,
}

/// Short values of about one length.
#[derive(Debug, Default)]
struct Kind {
    /// Full but for the last.
    blocks: Vec<Vec<u8>>,
    /// Places in all blocks, used or not.
    places: u32,
    free: Vec<u32>,
}

impl Values {
    /// The data of a znode.
    pub(super) fn get(&self, value: ValueRef) -> Option<&[u8]> {
        match value.len as usize {
            _ if value == ValueRef::NULL => None,
            0 => Some(&[]),
            len if len > SHORT_MAX => self.long.get(value.place as usize)?.as_deref(),
            len => {
                let (block, at) = place_in(kind_of(len), value.place);
                let block = self.short.get(kind_of(len))?.blocks.get(block)?;
                block.get(at..at + len)
            }
        }
    }

    /// Keeps a copy of data.
    ///
    /// # Panics
    /// If there are 2³² values of a kind, or it is as long as that.
    pub(super) fn add(&mut self, data: Option<&[u8]>) -> ValueRef {
        let Some(data) = data else {
            return ValueRef::NULL;
        };
        let len = u32::try_from(data.len()).ok().filter(|len| *len != NULL);
        let len = len.expect("no frame is so long");
        let place = match data.len() {
            0 => return ValueRef::EMPTY,
            long if long > SHORT_MAX => self.add_long(data),
            short => {
                let kind = kind_of(short);
                if self.short.len() <= kind {
                    self.short.resize_with(kind + 1, Kind::default);
                }
                let kinds = self.short.get_mut(kind).expect("it was made");
                kinds.add(kind, data)
            }
        };
        ValueRef { len, place }
    }

    /// Puts data in the place of other data, and gives that back.
    pub(super) fn replace(&mut self, value: &mut ValueRef, data: Option<&[u8]>) {
        if let Some(data) = data
            && let (1..=SHORT_MAX, 1..=SHORT_MAX) = (value.len(), data.len())
            && kind_of(value.len()) == kind_of(data.len())
            && let Some(kind) = self.short.get_mut(kind_of(data.len()))
        {
            kind.write(kind_of(data.len()), value.place, data);
            value.len = u32::try_from(data.len()).unwrap_or(value.len);
            return;
        }
        self.remove(*value);
        *value = self.add(data);
    }

    /// Gives data back; the reference means nothing from then on.
    pub(super) fn remove(&mut self, value: ValueRef) {
        match value.len() {
            0 => {}
            len if len > SHORT_MAX => {
                if let Some(place) = self.long.get_mut(value.place as usize) {
                    *place = None;
                    self.long_free.push(value.place);
                }
            }
            len => {
                if let Some(kind) = self.short.get_mut(kind_of(len)) {
                    kind.free.push(value.place);
                }
            }
        }
    }

    /// Number of values that are neither null nor empty.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        let short = self
            .short
            .iter()
            .map(|it| it.places as usize - it.free.len());
        short.sum::<usize>() + self.long.len() - self.long_free.len()
    }

    fn add_long(&mut self, data: &[u8]) -> u32 {
        let data = Some(Box::from(data));
        if let Some(place) = self.long_free.pop() {
            if let Some(free) = self.long.get_mut(place as usize) {
                *free = data;
            }
            return place;
        }
        self.long.push(data);
        u32::try_from(self.long.len() - 1).expect("memory holds fewer long values")
    }
}

impl Kind {
    fn add(&mut self, kind: usize, data: &[u8]) -> u32 {
        if let Some(place) = self.free.pop() {
            self.write(kind, place, data);
            return place;
        }
        let place = self.places;
        let (block, at) = place_in(kind, place);
        if block == self.blocks.len() {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        if let Some(block) = self.blocks.last_mut() {
            block.extend_from_slice(data);
            block.resize(at + (kind + 1) * STEP, 0);
        }
        self.places = place.checked_add(1).expect("a place has 32 bits");
        place
    }

    fn write(&mut self, kind: usize, place: u32, data: &[u8]) {
        let (block, at) = place_in(kind, place);
        let block = self.blocks.get_mut(block);
        if let Some(room) = block.and_then(|block| block.get_mut(at..at + data.len())) {
            room.copy_from_slice(data);
        }
    }
}

/// Which kind a length is of, that is neither 0 nor more than [`SHORT_MAX`].
fn kind_of(len: usize) -> usize {
    (len - 1) / STEP
}

/// Block of a place, and where it begins there.
fn place_in(kind: usize, place: u32) -> (usize, usize) {
    let size = (kind + 1) * STEP;
    let in_block = BLOCK / size;
    let place = place as usize;
    (place / in_block, place % in_block * size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(len: usize, salt: usize) -> Vec<u8> {
        (0..len)
            .map(|at| ((at * 7 + salt * 13) % 256).try_into().unwrap())
            .collect()
    }

    #[test]
    fn values_of_all_lengths_come_back_and_do_not_touch_each_other() {
        let mut values = Values::default();
        let mut held: Vec<(ValueRef, Option<Vec<u8>>)> = Vec::new();
        let lens = [0, 1, 3, 4, 5, 100, 101, 1023, 1024, 1025, 5000];
        for salt in 0..300 {
            for len in lens {
                let data = data(len, salt);
                held.push((values.add(Some(&data)), Some(data)));
            }
            held.push((values.add(None), None));
        }
        // Every third is given back, every third gets another value.
        for (at, (value, kept)) in held.iter_mut().enumerate() {
            match at % 3 {
                0 => {
                    values.remove(*value);
                    (*value, *kept) = (ValueRef::NULL, None);
                }
                1 => {
                    let new = data(at % 1100, at);
                    values.replace(value, Some(&new));
                    *kept = Some(new);
                }
                _ => {}
            }
        }
        let again: Vec<_> = (0..500).map(|salt| data(100, salt)).collect();
        let again = again
            .into_iter()
            .map(|data| (values.add(Some(&data)), Some(data)));
        held.extend(again.collect::<Vec<_>>());
        let mut count = 0;
        for (value, kept) in &held {
            assert_eq!(values.get(*value), kept.as_deref());
            count += usize::from(value.len() > 0);
        }
        assert_eq!(values.count(), count);
        for (value, _) in held {
            values.remove(value);
        }
        assert_eq!(values.count(), 0);
    }

    #[test]
    fn a_place_is_used_again() {
        let mut values = Values::default();
        let first = values.add(Some(&[1; 50]));
        values.remove(first);
        assert_eq!(values.add(Some(&[2; 49])).place, first.place);
    }

    #[test]
    fn a_reference_takes_8_bytes() {
        assert_eq!(size_of::<ValueRef>(), 8);
    }
}
