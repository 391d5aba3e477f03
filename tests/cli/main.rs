//! The command line as people have it: in a real terminal, wide and narrow, and piped.

mod actions;
mod benching;
mod connection;
mod deadlines;
mod doctoring;
mod following;
mod importing;
mod migrating;
mod person;
mod piped;
mod terminal;
mod terminals;
mod tls;

use std::time::Duration;

use e2e::wait::until;
use e2e::world::World;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(30);

type Tested = Result<(), Box<dyn std::error::Error>>;

async fn until_batch(world: &World, batch: i64, condition: &str) {
    let sql = format!("SELECT true FROM pgbatch.batches WHERE id = $1 AND {condition}");
    until(&format!("batch {batch} to be {condition}"), SOON, async || {
        world.client.query_opt(&sql, &[&batch]).await.ok().flatten()
    })
    .await;
}

/// Everything was made three days, four hours and a half ago: ages that stay the same for as long as a test takes.
async fn long_ago(world: &World) -> Result<(), tokio_postgres::Error> {
    let ago = "now() - interval '3 days 4 hours 30 minutes'";
    world.client.batch_execute(&format!("UPDATE pgbatch.batch SET created_at = {ago}")).await
}

fn parsed(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}
