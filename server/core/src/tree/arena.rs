//! Where znodes are kept: slabs that never move, addressed by handles of four bytes.

use std::num::NonZeroU32;

use super::rares::Rares;
use super::record::{Name, Rare, ZnodeRecord};
use super::values::Values;

/// Records in a slab. Growing by a slab copies nothing, and never doubles what is in use.
const SLAB_LEN: u32 = 4096;

/// Place of a znode, stable as long as the znode lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Handle(NonZeroU32);

impl Handle {
    /// Of no znode.
    pub(super) const VACANT: Self = Self(NonZeroU32::MAX);

    /// Handle of the slot with this number, from 0.
    pub(super) fn from_slot(slot: u32) -> Self {
        Self(NonZeroU32::MIN.saturating_add(slot))
    }

    /// Number of the slot.
    pub(super) fn slot(self) -> u32 {
        self.0.get() - 1
    }
}

/// All znodes.
#[derive(Debug, Default)]
pub(super) struct Arena {
    /// Full but for the last.
    slabs: Vec<Vec<ZnodeRecord>>,
    /// Slots in all slabs, used or not.
    slots: u32,
    /// Slots to be used again.
    free: Vec<Handle>,
    /// Slots that must not be used again before [`Self::reuse_deferred`].
    deferred: Vec<Handle>,
    /// The data of all of them, and long names.
    pub(super) values: Values,
    rares: Rares,
}

impl Arena {
    /// The data of a znode of this arena.
    pub(super) fn data(&self, record: &ZnodeRecord) -> Option<&[u8]> {
        self.values.get(record.data)
    }

    /// A record of a znode to be; it may be given to [`Self::insert`] alone.
    pub(super) fn record(&mut self, name: &str, data: Option<&[u8]>) -> ZnodeRecord {
        let name = Name::inline(name.as_bytes())
            .unwrap_or_else(|| Name::long(self.values.add(Some(name.as_bytes()))));
        ZnodeRecord::new(name, self.values.add(data))
    }

    /// The name of a znode of this arena.
    pub(super) fn name<'a>(&'a self, record: &'a ZnodeRecord) -> &'a str {
        std::str::from_utf8(self.name_bytes(record)).expect("a name is made of a str")
    }

    fn name_bytes<'a>(&'a self, record: &'a ZnodeRecord) -> &'a [u8] {
        let elsewhere = |place| self.values.get(place).unwrap_or_default();
        record.name.get().unwrap_or_else(elsewhere)
    }

    /// Whether a znode of this arena is the child of that name of `parent`.
    pub(super) fn is_child(&self, handle: Handle, parent: Handle, name: &str) -> bool {
        let record = self.at(handle);
        record.parent == Some(parent)
            && match Name::inline(name.as_bytes()) {
                Some(name) => record.name == name,
                None => self.name_bytes(record) == name.as_bytes(),
            }
    }

    /// What is rare of a znode of this arena.
    pub(super) fn rare(&self, record: &ZnodeRecord) -> Rare {
        match record.rare {
            Some(at) => *self.rares.get(at),
            None => Rare::of(record.czxid),
        }
    }

    /// Sets what is rare of a znode, whose `czxid` is what it will be.
    pub(super) fn set_rare(&mut self, handle: Handle, rare: &Rare) {
        let record = self.at(handle);
        match record.rare {
            Some(at) => *self.rares.get_mut(at) = *rare,
            None if *rare == Rare::of(record.czxid) => {}
            None => self.at_mut(handle).rare = Some(self.rares.add(*rare)),
        }
    }

    /// Changes what is rare of a znode.
    pub(super) fn change_rare(&mut self, handle: Handle, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare(self.at(handle));
        change(&mut rare);
        self.set_rare(handle, &rare);
    }

    /// Number of slots ever used: handles below are or were in use.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Number of znodes.
    pub(super) fn len(&self) -> usize {
        self.slots as usize - self.free.len() - self.deferred.len()
    }

    pub(super) fn get(&self, handle: Handle) -> Option<&ZnodeRecord> {
        let slot = handle.slot();
        let slab = self.slabs.get((slot / SLAB_LEN) as usize)?;
        let record = slab.get((slot % SLAB_LEN) as usize)?;
        (!record.is_vacant()).then_some(record)
    }

