//! OpenTelemetry traces of the real binary, as a collector sees them.

use std::collections::BTreeSet;

use e2e::collector::{Collector, attribute};
use e2e::postgres::{Options, Server};
use e2e::wait::until;
use e2e::world::World;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use crate::{SOON, Tested, until_state};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CLIENT: &str = "00f067aa0ba902b7";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A batch of one item, enqueued in a trace.
async fn enqueue_in(world: &mut World, queue: &str, flags: &str) -> Result<i64, tokio_postgres::Error> {
    let transaction = world.client.transaction().await?;
    let set = format!("SET LOCAL pgbatch.traceparent = '00-{TRACE}-{CLIENT}-{flags}'");
    transaction.batch_execute(&set).await?;
    let batch = transaction.query_one("SELECT pgbatch.enqueue($1)", &[&queue]).await?.get(0);
    transaction.commit().await?;
    Ok(batch)
}

/// A queue whose runs leave their TRACEPARENT in a file `QUEUE-ATTEMPT` of the world.
async fn telling_queue(world: &World, name: &str, then: &str, options: &str) -> Tested {
    let line = format!("echo $TRACEPARENT >{}/{name}-$PGBATCH_ATTEMPT; {then}", world.dir.display());
    Ok(world.shell_queue(name, &line, options).await?)
}

fn left(world: &World, file: &str) -> std::io::Result<String> {
    Ok(std::fs::read_to_string(world.dir.join(file))?.trim().to_owned())
}

/// The spans of this number of runs, when they are all there: of each run its own, and the names of its phases.
async fn until_runs(collector: &Collector, runs: usize) -> Vec<(Span, Vec<String>)> {
    let spans = until(&format!("spans of {runs} runs"), SOON, async || {
        let spans = collector.spans();
        (spans.iter().filter(|span| span.name == "run").count() >= runs).then_some(spans)
    })
    .await;
    let phases = |run: &Span| {
        let children = spans.iter().filter(|span| span.parent_span_id == run.span_id);
        children.map(|span| span.name.clone()).collect()
    };
    let own = spans.iter().filter(|span| span.name == "run");
    own.map(|run| (run.clone(), phases(run))).collect()
}

#[tokio::test]
async fn a_trace_goes_from_the_enqueue_through_each_attempt_to_its_program() -> Tested {
    let mut world = World::new("traces").await?;
    let options = ", max_attempts => 2, retry_backoff => '10 ms'";
    telling_queue(&world, "second", "[ $PGBATCH_ATTEMPT = 2 ]", options).await?;
    telling_queue(&world, "unsampled", "exit 0", "").await?;
    telling_queue(&world, "without", "exit 0", "").await?;
    let collector = Collector::start().await?;
    let _dispatcher = world.dispatcher(&[&format!("--otlp-endpoint={}", collector.endpoint())])?;
    let unsampled = enqueue_in(&mut world, "unsampled", "00").await?;
    let without = world.enqueue_numbers("without", 1).await?;
    until_state(&world, unsampled, "succeeded", SOON).await;
    until_state(&world, without, "succeeded", SOON).await;
    let batch = enqueue_in(&mut world, "second", "01").await?;
    until_state(&world, batch, "succeeded", SOON).await;

    let runs = until_runs(&collector, 2).await;
    assert_eq!(runs.len(), 2, "of no other run: {runs:?}");
    let steps = ["claim to create", "create to running", "running"];
    let phases = [[&["enqueue to claim"][..], &steps].concat(), steps.to_vec()];
    let codes = [StatusCode::Error, StatusCode::Ok];
    for (((run, names), attempt), (phases, code)) in runs.iter().zip(1..).zip(phases.iter().zip(codes)) {
        assert_eq!((hex(&run.trace_id), hex(&run.parent_span_id)), (TRACE.to_owned(), CLIENT.to_owned()));
        assert_eq!(names, phases, "attempt {attempt}");
        assert_eq!(run.status.as_ref().map(|status| status.code()), Some(code), "attempt {attempt}");
        let of = |key: &str| attribute(&run.attributes, key).unwrap_or_default();
        for (key, expected) in [
            ("pgbatch.queue", "second".to_owned()),
            ("pgbatch.batch", batch.to_string()),
            ("pgbatch.attempt", attempt.to_string()),
            ("k8s.job.name", format!("second-{}", of("pgbatch.run"))),
        ] {
            assert_eq!(of(key), expected, "{key}");
        }
        let told = left(&world, &format!("second-{attempt}"))?;
        assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&run.span_id)), "attempt {attempt}");
        assert!(run.start_time_unix_nano < run.end_time_unix_nano);
    }
    assert_eq!(collector.services().into_iter().collect::<BTreeSet<_>>(), ["pgbatch".to_owned()].into());
    let told = left(&world, "unsampled-1")?;
    assert!(told.starts_with(&format!("00-{TRACE}-")) && told.ends_with("-00"), "{told}");
    assert_eq!(left(&world, "without-1")?, "");
    Ok(())
}

