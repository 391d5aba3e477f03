//! Bugs of the kind that such systems have, planted in what surrounds the dispatcher, to show that they are found.

/// One of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// The doorbell rings only those who sleep at that moment: a commit during a pass is not heard.
    LostWakeUp,
    /// PostgreSQL does not look at the epoch of whoever calls.
    ClaimWithoutFence,
    /// The end of a run is written though the run has ended.
    FinishTwice,
    /// A run that was evicted burns an attempt of its items.
    EvictionCounted,
    /// A run whose Job was there already is taken for one whose create is under way, for ever.
    ForgottenAfter409,
}
