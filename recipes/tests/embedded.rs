//! The recipes on a server of ours in the test's process, with faults.

#[path = "harness/mod.rs"]
mod harness;
#[path = "suite/mod.rs"]
mod suite;

pub(crate) use harness::embedded as servers;
