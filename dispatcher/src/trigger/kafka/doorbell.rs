//! The doorbell of a broker: a fetch at the ends of its logs that waits until somebody writes.
//!
//! It asks for one byte, so of what was written it gets one record batch at most, whatever that is, and skips the rest: the
//! next fetch begins at the end that the answer tells. So each record rings at most once, and the answer carries where the
//! partition begins and ends, which is all that is to be known. A fetch session (KIP-227) keeps the requests small. It
//! has a connection of its own, as a broker answers one request of a connection after the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::client::{Extent, Leader, Partition, TOPIC_AUTHORIZATION_FAILED, topic};
use super::connection::Connection;
use super::error::KafkaError;

/// How long a broker lets a fetch wait. Shorter than what brokers (10 min) and load balancers (from 4 min) take for idle.
const WAIT: Duration = Duration::from_secs(120);
/// What its answer may be late.
const LATE: Duration = Duration::from_secs(15);
/// After a ring, before it listens again: what comes in between is one ring. The first ring after silence is not delayed.
const REST: Duration = Duration::from_millis(50);

/// Errors of the fetch session: a new one is made.
const SESSION_ERRORS: [i16; 2] = [70, 71];

/// What a doorbell tells.
#[derive(Debug)]
pub(super) enum Rung {
    /// Partitions that have more than before.
    More(Vec<(Partition, Extent)>),
    /// These topics may not be read, so they do not ring here.
    Denied(BTreeSet<String>),
}

/// A doorbell.
pub(super) struct Doorbell {
    connection: Connection,
    session: i32,
    session_epoch: i32,
    positions: BTreeMap<Partition, (Leader, i64)>,
    /// What the session does not know yet.
    unsaid: BTreeSet<Partition>,
}

impl Doorbell {
    pub(super) fn new(connection: Connection, positions: BTreeMap<Partition, (Leader, i64)>) -> Self {
        let unsaid = positions.keys().cloned().collect();
        Self { connection, session: 0, session_epoch: 0, positions, unsaid }
    }

    /// Rings until it cannot: the leader has moved, the topic is gone, the connection is broken or its login over. Then
    /// somebody has to look anew, and make another one.
    pub(super) async fn ring(mut self, rung: mpsc::Sender<Rung>) -> Result<(), KafkaError> {
        while !self.positions.is_empty() {
            let wait = self.connection.lasts(WAIT);
            if wait < Duration::from_millis(100) {
                return Ok(());
            }
            let request = self.request(wait);
            let answer = self.connection.call_within(&request, 12, wait + LATE).await?;
            if SESSION_ERRORS.contains(&answer.error_code) {
                self.forget_session();
                sleep(REST).await;
                continue;
            }
            if answer.error_code != 0 {
                return Err(KafkaError::Refused { what: "a fetch".to_owned(), code: answer.error_code });
            }
            self.keep_session(&answer);
            for heard in self.read(answer)? {
                if rung.send(heard).await.is_err() {
                    return Ok(());
                }
                sleep(REST).await;
            }
        }
        // Nothing is left that may be read; whoever waits for its end would only make it again.
        std::future::pending().await
    }

    fn request(&mut self, wait: Duration) -> FetchRequest {
        let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
        for key in &self.unsaid {
            let Some((leader, offset)) = self.positions.get(key) else { continue };
            topics.entry(&key.0).or_default().push(
                FetchPartition::default()
                    .with_partition(key.1)
                    .with_current_leader_epoch(leader.epoch)
                    .with_fetch_offset(*offset)
                    .with_last_fetched_epoch(-1)
                    .with_log_start_offset(-1)
                    .with_partition_max_bytes(1),
            );
        }
        let topics = topics.into_iter().map(|(name, partitions)| {
            FetchTopic::default().with_topic(topic(name)).with_partitions(partitions)
        });
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
            .with_min_bytes(1)
            .with_max_bytes(1)
            // Open transactions do not ring, their commit does.
            .with_isolation_level(1)
            .with_session_id(self.session)
            .with_session_epoch(self.session_epoch)
            .with_topics(topics.collect())
    }

    fn forget_session(&mut self) {
        (self.session, self.session_epoch) = (0, 0);
        self.unsaid = self.positions.keys().cloned().collect();
    }

    fn keep_session(&mut self, answer: &FetchResponse) {
        if answer.session_id == 0 {
            // The broker has no room for one: everything is said each time.
            return self.forget_session();
        }
        self.unsaid.clear();
        self.session = answer.session_id;
        self.session_epoch = if self.session_epoch == i32::MAX { 1 } else { self.session_epoch + 1 };
    }

    fn read(&mut self, answer: FetchResponse) -> Result<Vec<Rung>, KafkaError> {
        let mut more = Vec::new();
        let mut denied = BTreeSet::new();
        for topic in answer.responses {
            for partition in topic.partitions {
                let key = (topic.topic.to_string(), partition.partition_index);
                match partition.error_code {
                    0 => {}
                    TOPIC_AUTHORIZATION_FAILED => {
                        denied.insert(key.0);
                        continue;
                    }
                    code => {
                        let what = format!("partition {} of topic {}", key.1, key.0);
                        return Err(KafkaError::Refused { what, code });
                    }
                }
                let extent = Extent { start: partition.log_start_offset, end: partition.last_stable_offset };
                if let Some((_, position)) = self.positions.get_mut(&key)
                    && extent.end > *position
                {
                    *position = extent.end;
                    self.unsaid.insert(key.clone());
                    more.push((key, extent));
                }
            }
        }
        let mut rung = Vec::new();
        if !denied.is_empty() {
            self.positions.retain(|(topic, _), _| !denied.contains(topic));
            self.forget_session();
            rung.push(Rung::Denied(denied));
        }
        if !more.is_empty() {
            rung.push(Rung::More(more));
        }
        Ok(rung)
    }
}
