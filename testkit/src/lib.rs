//! Test tools for `ZooKeeper` clients and servers.

pub mod ensemble;
