//! `ZooKeeper` server: configuration, storage and everything an operator touches, around the pure
//! core.
//!
//! What is here so far:
//!
//! - [`config`] turns `zoo.cfg`, the dynamic file, `myid` and JVM flags into one typed
//!   [`config::Config`].
//! - [`four_letter`] renders the answers to `srvr`, `mntr` and their kin.
//! - [`storage`] keeps log, snapshots and epochs, and recovers the state from them.
//! - [`shared_tree`] lets many read the tree while one changes it.

pub mod config;
pub mod four_letter;
pub mod shared_tree;
pub mod storage;
