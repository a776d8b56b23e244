//! The transaction log: append, roll, truncate, read.
//!
//! A log is a row of files `log.<first zxid>`. One process writes a file from its first record
//! on and never appends to a file of an earlier process: after a restart the next transaction
//! starts the next file. So bytes of a file that were never synced are zeros, unless they were
//! written, and a hole of zeros tells a write that a crash cut short from damage done later; see
//! [`read_log`].

mod append;
mod error;
mod landmarks;
mod read;
mod restart;
mod truncate;

#[cfg(all(test, feature = "sim"))]
mod tests;

pub use append::{FileLog, LogOptions};
pub use error::LogError;
pub use landmarks::Landmarks;
pub use read::{LogTail, read_log, sync_tail};
pub use restart::finish_restart;

use bytes::Bytes;
use zk_proto::Zxid;

/// A transaction as it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in history.
    pub zxid: Zxid,
    /// Header, record and digest, encoded.
    pub bytes: Bytes,
}
