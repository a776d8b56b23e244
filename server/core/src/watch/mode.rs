//! Kinds of watches, and the set of them that a connection has on a path.

use zk_proto::request::{AddWatchMode, WatcherType};

/// What a watch listens to and whether it survives firing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WatchKind {
    /// Data of a znode that exists; fires once.
    Data,
    /// Creation of a znode that does not exist; fires once. The same watch as [`Self::Data`] once it
    /// is registered: whichever change comes first consumes it.
    Exist,
    /// Children of a znode; fires once.
    Child,
    /// Data, existence and children of a znode.
    Persistent,
    /// Data and existence of a znode and of all below it.
    PersistentRecursive,
}

impl From<AddWatchMode> for WatchKind {
    fn from(mode: AddWatchMode) -> Self {
        match mode {
            AddWatchMode::Persistent => Self::Persistent,
            AddWatchMode::PersistentRecursive => Self::PersistentRecursive,
        }
    }
}

/// One of the two tables that a change can fire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchSide {
    /// Creation, deletion, data.
    Data,
    /// Children, and deletion as far as the data table did not tell it.
    Child,
}

/// Set of the modes that one connection has on one path. Empty means no watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const NONE: Self = Self(0);
    /// One-shot in the data table.
    pub(super) const DATA: Self = Self(1);
    /// One-shot in the child table.
    pub(super) const CHILD: Self = Self(2);
    /// In both tables.
    pub(super) const PERSISTENT: Self = Self(4);
    /// In the data table.
    pub(super) const RECURSIVE: Self = Self(8);

    pub(super) const fn of_kind(kind: WatchKind) -> Self {
        match kind {
            WatchKind::Data | WatchKind::Exist => Self::DATA,
            WatchKind::Child => Self::CHILD,
            WatchKind::Persistent => Self::PERSISTENT,
            WatchKind::PersistentRecursive => Self::RECURSIVE,
        }
    }

    /// What checkWatches looks at and removeWatches removes.
    ///
    /// # Source
    /// Apache `ZooKeeper` 3.9, `DataTree#containsWatcher`, `DataTree#removeWatch`.
    pub(super) const fn of_type(watcher_type: WatcherType) -> Self {
        match watcher_type {
            WatcherType::Children => Self::CHILD,
            WatcherType::Data => Self::DATA,
            WatcherType::Persistent => Self::PERSISTENT,
            WatcherType::PersistentRecursive => Self::RECURSIVE,
            WatcherType::Any => Self(15),
        }
    }

    /// The modes that listen in a table.
    pub(super) const fn of_side(side: WatchSide) -> Self {
        match side {
            WatchSide::Data => Self(1 | 4 | 8),
            WatchSide::Child => Self(2 | 4),
        }
    }

    /// The mode that firing a table consumes.
    pub(super) const fn one_shot(side: WatchSide) -> Self {
        match side {
            WatchSide::Data => Self::DATA,
            WatchSide::Child => Self::CHILD,
        }
    }

    pub(super) const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub(super) const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}
