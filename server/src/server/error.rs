//! Why a server does not start.

use zk_core::session::{BoundsError, ServerIdError};
use zk_proto::ServerId;

use crate::config::ConfigError;
use crate::config::jaas::JaasError;
use crate::net::tls::TlsError;
use crate::stage::fail_stop::StopCause;
use crate::storage::{DataDirError, LogError, RecoverError};

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is not legal.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration asks for what this server cannot do.
    #[error("not supported yet: {what}")]
    Unsupported {
        /// What it is.
        what: &'static str,
    },
    /// Key material of TLS cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Users of SASL cannot be found.
    #[error(transparent)]
    Jaas(#[from] JaasError),
    /// Session timeouts make no sense.
    #[error(transparent)]
    Timeouts(#[from] BoundsError),
    /// The server id cannot stand in session ids.
    #[error(transparent)]
    ServerId(#[from] ServerIdError),
    /// The server is not among the members that its configuration lists.
    #[error("server {me} is not in the list of members")]
    NoMember {
        /// Its id.
        me: ServerId,
    },
    /// A temporary directory could not be made.
    #[error("cannot create a temporary data directory")]
    Temporary(#[source] std::io::Error),
    /// The data directory cannot be used.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The state on disk cannot be used.
    #[error("cannot recover the state from disk")]
    Recover(#[from] RecoverError),
    /// The log cannot be appended to.
    #[error("cannot open the transaction log")]
    Log(#[from] LogError),
    /// The client port cannot be used.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] StopCause),
}

impl StartError {
    /// Exit code of the process, as scripts around the reference expect it.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_)
            | Self::Unsupported { .. }
            | Self::Tls(_)
            | Self::Jaas(_)
            | Self::Timeouts(_)
            | Self::NoMember { .. } => 2,
            Self::DataDir(_) | Self::Temporary(_) => 3,
            Self::ServerId(_)
            | Self::Recover(_)
            | Self::Log(_)
            | Self::Listen { .. }
            | Self::Thread(_) => 1,
        }
    }
}
