//! What can be wrong with a log.

use std::io;

use zk_core::wire::log_record::{BadHeader, Damage};
use zk_proto::Zxid;

use crate::storage::layout::Name;

/// Why a log cannot be read or written. The server must not run on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// The disk failed.
    #[error("cannot {attempt} {name}")]
    Disk {
        /// What was tried.
        attempt: &'static str,
        /// On which file.
        name: Name,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The log directory failed.
    #[error("cannot {attempt} the log directory")]
    Directory {
        /// What was tried.
        attempt: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Whoever reads the log has had enough of it.
    #[error("reading the log was ended by its reader")]
    Ended,
    /// An earlier failure left unknown what is on disk.
    #[error("log is unusable after an earlier failure")]
    Poisoned,
    /// A transaction does not follow the last one.
    #[error("transaction {zxid} cannot be logged after {last}")]
    OutOfOrder {
        /// Last transaction logged.
        last: Zxid,
        /// The one that was to follow.
        zxid: Zxid,
    },
    /// A file does not begin as a log does.
    #[error("transaction log: {name} has an invalid header")]
    Header {
        /// The file.
        name: Name,
        /// What it begins with.
        #[source]
        source: BadHeader,
    },
    /// A record is damaged and what follows would be lost with it.
    #[error("transaction log: {name} is damaged at offset {offset}")]
    Corrupt {
        /// The file.
        name: Name,
        /// Where the damaged record begins.
        offset: usize,
        /// What is wrong.
        #[source]
        source: Damage,
    },
    /// A record is whole, and longer than what is read: the limit is lower than when it was written.
    /// What it holds may have been acknowledged, so that it is not skipped.
    #[error(
        "transaction log: {name} has a transaction of {len} bytes at offset {offset}, \
        at most {max} are read: jute.maxbuffer must be as high as when it was written"
    )]
    TooLong {
        /// The file.
        name: Name,
        /// Where the record begins.
        offset: usize,
        /// Bytes of its entry.
        len: usize,
        /// Most bytes that are read.
        max: usize,
    },
    /// A record is too short to hold a transaction.
    #[error("transaction log: {name} holds no transaction at offset {offset}")]
    NoTransaction {
        /// The file.
        name: Name,
        /// Where the record begins.
        offset: usize,
    },
    /// Transactions are missing between two that are there.
    #[error("transaction log: {name} goes on with {found} after {last}, transactions are missing")]
    Gap {
        /// The file.
        name: Name,
        /// Last transaction before the gap.
        last: Zxid,
        /// First one behind it.
        found: Zxid,
    },
    /// Nothing is there to begin the log anew behind.
    #[error("cannot begin the log anew behind {name}, which is not there")]
    NoSnapshot {
        /// The snapshot.
        name: Name,
    },
}

impl LogError {
    /// A failure on a file, for `map_err`.
    pub(super) fn disk(attempt: &'static str, name: Name) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Disk {
            attempt,
            name,
            source,
        }
    }

    /// A failure on the directory, for `map_err`.
    pub(super) fn directory(attempt: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Directory { attempt, source }
    }
}
