//! What keeps a load from being applied.

use std::io;
use std::path::PathBuf;

use zk_proto::jute::DecodeError;

/// Why a measurement came to nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// A connection failed.
    #[error("connection to the server failed")]
    Connection(#[from] io::Error),
    /// The server hung up.
    #[error("the server closed a connection with {in_flight} requests in flight")]
    Closed {
        /// Requests that it owes.
        in_flight: usize,
    },
    /// The server answered with an error.
    #[error("the server answered request {xid} with error {code}")]
    Refused {
        /// Of the request.
        xid: i32,
        /// What it answered.
        code: i32,
    },
    /// An answer is not the one that is due.
    #[error("the server answered request {xid} when {due} was due")]
    OutOfOrder {
        /// Of the answer.
        xid: i32,
        /// Of the oldest request in flight.
        due: i32,
    },
    /// What came is no frame of the protocol.
    #[error("a frame of {len} bytes from the server makes no sense")]
    Frame {
        /// Its length, as it claims.
        len: i64,
    },
    /// A reply cannot be decoded.
    #[error("a reply cannot be decoded")]
    Reply(#[from] DecodeError),
    /// No session was granted.
    #[error("the server granted no session")]
    NoSession,
    /// Nothing came for too long.
    #[error("no answer for {0:?}")]
    Silence(std::time::Duration),
    /// The kernel does not tell about a process.
    #[error("cannot read {}", path.display())]
    Process {
        /// What was read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A server cannot be started.
    #[error("cannot start {}", path.display())]
    Start {
        /// The program, or a file that it needs.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}
