//! Sessions: their ids and passwords, when they expire, and through whom their client speaks.
//!
//! ```text
//!             track                       set_closing, expire
//!  (unknown) ───────► alive ──────────────────────────────────► closing ──remove──► (unknown)
//!                      ▲ │ touch: the deadline moves               │ touch: refused
//!                      └─┘                                         │ check: Closing
//! ```
//!
//! The leader and a standalone server hold a [`SessionTracker`] for global sessions; any server may
//! hold one of its own for local sessions. A learner only collects [`Touches`] and sends them to the
//! leader. The wall clock appears once, in the choice of the first id, and never in a deadline.

mod id;
mod password;
mod timeout;
mod touches;
mod tracker;

pub use id::{IdStart, ServerIdError, SessionIds};
pub use password::{derive_password, is_password_of};
pub use timeout::{BoundsError, SessionTimeout, TimeoutBounds};
pub use touches::Touches;
pub use tracker::{Owner, SessionFault, SessionTracker};
