//! Role of a server, as operators know it.

use std::fmt;

use zk_core::conn::handshake::ServingMode;
use zk_core::peer::{PeerStatus, Role};

/// Role of a server, as operators know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each prints as it is named")]
pub enum Mode {
    Standalone,
    Leader,
    Follower,
    Observer,
    ReadOnly,
}

impl Mode {
    /// The role of a server that serves.
    pub fn of(status: &PeerStatus) -> Self {
        match (status.mode, status.role) {
            (ServingMode::ReadOnly, _) => Self::ReadOnly,
            (_, Role::Leading) => Self::Leader,
            (_, Role::Following) => Self::Follower,
            (_, Role::Observing) => Self::Observer,
            (_, Role::Alone | Role::Looking | Role::Stopped) => Self::Standalone,
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standalone => "standalone",
            Self::Leader => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::ReadOnly => "read-only",
        })
    }
}
