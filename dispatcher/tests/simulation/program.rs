//! What runs in a container: it takes its time, may report items, may hang, and ends well or badly.

use std::sync::Arc;
use std::time::Duration;

use pgbatch_core::snapshot::RunId;
use tokio::time::{Instant, sleep_until};

use crate::laws::Law;
use crate::store::Report;
use crate::world::World;

/// A program; what it is going to do is decided when it starts.
pub(crate) struct Program {
    world: Arc<World>,
    run: RunId,
    token: String,
    /// What it reports, last first, and when.
    reports: Vec<(Instant, u32, Report)>,
    /// When it ends; none: never.
    ends_at: Option<Instant>,
    exit_code: i32,
}

impl Program {
    pub(crate) fn new(
        world: &Arc<World>,
        run: RunId,
        token: String,
        (first, last): (u32, u32),
        may_hang: bool,
    ) -> Self {
        let long = world.chance(200);
        let takes = world.millis(if long { 1_000..=60_000 } else { 20..=5_000 });
        let now = Instant::now();
        let mut reports: Vec<(Instant, u32, Report)> = Vec::new();
        if world.fault(world.faults.reports) {
            for item in first..=last {
                if world.chance(600) {
                    let at = now
                        + takes.mul_f64(f64::from(u32::try_from(world.between(1..=9)).unwrap_or(1)) / 10.0);
                    let succeeded = world.chance(600);
                    reports.push((at, item, Report { succeeded, retry: !succeeded && world.chance(800) }));
                }
            }
            reports.sort_by_key(|(at, item, _)| (std::cmp::Reverse(*at), *item));
        }
        let hangs = may_hang && world.fault(world.faults.hangs);
        let exit_code = i32::from(world.fault(world.faults.fails));
        let ends_at = (!hangs).then(|| now + takes);
        Self { world: world.clone(), run, token, reports, ends_at, exit_code }
    }

    /// Runs on to its end. May be dropped and called again.
    pub(crate) async fn run(&mut self) -> i32 {
        while let Some((at, item, report)) = self.reports.last().copied() {
            sleep_until(at).await;
            self.reports.pop();
            self.report(item, report);
        }
        match self.ends_at {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
        self.exit_code
    }

    /// Sends a report: it may arrive when the program has long ended.
    fn report(&self, item: u32, report: Report) {
        let (world, run, token) = (self.world.clone(), self.run, self.token.clone());
        let late = world.fault(world.faults.report_late);
        let travels = world.millis(if late { 50..=20_000 } else { 1..=20 });
        tokio::spawn(async move {
            tokio::time::sleep(travels).await;
            let (was_live, taken) = world.commit(|tables| {
                let was_live = tables.runs.get(&run).is_some_and(|row| row.is_live());
                (was_live, tables.report(run, &token, item, report).is_ok())
            });
            if taken && !was_live {
                world.violate(Law::Fence, format!("a report of run {run}, which is over, was taken"));
            }
        });
    }

    /// Its termination message.
    pub(crate) fn last_words(&self) -> Option<String> {
        (self.exit_code == 0).then(|| format!("{{\"run\": {}}}", self.run))
    }

    /// At most so long runs one that does not hang.
    pub(crate) const LONGEST: Duration = Duration::from_secs(60);
}
