//! What must hold of the recipes, whatever the servers.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it is about"
)]

mod barrier;
mod cache;
mod config;
mod discovery;
mod keep;
mod leader;
mod lock;
mod read_write;
mod semaphore;
