//! The pure core of the ZooKeeper server. Nothing is here yet.
