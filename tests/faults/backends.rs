//! An administrator terminates the dispatcher's sessions.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::{Options, SUPERUSER, Server};
use e2e::wait::until;

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::history::Allowed;
use crate::moments::Moments;

/// How often each of them.
const TIMES: usize = 10;

#[tokio::test]
async fn terminated_backends_of_the_dispatcher() -> Tested {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let mut trial =
        Trial::new("backends", "pg_terminate_backend of its sessions", &Cluster::find()?, database).await?;
    let mut moments = Moments::new("backends");
    let _dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1";
    for percent in (0..).step_by(95 / TIMES).take(TIMES) {
        trial.until_done(percent).await;
        for session in ["pgbatch dispatch", "pgbatch doorbell"] {
            moments.pass(Duration::from_secs(1)).await;
            until(&format!("a session {session}"), LONG, async || {
                let terminated = superuser.query(sql, &[&session]).await.ok()?;
                (!terminated.is_empty()).then_some(())
            })
            .await;
        }
    }
    trial.judge(2 * TIMES, Allowed::default()).await
}
