//! Async ZooKeeper client.
