//! What a client is told: the frames that answer its requests.
//!
//! ```text
//!  Read  + tree at z                 ─► answer_read  ─► events of a setWatches, reply at z
//!  Write + what became of its txn    ─► answer_write ─► reply at its zxid
//! ```
//!
//! Replies are written where they are sent from, behind what is there already. Reads that are asked
//! often put nothing in between: their bodies go from the tree to the buffer.

mod frame;
mod read;
mod write;

#[cfg(test)]
mod tests;

pub use read::{ConnWatches, Viewer, answer_read};
pub use write::{answer_sync, answer_write};
