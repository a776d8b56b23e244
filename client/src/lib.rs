//! Async `ZooKeeper` client.

mod acl;
mod builder;
mod client;
mod connect_string;
mod core;
mod driver;
mod error;
mod ops;
mod shared;
mod state;
mod stats;
#[cfg(feature = "tls")]
mod tls;
mod watch;

pub use self::acl::Acl;
pub use self::builder::{Auth, Builder, Config, OnExpire};
pub use self::client::{Client, Session};
pub use self::connect_string::{ConnectString, ConnectStringError, DEFAULT_PORT, Server};
pub use self::core::CloseReason;
pub use self::driver::{ConnectError, ConnectErrorKind, Connector, Io};
pub use self::error::{Error, ErrorKind, Outcome};
pub use self::ops::{
    CallFuture, Change, CreateMode, Created, Node, Observe, Pending, ReadResult, TransactionResult,
    Ttl, TtlError, Update,
};
pub use self::state::{ConnEvents, ConnState, SessionToken};
pub use self::stats::Stats;
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
pub use self::watch::{Watch, WatchEnd, WatchEvent, WatchItem, WatchStream};

#[doc(no_inline)]
pub use zk_proto::{
    Acl as Ace, Bytes, EventType, Id, OpCode, Perms, SessionId, Stat, Version, Zxid,
    acl::ClientInfo,
};

/// Builders of operations: made by the methods of [`Client`], rarely named.
pub mod op {
    pub use crate::ops::*;
}
