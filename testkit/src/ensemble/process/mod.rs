//! Our own `zkserver` on loopback, started, stopped, paused and killed like the reference.
//!
//! A test names the binary, which cargo tells to the tests of the package that builds it:
//! `env!("CARGO_BIN_EXE_zkserver")`.

mod builder;

use std::path::PathBuf;

pub(in crate::ensemble) use self::builder::Binary;
pub use self::builder::Builder;

/// Our own server.
#[derive(Debug, Clone, Copy)]
pub struct ZkServer;

impl ZkServer {
    /// Describes an ensemble of processes of this binary; one server unless told otherwise.
    pub fn builder(binary: impl Into<PathBuf>) -> Builder {
        Builder::new(binary.into())
    }
}
