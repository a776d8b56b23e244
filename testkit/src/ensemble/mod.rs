//! Ensembles to test against.
//!
//! [`reference`] runs Apache `ZooKeeper`, [`process`] our own binary; what runs is an [`Ensemble`]
//! either way.

mod child;
mod error;
mod four_letter;
mod layout;
mod ports;
pub mod process;
mod properties;
pub mod reference;
mod running;
mod server;

pub use self::error::{EnsembleError, LaunchError};
pub use self::layout::TlsFiles;
pub use self::running::Ensemble;
pub use self::server::Server;
