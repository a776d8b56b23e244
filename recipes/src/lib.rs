//! Distributed recipes over ZooKeeper. Nothing is here yet.
