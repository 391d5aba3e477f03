//! PostgreSQL is stopped in the way of a power cut, and started again.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::{Options, Server, Stop};

use crate::Tested;
use crate::batch::Trial;
use crate::dispatchers::{logged, until_logged};
use crate::history::Allowed;
use crate::moments::Moments;

/// How often.
const TIMES: usize = 5;

#[tokio::test]
async fn postgresql_stopped_immediately_and_restarted() -> Tested {
    let mut server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let mut trial =
        Trial::new("stopped", "PostgreSQL: immediate stop, restart", &Cluster::find()?, database).await?;
    let mut moments = Moments::new("PostgreSQL stopped");
    let dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    for percent in (5..).step_by(90 / TIMES).take(TIMES) {
        trial.until_done(percent).await;
        moments.pass(Duration::from_secs(2)).await;
        let tries = logged(&dispatcher, "no session with PostgreSQL");
        server.stop(Stop::Immediate)?;
        // Runs end meanwhile, and nobody can be told.
        until_logged(&dispatcher, "no session with PostgreSQL", tries + 2).await;
        moments.pass(Duration::from_secs(5)).await;
        server.restart()?;
    }
    trial.judge(TIMES, Allowed::default()).await
}
