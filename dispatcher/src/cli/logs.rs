//! `pgbatch logs BATCH/ITEM`: what an item's run wrote: its pod's log where there is one, else what was kept of it.

mod pod;

use std::time::Duration;

use clap::Args;
use serde_json::Value;

use super::address::ItemAddress;
use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::{show, words};
use crate::config::{ClientArgs, OutputFormat};
use pod::PodLog;

/// With -f: how often to look whether the pod is there at last.
const PERIOD: Duration = Duration::from_secs(1);

/// Of what, and how.
#[derive(Debug, Args)]
pub(super) struct LogsArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// As in 12/3: the third item of batch 12.
    #[arg(value_name = "BATCH/ITEM")]
    item: ItemAddress,
    /// Go on as the log grows, until the container ends.
    #[arg(short, long)]
    follow: bool,
    /// The run of this attempt; default: the latest.
    #[arg(long, value_name = "N")]
    attempt: Option<i32>,
    /// Of this container; default: the one that kubectl would take.
    #[arg(short, long, value_name = "NAME")]
    container: Option<String>,
    /// Namespace of the Jobs of queues that name none, as the dispatcher has it; default: that of the kubeconfig.
    #[arg(short, long, env = "PGBATCH_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,
}

pub(super) async fn logs(args: LogsArgs) -> Result<Fate, Failure> {
    let LogsArgs { client: ClientArgs { database_url, output }, item, follow, attempt, container, namespace } =
        args;
    if output == OutputFormat::Json {
        return Err(
            Failure::new("a log has no JSON").hint("pgbatch show --output json has what was kept of it")
        );
    }
    let output = Output::new(output);
    let session = Session::open(database_url, "logs").await?;
    loop {
        let run = run(&session, item, attempt).await?;
        let waits = follow && run["finished_at"].is_null();
        match pod::copy_log(&run, namespace.as_deref(), container.as_deref(), follow, &output).await? {
            PodLog::Copied => return Ok(Fate::Fine),
            PodLog::NotYet(_) if waits => tokio::time::sleep(PERIOD).await,
            PodLog::NotYet(why) | PodLog::None(why) => {
                kept(&output, &run, &why)?;
                return Ok(Fate::Fine);
            }
        }
    }
}

/// The run of an attempt at the item.
async fn run(session: &Session, address: ItemAddress, attempt: Option<i32>) -> Result<Value, Failure> {
    let sql = "SELECT * FROM pgbatch.runs r WHERE r.batch_id = $1 AND r.first_item <= $2 AND r.last_item >= $2 \
        AND ($3::int IS NULL OR r.attempt = $3) ORDER BY r.attempt DESC LIMIT 1";
    if let Some(run) = session.row(sql, &[&address.batch, &address.item, &attempt]).await? {
        return Ok(run);
    }
    let item = show::item(session, address).await?;
    Err(match (attempt, words::number(&item, "attempts")) {
        (Some(attempt), attempts @ 1..) => Failure::new(format!("item {address} had no attempt {attempt}"))
            .hint(format!("it had {attempts}")),
        _ => Failure::new(format!("item {address} has had no run yet"))
            .hint(format!("pgbatch why {address} says what it waits for")),
    })
}

/// What PostgreSQL has of it. Why there is no more goes to standard error: the log stays what the program wrote.
fn kept(output: &Output, run: &Value, why: &str) -> Result<(), Failure> {
    let (job, state) = (words::text(run, "job_name"), words::text(run, "state"));
    let kept = run["message"].as_str().unwrap_or_default().trim_end();
    let what = if kept.is_empty() { "and nothing was kept of it" } else { "this was kept of it:" };
    eprintln!("pgbatch logs: {why}; {job} is {state}, {what}");
    if !kept.is_empty() {
        // As with what tables show: it cannot play with the terminal.
        let plain = |c: char| c == '\n' || c == '\t' || !c.is_control();
        output.line(&kept.chars().filter(|c| plain(*c)).collect::<String>())?;
    }
    Ok(())
}
