//! Formats that servers share among themselves and with their disks, both directions of each.
//!
//! | module | what it is | where it stands |
//! |---|---|---|
//! | [`txn`] | header, record and digest of a transaction | log entries, proposals |
//! | [`log_record`] | how entries are framed in a log file | `log.<zxid>` |
//! | [`snapshot`] | the whole tree as a stream | `snapshot.<zxid>`, SNAP sync |
//! | [`election`] | a vote and whose it is | election port |
//! | [`epoch`] | a number as text | `acceptedEpoch`, `currentEpoch` |
//! | [`file_name`] | names of logs and snapshots | data directories |
//! | [`quorum`] | what leaders and learners tell each other | the quorum port |
//! | [`recovery`] | which files make up the state | start of a server |
//!
//! Nothing here panics on any bytes, and nothing allocates more than the bytes at hand justify.

mod record;

pub mod election;
pub mod epoch;
pub mod file_name;
pub mod log_record;
pub mod quorum;
pub mod quorum_auth;
pub mod recovery;
pub mod snapshot;
pub mod txn;

pub(crate) use record::record;
