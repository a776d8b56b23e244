//! Ensembles to test against.
//!
//! [`mod@reference`] runs Apache `ZooKeeper`, [`process`] our own binary, [`mixed`] both at a time;
//! what runs is an [`Ensemble`] in each case.
//! `containers` (feature `containers`) runs our own binary, or published images, in containers.

mod child;
#[cfg(feature = "containers")]
pub mod containers;
mod error;
mod four_letter;
mod layout;
pub mod mixed;
mod ports;
pub mod process;
mod properties;
pub mod reference;
mod running;
mod server;

pub use self::error::{EnsembleError, LaunchError};
pub use self::layout::TlsFiles;
pub(crate) use self::layout::VOTERS_MAX;
pub use self::ports::free_port;
pub use self::running::Ensemble;
pub use self::server::Server;
