//! The recipes under thousands of fault schedules, in no time.

#[path = "simulated/lock.rs"]
mod lock;

/// What whatever is simulated comes to.
pub(crate) type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;
