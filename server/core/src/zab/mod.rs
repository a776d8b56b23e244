//! Atomic broadcast: how the members of an ensemble agree on one history.
//!
//! ```text
//!   leader                                            learner
//!   discovery   ◄── FOLLOWERINFO (promised epoch) ──  connects
//!     a quorum: new epoch ──────── LEADERINFO ──────► promises it, on disk
//!               ◄── ACKEPOCH (epoch, last zxid) ────
//!   synchronisation: nobody in a quorum knows more
//!     DIFF + transactions, TRUNC, SNAP + tree ──────► its history is the leader's
//!     NEWLEADER ────────────────────────────────────► on disk, then the epoch, on disk
//!               ◄── ACK epoch:0 ────────────────────
//!   broadcast: a quorum has it all
//!     UPTODATE ─────────────────────────────────────► serves
//!     PROPOSAL ─────────────────────────────────────► logs
//!               ◄── ACK ────────────────────────────  durable
//!     a quorum: COMMIT, INFORM ─────────────────────► applies
//! ```
//!
//! The two sides mirror each other, file by file. What both share is in [`history`] and, beside the
//! roles, in `peer`: what is in the log and the tree of this server, and what it promised.

pub(crate) mod history;
pub(crate) mod leader;
pub(crate) mod learner;
