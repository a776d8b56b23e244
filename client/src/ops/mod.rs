//! The operations: builders, one file for each family.

mod admin;
mod call;
mod children;
mod create;
mod data;
mod ensemble;
mod helper;
mod synced;
mod transaction;
mod tree;
mod watch;

pub use self::admin::{GetAcl, GetConfig, GetConfigWatched, Reconfig, SetAcl, Sync, WhoAmI};
pub use self::call::{CallFuture, Pending};
pub use self::children::{
    Children, ChildrenWatched, CountDescendants, Ephemerals, StatChildren, StatChildrenWatched,
};
pub use self::create::{
    Create, CreateIfAbsent, CreateMode, CreateOrSet, CreateWithParents, Created, Ttl, TtlError,
};
pub use self::data::{
    Delete, DeleteIfExists, Exists, ExistsWatched, Get, GetRequired, GetWatched, Node, Set,
};
pub use self::ensemble::{Member, members};
pub use self::helper::{Change, Update};
pub use self::synced::{Synced, SyncedFuture};
pub use self::transaction::{ReadMany, ReadResult, Transaction, TransactionResult};
pub use self::tree::ListTree;
pub use self::watch::{AddWatch, Observe, ObserveChildren, Observer};
