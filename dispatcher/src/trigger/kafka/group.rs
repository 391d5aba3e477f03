//! The lag of a consumer group: what is committed against where the logs end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgbatch_core::kafka_lag::{self, LagPolicy, is_listed};
use pgbatch_core::kafka_options::Options;
use pgbatch_core::scaling::Reading;
use tokio::time::Instant;

use super::client::{Client, Isolation, Leader, Partition};
use super::error::{KafkaError, words};
use super::session::Watched;

/// What a look at a group has found.
pub(super) struct Lag {
    /// All of it.
    pub(super) total: i64,
    /// What it asks for; none where it is not known well enough.
    pub(super) reading: Option<Reading>,
    /// What is wrong, for people.
    pub(super) problem: Option<String>,
    /// Where it was seen: two looks that saw the same need not be answered twice.
    pub(super) state: State,
}

/// What is committed of each partition, and where it ends.
pub(super) type State = BTreeMap<Partition, (Option<i64>, i64)>;

/// Since when each partition's committed offset is what it is.
pub(super) type Committed = BTreeMap<Partition, (i64, Instant)>;

/// Looks at a group.
///
/// An error stays with its partition: it is left out, and said. But KEDA counts nothing then.
pub(super) async fn lag(
    client: &mut Client,
    watched: &Watched,
    topics: &BTreeSet<String>,
    leaders: &BTreeMap<Partition, Leader>,
    since: &mut Committed,
) -> Result<Lag, KafkaError> {
    let options = &watched.options;
    let group = watched.trigger.consumer_group.as_deref().unwrap_or_default();
    let wanted = wanted(watched, topics, leaders);
    let asked: BTreeSet<Partition> = wanted.keys().cloned().collect();
    let (committed, mut refused) = client.committed(group, Some(&asked)).await?;
    let (extents, unknown) = client.extents(&wanted, Isolation::Committed).await?;
    refused.extend(unknown);
    // Only KEDA's numbers need the records of open transactions.
    let marks = match options.keda_parity {
        true => client.extents(&wanted, Isolation::Uncommitted).await?.0,
        false => extents.clone(),
    };
    let now = Instant::now();
    let period = Duration::from_millis(options.poll_ms);
    since.retain(|key, (offset, _)| committed.get(key) == Some(offset));
    let mut partitions = Vec::new();
    let mut state = State::new();
    for (key, extent) in &extents {
        if refused.contains_key(key) {
            continue;
        }
        let is_stuck = committed.get(key).is_some_and(|offset| {
            let (_, at) = since.entry(key.clone()).or_insert((*offset, now));
            now.duration_since(*at) >= period
        });
        state.insert(key.clone(), (committed.get(key).copied(), extent.end));
        partitions.push(kafka_lag::Partition {
            committed: committed.get(key).copied(),
            start: extent.start,
            end: extent.end,
            high_watermark: marks.get(key).map_or(extent.end, |mark| mark.end),
            is_stuck,
        });
    }
    let policy = policy(watched.trigger.lag_threshold, options);
    let problem = problem(&refused);
    let is_known = problem.is_none() || !options.keda_parity;
    Ok(Lag {
        total: kafka_lag::total(&partitions, &policy),
        reading: is_known.then(|| kafka_lag::reading(&partitions, &policy)),
        problem,
        state,
    })
}

/// The partitions that the trigger is about.
fn wanted(
    watched: &Watched,
    topics: &BTreeSet<String>,
    leaders: &BTreeMap<Partition, Leader>,
) -> BTreeMap<Partition, Leader> {
    let list = watched.options.partition_limitation.as_deref();
    leaders
        .iter()
        .filter(|((topic, number), _)| {
            topics.contains(topic) && list.is_none_or(|list| is_listed(list, *number))
        })
        .map(|(key, leader)| (key.clone(), *leader))
        .collect()
}

fn policy(lag_threshold: i64, options: &Options) -> LagPolicy {
    LagPolicy {
        lag_threshold,
        activation_lag_threshold: options.activation_lag_threshold,
        offset_reset: options.offset_reset,
        allow_idle_consumers: options.allow_idle_consumers,
        scale_to_zero_on_invalid_offset: options.scale_to_zero_on_invalid_offset,
        exclude_persistent_lag: options.exclude_persistent_lag,
        limit_to_partitions_with_lag: options.limit_to_partitions_with_lag,
        ensure_even_distribution_of_partitions: options.ensure_even_distribution_of_partitions,
        keda_parity: options.keda_parity,
    }
}

fn problem(refused: &BTreeMap<Partition, i16>) -> Option<String> {
    let ((topic, partition), code) = refused.first_key_value()?;
    let more = match refused.len() {
        1 => String::new(),
        number => format!(", and {} more", number - 1),
    };
    Some(format!("partition {partition} of topic {topic}: {}{more}", words(*code)))
}
