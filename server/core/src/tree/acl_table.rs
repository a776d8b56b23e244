//! Access control lists, each kept once.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use hashbrown::HashTable;
use zk_proto::{Acl, Id, Perms};

use crate::wire::snapshot::AclKey;

/// Stands for an access control list within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclId(u32);

impl AclId {
    /// The open list of built-in znodes, and of znodes created without any list. Snapshots have no
    /// entry for it; a list with the same content that a client gave is a different one.
    pub const BUILT_IN: Self = Self(0);

    /// Number for a snapshot. Others have the number of their slot, which is positive.
    pub(super) fn key(self) -> AclKey {
        if self == Self::BUILT_IN {
            AclKey::BUILT_IN
        } else {
            AclKey::new(i64::from(self.0))
        }
    }

    /// Number of the slot.
    pub(super) fn slot(self) -> u32 {
        self.0
    }
}

/// Lists with the number of znodes that have them.
#[derive(Debug)]
pub(super) struct AclTable {
    /// By id; the first is [`AclId::BUILT_IN`].
    slots: Vec<Slot>,
    /// Ids by content, of all slots but the first that have a list.
    by_content: HashTable<AclId>,
    free: Vec<AclId>,
    /// Slots that lost their last znode while a capture needs them.
    deferred: Vec<AclId>,
    /// What was taken last: most znodes have the list of the one before.
    last: AclId,
}

#[derive(Debug)]
struct Slot {
    content: Content,
    /// Znodes that have it.
    refs: u32,
}

#[derive(Debug)]
enum Content {
    Vacant,
    List(Arc<[Acl]>),
    /// A fuzzy snapshot has a znode with this key, and no list for it.
    Unresolved,
}

impl AclTable {
    pub(super) fn new() -> Self {
        let open: Arc<[Acl]> = Arc::new([Acl::new(Perms::ALL, Id::ANYONE)]);
        let built_in = Slot {
            content: Content::List(open),
            refs: 0,
        };
        Self {
            slots: vec![built_in],
            by_content: HashTable::new(),
            free: Vec::new(),
            deferred: Vec::new(),
            last: AclId::BUILT_IN,
        }
    }

    /// Number of slots, the first included.
    pub(super) fn slots(&self) -> u32 {
        u32::try_from(self.slots.len()).expect("an id has 32 bits")
    }

    /// The list of an id; empty if a fuzzy snapshot did not have it.
    pub(super) fn get(&self, id: AclId) -> &[Acl] {
        self.slots.get(id.0 as usize).map_or(&[], Slot::list)
    }

    /// As [`Self::get`], to be kept.
    pub(super) fn share(&self, id: AclId) -> Arc<[Acl]> {
        match self.slots.get(id.0 as usize).map(|slot| &slot.content) {
            Some(Content::List(list)) => Arc::clone(list),
            Some(Content::Vacant | Content::Unresolved) | None => Arc::new([]),
        }
    }

    /// Takes a list for one znode. None or an empty one is the open list.
    pub(super) fn acquire(&mut self, list: Option<&[Acl]>, extend: bool) -> AclId {
        let Some(list) = list.filter(|list| !list.is_empty()) else {
            return AclId::BUILT_IN;
        };
        let slots = &self.slots;
        let same = |id: &AclId| {
            slots
                .get(id.0 as usize)
                .is_some_and(|slot| slot.list() == list)
        };
        if self.last != AclId::BUILT_IN && same(&self.last) {
            self.retain(self.last);
            return self.last;
        }
        let hash = hash(list);
        if let Some(&id) = self.by_content.find(hash, same) {
            self.retain(id);
            self.last = id;
            return id;
        }
        // Decoded text is a slice of the buffer it came in, which would live as long as the list.
        let owned = list.iter().map(detached).collect();
        let id = self.allocate(Content::List(owned), extend);
        self.last = id;
        let slots = &self.slots;
        let rehash = |id: &AclId| hash_slot(slots.get(id.0 as usize));
        self.by_content.insert_unique(hash, id, rehash);
        id
    }

    /// Takes a place for a list that is not known.
    pub(super) fn acquire_unresolved(&mut self) -> AclId {
        self.allocate(Content::Unresolved, false)
    }

