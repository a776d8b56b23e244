//! The tests of `zkcli` on a server of ours, in this process.

#[path = "servers/zkcli.rs"]
mod zkcli;
