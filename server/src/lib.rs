//! ZooKeeper server. Nothing is here yet.
