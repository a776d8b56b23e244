use bytes::Bytes;
use bytestring::ByteString;

use crate::acl::Acl;
use crate::jute::record;

record! {
    /// Creates a znode: opcodes create, create2 and createContainer.
    pub struct CreateRequest {
        /// Path, or the prefix of it if sequential.
        pub path: Option<ByteString>,
        /// Data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// Access control list.
        pub acl: Option<Vec<Acl>>,
        /// Number of a [`CreateFlags`].
        pub flags: i32,
    }

    /// Creates a znode that is deleted when it had no change for its time to live.
    pub struct CreateTtlRequest {
        /// Path, or the prefix of it if sequential.
        pub path: Option<ByteString>,
        /// Data; null is kept apart from empty.
        pub data: Option<Bytes>,
        /// Access control list.
        pub acl: Option<Vec<Acl>>,
        /// Number of a [`CreateFlags`].
        pub flags: i32,
        /// Time to live in milliseconds: 1 to 2⁴⁰ − 1.
        pub ttl_ms: i64,
    }
}

/// What kind of znode to create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum CreateFlags {
    /// Stays until it is deleted.
    Persistent = 0,
    /// Dies with its session.
    Ephemeral = 1,
    /// Stays; a number is put behind its name.
    PersistentSequential = 2,
    /// Dies with its session; a number is put behind its name.
    EphemeralSequential = 3,
    /// Is deleted some time after its last child. Goes with opcode createContainer.
    Container = 4,
    /// Is deleted when it had no change for its time to live. Goes with opcode createTTL.
    PersistentWithTtl = 5,
    /// As before; a number is put behind its name. Goes with opcode createTTL.
    PersistentSequentialWithTtl = 6,
}

impl CreateFlags {
    /// The kind with this number.
    pub const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::Persistent,
            1 => Self::Ephemeral,
            2 => Self::PersistentSequential,
            3 => Self::EphemeralSequential,
            4 => Self::Container,
            5 => Self::PersistentWithTtl,
            6 => Self::PersistentSequentialWithTtl,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }

    /// Whether the znode dies with its session.
    pub const fn is_ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether a number is put behind the name.
    pub const fn is_sequential(self) -> bool {
        matches!(
            self,
            Self::PersistentSequential
                | Self::EphemeralSequential
                | Self::PersistentSequentialWithTtl
        )
    }

    /// Whether the znode has a time to live.
    pub const fn has_ttl(self) -> bool {
        matches!(
            self,
            Self::PersistentWithTtl | Self::PersistentSequentialWithTtl
        )
    }
}
