//! `pgbatch pause QUEUE` and `pgbatch resume QUEUE`.

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::{ClientArgs, QueueArgs};
use serde_json::json;

pub(super) async fn pause(args: QueueArgs) -> Result<Fate, Failure> {
    set(args, true).await
}

pub(super) async fn resume(args: QueueArgs) -> Result<Fate, Failure> {
    set(args, false).await
}

async fn set(args: QueueArgs, paused: bool) -> Result<Fate, Failure> {
    let QueueArgs { client: ClientArgs { database_url, output }, why, queue } = args;
    let output = Output::new(output);
    let (command, sql, told) = match paused {
        true => (
            "pause",
            "SELECT pgbatch.pause_queue($1)",
            "is paused: nothing of it starts, its live runs go on",
        ),
        false => ("resume", "SELECT pgbatch.resume_queue($1)", "goes on"),
    };
    let session = Session::open(database_url, command).await?;
    session.because(why.reason.as_deref()).await?;
    session.call(sql, &[&queue]).await?;
    match output.is_json() {
        true => output.json(&json!({"queue": queue, "paused": paused}))?,
        false => output.line(&format!("queue \"{queue}\" {told}"))?,
    }
    Ok(Fate::Fine)
}
