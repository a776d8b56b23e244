//! Every planted bug is caught by a law: what none of them catches, nobody would notice.

use super::super::mutation::{Mutation, with};
use super::world::{self, Plan};

/// Seeds within which a bug must be caught.
const SEEDS_MAX: u64 = 1_500;

/// The bugs, with the laws that may be the first to notice.
const BUGS: &[(Mutation, &[&str])] = &[
    (Mutation::RequeueReversed, &["fifo"]),
    (Mutation::WasSentNotSet, &["outcome"]),
    (Mutation::InFlightFailsAsNotSent, &["outcome"]),
    (Mutation::WritesSentAgain, &["outcome"]),
    (Mutation::RearmWithWrongZxid, &["order"]),
    (Mutation::RearmMovesZxidEarly, &["order"]),
    (Mutation::EventLost, &["order", "streams", "watch sets"]),
    (
        Mutation::EventsAfterReplies,
        &["order", "streams", "watch sets"],
    ),
    (
        Mutation::RefusedWatchesIgnored,
        &["watch sets", "order", "streams"],
    ),
    (
        Mutation::RemovalWithoutRearm,
        &["watch sets", "order", "streams"],
    ),
    (
        Mutation::WipedNotRearmed,
        &["watch sets", "order", "streams"],
    ),
    (Mutation::CoveredByQueued, &["watch sets", "order"]),
    (Mutation::ShieldedNeverRemoved, &["watch sets"]),
    (Mutation::UnsubscribeNotTold, &["watch sets"]),
    (Mutation::PendingNotCounted, &["watch sets"]),
    (Mutation::EpochUnchecked, &["pinning"]),
    (Mutation::WatchesOutliveSession, &["expiry"]),
    (Mutation::GapMissing, &["streams"]),
    (Mutation::ArmedMissing, &["streams"]),
    (Mutation::PingNeverSent, &["timing"]),
    (Mutation::DeathUnnoticed, &["timing"]),
    (Mutation::NoBackOff, &["timing"]),
    (Mutation::BackOffOutlastsSession, &["timing"]),
    (Mutation::TimeoutsNotCancelled, &["resolution", "timing"]),
    (
        Mutation::ReplyOrderUnchecked,
        &["resolution", "fifo", "order", "timing", "expiry"],
    ),
    (Mutation::InFlightUnlimited, &["memory"]),
    (Mutation::ProvenByAuth, &["expiry"]),
    (Mutation::ProvenOnReceipt, &["expiry"]),
    (Mutation::RefusalIgnored, &["expiry"]),
    (Mutation::SessionNotClosed, &["residue"]),
    (Mutation::XidsBeginAnew, &["fifo"]),
];

#[test]
fn every_planted_bug_is_caught() {
    // With a number, shows how long each takes from so many places: for those who tune the plans.
    let places = std::env::var("ZK_CORE_MUTANTS").map(|count| count.parse());
    let places: u64 = places
        .unwrap_or(Ok(1))
        .expect("ZK_CORE_MUTANTS is a number");
    let mut missed = Vec::new();
    for (bug, laws) in BUGS {
        let mut counts = Vec::new();
        for place in 0..places {
            match with(*bug, || caught(place * 100_000)) {
                Some((count, law)) if laws.contains(&law) => counts.push((count, law)),
                caught => missed.push((*bug, caught)),
            }
        }
        counts.sort_unstable();
        if let Some((median, _)) = counts.get(counts.len() / 2) {
            println!("{bug:?}: median {median}, all {counts:?}");
        }
    }
    assert!(
        missed.is_empty(),
        "not caught, or by another law: {missed:?}"
    );
}

/// The seeds that it took, and the law.
fn caught(first: u64) -> Option<(u64, &'static str)> {
    (first..first + SEEDS_MAX).find_map(|seed| {
        let violation = world::run(&Plan::draw(seed), false).violation?;
        Some((seed - first + 1, violation.law))
    })
}
