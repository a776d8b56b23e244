//! What can go wrong while servers are started and controlled.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why servers could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// A file of the installation is not there; install the package.
    #[error("missing {}, which Debian's package {package} installs", path.display())]
    MissingFile {
        /// The file that was looked for.
        path: PathBuf,
        /// The Debian package that brings it.
        package: &'static str,
    },
    /// The builder was asked for an ensemble that cannot exist.
    #[error("cannot build an ensemble of {voters} voters and {observers} observers: {reason}")]
    Layout {
        /// Voters asked for.
        voters: usize,
        /// Observers asked for.
        observers: usize,
        /// The rule that is broken.
        reason: &'static str,
    },
    /// A directory or file for the servers could not be written.
    #[error("cannot prepare {}", path.display())]
    Prepare {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No free port was found on 127.0.0.1.
    #[error("no free port on 127.0.0.1 after trying {tried}")]
    NoFreePort {
        /// How many ports were tried.
        tried: usize,
    },
    /// The process of a server could not be created.
    #[error("cannot run {} for server {id}", program.display())]
    Spawn {
        /// Server id.
        id: u32,
        /// The program.
        program: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The server was asked to start while its process still runs.
    #[error("server {id} already runs as process {pid}")]
    AlreadyRunning {
        /// Server id.
        id: u32,
        /// Its process.
        pid: u32,
    },
    /// Somebody else took a port of the server before it could bind it.
    #[error("server {id} lost a port to another process; end of its log:\n{log}")]
    PortTaken {
        /// Server id.
        id: u32,
        /// Last lines of its log.
        log: String,
    },
    /// The process of a server ended instead of serving.
    #[error("server {id} ended with {status} before it served; end of its log:\n{log}")]
    Exited {
        /// Server id.
        id: u32,
        /// How it ended.
        status: ExitStatus,
        /// Last lines of its log.
        log: String,
    },
    /// A server runs but did not serve clients in time.
    #[error(
        "server {id} did not serve within {waited:?} (last answer: {answer}); end of its log:\n{log}"
    )]
    NotServing {
        /// Server id.
        id: u32,
        /// How long it was given.
        waited: Duration,
        /// The last reply to `srvr`, or why there was none.
        answer: String,
        /// Last lines of its log.
        log: String,
    },
}

/// Why a running ensemble did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnsembleError {
    /// A server could not be started again or did not come to serve.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// The server has no process to act on.
    #[error("server {id} is not running")]
    NotRunning {
        /// Server id.
        id: u32,
    },
    /// A signal could not be delivered.
    #[error("cannot send {signal} to server {id}, process {pid}")]
    Signal {
        /// Server id.
        id: u32,
        /// Its process.
        pid: u32,
        /// The signal.
        signal: &'static str,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The size of a server's files could not be limited.
    #[error("cannot limit the files of server {id}, process {pid}")]
    Limit {
        /// Server id.
        id: u32,
        /// Its process.
        pid: u32,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A signal was delivered but its effect did not show in time.
    #[error("server {id}, process {pid}, did not react to {signal} within {waited:?}")]
    Unresponsive {
        /// Server id.
        id: u32,
        /// Its process.
        pid: u32,
        /// The signal.
        signal: &'static str,
        /// How long it was given.
        waited: Duration,
    },
    /// A four-letter word was not answered.
    #[error("no answer to {word} from {addr}")]
    FourLetterWord {
        /// The word.
        word: String,
        /// The client address asked.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No server leads.
    #[error("no leader among the servers ({modes})")]
    NoLeader {
        /// What each server said about itself.
        modes: String,
    },
}