#[tokio::test]
async fn a_dispatcher_that_takes_over_tells_the_same_span() -> Tested {
    let mut world = World::new("traces_takeover").await?;
    let gate = world.dir.join("gate");
    telling_queue(&world, "q", &format!("until [ -e {} ]; do sleep 0.1; done", gate.display()), "").await?;
    let collector = Collector::start().await?;
    let flag = format!("--otlp-endpoint={}/v1/traces", collector.endpoint());
    let mut dispatcher = world.dispatcher(&[&flag])?;
    let batch = enqueue_in(&mut world, "q", "01").await?;
    let told =
        until("the run to run", SOON, async || left(&world, "q-1").ok().filter(|t| !t.is_empty())).await;
    dispatcher.kill()?;
    let _next = world.dispatcher(&[&flag])?;
    std::fs::write(&gate, "")?;
    until_state(&world, batch, "succeeded", SOON).await;
    let runs = until_runs(&collector, 1).await;
    let [(run, phases)] = runs.as_slice() else { return Err(format!("{runs:?}").into()) };
    assert_eq!(told, format!("00-{TRACE}-{}-01", hex(&run.span_id)));
    assert_eq!(phases, &["enqueue to claim", "running"], "what this one has not seen is left out");
    Ok(())
}

#[tokio::test]
async fn without_an_endpoint_nothing_is_asked_and_nothing_is_told() -> Tested {
    let settings = vec![("log_statement".to_owned(), "all".to_owned())];
    let server = Server::start(&Options { settings, ..Options::default() })?;
    let mut world = World::on("traces_off", &server).await?;
    telling_queue(&world, "q", "exit 0", "").await?;
    let asked =
        || std::fs::read_to_string(server.log()).map(|log| log.contains("SELECT pgbatch.run_traces("));
    let mut dispatcher = world.dispatcher(&[])?;
    let batch = enqueue_in(&mut world, "q", "01").await?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert!(dispatcher.terminate()?.success());
    assert!(!asked()?, "it asked");
    assert_eq!(left(&world, "q-1")?, "");

    let collector = Collector::start().await?;
    let _dispatcher = world.dispatcher(&[&format!("--otlp-endpoint={}", collector.endpoint())])?;
    let batch = enqueue_in(&mut world, "q", "01").await?;
    until_state(&world, batch, "succeeded", SOON).await;
    assert!(asked()?, "the log shows it");
    Ok(())
}

#[tokio::test]
async fn a_dead_collector_changes_nothing_and_is_told_once() -> Tested {
    let mut world = World::new("traces_dead").await?;
    world.shell_queue("q", "exit 0", "").await?;
    // Nobody listens there.
    let mut dispatcher = world.dispatcher(&["--otlp-endpoint=http://127.0.0.1:1"])?;
    for _ in 0..5 {
        let batch = enqueue_in(&mut world, "q", "01").await?;
        until_state(&world, batch, "succeeded", SOON).await;
    }
    let logged = async |words: &str| {
        until(words, SOON, async || dispatcher.logged().ok().filter(|log| log.contains(words))).await;
    };
    logged("traces are lost").await;
    let batch = enqueue_in(&mut world, "q", "01").await?;
    until_state(&world, batch, "succeeded", SOON).await;
    logged("still no trace is sent").await;
    assert!(dispatcher.terminate()?.success());
    assert_eq!(dispatcher.logged()?.matches("traces are lost").count(), 1);
    Ok(())
}
