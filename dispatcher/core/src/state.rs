//! The states of batches, items and runs: one list each, and one table of transitions for the three.
//!
//! The SQL CHECK constraints name the same words, `pgbatch.transitions()` and the README's section "States" are the same
//! table; a test of the `e2e` crate compares all sides.

use serde::{Deserialize, Serialize};

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $word)] $variant,)+ }

        impl $name {
            /// Every state, in the order of a life.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word used in SQL, JSON, logs and pages.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { f.write_str(self.word()) }
        }
    };
}

states! {
    /// The life of a batch.
    BatchState {
        /// Set by the enqueue call: `not_before` or `after` holds it back.
        Waiting = "waiting",
        /// Set by the enqueue call, or by the dispatcher when nothing holds it back any more.
        Pending = "pending",
        /// Set by the first claim.
        Running = "running",
        /// Final: every item succeeded.
        Succeeded = "succeeded",
        /// Final: at least one item failed for good, none is left to run.
        Failed = "failed",
        /// Final: `cancel_batch`, or a batch it came `after` did not succeed.
        Cancelled = "cancelled",
    }
}

states! {
    /// The life of an item, derived from its runs: items themselves never change.
    ItemState {
        /// No run has taken it yet.
        Pending = "pending",
        /// A live run has it.
        Running = "running",
        /// Its last run failed, the next one is due later.
        Retrying = "retrying",
        /// Final.
        Succeeded = "succeeded",
        /// Final, until `retry_batch`.
        Failed = "failed",
        /// Final: cancelled before it succeeded or failed.
        Cancelled = "cancelled",
    }
}

states! {
    /// The life of a run: one Job, or one local process.
    RunState {
        /// Set by the claim: the items are taken, the Job may not exist yet.
        Starting = "starting",
        /// A container of it runs.
        Running = "running",
        /// Final: it ended with exit code 0.
        Succeeded = "succeeded",
        /// Final: it ended otherwise, or could not be started.
        Failed = "failed",
        /// Final: stopped after the queue's `run_timeout`.
        TimedOut = "timed_out",
        /// Final: its Job vanished without an outcome.
        Lost = "lost",
        /// Final: stopped by `cancel_batch`.
        Cancelled = "cancelled",
    }
}

impl BatchState {
    /// Whether nothing will happen to the batch any more, unless `retry_batch` reopens it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether a batch is made in this state.
    #[must_use]
    pub const fn is_first(self) -> bool {
        matches!(self, Self::Waiting | Self::Pending)
    }

    /// The transition table: forwards only, but for `retry_batch`, which makes a failed batch run again.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Waiting => matches!(next, Self::Pending | Self::Cancelled),
            // Without items it succeeds as it is.
            Self::Pending => matches!(next, Self::Running | Self::Succeeded | Self::Cancelled),
            Self::Running => next.is_final(),
            Self::Failed => matches!(next, Self::Running),
            Self::Succeeded | Self::Cancelled => false,
        }
    }
}

impl ItemState {
    /// Whether an item is made in this state.
    #[must_use]
    pub const fn is_first(self) -> bool {
        matches!(self, Self::Pending)
    }

    /// The transition table: what a run takes it ends or gives back, and only `retry_batch` revives what failed.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Pending | Self::Retrying => matches!(next, Self::Running | Self::Cancelled),
            Self::Running => {
                matches!(next, Self::Retrying | Self::Succeeded | Self::Failed | Self::Cancelled)
            }
            Self::Failed => matches!(next, Self::Retrying),
            Self::Succeeded | Self::Cancelled => false,
        }
    }
}

impl RunState {
    /// Whether the run has ended.
    #[must_use]
    pub const fn is_final(self) -> bool {
        !matches!(self, Self::Starting | Self::Running)
    }

    /// Whether a run is made in this state.
    #[must_use]
    pub const fn is_first(self) -> bool {
        matches!(self, Self::Starting)
    }

    /// The transition table: `starting` and `running` may end in any way, and an end is for ever.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Starting => !matches!(next, Self::Starting),
            Self::Running => next.is_final(),
            Self::Succeeded | Self::Failed | Self::TimedOut | Self::Lost | Self::Cancelled => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ended_run_never_changes() {
        for from in RunState::ALL.iter().filter(|s| s.is_final()) {
            for to in RunState::ALL {
                assert!(!from.can_become(*to), "{from} -> {to}");
            }
        }
    }

    #[test]
    fn a_live_run_may_end_in_every_way() {
        for to in RunState::ALL.iter().filter(|s| s.is_final()) {
            assert!(RunState::Starting.can_become(*to) && RunState::Running.can_become(*to));
        }
        assert!(RunState::Starting.can_become(RunState::Running));
        assert!(!RunState::Running.can_become(RunState::Starting));
    }

    #[test]
    fn of_what_has_ended_only_failures_are_revived() {
        for (from, to) in
            BatchState::ALL.iter().flat_map(|from| BatchState::ALL.iter().map(move |to| (*from, *to)))
        {
            let revived = (from, to) == (BatchState::Failed, BatchState::Running);
            assert!(!from.is_final() || from.can_become(to) == revived, "{from} -> {to}");
        }
        for (from, to) in
            ItemState::ALL.iter().flat_map(|from| ItemState::ALL.iter().map(move |to| (*from, *to)))
        {
            let ended = matches!(from, ItemState::Succeeded | ItemState::Failed | ItemState::Cancelled);
            let revived = (from, to) == (ItemState::Failed, ItemState::Retrying);
            assert!(!ended || from.can_become(to) == revived, "{from} -> {to}");
        }
    }

    #[test]
    fn words_are_the_words_of_the_json() {
        for s in RunState::ALL {
            assert_eq!(serde_json::to_value(s).ok(), Some(serde_json::Value::from(s.word())));
        }
    }
}
