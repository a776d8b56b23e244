//! What one znode takes in memory.

use std::fmt;

use triomphe::ThinArc;
use zk_proto::{Version, Zxid};

use super::acl_table::AclId;
use super::arena::Handle;
use super::owners::OwnerId;
use super::values::ValueRef;
use crate::time::WallTime;
use crate::wire::snapshot::StoredStat;

/// A znode. Size and field order are part of the memory budget: see the tests below.
#[derive(Debug, Clone)]
pub(super) struct ZnodeRecord {
    /// Last component of the path; empty for the root only.
    pub(super) name: Name,
    pub(super) data: ValueRef,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) ctime: WallTime,
    pub(super) mtime: WallTime,
    /// What most znodes have nothing of: most are leaves, have the list that they were created with,
    /// and live until they are deleted.
    rare: Option<Box<Rare>>,
    pub(super) version: Version,
    /// `None` for the root only.
    pub(super) parent: Option<Handle>,
    /// Siblings: the head of the list is [`Self::first_child`] of the parent.
    pub(super) next: Option<Handle>,
    pub(super) prev: Option<Handle>,
    pub(super) acl: AclId,
}

#[derive(Debug, Clone)]
struct Rare {
    pzxid: Zxid,
    /// As stored: the number of children ever created.
    cversion: Version,
    aversion: Version,
    first_child: Option<Handle>,
    /// Invariant: length of the list of children.
    children: u32,
    owner: OwnerId,
}

impl ZnodeRecord {
    /// A znode with a zero stat that hangs nowhere.
    pub(super) fn new(name: &str, data: ValueRef) -> Self {
        Self {
            name: Name::new(name),
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

    pub(super) fn pzxid(&self) -> Zxid {
        self.rare.as_ref().map_or(self.czxid, |rare| rare.pzxid)
    }

    /// To be called when `czxid` is what it will be.
    pub(super) fn set_pzxid(&mut self, pzxid: Zxid) {
        if self.pzxid() != pzxid {
            self.rare().pzxid = pzxid;
        }
    }

    /// As stored: the number of children ever created.
    pub(super) fn cversion(&self) -> Version {
        let rare = self.rare.as_ref();
        rare.map_or_else(Version::default, |rare| rare.cversion)
    }

    /// To be called when `czxid` is what it will be.
    pub(super) fn set_cversion(&mut self, cversion: Version) {
        if self.cversion() != cversion {
            self.rare().cversion = cversion;
        }
    }

    pub(super) fn aversion(&self) -> Version {
        let rare = self.rare.as_ref();
        rare.map_or_else(Version::default, |rare| rare.aversion)
    }

    /// To be called when `czxid` is what it will be.
    pub(super) fn set_aversion(&mut self, aversion: Version) {
        if self.aversion() != aversion {
            self.rare().aversion = aversion;
        }
    }

    pub(super) fn owner(&self) -> OwnerId {
        self.rare.as_ref().map_or(OwnerId::NONE, |rare| rare.owner)
    }

    /// To be called when `czxid` is what it will be.
    pub(super) fn set_owner(&mut self, owner: OwnerId) {
        if self.owner() != owner {
            self.rare().owner = owner;
        }
    }

    /// Head of the list of children, whose links are `next` and `prev`.
    pub(super) fn first_child(&self) -> Option<Handle> {
        self.rare.as_ref()?.first_child
    }

    /// Number of children.
    pub(super) fn children(&self) -> u32 {
        self.rare.as_ref().map_or(0, |rare| rare.children)
    }

    /// A child became the head of the list.
    pub(super) fn count_child(&mut self, first: Handle) {
        let rare = self.rare();
        rare.first_child = Some(first);
        rare.children += 1;
    }

    /// A child is gone that stood between these in the list.
    pub(super) fn uncount_child(&mut self, prev: Option<Handle>, next: Option<Handle>) {
        let rare = self.rare();
        rare.children -= 1;
        if prev.is_none() {
            rare.first_child = next;
        }
    }

    fn rare(&mut self) -> &mut Rare {
        let czxid = self.czxid;
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                pzxid: czxid,
                cversion: Version::default(),
                aversion: Version::default(),
                first_child: None,
                children: 0,
                owner: OwnerId::NONE,
            })
        })
    }

    /// The stat as it is stored; `owner` is what the table says of [`Self::owner`].
    pub(super) fn stat(&self, owner: zk_proto::SessionId) -> StoredStat {
        StoredStat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion(),
            aversion: self.aversion(),
            owner,
            pzxid: self.pzxid(),
        }
    }
}

/// Longest name that takes no allocation.
const INLINE_MAX: usize = 15;

/// Name of a znode: up to 15 bytes in place, else an allocation.
#[derive(Clone)]
pub(super) struct Name(Repr);

#[derive(Clone)]
enum Repr {
    Inline(InlineLen, [u8; INLINE_MAX]),
    /// Behind one pointer; cloning shares it.
    Heap(ThinArc<(), u8>),
}

/// Length of an inline name. An enum, so that the values it does not have tell [`Repr::Heap`]: a
/// plain number would make a name one word longer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[rustfmt::skip]
enum InlineLen { L0, L1, L2, L3, L4, L5, L6, L7, L8, L9, L10, L11, L12, L13, L14, L15 }

impl InlineLen {
    #[rustfmt::skip]
    const ALL: [Self; INLINE_MAX + 1] = [
        Self::L0, Self::L1, Self::L2, Self::L3, Self::L4, Self::L5, Self::L6, Self::L7,
        Self::L8, Self::L9, Self::L10, Self::L11, Self::L12, Self::L13, Self::L14, Self::L15,
    ];
}

impl Name {
    pub(super) fn new(name: &str) -> Self {
        let bytes = name.as_bytes();
        let mut inline = [0; INLINE_MAX];
        Self(
            match (
                InlineLen::ALL.get(bytes.len()),
                inline.get_mut(..bytes.len()),
            ) {
                (Some(&len), Some(text)) => {
                    text.copy_from_slice(bytes);
                    Repr::Inline(len, inline)
                }
                _ => Repr::Heap(ThinArc::from_header_and_slice((), bytes)),
            },
        )
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, text) => text.get(..*len as usize).unwrap_or_default(),
            Repr::Heap(text) => &text.slice,
        }
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).expect("a name is made of a str")
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_znode_takes_88_bytes() {
        assert_eq!(size_of::<Name>(), 16);
        assert_eq!(size_of::<Rare>(), 32);
        assert_eq!(size_of::<ZnodeRecord>(), 88);
        assert_eq!(size_of::<Option<ZnodeRecord>>(), 88);
    }

    #[test]
    fn names_of_any_length_are_kept() {
        for len in 0..40 {
            let name = "n".repeat(len);
            assert_eq!(Name::new(&name).as_str(), name);
        }
        assert_eq!(Name::new("sept octets é").as_str(), "sept octets é");
    }
}
