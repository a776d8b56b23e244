//! What nobody foresees, but a simulator that draws it: names that nobody else has, and jitter.

use uuid::Uuid;
use zk_client::host;

/// A name that nobody else has.
pub(crate) fn unique() -> Uuid {
    match (host::drawn(), host::drawn()) {
        (Some(high), Some(low)) => {
            uuid::Builder::from_random_bytes(Uuid::from_u64_pair(high, low).into_bytes())
                .into_uuid()
        }
        _ => Uuid::new_v4(),
    }
}

/// A number to draw others from.
pub(crate) fn seed() -> u64 {
    host::drawn().unwrap_or_else(|| fastrand::u64(..))
}

/// Some part of a duration.
pub(crate) fn part_of(duration: std::time::Duration) -> std::time::Duration {
    duration.mul_f64(fastrand::Rng::with_seed(seed()).f64())
}
