//! `ZooKeeper` server: configuration, storage, threads and sockets around the pure core.
//!
//! [`Server`] is a whole server in this process; the binary `zkserver` is one with a configuration
//! file around it.
//!
//! - [`config`] turns `zoo.cfg`, the dynamic file, `myid` and JVM flags into one typed
//!   [`config::Config`].
//! - [`storage`] keeps log, snapshots and epochs, and recovers the state from them.
//! - [`shared_tree`] lets many read the tree while one changes it.
//! - [`faults`] are for tests: a disk that is slow, full or broken, threads that stand still.
//! - `stage` has the owner threads, `net` the listeners and connections.
//! - `descriptors` keeps file descriptors for what a server cannot do without.
//! - `audit` tells who changed what, if that is wanted.
//! - `admin` answers operators over HTTP, `metrics` counts what they ask for.
//! - [`four_letter`] renders the answers to `srvr`, `mntr` and their kin.

mod admin;
mod audit;
pub mod config;
mod descriptors;
mod entropy;
pub mod faults;
pub mod four_letter;
mod metrics;
mod net;
mod server;
pub mod shared_tree;
mod stage;
pub mod storage;

/// What the server says it is: the release of the reference whose behaviour it has, and its own.
pub const VERSION: &str = concat!("3.9.3-zk-", env!("CARGO_PKG_VERSION"));

pub use audit::TARGET as AUDIT_TARGET;
pub use net::tls::{StoreError, TlsError};
pub use server::{Builder, MemberSockets, Server, StartError, StopCause};
pub use zk_core::peer::{PeerStatus, Phase, Role};
