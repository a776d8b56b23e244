//! What ends the life of a znode, other than a request: its session, a time to live, or the loss of
//! its last child.

use std::collections::{BTreeMap, BTreeSet};

use zk_proto::SessionId;

use super::arena::Handle;

/// Owner that marks a container.
const CONTAINER: i64 = i64::MIN;
/// Bits that mark an owner of an extended type.
const EXTENDED: u64 = 0xff00_0000_0000_0000;
/// Bits that tell which extended type; a time to live has none of them.
const FEATURE: u64 = 0x00ff_ff00_0000_0000;
/// Bits of a time to live.
const TTL: u64 = 0x0000_00ff_ffff_ffff;
/// Bits of a time to live as 3.5.3 wrote it.
const TTL_353: u64 = 0x7fff_ffff_ffff_ffff;

/// What an owner means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It lives until it is deleted.
    Persistent,
    /// It dies with this session.
    Ephemeral(SessionId),
    /// It is deleted some time after its last child.
    Container,
    /// It is deleted when it has no children and its data was not set for this long.
    Ttl {
        /// Milliseconds.
        millis: u64,
    },
    /// An extended type that is not known here; it lives until it is deleted.
    Unknown,
}

/// How owners are read and written. All members of an ensemble must agree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OwnerRules {
    /// Whether there are times to live (`zookeeper.extendedTypesEnabled`). If not, their owners are
    /// taken for sessions.
    pub extended_types: bool,
    /// Whether times to live are written as 3.5.3 wrote them (`zookeeper.emulate353TTLNodes`).
    pub emulate_353_ttl: bool,
}

impl OwnerRules {
    /// What an owner means.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `EphemeralType#get`, `EphemeralTypeEmulate353#get`.
    pub const fn lifetime(self, owner: SessionId) -> Lifetime {
        let bits = owner.get().cast_unsigned();
        match owner.get() {
            0 => Lifetime::Persistent,
            CONTAINER => Lifetime::Container,
            negative if self.extended_types && self.emulate_353_ttl && negative < 0 => {
                Lifetime::Ttl {
                    millis: bits & TTL_353,
                }
            }
            _ if self.extended_types && bits & EXTENDED == EXTENDED => {
                if bits & FEATURE == 0 {
                    Lifetime::Ttl { millis: bits & TTL }
                } else {
                    Lifetime::Unknown
                }
            }
            _ => Lifetime::Ephemeral(owner),
        }
    }

    /// Owner of a container.
    pub const fn container(self) -> SessionId {
        SessionId::new(CONTAINER)
    }

    /// Owner of a znode with a time to live in milliseconds; `None` if it is not one that an owner
    /// can tell, from 1 up to 2⁴⁰ − 1.
    pub const fn ttl(self, millis: i64) -> Option<SessionId> {
        let bits = millis.cast_unsigned();
        if self.emulate_353_ttl {
            return match millis {
                1.. => Some(SessionId::new((bits | !TTL_353).cast_signed())),
                _ => None,
            };
        }
        if millis < 1 || bits > TTL {
            return None;
        }
        Some(SessionId::new((bits | EXTENDED).cast_signed()))
    }
}

/// Stands for an owner within one tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnerId(u32);

impl OwnerId {
    /// Of persistent znodes, which no table lists.
    pub(super) const NONE: Self = Self(0);
}

/// Owners, each with its znodes. Each stands once, so that a znode takes four bytes for it.
#[derive(Debug, Default)]
pub(super) struct Owners {
    /// By id, less one.
    slots: Vec<Slot>,
    by_owner: BTreeMap<i64, OwnerId>,
    free: Vec<OwnerId>,
}

#[derive(Debug, Default)]
struct Slot {
    owner: SessionId,
    znodes: BTreeSet<Handle>,
}

impl Owners {
    /// The owner of an id.
    pub(super) fn owner(&self, id: OwnerId) -> SessionId {
        self.slot(id).map_or(SessionId::NONE, |slot| slot.owner)
    }

