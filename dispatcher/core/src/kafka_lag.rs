//! The lag of a consumer group of Kafka, and what of it asks for Jobs: KEDA's kafka scaler, without its flaws unless they are
//! asked for. What a lag becomes in Jobs is the business of [`crate::scaling`].

use serde::Deserialize;

use crate::scaling::Reading;

/// What is known of one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Partition {
    /// The offset that the group has committed: of the record that it reads next.
    pub committed: Option<i64>,
    /// The first offset there is.
    pub start: i64,
    /// Behind the last record that can be read: the last stable offset.
    pub end: i64,
    /// Behind the last record, those of open transactions included: what KEDA counts to.
    pub high_watermark: i64,
    /// What the group has committed has not changed for a period, so it may not be able to go on.
    pub is_stuck: bool,
}

/// Where a consumer begins that has no offset, or one that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OffsetReset {
    /// At the end.
    #[default]
    Latest,
    /// At the beginning.
    Earliest,
}

/// How to count. The words are KEDA's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LagPolicy {
    /// So much lag is one Job's; 1 at least.
    pub lag_threshold: i64,
    /// Jobs are asked for by more than this.
    pub activation_lag_threshold: i64,
    /// Where a consumer begins.
    pub offset_reset: OffsetReset,
    /// More Jobs than partitions may be asked for.
    pub allow_idle_consumers: bool,
    /// A partition without a valid offset counts nothing.
    pub scale_to_zero_on_invalid_offset: bool,
    /// A stuck partition counts for being active only.
    pub exclude_persistent_lag: bool,
    /// No more Jobs than partitions with lag.
    pub limit_to_partitions_with_lag: bool,
    /// Only so many Jobs that each has as many partitions.
    pub ensure_even_distribution_of_partitions: bool,
    /// KEDA's own numbers, flaws included.
    pub keda_parity: bool,
}

/// The lag of a partition, never below 0: to the last stable offset, from what is committed or, where retention has gone
/// further, from the log's beginning.
#[must_use]
pub fn partition_lag(partition: &Partition, policy: &LagPolicy) -> i64 {
    if policy.keda_parity {
        return keda_partition_lag(partition, policy);
    }
    let Partition { committed, start, end, .. } = *partition;
    let whole = (end - start).max(0);
    match committed {
        Some(committed) if committed <= end => (end - committed.max(start)).max(0),
        // It has none, or one of a longer log. KEDA counts 1 for `latest`, be there a record or not: a consumer has to
        // begin for there to be an offset, but without a record there is nothing to begin with.
        _ if policy.scale_to_zero_on_invalid_offset => 0,
        None if policy.offset_reset == OffsetReset::Latest => whole.min(1),
        Some(_) if policy.offset_reset == OffsetReset::Latest => 0,
        _ => whole,
    }
}

/// `getLagForPartition` of `pkg/scalers/kafka_scaler.go` at 8b4f083: no log start, so what retention has deleted counts; open
/// transactions count; and an offset beyond the end is a lag below 0, which hides that of others.
fn keda_partition_lag(partition: &Partition, policy: &LagPolicy) -> i64 {
    match (partition.committed, policy.offset_reset) {
        (Some(committed), _) => partition.high_watermark - committed,
        (None, _) if policy.scale_to_zero_on_invalid_offset => 0,
        (None, OffsetReset::Latest) => 1,
        (None, OffsetReset::Earliest) => partition.high_watermark,
    }
}

/// What the partitions of a group ask for. Those that could not be read are left out.
#[must_use]
pub fn reading(partitions: &[Partition], policy: &LagPolicy) -> Reading {
    let threshold = policy.lag_threshold.max(1);
    let number = i64::try_from(partitions.len()).unwrap_or(i64::MAX);
    let (mut total, mut with_stuck, mut lagging) = (0_i64, 0_i64, 0_i64);
    for partition in partitions {
        let lag = partition_lag(partition, policy);
        with_stuck = with_stuck.saturating_add(lag);
        // Only of what is committed: a partition without an offset has nothing that could be stuck.
        if !(policy.exclude_persistent_lag && partition.is_stuck && partition.committed.is_some()) {
            total = total.saturating_add(lag);
            lagging += i64::from(lag > 0);
        }
    }
    if policy.ensure_even_distribution_of_partitions {
        total = even(total, number, threshold).saturating_mul(threshold);
    }
    let most = if policy.limit_to_partitions_with_lag { Some(lagging) } else { Some(number) }.filter(|_| {
        !policy.allow_idle_consumers
            || policy.limit_to_partitions_with_lag
            || policy.ensure_even_distribution_of_partitions
    });
    if let Some(most) = most
        && total / threshold > most
    {
        total = most.saturating_mul(threshold);
    }
    Reading {
        value: float(total),
        target: float(threshold),
        is_active: with_stuck > policy.activation_lag_threshold,
    }
}

/// The lag of a group as people understand it: all of it.
#[must_use]
pub fn total(partitions: &[Partition], policy: &LagPolicy) -> i64 {
    partitions.iter().fold(0, |sum: i64, partition| sum.saturating_add(partition_lag(partition, policy)))
}

/// The least divisor of the number of partitions that is enough for the lag: each Job gets as many partitions.
fn even(lag: i64, partitions: i64, threshold: i64) -> i64 {
    (1..=partitions)
        .filter(|divisor| partitions % divisor == 0)
        .find(|divisor| divisor.saturating_mul(threshold) >= lag)
        .unwrap_or(partitions)
}

/// Whether a partition is in a list like `1,2,10-20`, which PostgreSQL has checked.
#[must_use]
pub fn is_listed(list: &str, partition: i32) -> bool {
    list.split(',').any(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let bounds = first.trim().parse::<i32>().ok().zip(last.trim().parse::<i32>().ok());
        bounds.is_some_and(|(first, last)| (first..=last).contains(&partition))
    })
}

#[expect(clippy::cast_precision_loss, reason = "a number of records; KEDA has a float too")]
fn float(value: i64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
