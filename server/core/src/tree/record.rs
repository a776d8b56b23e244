//! What one znode takes in memory.

use zk_proto::{SessionId, Version, Zxid};

use super::acl_table::AclId;
use super::arena::Handle;
use super::owners::OwnerId;
use super::rares::RareRef;
use super::values::ValueRef;
use crate::time::WallTime;
use crate::wire::snapshot::StoredStat;

/// A znode. Size and field order are part of the memory budget: see the tests below.
///
/// Long names and what is rare stand elsewhere in the arena: see [`Arena::name`](super::arena::Arena::name)
/// and [`Arena::rare`](super::arena::Arena::rare).
#[derive(Debug, Clone)]
pub(super) struct ZnodeRecord {
    /// Last component of the path; empty for the root only.
    pub(super) name: Name,
    pub(super) data: ValueRef,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) ctime: WallTime,
    pub(super) mtime: WallTime,
    /// Where the arena has what most znodes have nothing of.
    pub(super) rare: Option<RareRef>,
    pub(super) version: Version,
    /// `None` for the root only; [`Handle::VACANT`] where there is no znode.
    pub(super) parent: Option<Handle>,
    /// Siblings: the head of the list is [`Rare::first_child`] of the parent.
    pub(super) next: Option<Handle>,
    pub(super) prev: Option<Handle>,
    pub(super) acl: AclId,
}

/// What most znodes have nothing of: most are leaves, have the list that they were created with, and
/// live until they are deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rare {
    pub(super) pzxid: Zxid,
    /// As stored: the number of children ever created.
    pub(super) cversion: Version,
    pub(super) aversion: Version,
    /// Head of the list of children, whose links are `next` and `prev`.
    pub(super) first_child: Option<Handle>,
    /// Invariant: length of the list of children.
    pub(super) children: u32,
    pub(super) owner: OwnerId,
}

impl Rare {
    /// What a znode has that was created with this zxid, and nothing happened to since.
    pub(super) const fn of(czxid: Zxid) -> Self {
        Self {
            pzxid: czxid,
            cversion: Version::new(0),
            aversion: Version::new(0),
            first_child: None,
            children: 0,
            owner: OwnerId::NONE,
        }
    }
}

impl ZnodeRecord {
    /// A znode with a zero stat that hangs nowhere.
    pub(super) fn new(name: Name, data: ValueRef) -> Self {
        Self {
            name,
            data,
            czxid: Zxid::ZERO,
            mzxid: Zxid::ZERO,
            ctime: WallTime::default(),
            mtime: WallTime::default(),
            rare: None,
            version: Version::default(),
            parent: None,
            next: None,
            prev: None,
            acl: AclId::BUILT_IN,
        }
    }

    /// What stands where there is no znode.
    pub(super) fn vacant() -> Self {
        Self {
            parent: Some(Handle::VACANT),
            ..Self::new(Name::EMPTY, ValueRef::EMPTY)
        }
    }

    pub(super) fn is_vacant(&self) -> bool {
        self.parent == Some(Handle::VACANT)
    }

    /// The stat as it is stored; `owner` is what the table says of that in `rare`.
    pub(super) fn stat(&self, rare: &Rare, owner: SessionId) -> StoredStat {
        StoredStat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: rare.cversion,
            aversion: rare.aversion,
            owner,
            pzxid: rare.pzxid,
        }
    }
}

/// Longest name that stands in the record.
const INLINE_MAX: usize = 16;

/// Name of a znode, or where it is: up to 16 bytes in place, with zeros behind them, which no legal
/// path has any of. Others begin with [`LONG`], which no name in place does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Name([u8; INLINE_MAX]);

/// What the place of a long name begins with.
const LONG: [u8; 8] = [0, 1, 0, 0, 0, 0, 0, 0];

impl Name {
    /// Of the root.
    pub(super) const EMPTY: Self = Self([0; INLINE_MAX]);

    /// In place, if it can stand there.
    pub(super) fn inline(name: &[u8]) -> Option<Self> {
        let mut inline = [0; INLINE_MAX];
        inline.get_mut(..name.len())?.copy_from_slice(name);
        (!name.contains(&0)).then_some(Self(inline))
    }

    /// A name that stands among the values.
    pub(super) fn long(place: ValueRef) -> Self {
        let mut long = [0; INLINE_MAX];
        let (mark, rest) = long.split_at_mut(LONG.len());
        mark.copy_from_slice(&LONG);
        rest.copy_from_slice(&place.to_bytes());
        Self(long)
    }

    /// The name if it stands here, else where it is.
    pub(super) fn get(&self) -> Result<&[u8], ValueRef> {
        if let Some((&LONG, place)) = self.0.split_first_chunk() {
            return Err(ValueRef::from_bytes(place.try_into().unwrap_or_default()));
        }
        let zeros = u128::from_le_bytes(self.0).leading_zeros() / 8;
        let len = INLINE_MAX - zeros as usize;
        Ok(self.0.get(..len).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_takes_80_bytes() {
        assert_eq!(size_of::<Name>(), 16);
        assert_eq!(size_of::<Rare>(), 32);
        assert_eq!(size_of::<ZnodeRecord>(), 80);
    }

    #[test]
    fn short_names_stand_in_place() {
        for len in 0..=INLINE_MAX {
            let name = "n".repeat(len);
            assert_eq!(
                Name::inline(name.as_bytes()).unwrap().get(),
                Ok(name.as_bytes())
            );
        }
        assert_eq!(Name::inline(&[b'n'; INLINE_MAX + 1]), None);
    }

    #[test]
    fn no_name_in_place_is_taken_for_the_place_of_a_long_one() {
        let mut values = super::super::values::Values::default();
        let place = values.add(Some(b"a name that has no room in place"));
        assert_eq!(Name::long(place).get(), Err(place));
        let mut like = [0; INLINE_MAX];
        like[..8].copy_from_slice(&LONG);
        assert_eq!(Name::inline(&like), None);
        assert_eq!(Name::inline(b"\0"), None);
        assert_eq!(Name::inline(b"a\0"), None);
    }
}