    /// Adds a znode.
    pub(super) fn add(&mut self, owner: SessionId, handle: Handle) -> OwnerId {
        if owner == SessionId::NONE {
            return OwnerId::NONE;
        }
        let id = if let Some(&id) = self.by_owner.get(&owner.get()) {
            id
        } else {
            let id = self.free.pop().unwrap_or_else(|| {
                self.slots.push(Slot::default());
                OwnerId(u32::try_from(self.slots.len()).expect("fewer owners than znodes"))
            });
            self.by_owner.insert(owner.get(), id);
            id
        };
        if let Some(slot) = self.slot_mut(id) {
            slot.owner = owner;
            slot.znodes.insert(handle);
        }
        id
    }

    /// Removes a znode.
    pub(super) fn remove(&mut self, id: OwnerId, handle: Handle) {
        let Some(slot) = self.slot_mut(id) else {
            return;
        };
        slot.znodes.remove(&handle);
        if slot.znodes.is_empty() {
            let owner = slot.owner;
            self.by_owner.remove(&owner.get());
            self.free.push(id);
        }
    }

    /// Znodes of an owner, in an order that depends on nothing but the history of this tree.
    pub(super) fn znodes(&self, owner: SessionId) -> impl Iterator<Item = Handle> {
        let id = self.by_owner.get(&owner.get());
        let slot = id.and_then(|&id| self.slot(id));
        slot.into_iter()
            .flat_map(|slot| slot.znodes.iter().copied())
    }

    /// All owners that have znodes, in order.
    pub(super) fn all(&self) -> impl Iterator<Item = SessionId> {
        self.by_owner.keys().copied().map(SessionId::new)
    }

    /// Number of znodes of an owner.
    pub(super) fn count(&self, owner: SessionId) -> usize {
        let id = self.by_owner.get(&owner.get());
        id.and_then(|&id| self.slot(id))
            .map_or(0, |slot| slot.znodes.len())
    }

    fn slot(&self, id: OwnerId) -> Option<&Slot> {
        self.slots.get((id.0 as usize).checked_sub(1)?)
    }

    fn slot_mut(&mut self, id: OwnerId) -> Option<&mut Slot> {
        self.slots.get_mut((id.0 as usize).checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXTENDED_TYPES: OwnerRules = OwnerRules {
        extended_types: true,
        emulate_353_ttl: false,
    };

    #[test]
    fn times_to_live_go_there_and_back() {
        let emulated = OwnerRules {
            extended_types: true,
            emulate_353_ttl: true,
        };
        for rules in [EXTENDED_TYPES, emulated] {
            for millis in [1, 60_000, (1 << 40) - 1] {
                let owner = rules.ttl(millis).unwrap();
                let millis = millis.cast_unsigned();
                assert_eq!(rules.lifetime(owner), Lifetime::Ttl { millis });
            }
            assert_eq!(rules.ttl(0), None);
            assert_eq!(rules.ttl(-5), None);
        }
        assert_eq!(EXTENDED_TYPES.ttl(1 << 40), None);
        let owner = EXTENDED_TYPES.ttl(60_000).unwrap();
        assert_eq!(owner.to_string(), "0xff0000000000ea60");
    }

    #[test]
    fn without_extended_types_a_time_to_live_is_taken_for_a_session() {
        let owner = EXTENDED_TYPES.ttl(5).unwrap();
        let rules = OwnerRules::default();
        assert_eq!(rules.lifetime(owner), Lifetime::Ephemeral(owner));
        assert_eq!(rules.lifetime(rules.container()), Lifetime::Container);
        assert_eq!(rules.lifetime(SessionId::NONE), Lifetime::Persistent);
    }

    #[test]
    fn unknown_extended_types_are_not_taken_for_sessions() {
        let owner = SessionId::new(0xff00_0100_0000_0000_u64.cast_signed());
        assert_eq!(EXTENDED_TYPES.lifetime(owner), Lifetime::Unknown);
    }
}
