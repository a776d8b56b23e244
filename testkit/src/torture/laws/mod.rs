//! Laws about what clients were told. Unlike those of [`crate::check`], which look into the servers of
//! a simulation, they know nothing but the answers.
//!
//! | law | says |
//! |---|---|
//! | [`real_time`] | a write that begins after another was acknowledged has a later transaction |
//! | [`registers`] | a znode has one history; what is acknowledged is in it once, what is rejected never |
//! | [`linear`] | an order of all writes and synced reads of a znode explains all answers |
//! | [`session_order`] | a session sees its own past, and time never runs back for it |
//! | [`sequence`] | names of sequential znodes are unique and increase; no creation is done twice |
//! | [`ephemerals`] | an ephemeral is there as long as its session, and no longer |
//! | [`watches`] | a watch fires before its client is shown a change, and not without one |
//! | [`stream`] | a recursive watch tells every change outside its gaps, in order, once |
//! | [`pairs`] | a transaction is seen as a whole or not at all |
//! | [`trees`] | all members have the same tree |

pub mod ephemerals;
pub mod linear;
pub mod pairs;
pub mod real_time;
pub mod registers;
pub mod sequence;
pub mod session_order;
pub mod stream;
pub mod trees;
pub mod watches;

#[cfg(test)]
mod tests;

use super::history::Slice;
use crate::check::Violation;

/// What the laws found in a slice.
#[derive(Debug, Default)]
pub struct Judgement {
    /// All that is wrong.
    pub violations: Vec<Violation>,
    /// Registers for which an order was found.
    pub explained: usize,
    /// Registers for which the search was given up.
    pub given_up: usize,
    /// Changes that a recursive watch had to tell, and did.
    pub told: usize,
    /// Writes of unknown outcome that turned out to have been done.
    pub resolved: usize,
}

/// Judges a slice by all laws.
pub fn judge(slice: &Slice) -> Judgement {
    let mut judgement = Judgement::default();
    let known = registers::judge(slice, &mut judgement.violations);
    judgement.resolved = known.resolved();
    real_time::judge(slice, &known, &mut judgement.violations);
    linear::judge(slice, &mut judgement);
    session_order::judge(slice, &known, &mut judgement.violations);
    sequence::judge(slice, &mut judgement.violations);
    ephemerals::judge(slice, &mut judgement.violations);
    watches::judge(slice, &mut judgement.violations);
    judgement.told = stream::judge(slice, &known, &mut judgement.violations);
    pairs::judge(slice, &mut judgement.violations);
    trees::judge(slice, &mut judgement.violations);
    judgement
}

/// Notes that a law is broken.
fn object(found: &mut Vec<Violation>, law: &'static str, what: String) {
    found.push(Violation { law, what });
}
