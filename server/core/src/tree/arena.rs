//! Where znodes are kept: slabs that never move, addressed by handles of four bytes.

use std::num::NonZeroU32;

use super::record::{Name, ZnodeRecord};
use super::values::Values;

/// Records in a slab. Growing by a slab copies nothing, and never doubles what is in use.
const SLAB_LEN: u32 = 4096;

/// Place of a znode, stable as long as the znode lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Handle(NonZeroU32);

impl Handle {
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
    slabs: Vec<Vec<Option<ZnodeRecord>>>,
    /// Slots in all slabs, used or not.
    slots: u32,
    /// Slots to be used again.
    free: Vec<Handle>,
    /// Slots that must not be used again before [`Self::reuse_deferred`].
    deferred: Vec<Handle>,
    /// The data of all of them.
    pub(super) values: Values,
}

impl Arena {
    /// The data of a znode of this arena.
    pub(super) fn data(&self, record: &ZnodeRecord) -> Option<&[u8]> {
        self.values.get(record.data)
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
        self.slabs
            .get((slot / SLAB_LEN) as usize)?
            .get((slot % SLAB_LEN) as usize)?
            .as_ref()
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
        self.slot_mut(handle)
            .as_mut()
            .expect("links and indexes hold handles in use")
    }

    /// Adds a znode. With `extend`, in a slot that was never used before.
    pub(super) fn insert(&mut self, record: ZnodeRecord, extend: bool) -> Handle {
        if !extend && let Some(handle) = self.free.pop() {
            *self.slot_mut(handle) = Some(record);
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
        slab.push(Some(record));
        self.slots = self.slots.checked_add(1).expect("a handle has 32 bits");
        handle
    }

    /// Removes a znode, with its data. With `defer`, its slot is not used again before [`Self::reuse_deferred`].
    pub(super) fn remove(&mut self, handle: Handle, defer: bool) -> ZnodeRecord {
        let record = self.slot_mut(handle).take();
        if defer {
            self.deferred.push(handle);
        } else {
            self.free.push(handle);
        }
        let record = record.expect("links and indexes hold handles in use");
        self.values.remove(record.data);
        record
    }

    /// Lets deferred slots be used again.
    pub(super) fn reuse_deferred(&mut self) {
        self.free.append(&mut self.deferred);
    }

    fn slot_mut(&mut self, handle: Handle) -> &mut Option<ZnodeRecord> {
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
                .strip_suffix(record.name.as_bytes())
                .and_then(|head| head.strip_suffix(b"/"));
            match head {
                Some(head) => rest = head,
                None => return false,
            }
            handle = parent;
        }
    }

    /// Shows the pieces of a znode's path from the root down: a slash and a name for each component.
    pub(super) fn each_component(&self, handle: Handle, mut f: impl FnMut(&Name)) {
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
            f(&self.at(at).name);
        }
    }

    /// The path of a znode; empty for the root.
    pub(super) fn path(&self, handle: Handle) -> String {
        let mut path = String::new();
        self.each_component(handle, |name| {
            path.push('/');
            path.push_str(name.as_str());
        });
        path
    }
}
