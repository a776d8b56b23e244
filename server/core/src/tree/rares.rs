//! What few znodes have beside their record, each in a place of four bytes.

use std::num::NonZeroU32;

use super::record::Rare;

/// Places in a slab. Growing by a slab copies nothing, and never doubles what is in use.
const SLAB_LEN: u32 = 1024;

/// Where a znode has what is rare.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RareRef(NonZeroU32);

/// All that is rare in a tree.
#[derive(Debug, Default)]
pub(super) struct Rares {
    /// Full but for the last.
    slabs: Vec<Vec<Rare>>,
    /// Places in all slabs, used or not.
    places: u32,
    free: Vec<RareRef>,
}

impl Rares {
    /// # Panics
    /// If it comes from another tree.
    pub(super) fn get(&self, at: RareRef) -> &Rare {
        let (slab, place) = at.split();
        let slab = self.slabs.get(slab);
        slab.and_then(|slab| slab.get(place))
            .expect("places come from this tree")
    }

    /// As [`Self::get`].
    pub(super) fn get_mut(&mut self, at: RareRef) -> &mut Rare {
        let (slab, place) = at.split();
        let slab = self.slabs.get_mut(slab);
        slab.and_then(|slab| slab.get_mut(place))
            .expect("places come from this tree")
    }

    pub(super) fn add(&mut self, rare: Rare) -> RareRef {
        if let Some(at) = self.free.pop() {
            *self.get_mut(at) = rare;
            return at;
        }
        if self.places.is_multiple_of(SLAB_LEN) {
            self.slabs.push(Vec::with_capacity(SLAB_LEN as usize));
        }
        let at = RareRef(NonZeroU32::MIN.saturating_add(self.places));
        let slab = self.slabs.last_mut();
        slab.expect("a slab was pushed for the first place")
            .push(rare);
        self.places = self.places.checked_add(1).expect("a place has 32 bits");
        at
    }

    /// Gives a place back; it means nothing from then on.
    pub(super) fn remove(&mut self, at: RareRef) {
        self.free.push(at);
    }

    /// Number of places in use.
    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.places as usize - self.free.len()
    }
}

impl RareRef {
    /// Slab, and place in it.
    fn split(self) -> (usize, usize) {
        let place = self.0.get() - 1;
        ((place / SLAB_LEN) as usize, (place % SLAB_LEN) as usize)
    }
}

#[cfg(test)]
mod tests {
    use zk_proto::Zxid;

    use super::*;

    #[test]
    fn places_keep_what_they_got_and_are_used_again() {
        let mut rares = Rares::default();
        let rare = |number: i64| Rare::of(Zxid::new(number));
        let all: Vec<_> = (0..3000)
            .map(|at| (rares.add(rare(at)), rare(at)))
            .collect();
        for &(at, is) in &all {
            assert_eq!(*rares.get(at), is);
        }
        let (first, _) = all[7];
        rares.remove(first);
        assert_eq!(rares.add(rare(-1)), first);
        assert_eq!(*rares.get(first), rare(-1));
        assert_eq!(rares.count(), all.len());
    }
}
