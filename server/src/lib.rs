//! `ZooKeeper` server: configuration, storage and everything an operator touches, around the pure
//! core.
//!
//! What is here so far:
//!
//! - [`config`] turns `zoo.cfg`, the dynamic file, `myid` and JVM flags into one typed
//!   [`config::Config`].

pub mod config;
