//! The leader is killed, again and again; a standby takes over.

use std::time::Duration;

use e2e::cluster::Cluster;
use e2e::postgres::{Options, Server};

use crate::Tested;
use crate::batch::Trial;
use crate::dispatchers::{Takeovers, until_led, until_led_after, until_logged};
use crate::history::Allowed;
use crate::moments::Moments;

/// How often.
const TIMES: usize = 10;

#[tokio::test]
async fn a_standby_takes_over_from_a_killed_leader() -> Tested {
    let server = Server::start(&Options::default())?;
    let database = server.database().await?;
    let mut trial =
        Trial::new("takeover", "leader: kill -9, a standby leads", &Cluster::find()?, database).await?;
    let (mut moments, mut takeovers) = (Moments::new("takeover"), Takeovers::default());
    let mut dispatchers = vec![trial.dispatcher()?];
    let mut leader = until_led(&dispatchers).await;
    dispatchers.push(trial.dispatcher()?);
    trial.enqueue().await?;
    for percent in (0..).step_by(100 / (TIMES + 1)).take(TIMES) {
        trial.until_done(percent).await;
        until_logged(&dispatchers[1 - leader.who], "standing by", 1).await;
        moments.pass(Duration::from_secs(2)).await;
        let killed_ms = Takeovers::now_ms();
        dispatchers[leader.who].kill()?;
        let next = until_led_after(&dispatchers, leader).await;
        takeovers.add(killed_ms, next);
        dispatchers[leader.who] = trial.dispatcher()?;
        leader = next;
    }
    takeovers.tell(trial.fault);
    trial.judge(TIMES, Allowed::default()).await
}
