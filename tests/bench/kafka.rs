//! Record to Job created, from idle, beside KEDA's poll of a group's lag, as a loop with its operator's timing.
//!
//! The loop is as fast as KEDA can be: what a Job is for is committed at once, so that the lag is what no Job was made for.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::dispatcher::Dispatcher;
use e2e::kafka::{Broker, KafkaClient};
use e2e::wait::until;
use e2e::world::World;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use kube::api::{Api, PostParams};
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use crate::api_server::{Audit, client, suspended, suspended_job, waits};
use crate::figures::{Bar, Report, Side, quantile};
use crate::keda::{GAP, LIMIT, PERIODS};
use crate::rig::{Failed, QUEUE};
use crate::settings::Settings;

const TOPIC: &str = "bench";
/// For how long its requests are counted while nothing comes.
const IDLE: Duration = Duration::from_secs(60);
/// Of KEDA: the group's offsets, and the end of the log.
const REQUESTS_A_POLL: u64 = 2;

pub(crate) async fn kafka(settings: &Settings) -> Result<Report, Failed> {
    let cluster = Cluster::find()?;
    let namespace = cluster.namespace("bench-kafka")?;
    let world = World::on_cluster("bench-kafka", &cluster).await?;
    let broker = Broker::start()?;
    let mut producer = broker.client().await?;
    producer.create_topic(TOPIC, 1, &[]).await?;
    let flag = format!("--namespace={}", namespace.name);
    let dispatcher = world.kubernetes_dispatcher(&cluster, &[&flag])?;
    watch(&world.client, &broker).await?;
    let jobs: Api<Job> = Api::namespaced(client(&cluster).await?, &namespace.name);

    let mut requests = Side::new("pgbatch, requests to Kafka while nothing comes", "requests/min");
    let before = requests_sent(&dispatcher, &broker)?;
    tokio::time::sleep(IDLE).await;
    let sent = requests_sent(&dispatcher, &broker)? - before;
    requests.rounds.push(sent as f64 / IDLE.as_secs_f64() * 60.0);

    let mut report = Report::default();
    for seconds in PERIODS {
        let period = Duration::from_secs(seconds);
        let time = settings.turn(60).max(period).min(period * 20);
        let names = ["pgbatch, beside", "KEDA's"].map(|who| format!("{who} poll each {seconds} s"));
        let side = |part: &str| {
            names.clone().map(|name| Side::new(format!("{name}, record to Job created, {part}"), "ms"))
        };
        let (mut p50, mut p99) = (side("p50"), side("p99"));
        for _ in 0..settings.rounds {
            let audit = Audit::begin(&cluster)?;
            let poll = tokio::spawn(poll(broker.client().await?, jobs.clone(), period));
            let records = produce(&mut producer, time).await?;
            let ours = ours_by_name(&world.client, &records).await;
            let theirs = records.iter().map(|(offset, at)| (format!("keda-{offset}"), *at)).collect();
            for (number, sent) in [ours, theirs].iter().enumerate() {
                let waits = waits(&audit, &namespace.name, sent).await;
                p50[number].rounds.push(quantile(&waits, 0.5));
                p99[number].rounds.push(quantile(&waits, 0.99));
            }
            poll.abort();
        }
        let what = format!("record to Job created, one at a time, against KEDA's poll each {seconds} s");
        report.compare(format!("{what}, p50"), &p50[0], &p50[1], Bar::Below(1.0));
        report.compare(format!("{what}, p99"), &p99[0], &p99[1], Bar::Below(1.0));
        let mut polls = Side::new(format!("KEDA's poll each {seconds} s, requests to Kafka"), "requests/min");
        polls.rounds.push((REQUESTS_A_POLL * 60 / seconds) as f64);
        report.compare(
            format!("requests to Kafka while nothing comes, against KEDA's poll each {seconds} s"),
            &requests,
            &polls,
            Bar::AtMost(1.0),
        );
        report.sides.extend(p50.into_iter().chain(p99).chain([polls]));
    }
    report.notes.push(format!(
        "Not KEDA but its poll as a loop; its requests are by its code, {REQUESTS_A_POLL} a poll. Ours are what the kernel \
         counts of segments with data to the broker in {} s. From when the record was handed over to when the API server had \
         answered the POST.",
        IDLE.as_secs()
    ));
    report.sides.push(requests);
    Ok(report)
}

