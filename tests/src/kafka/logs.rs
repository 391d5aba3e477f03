//! The log of a partition: which broker has it, and which offsets are in it.

use bytes::Buf;
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{AlterPartitionReassignmentsRequest, BrokerId, FetchRequest, MetadataRequest};
use kafka_protocol::records::RecordBatchDecoder;

use super::client::{Failed, KafkaClient, check, topic};

/// More than a test writes.
const BYTES_MAX: i32 = 16 << 20;

impl KafkaClient {
    /// The number of the broker that leads a partition.
    ///
    /// # Errors
    /// The broker's.
    pub async fn leader(&mut self, name: &str, partition: i32) -> Result<i32, Failed> {
        let asked = MetadataRequestTopic::default().with_name(Some(topic(name)));
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        let answer = self.call(&request, 9).await?;
        let told = answer.topics.iter().flat_map(|t| &t.partitions).find(|p| p.partition_index == partition);
        let told = told.ok_or("no such partition")?;
        check("Metadata", told.error_code)?;
        Ok(told.leader_id.0)
    }

    /// Has another broker take over a partition, alone. It does a moment later.
    ///
    /// # Errors
    /// The broker's.
    pub async fn give_to(&mut self, name: &str, partition: i32, broker: i32) -> Result<(), Failed> {
        let moved = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas(Some(vec![BrokerId(broker)]));
        let moved = ReassignableTopic::default().with_name(topic(name)).with_partitions(vec![moved]);
        let request =
            AlterPartitionReassignmentsRequest::default().with_timeout_ms(10_000).with_topics(vec![moved]);
        let answer = self.call(&request, 0).await?;
        check("AlterPartitionReassignments", answer.error_code)?;
        check("AlterPartitionReassignments", answer.responses[0].partitions[0].error_code)
    }

    /// The offsets at which a partition has records.
    ///
    /// # Errors
    /// The broker's.
    pub async fn offsets(&mut self, name: &str, partition: i32) -> Result<Vec<i64>, Failed> {
        let mut offsets: Vec<i64> = Vec::new();
        let end = self.end_of_log(name, partition).await?;
        let mut next = 0;
        while next < end {
            let asked = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(next)
                .with_partition_max_bytes(BYTES_MAX);
            let asked = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![asked]);
            let request = FetchRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_max_bytes(BYTES_MAX)
                .with_topics(vec![asked]);
            let answer = self.call(&request, 12).await?;
            let told = &answer.responses[0].partitions[0];
            check("Fetch", told.error_code)?;
            let mut batches = told.records.clone().unwrap_or_default();
            if !batches.has_remaining() {
                break;
            }
            let from = std::mem::replace(&mut next, behind(&batches).unwrap_or(end));
            for batch in RecordBatchDecoder::decode_all(&mut batches)? {
                offsets.extend(
                    batch.records.iter().map(|record| record.offset).filter(|offset| *offset >= from),
                );
            }
        }
        Ok(offsets)
    }
}

/// The offset behind the last of these batches, which a batch tells even where nothing is left in it.
fn behind(mut batches: &[u8]) -> Option<i64> {
    const LENGTH_AT: usize = 8;
    const LAST_OFFSET_DELTA_AT: usize = 23;
    let mut behind = None;
    while let (Some(mut first), Some(mut length), Some(mut delta)) =
        (batches.get(..LENGTH_AT), batches.get(LENGTH_AT..), batches.get(LAST_OFFSET_DELTA_AT..))
    {
        let length = usize::try_from(length.try_get_u32().ok()?).ok()?;
        behind = Some(first.try_get_i64().ok()? + i64::from(delta.try_get_u32().ok()?) + 1);
        batches = batches.get(LENGTH_AT + 4 + length..)?;
    }
    behind
}
