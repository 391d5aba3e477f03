//! Enqueues at an even rate, and notes when each commit was acknowledged.

use std::collections::HashMap;
use std::time::Duration;

use e2e::postgres::Database;
use tokio::time::{Instant, sleep_until};
use tokio_postgres::Client;

use crate::claimer::now;
use crate::rig::{Failed, connect};

/// Sessions that share the work: enough that none is late because of the one before.
const SESSIONS: u32 = 8;

/// So many a second for so long. `statement` takes a number and returns what to know the item by.
///
/// Returns when each commit was acknowledged, in microseconds, by that.
pub(crate) async fn enqueue(
    database: &Database,
    statement: &str,
    per_second: u32,
    time: Duration,
) -> Result<HashMap<i64, i64>, Failed> {
    let gap = Duration::from_secs(1) / per_second;
    let number = u32::try_from(time.as_millis())? / 1000 * per_second;
    let mut clients = vec![];
    for _ in 0..SESSIONS {
        clients.push(connect(database).await?);
    }
    let start = Instant::now() + Duration::from_millis(50);
    let sessions: Vec<_> = clients
        .into_iter()
        .zip(0..)
        .map(|(client, first)| {
            let turns = (first..number).step_by(SESSIONS as usize).map(move |n| (n, start + gap * n));
            tokio::spawn(session(client, statement.to_owned(), turns.collect()))
        })
        .collect();
    let mut committed = HashMap::new();
    for session in sessions {
        committed.extend(session.await??);
    }
    Ok(committed)
}

async fn session(
    client: Client,
    statement: String,
    turns: Vec<(u32, Instant)>,
) -> Result<Vec<(i64, i64)>, tokio_postgres::Error> {
    let statement = client.prepare(&statement).await?;
    let mut committed = vec![];
    for (n, at) in turns {
        sleep_until(at).await;
        let n = i64::from(n);
        let id: i64 = client.query_one(&statement, &[&n]).await?.get(0);
        committed.push((id, now()));
    }
    Ok(committed)
}
