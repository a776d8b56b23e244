//! Between two roles: what is logged goes into the tree, so that a server votes with all it has.
//!
//! # Source
//! ZOOKEEPER-2845: a server that kept a tree older than its log was synchronised over transactions
//! that it had, and lost them. ZOOKEEPER-4712: what a role gave to the log has to be there before the
//! next one begins.

use super::shared::{Shared, Turn};
use crate::mutation::mutated;

/// Goes on as far as log and tree allow. Whether all is done.
pub(super) fn advance(shared: &mut Shared, turn: &mut Turn<'_>) -> bool {
    if mutated!(VoteWithoutDraining) && !shared.local.is_replacing() {
        return true;
    }
    let local = &mut shared.local;
    if !local.is_durable() {
        return false;
    }
    local.hand_all(turn.out);
    if !local.is_settled() {
        return false;
    }
    raise_epochs(shared, turn)
}

/// Takes the epoch of the last transaction as the current one, if a crash or a loss came between the
/// two. That is safe: a log that has a transaction of an epoch, or a tree as of its beginning, has
/// all of the epoch's initial history. Whether nothing was to do.
fn raise_epochs(shared: &mut Shared, turn: &mut Turn<'_>) -> bool {
    let local = &mut shared.local;
    let epoch = local.logged().epoch();
    if local.current() >= epoch || mutated!(EpochNotRaised) {
        return true;
    }
    if local.accepted() < epoch {
        local.save_accepted(epoch, turn.out);
    }
    local.save_current(epoch, turn.out);
    false
}
