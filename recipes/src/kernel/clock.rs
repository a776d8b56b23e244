//! The time of the runtime, which may be that of a simulation.

use std::time::Instant;

/// Now, by the clock that timers go by.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
