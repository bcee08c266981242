//! Bugs that can be planted in the code under test, to see that the simulator's judges find them.
//!
//! Only builds with the feature `planted` hold them. In all others [`on`] is `false` for the compiler, and nothing is
//! left of them.

/// A planted bug. Each is one line somewhere, beside the line that it breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A hint is dropped on the ack of an older record.
    HintDroppedUnseen,
    /// Actors outlive unclean stops.
    ActorsSurvive,
    /// A merge drops one of three siblings.
    MergeDropsOneOfThree,
    /// Buckets that keep one value keep the oldest.
    OldestWins,
    /// A repair overwrites instead of being merged.
    RepairOverwrites,
    /// Tombstones are forgotten after three seconds.
    TombstonesFade,
    /// The memory of request ids is lost.
    IdsForgotten,
    /// Strict reads answer before enough owners hold what they show.
    ReadsUnsecured,
    /// A coordinator's own hint counts towards W.
    HintCounts,
    /// A partition that may have lost records vouches for absence.
    SuspectVouches,
    /// A forwarder's second try is not marked as one.
    RetryUnmarked,
    /// A context is given for siblings that the writer has not seen.
    UnearnedContext,
    /// Mints are not above what was seen.
    MintsBelow,
    /// A failed commit does not retire the actor.
    ActorNotRetired,
    /// Digests leave out the context.
    DigestWithoutContext,
    /// A row that cannot be read answers "not found".
    UnreadableIsAbsent,
    /// Nothing new is acked before what it rests on is durable.
    AckBeforeBase,
    /// Fallbacks count towards a strict W.
    FallbackCountsStrict,
    /// Reads show what is staged, not only what is committed.
    StagedShows,
    /// Deletes ignore their context.
    DeleteIgnoresContext,
    /// A refill hears one other owner only.
    RefillHearsOne,
    /// Admission is never released.
    AdmissionLeaks,
    /// Unknown outcomes are said to be not applied.
    UnknownDenied,
    /// Reads ask one owner, for any R.
    ReadsHearOne,
    /// W-1 acks suffice.
    OneAckLess,
    /// A retry is acked though the commit behind its dot failed.
    FailedCommitAcked,
    /// Nine requests of ten are refused.
    MostRefused,
    /// Strict reads wait for their deadline and fail.
    StrictReadsHang,
    /// A delete is acked and not made where the coordinator holds nothing.
    DeleteOfNothing,
    /// One blind write in four is acked and never made.
    BlindWriteDropped,
}

impl Bug {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 30] = [
        ("hint-dropped-unseen", Self::HintDroppedUnseen),
        ("actors-survive", Self::ActorsSurvive),
        ("merge-drops-one-of-three", Self::MergeDropsOneOfThree),
        ("oldest-wins", Self::OldestWins),
        ("repair-overwrites", Self::RepairOverwrites),
        ("tombstones-fade", Self::TombstonesFade),
        ("ids-forgotten", Self::IdsForgotten),
        ("reads-unsecured", Self::ReadsUnsecured),
        ("hint-counts", Self::HintCounts),
        ("suspect-vouches", Self::SuspectVouches),
        ("retry-unmarked", Self::RetryUnmarked),
        ("unearned-context", Self::UnearnedContext),
        ("mints-below", Self::MintsBelow),
        ("actor-not-retired", Self::ActorNotRetired),
        ("digest-without-context", Self::DigestWithoutContext),
        ("unreadable-is-absent", Self::UnreadableIsAbsent),
        ("ack-before-base", Self::AckBeforeBase),
        ("fallback-counts-strict", Self::FallbackCountsStrict),
        ("staged-shows", Self::StagedShows),
        ("delete-ignores-context", Self::DeleteIgnoresContext),
        ("refill-hears-one", Self::RefillHearsOne),
        ("admission-leaks", Self::AdmissionLeaks),
        ("unknown-denied", Self::UnknownDenied),
        ("reads-hear-one", Self::ReadsHearOne),
        ("one-ack-less", Self::OneAckLess),
        ("failed-commit-acked", Self::FailedCommitAcked),
        ("most-refused", Self::MostRefused),
        ("strict-reads-hang", Self::StrictReadsHang),
        ("delete-of-nothing", Self::DeleteOfNothing),
        ("blind-write-dropped", Self::BlindWriteDropped),
    ];
}

/// Whether bugs can be planted in this build.
pub const CAN_BE: bool = cfg!(feature = "planted");

/// Whether a bug is planted for what runs on this thread.
#[cfg(feature = "planted")]
pub fn on(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Whether a bug is planted: never, in this build.
#[cfg(not(feature = "planted"))]
pub const fn on(_: Bug) -> bool {
    false
}

/// Plants a bug for what runs on this thread from now on, or none.
#[cfg(feature = "planted")]
pub fn set(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Does nothing in this build.
#[cfg(not(feature = "planted"))]
pub const fn set(_: Option<Bug>) {}

#[cfg(feature = "planted")]
thread_local! {
    // One simulated world runs on one thread, and others beside it may have other bugs.
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}