    /// The znode of a handle that is in use.
    ///
    /// # Panics
    /// If it is not: a link or index points to a znode that is gone.
    pub(super) fn at(&self, handle: Handle) -> &ZnodeRecord {
        self.get(handle)
            .expect("links and indexes hold handles in use")
    }

    /// As [`Self::at`].
    pub(super) fn at_mut(&mut self, handle: Handle) -> &mut ZnodeRecord {
        let record = self.slot_mut(handle);
        assert!(!record.is_vacant(), "links and indexes hold handles in use");
        record
    }

    /// Adds a znode. With `extend`, in a slot that was never used before.
    pub(super) fn insert(&mut self, record: ZnodeRecord, extend: bool) -> Handle {
        if !extend && let Some(handle) = self.free.pop() {
            *self.slot_mut(handle) = record;
            return handle;
        }
        if self.slots.is_multiple_of(SLAB_LEN) {
            self.slabs.push(Vec::with_capacity(SLAB_LEN as usize));
        }
        let handle = Handle::from_slot(self.slots);
        let slab = self
            .slabs
            .last_mut()
            .expect("a slab was pushed for the first slot");
        slab.push(record);
        let slots = self.slots.checked_add(1);
        self.slots = slots
            .filter(|&slots| slots < Handle::VACANT.slot())
            .expect("a handle has 32 bits");
        handle
    }

    /// Removes a znode, with all that the arena has of it. With `defer`, its slot is not used again before [`Self::reuse_deferred`].
    pub(super) fn remove(&mut self, handle: Handle, defer: bool) -> ZnodeRecord {
        let record = std::mem::replace(self.at_mut(handle), ZnodeRecord::vacant());
        if defer {
            self.deferred.push(handle);
        } else {
            self.free.push(handle);
        }
        self.values.remove(record.data);
        if let Err(place) = record.name.get() {
            self.values.remove(place);
        }
        if let Some(at) = record.rare {
            self.rares.remove(at);
        }
        record
    }

    /// Lets deferred slots be used again.
    pub(super) fn reuse_deferred(&mut self) {
        self.free.append(&mut self.deferred);
    }

    fn slot_mut(&mut self, handle: Handle) -> &mut ZnodeRecord {
        let slot = handle.slot();
        self.slabs
            .get_mut((slot / SLAB_LEN) as usize)
            .and_then(|slab| slab.get_mut((slot % SLAB_LEN) as usize))
            .expect("handles come from this arena")
    }

    /// Whether `path`, which has no trailing slash, is where `handle` stands: names are compared
    /// from the last up to the root.
    pub(super) fn stands_at(&self, mut handle: Handle, path: &str) -> bool {
        let mut rest = path.as_bytes();
        loop {
            let record = self.at(handle);
            let Some(parent) = record.parent else {
                return rest.is_empty();
            };
            let head = rest
                .strip_suffix(self.name_bytes(record))
                .and_then(|head| head.strip_suffix(b"/"));
            match head {
                Some(head) => rest = head,
                None => return false,
            }
            handle = parent;
        }
    }

    /// Shows the pieces of a znode's path from the root down: a slash and a name for each component.
    pub(super) fn each_component(&self, handle: Handle, mut f: impl FnMut(&str)) {
        // Most trees are shallow: the handles of a path fit on the stack.
        let mut stack = [handle; 16];
        let mut deep = Vec::new();
        let mut depth = 0;
        let mut at = handle;
        while let Some(parent) = self.at(at).parent {
            match stack.get_mut(depth) {
                Some(place) => *place = at,
                None => deep.push(at),
            }
            depth += 1;
            at = parent;
        }
        let shallow = stack.get(..depth.min(stack.len())).unwrap_or_default();
        for &at in deep.iter().rev().chain(shallow.iter().rev()) {
            f(self.name(self.at(at)));
        }
    }

    /// The path of a znode; empty for the root.
    pub(super) fn path(&self, handle: Handle) -> String {
        let mut path = String::new();
        self.each_component(handle, |name| {
            path.push('/');
            path.push_str(name);
        });
        path
    }
}
