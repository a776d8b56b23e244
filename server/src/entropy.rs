//! The one source of random numbers: for seeds, not for secrets.

use std::hash::{BuildHasher as _, RandomState};

/// A number that differs from call to call, and cannot be told in advance from outside.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(0)
}
