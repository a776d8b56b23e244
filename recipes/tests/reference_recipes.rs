//! The same suite on Apache's server.

#[path = "harness/mod.rs"]
mod harness;
#[path = "suite/mod.rs"]
mod suite;

pub(crate) use harness::apache as servers;
