//! ZooKeeper client protocol.
