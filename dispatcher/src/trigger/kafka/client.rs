//! What is asked of a cluster: its topics and their leaders, the ends of logs, the offsets of groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseGroup;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FindCoordinatorRequest, GroupId, ListOffsetsRequest, MetadataRequest,
    MetadataResponse, OffsetFetchRequest, TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};

use super::connection::Connection;
use super::credentials::{Access, CredentialsFolder, Security};
use super::error::KafkaError;

/// A partition of a topic.
pub(super) type Partition = (String, i32);

/// Who leads a partition, and in which term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) broker: i32,
    pub(super) epoch: i32,
}

/// What there is of the topics that were asked for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Topics {
    pub(super) ids: BTreeMap<String, String>,
    pub(super) leaders: BTreeMap<Partition, Leader>,
    /// Topics that cannot be watched: Kafka's number of the error.
    pub(super) refused: BTreeMap<String, i16>,
}

/// The offsets of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// The first one there is.
    pub(super) start: i64,
    /// Behind the last one that can be read: what open transactions have written is not counted.
    pub(super) end: i64,
}

/// What the end of a log is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isolation {
    /// The high watermark: records of open transactions count.
    Uncommitted = 0,
    /// The last stable offset.
    Committed = 1,
}

/// What a group has committed: of partitions; and of those that could not be read, Kafka's number of the error.
pub(super) type Committed = (BTreeMap<Partition, i64>, BTreeMap<Partition, i16>);

/// A cluster, and the connections to it.
pub(super) struct Client {
    access: Access,
    folder: CredentialsFolder,
    brokers: BTreeMap<i32, String>,
    connections: BTreeMap<i32, Connection>,
    /// To whichever bootstrap server answered.
    any: Option<Connection>,
    /// The brokers that keep the offsets of groups.
    coordinators: BTreeMap<String, i32>,
}

/// A connection with less left of its life is not used any more.
const EXPIRING: Duration = Duration::from_secs(5);

impl Client {
    pub(super) fn new(access: Access, folder: CredentialsFolder) -> Self {
        Self {
            access,
            folder,
            brokers: BTreeMap::new(),
            connections: BTreeMap::new(),
            any: None,
            coordinators: BTreeMap::new(),
        }
    }

    async fn security(&self) -> Result<Security, KafkaError> {
        Ok(self.access.security(&self.folder).await?)
    }

    /// A connection of its own to a broker: for a request that waits, as a broker answers in order.
    pub(super) async fn open(&self, broker: i32) -> Result<Connection, KafkaError> {
        Connection::open(self.server(broker)?, &self.security().await?).await
    }

    fn server(&self, broker: i32) -> Result<&String, KafkaError> {
        let unknown = || KafkaError::Bootstrap(format!("broker {broker} is not in the cluster's list"));
        self.brokers.get(&broker).ok_or_else(unknown)
    }

    /// Asks any broker.
    pub(super) async fn ask<R: Request>(
        &mut self,
        request: &R,
        newest: i16,
    ) -> Result<R::Response, KafkaError> {
        // Twice: what was open may have been closed by the other side while nothing was asked.
        if let Some(mut connection) = self.any.take().filter(is_fresh)
            && let Ok(answer) = connection.call(request, newest).await
        {
            self.any = Some(connection);
            return Ok(answer);
        }
        let mut connection = self.bootstrap().await?;
        let answer = connection.call(request, newest).await?;
        self.any = Some(connection);
        Ok(answer)
    }

    async fn bootstrap(&self) -> Result<Connection, KafkaError> {
        let security = self.security().await?;
        let mut problems = Vec::new();
        for server in &self.access.servers {
            match Connection::open(server, &security).await {
                Ok(connection) => return Ok(connection),
                Err(error) => problems.push(error.to_string()),
            }
        }
        Err(KafkaError::Bootstrap(problems.join("; ")))
    }

    /// Asks one broker.
    pub(super) async fn ask_broker<R: Request>(
        &mut self,
        broker: i32,
        request: &R,
        newest: i16,
    ) -> Result<R::Response, KafkaError> {
        if let Some(mut connection) = self.connections.remove(&broker).filter(is_fresh)
            && let Ok(answer) = connection.call(request, newest).await
        {
            self.connections.insert(broker, connection);
            return Ok(answer);
        }
        let mut connection = self.open(broker).await?;
        let answer = connection.call(request, newest).await?;
        self.connections.insert(broker, connection);
        Ok(answer)
    }

