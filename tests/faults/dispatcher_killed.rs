//! The dispatcher is killed at random moments.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::{Options, Server};

use crate::Tested;
use crate::batch::Trial;
use crate::history::Allowed;
use crate::moments::Moments;

/// How often.
const TIMES: usize = 20;

#[tokio::test]
async fn a_killed_dispatcher_loses_nothing_and_doubles_nothing() -> Tested {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let mut trial = Trial::new("kill", "dispatcher: kill -9", &Cluster::find()?, database).await?;
    let mut moments = Moments::new("kill -9");
    let mut dispatcher = trial.dispatcher()?;
    trial.enqueue().await?;
    for percent in (0..).step_by(100 / (TIMES + 1)).take(TIMES) {
        trial.until_done(percent).await;
        moments.pass(Duration::from_secs(2)).await;
        dispatcher.kill()?;
        dispatcher = trial.dispatcher()?;
    }
    trial.judge(TIMES, Allowed::default()).await
}
