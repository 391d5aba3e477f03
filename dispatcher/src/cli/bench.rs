//! `pgbatch bench QUEUE`: how fast it is where it runs: how long each step of some runs takes, from the enqueue to the end.

use std::time::Duration;

use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget};
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::enqueue::parse;
use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::table::{Column, Kind, Table};
use super::words;
use crate::config::ClientArgs;

/// A person looks at it.
const REFRESH: Duration = Duration::from_millis(250);

const COLUMNS: [Column; 5] = [
    Column::new("STEP", Kind::Name, 0),
    Column::new("RUNS", Kind::Number, 1),
    Column::new("P50", Kind::Number, 0),
    Column::new("P95", Kind::Number, 0),
    Column::new("MAX", Kind::Number, 0),
];

const ENDED: &str = "\
    SELECT sum(b.succeeded + b.failed + b.cancelled)::bigint AS ended, sum(b.succeeded)::bigint AS succeeded, \
        bool_and(b.finished_at IS NOT NULL) AS is_over, \
        extract(epoch FROM max(b.finished_at) - min(b.created_at))::double precision AS seconds \
    FROM pgbatch.peek_batches($1, 100000) b";

/// Of the first attempts. Start and end are by the clock of who runs them, whole seconds in Kubernetes.
const STEPS: &str = "\
    SELECT s.step, count(*) AS runs, percentile_disc(0.5) WITHIN GROUP (ORDER BY s.seconds) AS p50, \
        percentile_disc(0.95) WITHIN GROUP (ORDER BY s.seconds) AS p95, max(s.seconds) AS max \
    FROM pgbatch.peek_batches($1, 100000) b JOIN pgbatch.runs r ON r.batch_id = b.id AND r.attempt = 1 \
    CROSS JOIN LATERAL ( \
        SELECT v.place, v.step, extract(epoch FROM v.took)::double precision AS seconds FROM (VALUES \
            (1, 'enqueue to claim', r.created_at - b.created_at), (2, 'claim to start', r.started_at - r.created_at), \
            (3, 'start to end', r.finished_at - r.started_at), (4, 'enqueue to end', r.finished_at - b.created_at)) v (place, step, took) \
        WHERE v.took IS NOT NULL) s \
    GROUP BY s.place, s.step ORDER BY s.place";

/// What to enqueue, and how fast.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// The queue. Its work is done for each of the items: choose one whose work does no harm.
    queue: String,
    /// The item that is enqueued again and again, a JSON object; - reads it from standard input.
    #[arg(default_value = "{}", value_name = "JSON")]
    item: String,
    /// So many of them.
    #[arg(long, value_name = "N", default_value = "100", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    items: u32,
    /// Enqueue so many in a second, each in a transaction and a batch of its own; default: all at once, as one batch.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: Option<u32>,
}

pub(super) async fn bench(args: BenchArgs) -> Result<Fate, Failure> {
    let output = Output::new(args.client.output);
    let item = parse(&args.item)?;
    let session = Session::open(args.client.database_url, "bench").await?;
    let bar = ProgressBar::with_draw_target(Some(args.items.into()), ProgressDrawTarget::stderr());
    let batches = enqueue(&session, &args.queue, &item, args.items, args.rate).await?;
    let ended = loop {
        let now = session.row(ENDED, &[&batches]).await?.unwrap_or_default();
        bar.set_position(words::number(&now, "ended").try_into().unwrap_or(0));
        if now["is_over"] == true {
            break now;
        }
        // Not at each end: a look counts all of them, and the times are PostgreSQL's.
        sleep(REFRESH).await;
    };
    bar.finish_and_clear();
    let steps = session.rows(STEPS, &[&batches]).await?;
    let succeeded = words::number(&ended, "succeeded");
    if output.is_json() {
        output.json(&json!({"queue": args.queue, "items": args.items, "succeeded": succeeded,
            "seconds": ended["seconds"], "steps": steps}))?;
    } else {
        output.line(&summary(
            &args.queue,
            args.items,
            succeeded,
            ended["seconds"].as_f64().unwrap_or(0.0),
        ))?;
        output.table(&table(&steps))?;
    }
    Ok(if succeeded == i64::from(args.items) { Fate::Fine } else { Fate::NotSucceeded })
}

/// The batches.
async fn enqueue(
    session: &Session,
    queue: &str,
    item: &Value,
    items: u32,
    rate: Option<u32>,
) -> Result<Vec<i64>, Failure> {
    const LABEL: &str = "pgbatch bench";
    let Some(rate) = rate else {
        let all = "SELECT pgbatch.enqueue_batch($1, ARRAY(SELECT $2::jsonb FROM generate_series(1, $3)), label => $4)";
        let items = i32::try_from(items).unwrap_or(i32::MAX);
        return Ok(vec![session.number(all, &[&queue, item, &items, &LABEL]).await?]);
    };
    let mut ticks = interval(Duration::from_secs(1) / rate);
    // As fast as was asked for on the whole, whatever a call takes.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let began = Instant::now();
    let mut batches = Vec::new();
    for _ in 0..items {
        ticks.tick().await;
        let one = "SELECT pgbatch.enqueue($1, $2, label => $3)";
        batches.push(session.number(one, &[&queue, item, &LABEL]).await?);
    }
    let wanted = f64::from(items - 1) / f64::from(rate);
    if began.elapsed().as_secs_f64() > wanted * 1.1 + 0.1 {
        eprintln!("pgbatch bench: the calls took longer than {rate} a second leave room for");
    }
    Ok(batches)
}

/// `100 items of queue "noop" in 12s, 8.3 in a second; 3 did not succeed`
fn summary(queue: &str, items: u32, succeeded: i64, seconds: f64) -> String {
    let rate = f64::from(items) / seconds.max(0.001);
    let failed = match i64::from(items) - succeeded {
        0 => String::new(),
        failed => format!("; {} did not succeed", words::grouped(failed)),
    };
    let items = words::count(items.into(), "item");
    format!("{items} of queue \"{queue}\" in {}, {rate:.1} in a second{failed}", words::seconds(seconds))
}

fn table(steps: &[Value]) -> Table {
    let mut table = Table::new(&COLUMNS);
    for step in steps {
        let took = |column: &str| words::seconds(step[column].as_f64().unwrap_or(0.0));
        table.row(vec![
            words::text(step, "step").into(),
            words::number(step, "runs").into(),
            took("p50").into(),
            took("p95").into(),
            took("max").into(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_summed_up_on_a_line() {
        assert_eq!(
            summary("noop", 1000, 1000, 8.0),
            "1,000 items of queue \"noop\" in 8s, 125.0 in a second"
        );
        assert!(summary("q", 1, 0, 0.0).ends_with("; 1 did not succeed"));
    }

    #[test]
    fn each_step_has_a_row() {
        let steps = [json!({"step": "claim to start", "runs": 7, "p50": 0.012, "p95": 1.5, "max": 61.0})];
        let text = table(&steps).render(None, false);
        let words: Vec<&str> = text.lines().last().unwrap().split_whitespace().collect();
        assert_eq!(words, ["claim", "to", "start", "7", "12ms", "1s", "1m01s"]);
    }
}
