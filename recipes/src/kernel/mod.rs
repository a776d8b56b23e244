//! What all recipes share.
//!
//! An *attempt* (to acquire, join, register, enter) belongs to one session from its first request to
//! its last: everything is asked for through a [`zk_client::Session`], and when that is over the
//! attempt is, with all that was concluded in it. A [`claim::Claim`] owns the znodes of an attempt and
//! deletes them whatever becomes of whoever made it; a [`hold::Hold`] tells whether what was won still
//! holds.

pub(crate) mod attempt;
pub(crate) mod chance;
pub(crate) mod claim;
pub(crate) mod clock;
pub(crate) mod hold;
pub(crate) mod line;
pub(crate) mod marks;
pub(crate) mod options;
pub(crate) mod parents;
pub(crate) mod retry;
pub(crate) mod sequence;
pub(crate) mod token;
