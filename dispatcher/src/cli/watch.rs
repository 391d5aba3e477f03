//! `pgbatch watch BATCH`: a progress bar until the batch ends.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Notify;
use tokio_postgres::Client;

use crate::store::{DatabaseUrl, connect};

/// A person looks at it: this often is live, and cheap.
const REFRESH: Duration = Duration::from_millis(250);

const TEMPLATE: &str = "{prefix} [{bar:40.green}] {pos}/{len} {msg} {elapsed}, ETA {eta}";

struct Progress {
    state: String,
    items: i64,
    running: i64,
    retrying: i64,
    succeeded: i64,
    failed: i64,
    cancelled: i64,
}

pub(super) async fn watch(url: DatabaseUrl, batch: i64) -> ExitCode {
    match follow(&url, batch).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("pgbatch watch: {error}");
            ExitCode::from(2)
        }
    }
}

async fn follow(url: &DatabaseUrl, batch: i64) -> Result<bool, Box<dyn std::error::Error>> {
    // NOTIFY on pgbatch_done ends the wait at once; the period is only for the picture.
    let done = Arc::new(Notify::new());
    let (client, _driver) = connect(url, "pgbatch watch", done.clone()).await?;
    client.batch_execute("LISTEN pgbatch_done").await?;
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template(TEMPLATE)?.progress_chars("=> "));
    bar.set_prefix(format!("batch {batch}"));
    loop {
        let Some(now) = read(&client, batch).await? else {
            return Err(format!("there is no batch {batch}").into());
        };
        bar.set_length(u64::try_from(now.items)?);
        bar.set_position(u64::try_from(now.succeeded + now.failed + now.cancelled)?);
        bar.set_message(format!(
            "{} running, {} retrying, {} succeeded, {} failed,",
            now.running, now.retrying, now.succeeded, now.failed
        ));
        if matches!(now.state.as_str(), "succeeded" | "failed" | "cancelled") {
            bar.abandon();
            return Ok(now.state == "succeeded");
        }
        let _ = tokio::time::timeout(REFRESH, done.notified()).await;
    }
}

async fn read(client: &Client, batch: i64) -> Result<Option<Progress>, tokio_postgres::Error> {
    let row = client
        .query_opt(
            "SELECT state, items::bigint, running::bigint, retrying::bigint, succeeded::bigint, failed::bigint, \
             cancelled::bigint FROM pgbatch.batches WHERE id = $1",
            &[&batch],
        )
        .await?;
    Ok(row.map(|row| Progress {
        state: row.get(0),
        items: row.get(1),
        running: row.get(2),
        retrying: row.get(3),
        succeeded: row.get(4),
        failed: row.get(5),
        cancelled: row.get(6),
    }))
}
