//! A client for setting up tests: topics, records, transactions, offsets, rights. The broker's own tools take a second each.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, BrokerId, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest,
    DeleteRecordsRequest, DeleteTopicsRequest, EndTxnRequest, FindCoordinatorRequest, GroupId,
    InitProducerIdRequest, ListOffsetsRequest, OffsetCommitRequest, ProduceRequest, ProducerId,
    RequestHeader, ResponseHeader, TopicName, TransactionalId,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::wait::until;

/// What went wrong.
pub type Failed = Box<dyn std::error::Error>;

/// A topic or a coordinator takes a moment to be there.
const SOON: Duration = Duration::from_secs(30);

/// A connection to the plain listener.
#[derive(Debug)]
pub struct KafkaClient {
    stream: TcpStream,
    requests: i32,
}

/// A transaction under way.
#[derive(Debug)]
pub struct Transaction {
    name: &'static str,
    producer: i64,
    epoch: i16,
    sequence: i32,
}

impl KafkaClient {
    /// Connects to `host:port`.
    ///
    /// # Errors
    /// Nobody listens there.
    pub async fn connect(server: &str) -> Result<Self, Failed> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, requests: 0 })
    }

    pub(super) async fn call<R: Request>(
        &mut self,
        request: &R,
        version: i16,
    ) -> Result<R::Response, Failed> {
        self.requests += 1;
        let mut frame = BytesMut::new();
        frame.put_i32(0);
        RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.requests)
            .encode(&mut frame, R::header_version(version))?;
        request.encode(&mut frame, version)?;
        let length = i32::try_from(frame.len() - 4)?;
        frame[..4].copy_from_slice(&length.to_be_bytes());
        self.stream.write_all(&frame).await?;
        let mut answer = vec![0; usize::try_from(self.stream.read_i32().await?)?];
        self.stream.read_exact(&mut answer).await?;
        let mut answer = Bytes::from(answer);
        ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        Ok(R::Response::decode(&mut answer, version)?)
    }

    /// Makes a topic, with these settings.
    ///
    /// # Errors
    /// The broker's.
    pub async fn create_topic(
        &mut self,
        name: &str,
        partitions: i32,
        settings: &[(&str, &str)],
    ) -> Result<(), Failed> {
        let settings = settings.iter().map(|(key, value)| {
            CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(settings.collect());
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        let answer = self.call(&request, 7).await?;
        check("CreateTopics", answer.topics[0].error_code)?;
        // Leaders are there a moment later.
        for partition in 0..partitions {
            self.await_leader(name, partition).await;
        }
        Ok(())
    }

    /// Asks for the end of its log, until that is not refused.
    async fn await_leader(&mut self, name: &str, partition: i32) {
        until(&format!("partition {partition} of {name} to have a leader"), SOON, async || {
            self.end_of_log(name, partition).await.ok().map(drop)
        })
        .await;
    }

    /// The offset behind the last record of a partition.
    ///
    /// # Errors
    /// The broker's.
    pub async fn end_of_log(&mut self, name: &str, partition: i32) -> Result<i64, Failed> {
        let asked = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(-1);
        let asked = ListOffsetsTopic::default().with_name(topic(name)).with_partitions(vec![asked]);
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![asked]);
        let answer = self.call(&request, 7).await?;
        let told = &answer.topics[0].partitions[0];
        check("ListOffsets", told.error_code)?;
        Ok(told.offset)
    }

    /// Deletes a topic.
    ///
    /// # Errors
    /// The broker's.
    pub async fn delete_topic(&mut self, name: &str) -> Result<(), Failed> {
        let topic = DeleteTopicState::default().with_name(Some(topic(name)));
        let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
        check("DeleteTopics", self.call(&request, 6).await?.responses[0].error_code)
    }

    /// Gives a topic more partitions, so many in all.
    ///
    /// # Errors
    /// The broker's.
    pub async fn grow_topic(&mut self, name: &str, partitions: i32) -> Result<(), Failed> {
        let grown = CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(partitions)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![grown]).with_timeout_ms(10_000);
        check("CreatePartitions", self.call(&request, 3).await?.results[0].error_code)?;
        self.await_leader(name, partitions - 1).await;
        Ok(())
    }

    /// Writes so many records; returns the offset of the first.
    ///
    /// # Errors
    /// The broker's.
    pub async fn produce(&mut self, name: &str, partition: i32, records: i32) -> Result<i64, Failed> {
        self.write(name, partition, records, None).await
    }

    async fn write(
        &mut self,
        name: &str,
        partition: i32,
        records: i32,
        transaction: Option<&mut Transaction>,
    ) -> Result<i64, Failed> {
        let batch = batch(records, transaction.as_deref())?;
        let id = transaction.as_ref().map(|t| TransactionalId(StrBytes::from_static_str(t.name)));
        if let Some(transaction) = transaction {
            transaction.sequence += records;
        }
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(id)
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![data]);
        let answer = self.call(&request, 9).await?;
        let partition = &answer.responses[0].partition_responses[0];
        check("Produce", partition.error_code)?;
        Ok(partition.base_offset)
    }

    /// Deletes the records before an offset, as retention does.
    ///
    /// # Errors
    /// The broker's.
    pub async fn delete_records(&mut self, name: &str, partition: i32, before: i64) -> Result<(), Failed> {
        let deleted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
        let deleted = DeleteRecordsTopic::default().with_name(topic(name)).with_partitions(vec![deleted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![deleted]).with_timeout_ms(10_000);
        check("DeleteRecords", self.call(&request, 2).await?.topics[0].partitions[0].error_code)
    }

    /// Begins a transaction that writes to a partition.
    ///
    /// # Errors
    /// The broker's.
    pub async fn begin(
        &mut self,
        id: &'static str,
        name: &str,
        partition: i32,
    ) -> Result<Transaction, Failed> {
        let transactional_id = TransactionalId(StrBytes::from_static_str(id));
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(transactional_id.clone()))
            .with_transaction_timeout_ms(60_000);
        self.await_coordinator(id, 1).await;
        let producer = until("a number for the producer", SOON, async || {
            let answer = self.call(&request, 4).await.ok()?;
            (answer.error_code == 0).then_some((answer.producer_id, answer.producer_epoch))
        })
        .await;
        let transaction = Transaction { name: id, producer: producer.0.0, epoch: producer.1, sequence: 0 };
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(transactional_id)
            .with_v3_and_below_producer_id(producer.0)
            .with_v3_and_below_producer_epoch(producer.1)
            .with_v3_and_below_topics(vec![
                AddPartitionsToTxnTopic::default().with_name(topic(name)).with_partitions(vec![partition]),
            ]);
        let answer = self.call(&request, 3).await?;
        let results = &answer.results_by_topic_v3_and_below[0].results_by_partition;
        check("AddPartitionsToTxn", results[0].partition_error_code)?;
        Ok(transaction)
    }

    /// Asks who coordinates a group (0) or a transaction (1): the topic for these is made for the first who asks.
    async fn await_coordinator(&mut self, key: &str, kind: i8) {
        let request =
            FindCoordinatorRequest::default().with_key_type(kind).with_coordinator_keys(vec![text(key)]);
        until("a coordinator", SOON, async || {
            let answer = self.call(&request, 4).await.ok()?;
            (answer.coordinators[0].error_code == 0).then_some(())
        })
        .await;
    }

    /// Writes in a transaction.
    ///
    /// # Errors
    /// The broker's.
    pub async fn produce_in(
        &mut self,
        transaction: &mut Transaction,
        name: &str,
        partition: i32,
        records: i32,
    ) -> Result<i64, Failed> {
        self.write(name, partition, records, Some(transaction)).await
    }

    /// Commits a transaction, or aborts it.
    ///
    /// # Errors
    /// The broker's.
    pub async fn end(&mut self, transaction: Transaction, commit: bool) -> Result<(), Failed> {
        let request = EndTxnRequest::default()
            .with_transactional_id(TransactionalId(StrBytes::from_static_str(transaction.name)))
            .with_producer_id(ProducerId(transaction.producer))
            .with_producer_epoch(transaction.epoch)
            .with_committed(commit);
        check("EndTxn", self.call(&request, 3).await?.error_code)
    }

    /// Sets the offset that a group has committed.
    ///
    /// # Errors
    /// The broker's.
    pub async fn commit(
        &mut self,
        group: &str,
        name: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), Failed> {
        let committed = OffsetCommitRequestPartition::default()
            .with_partition_index(partition)
            .with_committed_offset(offset);
        let committed =
            OffsetCommitRequestTopic::default().with_name(topic(name)).with_partitions(vec![committed]);
        let request = OffsetCommitRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_generation_id_or_member_epoch(-1)
            .with_topics(vec![committed]);
        self.await_coordinator(group, 0).await;
        until("an offset to be committed", SOON, async || {
            let answer = self.call(&request, 8).await.ok()?;
            (answer.topics[0].partitions[0].error_code == 0).then_some(())
        })
        .await;
        Ok(())
    }

    /// Allows `User:dispatcher` something on a topic: `describe` or `read`.
    ///
    /// # Errors
    /// The broker's.
    pub async fn allow(&mut self, name: &str, operation: Allowed) -> Result<(), Failed> {
        let acl = AclCreation::default()
            .with_resource_type(2)
            .with_resource_name(text(name))
            .with_resource_pattern_type(3)
            .with_principal(StrBytes::from_static_str("User:dispatcher"))
            .with_host(StrBytes::from_static_str("*"))
            .with_operation(operation as i8)
            .with_permission_type(3);
        let answer = self.call(&CreateAclsRequest::default().with_creations(vec![acl]), 3).await?;
        check("CreateAcls", answer.results[0].error_code)
    }
}

