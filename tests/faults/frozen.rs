//! The leader is frozen in the middle of its creates, loses its lead, and is thawed much later.

use e2e::cluster::Cluster;
use e2e::network::Netns;
use e2e::postgres::SUPERUSER;
use e2e::wait::until;

use crate::Tested;
use crate::batch::{LONG, Trial};
use crate::dispatchers::{Takeovers, logged, until_led, until_led_after, until_logged};
use crate::history::Allowed;
use crate::partition::{API_SERVER, Sides, server};

/// More than the creates that a dispatcher has in flight at a time: some wait for their turn.
const CLAIMED: i64 = 60;

/// It is thawed when its successor has done all that it had claimed, and has removed the Jobs: so no name is in the way of
/// its late creates.
#[tokio::test]
async fn a_leader_thawed_after_its_runs_were_done_by_another() -> Tested {
    let cluster = Cluster::find()?;
    let server = server(&cluster)?;
    let database = server.database().await?;
    let superuser = database.connect_as(SUPERUSER).await?;
    let mut trial =
        Trial::new("frozen", "leader frozen with creates under way, thawed late", &cluster, database).await?;
    superuser
        .execute("SELECT pgbatch.alter_queue('faults', max_parallel => $1::int8::int)", &[&CLAIMED])
        .await?;
    let (hub, hosts) = (Netns::existing(cluster.netns()), [Netns::new()?, Netns::new()?]);
    let mut sides = Sides::join(&trial, &hub, &hosts).await?;
    let old = until_led(&sides.dispatchers).await;
    let stood_by = sides.stood_by(old);

    sides.links[old.who].cut_port(API_SERVER)?;
    trial.enqueue().await?;
    let claimed =
        format!("SELECT count(*) >= least({CLAIMED}, {}) FROM pgbatch.runs WHERE batch_id = $1", trial.items);
    trial.until_true("the leader to claim", &claimed).await;
    sides.dispatchers[old.who].freeze()?;
    let frozen_ms = Takeovers::now_ms();
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE client_addr = $1::text::inet";
    let address = sides.links[old.who].host_address().to_string();
    superuser.execute(sql, &[&address]).await?;
    let new = until_led_after(&sides.dispatchers, old).await;
    sides.takeovers.add(frozen_ms, new);

    let over = format!(
        "SELECT NOT EXISTS (SELECT FROM pgbatch.runs WHERE batch_id = $1 AND id <= {CLAIMED} AND finished_at IS NULL)"
    );
    trial.until_true("what it claimed to be done", &over).await;
    until("the Jobs of that to be gone", LONG, async || {
        let jobs = cluster.list(&trial.namespace.name, "jobs").ok()?;
        let run = |job: &serde_json::Value| {
            job["metadata"]["labels"]["pgbatch.io/run"].as_str()?.parse::<i64>().ok()
        };
        // One that succeeded and perhaps one that failed are kept.
        (jobs.iter().filter_map(run).filter(|run| *run <= CLAIMED).count() <= 2).then_some(())
    })
    .await;
    sides.links[old.who].mend()?;
    sides.dispatchers[old.who].thaw()?;
    until_logged(&sides.dispatchers[old.who], "standing by", stood_by + 1).await;
    sides.takeovers.tell(trial.fault);
    trial.judge(1, Allowed::default()).await?;
    let late = logged(&sides.dispatchers[new.who], "stopping a Job whose run is over");
    assert_eq!(late, 0, "late creates: their Jobs were stopped, but that is a race");
    Ok(())
}
