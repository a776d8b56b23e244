//! Watch events.

use std::fmt;

use bytestring::ByteString;

use crate::jute::record;

record! {
    /// Tells that a watch was triggered. Its frame has the xid [`crate::Xid::NOTIFICATION`].
    pub struct WatcherEvent {
        /// Number of an [`EventType`].
        pub event_type: i32,
        /// Number of a [`KeeperState`]; servers always send [`KeeperState::SyncConnected`].
        pub state: i32,
        /// Znode that changed.
        pub path: Option<ByteString>,
    }
}

impl WatcherEvent {
    /// What happened, if it is known.
    pub const fn event_type(&self) -> Option<EventType> {
        EventType::from_code(self.event_type)
    }
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum EventType {
    /// It was created.
    NodeCreated = 1,
    /// It was deleted.
    NodeDeleted = 2,
    /// Its data was set.
    NodeDataChanged = 3,
    /// A child was created or deleted.
    NodeChildrenChanged = 4,
}

impl EventType {
    /// The type with this number, if a server can send it.
    pub const fn from_code(code: i32) -> Option<Self> {
        match code {
            1 => Some(Self::NodeCreated),
            2 => Some(Self::NodeDeleted),
            3 => Some(Self::NodeDataChanged),
            4 => Some(Self::NodeChildrenChanged),
            _ => None,
        }
    }

    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }
}

/// Name as the reference writes it.
impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// State of a session as events carry it. Servers send [`KeeperState::SyncConnected`] only; clients
/// use the others among themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
pub enum KeeperState {
    /// The session is over.
    Expired = -112,
    /// There is no connection.
    Disconnected = 0,
    /// Connected to a server that takes part in the ensemble.
    SyncConnected = 3,
    /// The credentials were refused.
    AuthFailed = 4,
    /// Connected to a server that is cut off from the ensemble.
    ConnectedReadOnly = 5,
    /// A SASL exchange succeeded.
    SaslAuthenticated = 6,
    /// The client was closed.
    Closed = 7,
}

impl KeeperState {
    /// The number on the wire.
    pub const fn code(self) -> i32 {
        self as i32
    }
}