    /// Knows a broker from now on.
    pub(super) fn learn(&mut self, broker: i32, host: &str, port: i32) {
        let server = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        self.brokers.insert(broker, server);
    }

    /// Which of these topics there are, and who leads their partitions.
    pub(super) async fn topics(&mut self, names: &BTreeSet<String>) -> Result<Topics, KafkaError> {
        let named = names.iter().map(|name| MetadataRequestTopic::default().with_name(Some(topic(name))));
        let request = MetadataRequest::default()
            .with_topics(Some(named.collect()))
            .with_allow_auto_topic_creation(false);
        let answer = self.ask(&request, 12).await?;
        for broker in &answer.brokers {
            self.learn(broker.node_id.0, &broker.host, broker.port);
        }
        Ok(read_topics(&answer))
    }

    /// The offsets that a group has committed of these partitions, or of all. One without is left out.
    pub(super) async fn committed(
        &mut self,
        group: &str,
        partitions: Option<&BTreeSet<Partition>>,
    ) -> Result<Committed, KafkaError> {
        // Twice: the coordinator may be another one than it was.
        for is_last in [false, true] {
            let coordinator = self.coordinator(group).await?;
            let answered = self.ask_broker(coordinator, &offset_fetch(group, partitions), 9).await;
            let answer = match answered {
                Ok(answer) => answer,
                Err(error) => {
                    self.coordinators.remove(group);
                    return Err(error);
                }
            };
            let Some(found) = answer.groups.first() else { break };
            if found.error_code == 0 {
                return Ok(read_committed(found));
            }
            self.coordinators.remove(group);
            if is_last || ![NOT_COORDINATOR, COORDINATOR_NOT_AVAILABLE].contains(&found.error_code) {
                return Err(KafkaError::Refused { what: format!("group {group}"), code: found.error_code });
            }
        }
        Err(KafkaError::Refused { what: format!("group {group}"), code: COORDINATOR_NOT_AVAILABLE })
    }

    async fn coordinator(&mut self, group: &str) -> Result<i32, KafkaError> {
        if let Some(broker) = self.coordinators.get(group) {
            return Ok(*broker);
        }
        let request = FindCoordinatorRequest::default()
            .with_key_type(0)
            .with_coordinator_keys(vec![StrBytes::from_string(group.to_owned())]);
        let answer = self.ask(&request, 4).await?;
        let refused = |code| KafkaError::Refused { what: format!("group {group}"), code };
        let found = answer.coordinators.first().ok_or_else(|| refused(COORDINATOR_NOT_AVAILABLE))?;
        if found.error_code != 0 {
            return Err(refused(found.error_code));
        }
        self.learn(found.node_id.0, &found.host, found.port);
        self.coordinators.insert(group.to_owned(), found.node_id.0);
        Ok(found.node_id.0)
    }

    /// Whether records of a partition may be read, and not only counted. Fetches nothing, from where nothing is.
    pub(super) async fn may_read(
        &mut self,
        partition: &Partition,
        leader: Leader,
    ) -> Result<bool, KafkaError> {
        let wanted = FetchPartition::default()
            .with_partition(partition.1)
            .with_fetch_offset(i64::MAX)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1);
        let wanted = FetchTopic::default().with_topic(topic(&partition.0)).with_partitions(vec![wanted]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_bytes(1)
            .with_session_epoch(-1)
            .with_topics(vec![wanted]);
        let answer = self.ask_broker(leader.broker, &request, 12).await?;
        let denied = |p: &kafka_protocol::messages::fetch_response::PartitionData| {
            p.error_code == TOPIC_AUTHORIZATION_FAILED
        };
        Ok(!answer.responses.iter().flat_map(|t| &t.partitions).any(denied))
    }

