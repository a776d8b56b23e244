//! The driver over connections in memory, in paused time, with a scripted server on the other side:
//! what dropped futures leave behind, limits, broken servers, the order of states. Over TCP: which
//! addresses are tried.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of a test may panic, and the server knows few operations"
)]

mod addresses;
mod dropping;
mod helpers;
mod limits;
#[cfg(feature = "metrics")]
mod metered;
mod script;
mod states;
mod traces;
mod trouble;
