//! S20: a session ends once, with exactly the znodes that it owns; nothing of it comes after, and no
//! request is done twice.
//!
//! # Source
//! Apache `ZooKeeper`, `PrepRequestProcessor#pRequest2Txn` (closeSession); ZOOKEEPER-1367, 2355, 3144,
//! 3471, 4837 left ephemerals behind.

use zk_core::wire::txn::TxnEntry;

use super::model::Model;
use super::{Verdict, hold};

/// Name of the law.
pub const LAW: &str = "sessions (S20)";

/// Takes the next committed transaction into the model.
///
/// # Errors
/// If the model finds it strange.
pub fn committed(model: &mut Model, entry: &TxnEntry) -> Verdict {
    let strange = model.commit(entry);
    hold(LAW, strange.is_ok(), || strange.err().unwrap_or_default())
}
