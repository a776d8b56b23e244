//! Ensembles of Apache's servers and our own, each of which can take the place of the other.
//!
//! A server keeps its directory, its ports and its `zoo.cfg` when it changes from one program to the
//! other, as it does when an operator replaces the binary.

mod builder;

pub use self::builder::Builder;
pub use super::{Ensemble, EnsembleError, LaunchError, Server};

use std::path::PathBuf;

/// The program of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Apache `ZooKeeper`.
    Apache,
    /// Our own binary.
    Ours,
}

/// An ensemble of both.
#[derive(Debug, Clone, Copy)]
pub struct Mixed;

impl Mixed {
    /// Describes an ensemble to start: servers of these programs, which vote. `binary` is ours.
    pub fn builder(binary: impl Into<PathBuf>, voters: &[Kind]) -> Builder {
        Builder::new(binary.into(), voters)
    }
}

impl Ensemble {
    /// Lets server `i` be this program from its next start on.
    ///
    /// # Panics
    /// When there is no such server, or the ensemble was not built by [`Mixed`].
    pub fn become_at_start(&self, i: usize, kind: Kind) {
        self.server(i).choose(kind.index());
    }
}

impl Kind {
    /// Place among the programs of a server.
    fn index(self) -> usize {
        match self {
            Self::Apache => 0,
            Self::Ours => 1,
        }
    }
}
