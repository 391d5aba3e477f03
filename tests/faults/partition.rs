//! Two dispatchers on hosts of their own, cut off from PostgreSQL, from the API server and from both, in turn. (They have
//! no other way to hear of each other, so this parts them from each other too.) A cut is silent.

use std::net::IpAddr;

use e2e::cluster::Cluster;
use e2e::dispatcher::Dispatcher;
use e2e::network::{Link, Netns};
use e2e::postgres::{Listen, OWNER, Options, Server};
use e2e::wait::until;

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::dispatchers::{Lead, Takeovers, logged, until_led, until_led_after, until_logged};
use crate::history::Allowed;

/// The port of the API server.
pub(crate) const API_SERVER: u16 = 6443;

/// What the dispatcher logs when the API server has fallen silent.
const NO_API: [&str; 2] = ["the watch is interrupted", "the Job cannot be created now"];

/// The cluster's network, where PostgreSQL is too, and a dispatcher on either of two hosts with a cable to it.
pub(crate) struct Sides<'a> {
    postgres: u16,
    pub(crate) links: [Link<'a>; 2],
    pub(crate) dispatchers: [Dispatcher; 2],
    pub(crate) takeovers: Takeovers,
}

/// A server in the cluster's network.
pub(crate) fn server(cluster: &Cluster) -> Result<Server, Box<dyn std::error::Error>> {
    let address: IpAddr = cluster.node_ip().parse()?;
    let listen = Listen { address, port: None, password: None };
    let netns = Some(cluster.netns().to_owned());
    Ok(Server::start(&Options { listen: Some(listen), netns, ..Options::default() })?)
}

impl<'a> Sides<'a> {
    /// Joins them, and has the first of the dispatchers lead.
    pub(crate) async fn join(
        trial: &Trial,
        hub: &'a Netns,
        hosts: &'a [Netns; 2],
    ) -> Result<Self, Box<dyn std::error::Error>> {
        let links = [Link::between(hub, &hosts[0])?, Link::between(hub, &hosts[1])?];
        for link in &links {
            link.route_to(trial.cluster.node_ip().parse()?)?;
        }
        let url = trial.database.tcp_url(OWNER).ok_or("no TCP")?;
        let url = format!("{url}?sslmode=disable");
        let first = trial.dispatcher_at(Some(&hosts[0]), &url)?;
        until_logged(&first, "INFO leading", 1).await;
        let second = trial.dispatcher_at(Some(&hosts[1]), &url)?;
        until_logged(&second, "standing by", 1).await;
        let postgres = trial.database.socket().1;
        Ok(Self { postgres, links, dispatchers: [first, second], takeovers: Takeovers::default() })
    }

    /// The leader loses PostgreSQL, and perhaps the API server too: the other one takes over. The old leader comes back
    /// when the new one has finished runs, and stands by.
    async fn cut_leader(&mut self, trial: &Trial, api_server_too: bool) -> std::io::Result<()> {
        let old = until_led(&self.dispatchers).await;
        let stood_by = self.stood_by(old);
        let cut_ms = Takeovers::now_ms();
        match api_server_too {
            true => self.links[old.who].cut()?,
            false => self.links[old.who].cut_port(self.postgres)?,
        }
        let new = until_led_after(&self.dispatchers, old).await;
        assert_ne!(new.who, old.who, "it is cut off");
        self.takeovers.add(cut_ms, new);
        trial.until_more_ended(10).await;
        self.links[old.who].mend()?;
        until_logged(&self.dispatchers[old.who], "standing by", stood_by + 1).await;
        Ok(())
    }

    /// The leader loses the API server only: it keeps the lead, and goes on when it is back.
    async fn cut_leader_from_api_server(&mut self, trial: &Trial) -> std::io::Result<()> {
        let leader = until_led(&self.dispatchers).await;
        let before = self.complaints(leader);
        self.links[leader.who].cut_port(API_SERVER)?;
        until("the leader to complain", LONG, async || (self.complaints(leader) > before).then_some(()))
            .await;
        self.links[leader.who].mend()?;
        trial.until_more_ended(10).await;
        Ok(())
    }

    /// The standby loses everything, and comes back: nobody notices.
    async fn cut_standby(&mut self) -> std::io::Result<()> {
        let leader = until_led(&self.dispatchers).await;
        let standby = 1 - leader.who;
        let before = logged(&self.dispatchers[standby], "no session with PostgreSQL");
        self.links[standby].cut()?;
        until_logged(&self.dispatchers[standby], "no session with PostgreSQL", before + 1).await;
        self.links[standby].mend()?;
        Ok(())
    }

    /// How often it has stood by.
    pub(crate) fn stood_by(&self, old: Lead) -> usize {
        logged(&self.dispatchers[old.who], "standing by")
    }

    fn complaints(&self, leader: Lead) -> usize {
        NO_API.iter().map(|words| logged(&self.dispatchers[leader.who], words)).sum()
    }
}

#[tokio::test]
async fn dispatchers_parted_from_postgresql_and_from_the_api_server_in_turn() -> Tested {
    let cluster = Cluster::find()?;
    let server = server(&cluster)?;
    let database = server.database().await?;
    let mut trial =
        Trial::new("partition", "network: silent cuts of leader and standby", &cluster, database).await?;
    let (hub, hosts) = (Netns::existing(cluster.netns()), [Netns::new()?, Netns::new()?]);
    trial.enqueue().await?;
    let mut sides = Sides::join(&trial, &hub, &hosts).await?;
    sides.cut_leader(&trial, false).await?;
    sides.cut_leader_from_api_server(&trial).await?;
    sides.cut_standby().await?;
    sides.cut_leader(&trial, true).await?;
    sides.takeovers.tell(trial.fault);
    trial.judge(4, Allowed::default()).await
}