    /// The offsets of these partitions, as their leaders say. Partitions that have none, or whose leader refuses, are in
    /// the second map with Kafka's number of the error.
    pub(super) async fn extents(
        &mut self,
        leaders: &BTreeMap<Partition, Leader>,
        isolation: Isolation,
    ) -> Result<(BTreeMap<Partition, Extent>, BTreeMap<Partition, i16>), KafkaError> {
        let mut refused = BTreeMap::new();
        let mut starts = BTreeMap::new();
        let mut ends = BTreeMap::new();
        let mut by_broker: BTreeMap<i32, Vec<(&Partition, i32)>> = BTreeMap::new();
        for (partition, leader) in leaders {
            if leader.broker < 0 {
                refused.insert(partition.clone(), LEADER_NOT_AVAILABLE);
            } else {
                by_broker.entry(leader.broker).or_default().push((partition, leader.epoch));
            }
        }
        for (broker, partitions) in by_broker {
            for (at, found) in [(EARLIEST, &mut starts), (LATEST, &mut ends)] {
                let answer = self.ask_broker(broker, &list_offsets(&partitions, at, isolation), 7).await?;
                for topic in answer.topics {
                    for partition in topic.partitions {
                        let key = (topic.name.to_string(), partition.partition_index);
                        if partition.error_code == 0 {
                            found.insert(key, partition.offset);
                        } else {
                            refused.insert(key, partition.error_code);
                        }
                    }
                }
            }
        }
        let extents = ends
            .into_iter()
            .filter_map(|(key, end)| {
                let start = *starts.get(&key)?;
                // The two were asked one after the other.
                Some((key, Extent { start, end: end.max(start) }))
            })
            .collect();
        Ok((extents, refused))
    }
}

/// Asked for with these instead of a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const LEADER_NOT_AVAILABLE: i16 = 5;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
pub(super) const TOPIC_AUTHORIZATION_FAILED: i16 = 29;

fn offset_fetch(group: &str, partitions: Option<&BTreeSet<Partition>>) -> OffsetFetchRequest {
    let topics = partitions.map(|partitions| {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for (name, number) in partitions {
            topics.entry(name).or_default().push(*number);
        }
        let topics = topics.into_iter().map(|(name, numbers)| {
            OffsetFetchRequestTopics::default().with_name(topic(name)).with_partition_indexes(numbers)
        });
        topics.collect()
    });
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(topics);
    OffsetFetchRequest::default().with_groups(vec![group])
}

fn read_committed(group: &OffsetFetchResponseGroup) -> Committed {
    let (mut committed, mut refused) = (BTreeMap::new(), BTreeMap::new());
    for topic in &group.topics {
        for partition in &topic.partitions {
            let key = (topic.name.0.to_string(), partition.partition_index);
            if partition.error_code != 0 {
                refused.insert(key, partition.error_code);
            } else if partition.committed_offset >= 0 {
                committed.insert(key, partition.committed_offset);
            }
        }
    }
    (committed, refused)
}

fn is_fresh(connection: &Connection) -> bool {
    connection.lasts(EXPIRING) == EXPIRING
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn list_offsets(partitions: &[(&Partition, i32)], at: i64, isolation: Isolation) -> ListOffsetsRequest {
    let mut topics: BTreeMap<&str, Vec<ListOffsetsPartition>> = BTreeMap::new();
    for ((name, number), epoch) in partitions {
        topics.entry(name).or_default().push(
            ListOffsetsPartition::default()
                .with_partition_index(*number)
                .with_current_leader_epoch(*epoch)
                .with_timestamp(at),
        );
    }
    let topics = topics
        .into_iter()
        .map(|(name, p)| ListOffsetsTopic::default().with_name(topic(name)).with_partitions(p));
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation as i8)
        .with_topics(topics.collect())
}

fn read_topics(answer: &MetadataResponse) -> Topics {
    let mut topics = Topics::default();
    for topic in &answer.topics {
        let Some(name) = topic.name.as_ref().map(|name| name.0.to_string()) else { continue };
        if topic.error_code != 0 {
            topics.refused.insert(name, topic.error_code);
            continue;
        }
        // Brokers of before 2.8 have none.
        if !topic.topic_id.is_nil() {
            topics.ids.insert(name.clone(), topic.topic_id.to_string());
        }
        for partition in &topic.partitions {
            let leader = Leader { broker: partition.leader_id.0, epoch: partition.leader_epoch };
            topics.leaders.insert((name.clone(), partition.partition_index), leader);
        }
    }
    topics
}