/// An operation on a topic, by Kafka's number.
#[derive(Debug, Clone, Copy)]
pub enum Allowed {
    /// Its records; includes the next.
    Read = 3,
    /// Its partitions and offsets.
    Describe = 8,
}

fn text(words: &str) -> StrBytes {
    StrBytes::from_string(words.to_owned())
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName(text(name))
}

pub(super) fn check(what: &str, code: i16) -> Result<(), Failed> {
    match kafka_protocol::ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(error) => Err(format!("{what}: {error:?}").into()),
    }
}

fn batch(records: i32, transaction: Option<&Transaction>) -> Result<Bytes, Failed> {
    // Not of long ago: the broker's retention would delete them, at its next round.
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
    let record = |number: i32| Record {
        transactional: transaction.is_some(),
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: transaction.map_or(-1, |t| t.producer),
        producer_epoch: transaction.map_or(-1, |t| t.epoch),
        timestamp_type: TimestampType::Creation,
        offset: i64::from(number),
        // Of one batch, whose first one has none (-1) outside of a transaction.
        sequence: transaction.map_or(-1, |t| t.sequence) + number,
        timestamp: now,
        key: Some(Bytes::from(number.to_string())),
        value: Some(Bytes::from_static(b"a record")),
        headers: Default::default(),
    };
    let records: Vec<Record> = (0..records).map(record).collect();
    let mut batch = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut batch, &records, &options)?;
    Ok(batch.freeze())
}
