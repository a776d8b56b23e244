//! Planted bugs, each of which some law must catch: see `tests/mutants.rs`. Outside of the core's own
//! tests there are none, and `mutated!` is `false`.

/// Whether this bug is switched on.
#[cfg(test)]
macro_rules! mutated {
    ($bug:ident) => {
        $crate::core::mutation::is_on($crate::core::mutation::Mutation::$bug)
    };
}

/// Whether this bug is switched on: never.
#[cfg(not(test))]
macro_rules! mutated {
    ($bug:ident) => {
        false
    };
}

#[cfg(test)]
pub(super) use on::{Mutation, is_on, with};

#[cfg(test)]
mod on {
    use std::cell::Cell;

    /// A bug, named after what it does.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(in super::super) enum Mutation {
        RequeueReversed,
        WasSentNotSet,
        InFlightFailsAsNotSent,
        WritesSentAgain,
        RearmWithWrongZxid,
        RearmMovesZxidEarly,
        EventLost,
        EventsAfterReplies,
        RefusedWatchesIgnored,
        RemovalWithoutRearm,
        WipedNotRearmed,
        CoveredByQueued,
        ShieldedNeverRemoved,
        UnsubscribeNotTold,
        PendingNotCounted,
        EpochUnchecked,
        WatchesOutliveSession,
        GapMissing,
        ArmedMissing,
        PingNeverSent,
        DeathUnnoticed,
        NoBackOff,
        BackOffOutlastsSession,
        TimeoutsNotCancelled,
        ReplyOrderUnchecked,
        InFlightUnlimited,
        ProvenByAuth,
        ProvenOnReceipt,
        RefusalIgnored,
        SessionNotClosed,
        XidsBeginAnew,
    }

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Whether it is switched on for this thread.
    pub(in super::super) fn is_on(bug: Mutation) -> bool {
        ON.get() == Some(bug)
    }

    /// Runs something with a bug switched on.
    pub(in super::super) fn with<T>(bug: Mutation, run: impl FnOnce() -> T) -> T {
        ON.set(Some(bug));
        let result = run();
        ON.set(None);
        result
    }
}
