//! Test tools for ZooKeeper clients and servers.
