//! What can go wrong with servers in containers.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Why servers in containers could not be started, or do not do what they are told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// No engine answers. Start Docker, or say in `DOCKER_HOST` where it is.
    #[error("no container engine answers; is Docker running, and DOCKER_HOST right?")]
    NoEngine(#[source] Box<dyn Error + Send + Sync>),
    /// The engine refused something.
    #[error("the container engine failed at {what}")]
    Engine {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// A binary cannot be put into an image.
    #[error("cannot put {} into an image", path.display())]
    Binary {
        /// The binary, or a library that it needs.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A published image cannot be told a setting: its list of settings is separated by blanks.
    #[error("{key} has a blank in its value, which ZOO_CFG_EXTRA cannot say")]
    Setting {
        /// The key of `zoo.cfg`.
        key: String,
    },
    /// The server ended instead of serving.
    #[error("server {index} ended before it served; end of its log:\n{log}")]
    Ended {
        /// Its index.
        index: usize,
        /// Last lines of its log.
        log: String,
    },
    /// The server runs but did not serve clients in time.
    #[error(
        "server {index} did not serve within {waited:?} (last answer: {answer}); end of its log:\n{log}"
    )]
    NotServing {
        /// Its index.
        index: usize,
        /// How long it was given.
        waited: Duration,
        /// The last reply to `srvr`, or why there was none.
        answer: String,
        /// Last lines of its log.
        log: String,
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
}

/// What an engine that fails was to do.
pub(super) fn failed<E>(what: &'static str) -> impl FnOnce(E) -> ContainerError
where
    E: Into<Box<dyn Error + Send + Sync>>,
{
    move |source| ContainerError::Engine {
        what,
        source: source.into(),
    }
}
