//! Apache `ZooKeeper` servers on loopback, from Debian's `zookeeper` package.
//!
//! The servers are child processes with directories and ports of their own; any number of
//! ensembles can run side by side. They listen on 127.0.0.1 only. They end with the [`Ensemble`],
//! also when the test panics, and with the test process, also when that is killed.

mod builder;
mod install;

pub(in crate::ensemble) use self::builder::Java;
pub use self::builder::{Builder, LogLevel};
pub use super::{Ensemble, EnsembleError, LaunchError, Server, TlsFiles};

/// The reference implementation, Apache `ZooKeeper`.
#[derive(Debug, Clone, Copy)]
pub struct Reference;

impl Reference {
    /// Describes an ensemble to start; one server unless told otherwise.
    pub fn builder() -> Builder {
        Builder::new()
    }
}
