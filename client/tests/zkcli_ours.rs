//! The tests of `zkcli` on a server of ours, in this process.

#[path = "zkcli.rs"]
mod zkcli;
