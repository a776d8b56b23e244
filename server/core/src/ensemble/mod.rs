//! The ensemble: who its members are, and which sets of them decide.

mod config;
mod member;
mod quorum;

pub use config::{BadConfig, EnsembleConfig};
pub use member::{BadMember, ClientAddress, Member, PeerAddress, Role, bracketed, host_and_rest};
pub use quorum::{Hierarchy, QuorumRule};
