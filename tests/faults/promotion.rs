//! The primary dies and its standby is promoted, with two dispatchers that know both by one URL.

use std::net::{IpAddr, Ipv4Addr};

use e2e::cluster::Cluster;
use e2e::postgres::{Listen, OWNER, Options, Server, Stop};

use crate::Tested;
use crate::batch::Trial;
use crate::dispatchers::{Takeovers, until_led, until_led_after};
use crate::history::Allowed;

fn options() -> Options {
    let listen = Listen { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: None, password: None };
    Options { listen: Some(listen), ..Options::default() }
}

#[tokio::test]
async fn dispatchers_follow_to_the_promoted_standby() -> Tested {
    let mut primary = Server::start(&options())?;
    let database = primary.database().await?;
    let standby = primary.standby(&options())?;
    let promoted = standby.existing_database(&database.name);
    let url = format!(
        "postgresql://{OWNER}@127.0.0.1:{},127.0.0.1:{}/{}?sslmode=disable&target_session_attrs=read-write",
        database.socket().1,
        promoted.socket().1,
        database.name
    );
    let mut trial =
        Trial::new("promotion", "PostgreSQL: primary killed, standby promoted", &Cluster::find()?, database)
            .await?;
    let dispatchers = [trial.dispatcher_at(None, &url)?, trial.dispatcher_at(None, &url)?];
    trial.enqueue().await?;
    trial.until_done(40).await;
    let (leader, mut takeovers) = (until_led(&dispatchers).await, Takeovers::default());
    primary.stop(Stop::Kill)?;
    let promoted_ms = Takeovers::now_ms();
    standby.promote()?;
    trial.move_to(promoted).await;
    takeovers.add(promoted_ms, until_led_after(&dispatchers, leader).await);
    takeovers.tell(trial.fault);
    trial.judge(1, Allowed::default()).await
}
