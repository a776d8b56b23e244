//! Planted bugs: each is one that some server had, behind a switch of the build. The simulator's
//! campaign puts them in one by one and counts the runs until a law objects.
//!
//! Without the feature `mutants` there are none, and `mutated!` is `false`. With it they are all off
//! until the thread that runs the core turns one on.

/// Whether this bug is switched on.
#[cfg(feature = "mutants")]
macro_rules! mutated {
    ($bug:ident) => {
        $crate::mutation::is_on($crate::mutation::Mutation::$bug)
    };
}

/// Whether this bug is switched on: never.
#[cfg(not(feature = "mutants"))]
macro_rules! mutated {
    ($bug:ident) => {
        false
    };
}

pub(crate) use mutated;

#[cfg(feature = "mutants")]
pub use on::{Mutation, is_on, with};

#[cfg(feature = "mutants")]
mod on {
    use std::cell::Cell;

    /// Declares the bugs.
    macro_rules! mutations {
        ($($(#[$doc:meta])* $name:ident = $row:literal,)*) => {
            /// A bug, named after what it does.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Mutation {
                $($(#[$doc])* $name,)*
            }

            impl Mutation {
                /// All of them.
                pub const ALL: &[Self] = &[$(Self::$name,)*];

                /// The failure of other servers that it is like: where it stands in the list of
                /// known ones, and its name there.
                pub const fn row(self) -> &'static str {
                    match self {
                        $(Self::$name => $row,)*
                    }
                }
            }
        };
    }

    mutations! {
        /// Session ids go on where the highest known one ended.
        SessionIdsComeBack = "D62",
        /// A learner takes the epoch as its own before the transactions of the sync are on disk.
        CurrentEpochBeforeLog = "A1 ZK-4643",
        /// A learner acknowledges the initial history before the epoch is on disk.
        HistoryAckBeforeDisk = "A2 ZK-4646",
        /// A learner does not log what it got committed in the sync.
        SyncedTxnsNotLogged = "A5 ZK-3911, 4785",
        /// A leader sends histories with holes, and learners accept them.
        GapAccepted = "A6 ZK-4925",
        /// A server votes while the log has more than its tree.
        VoteWithoutDraining = "A9 ZK-2845, A12 ZK-4712",
        /// A leader serves before a quorum has the initial history.
        EstablishedAlone = "A10 ZK-3911",
        /// NEWLEADER comes before the transactions of the sync.
        NewLeaderBeforeHistory = "A11 ZK-3104",
        /// A learner keeps what the leader told it to forget.
        TruncationIgnored = "A14 ZK-1154, 1156",
        /// Observers count for the epoch.
        ObserversCountForEpoch = "A18 ZK-2959",
        /// Observers' acknowledgements of proposals count.
        ObserversAck = "A18 ZK-2959",
        /// A learner promises an epoch before the promise is on disk.
        EpochAckBeforeDisk = "A20 CH 111454",
        /// A learner follows an older epoch than it promised.
        OldEpochAccepted = "A20 CH 111454",
        /// A learner acknowledges a proposal before it is on disk.
        AckBeforeDisk = "A21 CH 102629",
        /// A leader counts itself before its own disk has it.
        CommitBeforeOwnDisk = "A24 E 14370",
        /// A leader commits with anybody's acknowledgement.
        CommitBelowQuorum = "A28 raft fig. 8",
        /// An acknowledgement counts for everything.
        AnyAckCounts = "A28 raft fig. 8",
        /// A leader does not mind a learner in its quorum that knows more.
        LearnerMayKnowMore = "A28 raft fig. 8",
        /// A learner does not get what is outstanding when it is synchronised.
        OutstandingNotForwarded = "A30 protocol spec issue 1",
        /// What a learner acknowledged before it was synchronised again still counts.
        AcksOutliveSync = "A14 ZK-1154",
        /// The leader does not hear of clients at learners that only read.
        TouchesIgnored = "D55 CH 111102",
        /// A session that is over can be resumed at a learner.
        DeadSessionsRevalidated = "D57 ZK-4837",
        /// A session that was resumed elsewhere can still be used where it was.
        OwnerNotMoved = "D57 ZK-4837",
        /// A sync does not wait for what was proposed before it.
        SyncAtOnce = "E71 ZK-1675",
        /// A sync does not ask whether a quorum follows still.
        SyncWithoutQuorum = "E71 ZK-1675",
        /// A learner serves before it has applied what it was synchronised with.
        ServeBeforeApplied = "E72 ZK-3713",
        /// A leader goes on without a quorum.
        LeadsWithoutQuorum = "G86 Cloudflare 2020",
        /// A recovered server does not take the epoch of its log as its own.
        EpochNotRaised = "A19 ZK-1653",
        /// A promise that was made before counts once more.
        OldPromiseCounts = "A20 CH 111454",
        /// A learner applies what is only proposed.
        AppliedBeforeCommit = "A10 ZK-3911",
        /// A commit is told before it is one.
        EveryAckCommits = "A28 raft fig. 8",
        /// A session leaves one of its ephemerals behind.
        EphemeralLeftBehind = "D57 ZK-2355",
        /// Sessions never run out.
        SessionsNeverExpire = "D60 ZK-1366",
        /// Signs of life do not count.
        SessionsAlwaysExpire = "D60 ZK-366",
        /// A deletion does not count as a change of the parent.
        ParentUnchangedByDelete = "F77 CH 115457",
        /// Numbers of sequential znodes are given twice.
        SequenceRepeats = "F75 ZK-1046",
        /// A server that has decided does not answer those who look.
        DecidedDoNotAnswer = "G82 ZK-3769",
        /// An election is not joined at a higher round.
        RoundNotRaised = "G82 ZK-2930",
        /// A leader that could not be followed is elected again.
        StalledLeaderTrusted = "G86 Cloudflare 2020",
        /// Votes are sent once.
        VotesNotRepeated = "G82 ZK-2164",
        /// What is proposed behind a change of members is committed by the old ones alone.
        OldConfigDecides = "G87 ZK-2778",
        /// A change of members is proposed before the last one is committed.
        ReconfigsOverlap = "G87 ZK-2778",
        /// Epochs are decided by the members in force alone while others are proposed.
        EpochsByOldConfig = "G87 ZK-2778",
        /// Other members are in force as soon as a learner hears that they are proposed.
        ActivatedWhenProposed = "G87 ZK-2778",
        /// A change that a lost leader proposed is remembered by those who did not log it.
        UnloggedChangeKept = "G87 ZK-2778",
        /// Servers tell each other nothing of members that are only proposed.
        ProposedNotHeard = "G87 ZK-2778",
        /// Who hears that it is about to get a vote does not claim to lead.
        HeardVoteNotClaimed = "G87 ZK-2778",
        /// A learner gets a change that is not committed, and does not know what it changes.
        ChangeWithoutPast = "G87 ZK-2778",
        /// Observers do not hear of commits.
        ObserversNotInformed = "A18 ZK-2959",
        /// A leader does not ping.
        PingsNotSent = "G84 ZK-3240",
        /// A learner does not answer pings.
        PingsNotAnswered = "G84 ZK-4074",
        /// A one-shot watch stays.
        WatchFiresAgain = "E66 ZK-4475",
        /// A creation is not told to those who looked for the znode.
        CreationNotTold = "E67 CH 28190",
        /// Events are told behind the reply that shows the change.
        EventsBehindReplies = "E67 CH 28197",
        /// Of a driver: an event gets lost.
        EventsLost = "E69 E 15271",
        /// Of a driver: the log tells that it is durable before it is.
        LogToldTooEarly = "B43 fsyncgate",
        /// Of a driver: a write to the log fails, and it goes on.
        LogHasHole = "B31 ZK-4882",
        /// Of a driver: what is found in the log at the start is not made durable.
        FoundLogNotSynced = "B34b",
        /// Of a driver: an epoch is told to be on disk before it is.
        EpochToldTooEarly = "A19 ZK-2307, B38",
        /// Of a driver: snapshots above the target outlive a truncation.
        SnapshotsOutliveTruncation = "A14 ZK-1154",
        /// Of a driver: a truncation keeps one transaction too many.
        TruncationKeepsOne = "A14 ZK-1156",
        /// Of a driver: the tree is not loaded again after a truncation.
        TreeOutlivesTruncation = "A9 ZK-2845",
        /// Of a driver: the old log outlives a leader's snapshot.
        LogOutlivesSnapshot = "A8 ZK-2872",
        /// Of a driver: a leader's snapshot is kept in memory only.
        SnapshotNotWritten = "A7 ZK-3642",
        /// Of a driver: a snapshot is named by what was applied when it was done.
        SnapshotNamedLate = "C48 ZK-3127",
    }

    thread_local! {
        static ON: Cell<Option<Mutation>> = const { Cell::new(None) };
    }

    /// Whether it is switched on for this thread.
    pub fn is_on(bug: Mutation) -> bool {
        ON.get() == Some(bug)
    }

    /// Runs something with a bug switched on.
    pub fn with<T>(bug: Option<Mutation>, run: impl FnOnce() -> T) -> T {
        ON.set(bug);
        let result = run();
        ON.set(None);
        result
    }
}
