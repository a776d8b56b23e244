//! The owners: each owns one thing, takes what was asked of it in batches, and reports.
//!
//! ```text
//!  connections ──Submitted──► core ──Append──► log ──LogDurable──► core
//!                              └────Apply────► apply ──Applied───► core
//!                                               └──capture──► snapshot ──done──► apply
//! ```
//!
//! | owner | owns | one turn |
//! |---|---|---|
//! | core | the `Peer`: proposals, sessions | all events that came, then all actions |
//! | log | the log files | one write and one sync for all that came during the last sync |
//! | apply | the tree, as its only writer | one guard for at most [`apply::BATCH_MAX`] transactions |
//! | snapshot | the snapshot being written | a chunk under a shared guard, then the file |
//!
//! Each has a thread. Core and apply only see to deadlines and leftovers on theirs: mostly, their turns
//! are taken by the thread that brought the work; see [`owner`].
//!
//! What a leader sends takes the way of a proposal, and no more of it is let in than the log can follow:
//! see [`intake`].
//!
//! None of them decides anything that the core could decide, and none waits for a client. A disk
//! error, a broken law or a panic in any of them stops the server; see [`fail_stop`]. So does a tree that has
//! not the digest that this server computed for it; that of a leader is counted and told; see [`digests`].

pub(crate) mod apply;
pub(crate) mod clock;
pub(crate) mod core;
pub(crate) mod digests;
pub(crate) mod fail_stop;
pub(crate) mod heard;
pub(crate) mod intake;
pub(crate) mod log;
pub(crate) mod log_reader;
pub(crate) mod mailbox;
pub(crate) mod owner;
pub(crate) mod snapshot;
