//! How many Jobs a value asks for: the arithmetic of KEDA's ScaledJob, its corners included, so that whoever comes from it
//! gets the same numbers. Read from KEDA's source at 8b4f083 (2026-08-20); where its documentation says otherwise, the
//! source is followed.
//!
//! One deviation: where KEDA would panic (a negative value while it keeps idle Jobs), nothing is created.

use serde::{Deserialize, Serialize};

/// KEDA's `maxReplicaCount` where none is given. Unlike a given one it is not reduced by `min`.
const MAX_UNLESS_GIVEN: i64 = 100;

/// What one trigger has read. A trigger that could not be read is left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reading {
    /// The value: the number of rows, the lag.
    pub value: f64,
    /// How much of the value is one Job's work.
    pub target: f64,
    /// Whether it takes part. Not the same as a value above 0: see [`Reading::new`], and a Kafka trigger whose lag is
    /// persistent counts it here only.
    pub is_active: bool,
}

impl Reading {
    /// A reading that takes part when its value is above `activation`: equal is not enough.
    #[must_use]
    pub fn new(value: f64, target: f64, activation: f64) -> Self {
        Self { value, target, is_active: value > activation }
    }

    fn length(&self) -> f64 {
        thousandths(self.value)
    }

    fn share(&self, max: i64) -> f64 {
        let target = thousandths(self.target);
        if target == 0.0 { 0.0 } else { at_most(self.length() / target, max) }
    }
}

/// How the demand becomes a number of Jobs. The words are KEDA's.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// `scalingStrategy.strategy`.
    #[serde(default)]
    pub strategy: Strategy,
    /// `customScalingQueueLengthDeduction`.
    #[serde(default)]
    pub custom_deduction: i32,
    /// `customScalingRunningJobPercentage`, 0.5 for a half. Without one, `custom` is `default`.
    #[serde(default)]
    pub custom_running_percentage: Option<f64>,
    /// `multipleScalersCalculation`.
    #[serde(default)]
    pub combine: Combine,
    /// `minReplicaCount`: so many Jobs are kept on top of the work.
    #[serde(default)]
    pub min: u32,
    /// `maxReplicaCount`; none = 100 on top of `min`.
    #[serde(default)]
    pub max: Option<u32>,
}

/// What is subtracted from the demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// The running Jobs: for a value that still counts what is in work.
    #[default]
    Default,
    /// A fixed number, and a part of the running Jobs.
    Custom,
    /// The pending Jobs: for a value that does not count what is in work any more.
    Accurate,
    /// Nothing: all free places are filled.
    Eager,
}

/// How several triggers of one queue become one demand.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Combine {
    /// The longest active one counts.
    #[default]
    Max,
    /// The shortest active one counts.
    Min,
    /// The average of the active ones.
    Avg,
    /// The sum of the active ones.
    Sum,
}

/// The Jobs that have not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenJobs {
    /// All of them, those without a running pod included.
    pub running: u32,
    /// Those of them that count as pending: see [`is_pending`].
    pub pending: u32,
}

/// How many Jobs to create now.
#[must_use]
pub fn jobs_to_create(readings: &[Reading], policy: &Policy, open: OpenJobs) -> u32 {
    let (running, pending) = (i64::from(open.running), i64::from(open.pending));
    let min = i64::from(policy.max.map_or(policy.min, |max| policy.min.min(max)));
    let max = policy.max.map_or(MAX_UNLESS_GIVEN, |max| i64::from(max) - min);
    let demand = Demand::of(readings, policy.combine, max);
    if !demand.is_active && min == 0 {
        return 0;
    }
    // As long as the idle Jobs are not there, the demand is ignored.
    let (room, wanted) = if running < min {
        (min - running, min - running)
    } else {
        policy.room(ceiling(at_most(demand.share, max)), running - min, pending, max, ceiling(demand.length))
    };
    u32::try_from(wanted.min(room).max(0)).unwrap_or(u32::MAX)
}

impl Policy {
    /// How many more Jobs there may be, and how many are wanted. `running` is without the idle ones, `max` too.
    fn room(&self, share: i64, running: i64, pending: i64, max: i64, wanted: i64) -> (i64, i64) {
        match (self.strategy, self.custom_running_percentage) {
            (Strategy::Default, _) | (Strategy::Custom, None) => (share - running, wanted),
            (Strategy::Custom, Some(percentage)) => {
                let deducted = share.saturating_sub(i64::from(self.custom_deduction));
                (deducted.saturating_sub(part(running, percentage)).min(max), wanted)
            }
            (Strategy::Accurate, _) if share + running - pending > max => (max - running, wanted),
            (Strategy::Accurate, _) => (share - pending, wanted),
            // A pending Job is a running one too, so it counts twice.
            (Strategy::Eager, _) => ((max - running - pending).min(share), max),
        }
    }
}

/// What all triggers together ask for.
#[derive(Debug, Clone, Copy, Default)]
struct Demand {
    is_active: bool,
    length: f64,
    share: f64,
}

impl Demand {
    fn of(readings: &[Reading], combine: Combine, max: i64) -> Self {
        let active = readings.iter().filter(|reading| reading.is_active);
        let each = active.map(|r| Self { is_active: true, length: r.length(), share: r.share(max) });
        match combine {
            // One of length 0 never counts, though it may be active.
            Combine::Max => {
                each.fold(Self::default(), |best, one| if one.length > best.length { one } else { best })
            }
            // One of length 0 is forgotten as soon as another one comes.
            Combine::Min => each.fold(Self::default(), |best, one| {
                if best.length == 0.0 || one.length < best.length { one } else { best }
            }),
            Combine::Sum => each.fold(Self::default(), Self::plus),
            Combine::Avg => {
                let (sum, count) =
                    each.fold((Self::default(), 0_u32), |(sum, count), one| (sum.plus(one), count + 1));
                let count = f64::from(count.max(1));
                Self { length: sum.length / count, share: sum.share / count, ..sum }
            }
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            is_active: self.is_active || other.is_active,
            length: self.length + other.length,
            share: self.share + other.share,
        }
    }
}

/// What decides whether an open Job is pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pod<'a> {
    /// `status.phase`.
    pub phase: &'a str,
    /// The types of its `status.conditions` that are True.
    pub true_conditions: &'a [&'a str],
}

/// Whether an open Job counts as pending: no pod of it runs or has succeeded; or, where `conditions`
/// (`pendingPodConditions`) are given, no single pod of it has them all.
#[must_use]
pub fn is_pending(pods: &[Pod<'_>], conditions: &[&str]) -> bool {
    !pods.iter().any(|pod| {
        if conditions.is_empty() {
            matches!(pod.phase, "Running" | "Succeeded")
        } else {
            conditions.iter().all(|condition| pod.true_conditions.contains(condition))
        }
    })
}

/// Values and targets go through Kubernetes' quantities: rounded to three decimals, and 0 where they are no number.
fn thousandths(value: f64) -> f64 {
    if value.is_finite() { format!("{value:.3}").parse().unwrap_or(0.0) } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "a number of Jobs")]
fn at_most(value: f64, max: i64) -> f64 {
    value.min(max as f64)
}

#[expect(clippy::cast_possible_truncation, reason = "saturates")]
fn ceiling(value: f64) -> i64 {
    value.ceil() as i64
}

/// Cut, not rounded.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a number of Jobs; saturates"
)]
fn part(running: i64, percentage: f64) -> i64 {
    (running as f64 * percentage) as i64
}

#[cfg(test)]
mod tests;
