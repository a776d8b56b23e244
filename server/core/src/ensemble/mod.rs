//! The ensemble: who its members are, and which sets of them decide.

mod config;
mod configs;
mod member;
mod quorum;
mod reconfig;

pub use config::{BadConfig, EnsembleConfig};
pub use configs::Configs;
pub use member::{BadMember, ClientAddress, Member, PeerAddress, Role, bracketed, host_and_rest};
pub use quorum::{Hierarchy, QuorumRule};
pub use reconfig::{BadChange, Change};
