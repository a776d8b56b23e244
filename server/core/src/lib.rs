//! The pure core of the `ZooKeeper` server: everything that decides, and nothing that waits.
//!
//! No clock, entropy, socket, file, thread, lock or async is in here. Time and seeds are arguments,
//! what happened comes in as values, what is to be done goes out as values. Drivers in the server
//! crate, and the simulator in the testkit, run the same code.
//!
//! What it deliberately does not do: it opens nothing, waits for nothing and logs nothing.

pub mod answer;
pub mod conn;
pub mod election;
pub mod ensemble;
#[cfg(feature = "mutants")]
pub mod mutation;
#[cfg(not(feature = "mutants"))]
mod mutation;
pub mod peer;
pub mod prep;
pub mod session;
pub mod time;
pub mod tree;
pub mod watch;
pub mod wire;
pub(crate) mod zab;

mod hash;
