//! Hashes of paths.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::quality::FixedState;

/// Hash of a path, equal for equal text and seed within a process and a build, and nowhere else.
///
/// The seed is drawn at random once per process, so that clients cannot tell which paths collide. It
/// is no cryptographic hash: one of those takes a tenth of the time of a whole read.
pub(crate) fn hash_of(seed: u64, path: &str) -> u64 {
    let mut hasher = FixedState::with_seed(seed).build_hasher();
    hasher.write(path.as_bytes());
    hasher.finish()
}
