//! What can go wrong with an ensemble under test.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use zk_client::SessionId;
use zk_server::{StartError, StopCause};

#[cfg(feature = "containers")]
use crate::ensemble::containers::ContainerError;
use crate::ensemble::{EnsembleError, LaunchError};

/// Why something could not be done to an ensemble.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The ensemble cannot look like this.
    #[error("an ensemble of {servers} servers and {observers} observers is not possible")]
    Shape {
        /// Voters asked for.
        servers: usize,
        /// Observers asked for.
        observers: usize,
    },
    /// The system has no port or directory.
    #[error("cannot set up the ensemble")]
    Setup(#[source] io::Error),
    /// A server of this process does not start.
    #[error("server {index} does not start")]
    Start {
        /// Its index.
        index: usize,
        /// Why.
        #[source]
        source: Box<StartError>,
    },
    /// The processes of the ensemble do not start.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// A process of the ensemble does not do what it is told.
    #[error(transparent)]
    Process(EnsembleError),
    /// Servers in containers do not start, or do not do what they are told.
    #[cfg(feature = "containers")]
    #[error(transparent)]
    Container(ContainerError),
    /// A server had stopped by itself.
    #[error("server {index} had stopped by itself")]
    Stopped {
        /// Its index.
        index: usize,
        /// Why.
        #[source]
        source: Arc<StopCause>,
    },
    /// The verb needs a server that runs.
    #[error("server {index} does not run")]
    NotRunning {
        /// Its index.
        index: usize,
    },
    /// The verb needs a server that does not run.
    #[error("server {index} runs already")]
    Running {
        /// Its index.
        index: usize,
    },
    /// The backend cannot do it.
    #[error("{verb} is not possible with these servers")]
    Unsupported {
        /// What was asked for.
        verb: &'static str,
    },
    /// A client could not do its part.
    #[error("a client of the ensemble failed")]
    Client(#[from] zk_client::Error),
    /// A session could not be ended.
    #[error("session {session} could not be ended")]
    Expire {
        /// The session.
        session: SessionId,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What was waited for did not come.
    #[error("{what} did not come within {within:?}: {state}")]
    Timeout {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        within: Duration,
        /// What the servers were doing.
        state: String,
    },
}

impl From<EnsembleError> for Error {
    fn from(error: EnsembleError) -> Self {
        // The index of a server is one less than its id.
        let index = |id: u32| id.saturating_sub(1) as usize;
        match error {
            EnsembleError::NotRunning { id } => Self::NotRunning { index: index(id) },
            EnsembleError::Launch(LaunchError::AlreadyRunning { id, .. }) => {
                Self::Running { index: index(id) }
            }
            error @ (EnsembleError::Launch(_)
            | EnsembleError::Signal { .. }
            | EnsembleError::Limit { .. }
            | EnsembleError::Unresponsive { .. }
            | EnsembleError::FourLetterWord { .. }
            | EnsembleError::NoLeader { .. }) => Self::Process(error),
        }
    }
}

#[cfg(feature = "containers")]
impl From<ContainerError> for Error {
    fn from(error: ContainerError) -> Self {
        match error {
            ContainerError::NotRunning { index } => Self::NotRunning { index },
            ContainerError::Running { index } => Self::Running { index },
            error @ (ContainerError::NoEngine(_)
            | ContainerError::Engine { .. }
            | ContainerError::Binary { .. }
            | ContainerError::Setting { .. }
            | ContainerError::Ended { .. }
            | ContainerError::NotServing { .. }) => Self::Container(error),
        }
    }
}