/// Has the topic's records made items, and waits until the dispatcher knows where it ends.
async fn watch(client: &Client, broker: &Broker) -> Result<(), Failed> {
    let sql = "SELECT pgbatch.create_queue($1, $2, max_parallel => 100000)";
    client.execute(sql, &[&QUEUE, &suspended()]).await?;
    let sql = "SELECT pgbatch.watch_kafka('bench', $1, $2, $3)";
    client.query(sql, &[&QUEUE, &broker.plain(), &TOPIC]).await?;
    until("a look at the topic", LIMIT, async || {
        let sql = "SELECT FROM pgbatch.kafka_trigger WHERE positioned";
        client.query_opt(sql, &[]).await.ok().flatten()
    })
    .await;
    Ok(())
}

/// How many segments with data a dispatcher's connections to the broker have sent: each request is one.
fn requests_sent(dispatcher: &Dispatcher, broker: &Broker) -> Result<u64, Failed> {
    let output = Command::new("ss").args(["-tinHOp", "dst", &broker.plain()]).output()?;
    let owner = format!("pid={},", dispatcher.id());
    let text = String::from_utf8(output.stdout)?;
    let mut sent = 0;
    for line in text.lines().filter(|line| line.contains(&owner)) {
        let word = line.split(' ').find_map(|word| word.strip_prefix("data_segs_out:"));
        sent += word.map_or(Ok(0), str::parse::<u64>)?;
    }
    if sent == 0 { Err("the dispatcher has no connection to the broker".into()) } else { Ok(sent) }
}

/// What KEDA's operator does about a trigger with `lagThreshold: 1`. The period is from start to start.
async fn poll(mut kafka: KafkaClient, jobs: Api<Job>, period: Duration) -> Result<(), String> {
    let mut next = Instant::now();
    let mut committed = kafka.end_of_log(TOPIC, 0).await.map_err(|e| e.to_string())?;
    loop {
        next += period;
        let end = kafka.end_of_log(TOPIC, 0).await.map_err(|e| e.to_string())?;
        for offset in committed..end {
            let job = suspended_job(format!("keda-{offset}")).map_err(|e| e.to_string())?;
            jobs.create(&PostParams::default(), &job).await.map_err(|e| e.to_string())?;
        }
        committed = end;
        sleep_until(next).await;
    }
}

/// Records at random moments, for so long: their offsets, and when each was handed over.
async fn produce(producer: &mut KafkaClient, time: Duration) -> Result<Vec<(i64, Timestamp)>, Failed> {
    let mut records = vec![];
    let end = Instant::now() + time;
    while Instant::now() < end {
        tokio::time::sleep(GAP.mul_f64(fastrand::f64())).await;
        let at = Timestamp::now();
        records.push((producer.produce(TOPIC, 0, 1).await?, at));
    }
    Ok(records)
}

/// The same by the names of the Jobs.
async fn ours_by_name(client: &Client, records: &[(i64, Timestamp)]) -> BTreeMap<String, Timestamp> {
    let offsets: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
    let sql = "SELECT o.offset, r.job_name FROM unnest($1::bigint[]) o (\"offset\")
        JOIN pgbatch.items i ON o.offset >= (i.item ->> 'from')::bigint AND o.offset < (i.item ->> 'to')::bigint
        JOIN pgbatch.runs r ON r.batch_id = i.batch_id AND i.item_no BETWEEN r.first_item AND r.last_item";
    let rows = until("our runs", LIMIT, async || {
        client.query(sql, &[&offsets]).await.ok().filter(|rows| rows.len() == offsets.len())
    })
    .await;
    let names: BTreeMap<i64, String> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    records.iter().filter_map(|(offset, at)| Some((names.get(offset)?.clone(), *at))).collect()
}
