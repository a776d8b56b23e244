//! Async ZooKeeper client for tokio: pipelined, cancel-safe, and honest about outcomes.
//!
//! Speaks the client protocol of Apache ZooKeeper 3.4 to 3.9 to any server that does.
//!
//! ## Connect, create, watch, read
//!
//! ```no_run
//! use zk_client::{Client, Error, WatchEnd};
//!
//! # async fn example() -> Result<(), Error> {
//! // Servers, and optionally the path below which the program lives.
//! let zk = Client::connect("zk1:2181,zk2:2181,zk3:2181/app").await?;
//!
//! zk.create("/config", "v1").or_set().await?;
//! zk.create("/members/worker-", "me").ephemeral().sequential().parents().await?;
//!
//! // A watch is a value that comes with the read it belongs to: nothing is missed between.
//! let (node, changed) = zk.get("/config").watch().await?;
//! println!("{:?} at version {}", node.data, node.stat.version);
//! match changed.await {
//!     WatchEnd::Event(event) => println!("{} {}", event.kind, event.path),
//!     end => println!("the watch ended: {end:?}"),
//! }
//!
//! // Compare and set, without a lock: the closure runs again if somebody else was faster.
//! zk.update("/counter", |node| {
//!     let count = node.and_then(|node| std::str::from_utf8(&node.data).ok()?.parse().ok());
//!     zk_client::Change::Set((count.unwrap_or(0) + 1u64).to_string().into())
//! })
//! .await?;
//! # Ok(())
//! # }
//! ```
//!
//! ## A read loop that misses nothing
//!
//! ```no_run
//! # use zk_client::{Client, Error, WatchItem};
//! # async fn example(zk: Client) -> Result<(), Error> {
//! // The latest state of one znode, for ever, over lost connections and sessions:
//! let mut states = zk.observe("/config");
//! while let Some(state) = states.next().await {
//!     match state? {
//!         Some(node) => println!("now {:?}", node.data),
//!         None => println!("not there"),
//!     }
//! }
//!
//! // Every event below a path, with explicit gaps instead of silent ones:
//! let mut events = zk.watch_tree("/members").await?;
//! while let Some(item) = events.next().await {
//!     match item {
//!         WatchItem::Event(event) => println!("{} {}", event.kind, event.path),
//!         WatchItem::Gap { .. } => println!("something may be missing: read again"),
//!         WatchItem::Armed { .. } => println!("nothing is missing from here on"),
//!         end => println!("{end:?}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! ## What is promised
//!
//! | | |
//! |---|---|
//! | order | Requests of one client, its clones and views reach the server in the order in which they were submitted: at [`op::Get::send`] and its like, or at the first poll of an awaited builder. Nothing overtakes, not even across reconnects. |
//! | watches | An event is delivered before the reply that could show its effect. One-shot watches survive reconnects. Streams say where something may be missing ([`WatchItem::Gap`]). |
//! | outcome | Every error says whether the operation may have taken effect: [`Outcome::NotSent`], [`Outcome::Rejected`] or [`Outcome::Unknown`]. Reads whose answer was lost are sent again by themselves, writes never, unless declared idempotent; then a later write may come between. |
//! | sessions | A session that expired is replaced ([`OnExpire`]); what must not outlive it is done through a [`Session`], which never acts under another one. |
//! | deadlines | Nothing hangs for ever: every operation has a deadline that includes waiting for a connection, 30 s unless told otherwise. |
//! | memory | What is on the wire is bounded ([`Config::in_flight_max`]), and so is what a watch holds for a slow reader. |
//! | cancellation | Any future may be dropped at any point; each says what that does. |
//!
//! ## What it does not do
//!
//! Locks, leader election, caches and service discovery stand on this crate in `zk-recipes`. Of SASL
//! there is DIGEST-MD5 ([`Sasl`]), and not GSSAPI (Kerberos).
//!
//! ## Features
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS by rustls: `Builder::tls`, and `tls://` in connect strings |
//! | `serde` | [`Config`] in documents |
//! | `srv` | `zk+srv://name` in connect strings: servers by the SRV records of a name |
//! | `cli` | the binary `zkcli` |
//! | `metrics` | the numbers of [`Stats`] to the recorder of the `metrics` crate, as `zk_client_…`; beside them requests by operation and result, and how long they were queued, on the wire, and the connection lost |
//!
//! What goes on is told by `tracing`: connections and sessions at INFO, what deviates at DEBUG, each
//! request at TRACE. Neither data nor credentials are shown at any level.

mod acl;
mod builder;
mod client;
mod config;
mod connect_string;
mod core;
mod credentials;
mod driver;
mod error;
pub mod four_letter;
pub mod guide;
#[doc(hidden)]
pub mod host;
mod ops;
mod shared;
mod state;
mod stats;
#[cfg(feature = "tls")]
mod tls;
mod watch;

pub use self::acl::Acl;
pub use self::builder::Builder;
pub use self::client::{Client, Session, SessionHold};
pub use self::config::{Config, OnExpire};
pub use self::connect_string::{ConnectString, ConnectStringError, DEFAULT_PORT, Server};
pub use self::core::{CloseReason, ServiceRecord};
pub use self::credentials::{Auth, CredentialProvider, Credentials, Sasl};
#[cfg(feature = "srv")]
pub use self::driver::DnsResolver;
pub use self::driver::{ConnectError, ConnectErrorKind, Connector, Io, Resolver};
pub use self::error::{Error, ErrorKind, Outcome};
pub use self::ops::{
    CallFuture, Change, CreateMode, Created, Member, Node, Observe, ObserveChildren, Pending,
    ReadResult, TransactionResult, Ttl, TtlError, Update, members,
};
pub use self::state::{ConnEvents, ConnState, SessionToken};
pub use self::stats::Stats;
#[cfg(feature = "tls")]
pub use self::tls::{Tls, TlsError};
pub use self::watch::{Watch, WatchEnd, WatchEvent, WatchItem, WatchStream};

#[doc(no_inline)]
pub use zk_proto::{
    Acl as Ace, Bytes, EventType, Id, OpCode, Perms, SessionId, Stat, Version, Zxid,
    acl::{AclTextError, ClientInfo},
};

/// Builders of operations: made by the methods of [`Client`], rarely named.
pub mod op {
    pub use crate::ops::*;
}
