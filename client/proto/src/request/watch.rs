use bytestring::ByteString;

use crate::Zxid;
use crate::jute::record;

record! {
    /// Registers one-shot watches anew after a reconnect; fires those that were missed.
    pub struct SetWatches {
        /// Highest zxid that the client has seen.
        pub relative_zxid: Zxid,
        /// Paths with data watches.
        pub data_watches: Option<Vec<ByteString>>,
        /// Paths with exist watches.
        pub exist_watches: Option<Vec<ByteString>>,
        /// Paths with child watches.
        pub child_watches: Option<Vec<ByteString>>,
    }

    /// Registers watches of every kind anew after a reconnect; fires the one-shot watches missed.
    pub struct SetWatches2 {
        /// Highest zxid that the client has seen.
        pub relative_zxid: Zxid,
        /// Paths with data watches.
        pub data_watches: Option<Vec<ByteString>>,
        /// Paths with exist watches.
        pub exist_watches: Option<Vec<ByteString>>,
        /// Paths with child watches.
        pub child_watches: Option<Vec<ByteString>>,
        /// Paths with persistent watches.
        pub persistent_watches: Option<Vec<ByteString>>,
        /// Paths with persistent recursive watches.
        pub persistent_recursive_watches: Option<Vec<ByteString>>,
    }

    /// Adds a persistent watch, whether the znode exists or not.
    pub struct AddWatchRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Number of an [`AddWatchMode`].
        pub mode: i32,
    }

    /// Asks whether this connection has a watch, and leaves it.
    pub struct CheckWatchesRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Number of a [`WatcherType`].
        pub watcher_type: i32,
    }

    /// Removes the watches of this connection on a path.
    pub struct RemoveWatchesRequest {
        /// Path.
        pub path: Option<ByteString>,
        /// Number of a [`WatcherType`].
        pub watcher_type: i32,
    }
}

/// How far a persistent watch reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum AddWatchMode {
    /// The znode and its children, as data, exist and child watches would, but not removed by firing.
    Persistent = 0,
    /// The znode and all below it; tells creations, deletions and changes of data.
    PersistentRecursive = 1,
}

impl AddWatchMode {
    /// The mode with this number.
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            0 => Some(Self::Persistent),
            1 => Some(Self::PersistentRecursive),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// Which watches of a path to check or remove.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum WatcherType {
    /// The child watch.
    Children = 1,
    /// The data or exist watch.
    Data = 2,
    /// All of any kind.
    Any = 3,
    /// The persistent watch. Since 3.9.
    Persistent = 4,
    /// The persistent recursive watch. Since 3.9.
    PersistentRecursive = 5,
}

impl WatcherType {
    /// The type with this number.
    pub const fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            1 => Self::Children,
            2 => Self::Data,
            3 => Self::Any,
            4 => Self::Persistent,
            5 => Self::PersistentRecursive,
            _ => return None,
        })
    }

    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }
}
