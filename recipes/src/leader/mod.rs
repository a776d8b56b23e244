//! Who leads.

mod election;
mod latch;
mod leadership;
mod observer;

pub use self::election::{Election, ElectionError};
pub use self::latch::{Latch, LeaderLatch, LeaderState};
pub use self::leadership::Leadership;
pub use self::observer::LeaderObserver;

/// What stands before the numbers of participants: of a latch, and of elections by lock.
pub(crate) const LATCH: &str = "latch-";