    /// Takes a list for one more znode.
    pub(super) fn retain(&mut self, id: AclId) {
        if id != AclId::BUILT_IN
            && let Some(slot) = self.slots.get_mut(id.0 as usize)
        {
            slot.refs += 1;
        }
    }

    /// Gives back the list of one znode. With `defer`, the slot keeps its list and is not used for
    /// another one before [`Self::reuse_deferred`].
    pub(super) fn release(&mut self, id: AclId, defer: bool) {
        if id == AclId::BUILT_IN {
            return;
        }
        let Some(slot) = self.slots.get_mut(id.0 as usize) else {
            return;
        };
        slot.refs -= 1;
        if slot.refs > 0 {
        } else if defer {
            self.deferred.push(id);
        } else {
            self.vacate(id);
        }
    }

    /// Lets deferred slots be used again.
    pub(super) fn reuse_deferred(&mut self) {
        // A list may have been released and taken again several times.
        let mut deferred = std::mem::take(&mut self.deferred);
        deferred.sort_unstable();
        deferred.dedup();
        for id in deferred {
            if self
                .slots
                .get(id.0 as usize)
                .is_some_and(|slot| slot.refs == 0)
            {
                self.vacate(id);
            }
        }
    }

    /// Lists for a snapshot, in the order of keys, from a slot on.
    pub(super) fn entries(&self, from: u32) -> impl Iterator<Item = (AclId, &[Acl])> {
        let ids = (from..self.slots()).map(AclId);
        let listed = ids.zip(self.slots.iter().skip(from as usize));
        listed
            .filter(|(id, slot)| *id != AclId::BUILT_IN && !slot.list().is_empty())
            .map(|(id, slot)| (id, slot.list()))
    }

    /// Number of lists that [`Self::entries`] has from the start.
    pub(super) fn len(&self) -> usize {
        self.by_content.len()
    }

    /// Number of znodes with a list that a fuzzy snapshot did not have.
    pub(super) fn unresolved(&self) -> usize {
        let slots = self.slots.iter();
        let unresolved = slots.filter(|slot| matches!(slot.content, Content::Unresolved));
        unresolved.map(|slot| slot.refs as usize).sum()
    }

    fn allocate(&mut self, content: Content, extend: bool) -> AclId {
        let slot = Slot { content, refs: 1 };
        if !extend
            && let Some(id) = self.free.pop()
            && let Some(place) = self.slots.get_mut(id.0 as usize)
        {
            *place = slot;
            return id;
        }
        let id = AclId(self.slots());
        self.slots.push(slot);
        id
    }

    fn vacate(&mut self, id: AclId) {
        let Some(slot) = self.slots.get_mut(id.0 as usize) else {
            return;
        };
        let content = std::mem::replace(&mut slot.content, Content::Vacant);
        self.free.push(id);
        if let Content::List(list) = content
            && let Ok(entry) = self
                .by_content
                .find_entry(hash(&list), |&found| found == id)
        {
            entry.remove();
        }
    }
}

impl Slot {
    fn list(&self) -> &[Acl] {
        match &self.content {
            Content::List(list) => list,
            Content::Vacant | Content::Unresolved => &[],
        }
    }
}

/// An entry whose text is in allocations of its own.
pub(crate) fn detached(acl: &Acl) -> Acl {
    let copy = |text: &Option<bytestring::ByteString>| {
        text.as_ref()
            .map(|text| bytestring::ByteString::from(text.to_string()))
    };
    Acl {
        perms: acl.perms,
        id: Id {
            scheme: copy(&acl.id.scheme),
            id: copy(&acl.id.id),
        },
    }
}

fn hash_slot(slot: Option<&Slot>) -> u64 {
    hash(slot.map_or(&[], Slot::list))
}

/// Clients cannot do much harm with lists that collide: they need as many lists as znodes.
fn hash(list: &[Acl]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for acl in list {
        hasher.write_i32(acl.perms.bits());
        acl.id.scheme.as_deref().hash(&mut hasher);
        acl.id.id.as_deref().hash(&mut hasher);
    }
    hasher.finish()
}
