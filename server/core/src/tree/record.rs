//! What one znode takes in memory.

use std::fmt;

use triomphe::ThinArc;
use zk_proto::{Bytes, Version, Zxid};

use super::acl_table::AclId;
use super::arena::Handle;
use super::owners::OwnerId;
use crate::time::WallTime;
use crate::wire::snapshot::StoredStat;

/// A znode. Size and field order are part of the memory budget: see the tests below.
#[derive(Debug, Clone)]
pub(super) struct ZnodeRecord {
    /// Last component of the path; empty for the root only.
    pub(super) name: Name,
    /// `None` is null, which is not empty.
    pub(super) data: Option<Value>,
    pub(super) czxid: Zxid,
    pub(super) mzxid: Zxid,
    pub(super) pzxid: Zxid,
    pub(super) ctime: WallTime,
    pub(super) mtime: WallTime,
    pub(super) version: Version,
    /// As stored: the number of children ever created.
    pub(super) cversion: Version,
    pub(super) aversion: Version,
    /// `None` for the root only.
    pub(super) parent: Option<Handle>,
    /// Head of the list of children, whose links are `next` and `prev`.
    pub(super) first_child: Option<Handle>,
    pub(super) next: Option<Handle>,
    pub(super) prev: Option<Handle>,
    /// Invariant: length of the list of children.
    pub(super) children: u32,
    pub(super) acl: AclId,
    pub(super) owner: OwnerId,
}

impl ZnodeRecord {
    /// The stat as it is stored; `owner` is what the table says of [`Self::owner`].
    pub(super) fn stat(&self, owner: zk_proto::SessionId) -> StoredStat {
        StoredStat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion,
            aversion: self.aversion,
            owner,
            pzxid: self.pzxid,
        }
    }

    pub(super) fn data(&self) -> Option<&[u8]> {
        self.data.as_ref().map(Value::as_slice)
    }

    /// Bytes of data; null counts as none.
    pub(super) fn data_len(&self) -> usize {
        self.data().map_or(0, <[u8]>::len)
    }
}

/// Bytes in an exact-size allocation of their own, behind one pointer; cloning shares them.
#[derive(Clone)]
pub(super) struct Value(ThinArc<(), u8>);

impl Value {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(ThinArc::from_header_and_slice((), bytes))
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0.slice
    }

    /// The same bytes for the network, without a copy.
    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from_owner(self.clone())
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Value({} bytes)", self.as_slice().len())
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
    Heap(Value),
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
                _ => Repr::Heap(Value::new(bytes)),
            },
        )
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline(len, text) => text.get(..*len as usize).unwrap_or_default(),
            Repr::Heap(text) => text.as_slice(),
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
    fn a_znode_takes_104_bytes() {
        assert_eq!(size_of::<Name>(), 16);
        assert_eq!(size_of::<Option<Value>>(), 8);
        assert_eq!(size_of::<ZnodeRecord>(), 104);
        assert_eq!(size_of::<Option<ZnodeRecord>>(), 104);
    }

    #[test]
    fn names_of_any_length_are_kept() {
        for len in 0..40 {
            let name = "n".repeat(len);
            assert_eq!(Name::new(&name).as_str(), name);
        }
        assert_eq!(Name::new("sept octets é").as_str(), "sept octets é");
    }

    #[test]
    fn values_are_shared_with_the_network() {
        let value = Value::new(b"data");
        let bytes = value.to_bytes();
        assert_eq!(bytes.as_ptr(), value.as_slice().as_ptr());
    }
}
