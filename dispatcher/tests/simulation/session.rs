//! The dispatcher's port to the database, over a network that loses and delays.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use pgbatch_core::plan::{Claim, Note, Permit, Ready, Started};
use pgbatch_core::run::{Outcome, RunSpec};
use pgbatch_core::snapshot::{RunId, StoreView};
use pgbatch_dispatcher::store::{
    Applied, ClosedBatch, Database, GroupLag, KafkaStore, KafkaTrigger, OpenItems, Records, ScaledJobStore,
    Session, Store, StoreError, Taken,
};
use pgbatch_dispatcher::web::Health;
use serde_json::Value;
use tokio::sync::{Notify, oneshot};

use crate::server::Line;
use crate::store::{Refused, Tables};
use crate::world::World;

/// The identity of the database.
const INSTALLATION: &str = "3f1c";

/// Where the sessions of one dispatcher come from.
pub(crate) struct SimulatedDatabase {
    pub(crate) world: Arc<World>,
    /// Which dispatcher.
    pub(crate) host: String,
}

/// A session that leads, or believes so.
pub(crate) struct SimulatedSession {
    world: Arc<World>,
    host: String,
    id: u64,
    epoch: i64,
    line: Line,
    rung: Arc<Notify>,
}

fn failed(call: &'static str, words: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> StoreError {
    StoreError::Call { call, source: words.into() }
}

impl Database for SimulatedDatabase {
    type Session = SimulatedSession;

    fn target(&self) -> String {
        "simulated".to_owned()
    }

    async fn lead(&self, health: &Health) -> Result<SimulatedSession, StoreError> {
        let world = &self.world;
        tokio::time::sleep(world.latency(world.faults.store_slow)).await;
        if world.fault(world.faults.store_lost) {
            return Err(failed("connect", "connection refused"));
        }
        let rung = Arc::new(Notify::new());
        let id = loop {
            let lead = world.server().try_lead(&mut world.tables(), &self.host, rung.clone());
            if let Some(id) = lead {
                break id;
            }
            health.standing_by();
            // The real one asks once a second.
            world.until(|world| !world.server().has_leader()).await;
            tokio::time::sleep(world.millis(1..=1000)).await;
        };
        let (epoch, line) = (world.tables().epoch, Line::new());
        world.tell(&self.host, || format!("leads as epoch {epoch}, session {id}"));
        let session =
            SimulatedSession { world: world.clone(), host: self.host.clone(), id, epoch, line, rung };
        tokio::time::sleep(world.latency(world.faults.store_slow)).await;
        if world.fault(world.faults.store_unheard) {
            return Err(failed("try_lead", "the connection broke"));
        }
        world.server().listen(id);
        tokio::time::sleep(world.latency(world.faults.store_slow)).await;
        session.cut_sometime();
        Ok(session)
    }
}

impl SimulatedSession {
    /// The connection may end while nobody says anything.
    fn cut_sometime(&self) {
        let (world, line, id) = (self.world.clone(), self.line.clone(), self.id);
        tokio::spawn(async move {
            while line.is_up() && !world.is_calm() {
                tokio::time::sleep(world.millis(500..=1500)).await;
                if world.fault(world.faults.store_cut) {
                    world.tell("network", || format!("session {id} is cut"));
                    end(&world, id, &line).await;
                } else if world.fault(world.faults.lead_lost) && world.server().leader() == Some(id) {
                    world.tell("server", || format!("session {id} lost the lead and does not know"));
                    world.server().lose_lead(id);
                    world.touch();
                }
            }
        });
    }

    /// A call: a message to the server, and one back. Either may be lost, and the call then carried out or not.
    async fn call<T: Send + 'static>(
        &self,
        call: &'static str,
        act: impl Fn(&mut Tables, i64) -> Result<T, Refused> + Send + 'static,
    ) -> Result<T, StoreError> {
        let Self { world, id, epoch, line, host, .. } = self;
        if !line.is_up() {
            return Err(failed(call, "the connection is closed"));
        }
        world.calls.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = oneshot::channel();
        let lost = world.fault(world.faults.store_lost);
        let unheard = world.fault(world.faults.store_unheard);
        let twice = world.fault(world.faults.store_unheard);
        let (there, back) = (world.latency(world.faults.store_slow), world.latency(world.faults.store_slow));
        let (world, id, epoch, line, host) = (world.clone(), *id, *epoch, line.clone(), host.clone());
        tokio::spawn(async move {
            tokio::time::sleep(there).await;
            if lost || !world.server().is_open(id) {
                world.tell(&host, || format!("{call} is lost"));
                return end(&world, id, &line).await;
            }
            let mut result = world.commit(|tables| act(tables, epoch));
            if twice {
                result = world.commit(|tables| act(tables, epoch));
            }
            let words = if result.is_ok() { "done" } else { "refused" };
            world.tell(&host, || format!("{call} is {words}{}", if twice { ", twice" } else { "" }));
            if unheard {
                world.tell(&host, || format!("the answer to {call} is lost"));
                return end(&world, id, &line).await;
            }
            tokio::time::sleep(back).await;
            // Whoever asked may be gone.
            let _ = answer.send(result);
        });
        tokio::select! {
            biased;
            answer = answered => match answer {
                Ok(result) => result.map_err(|refused| failed(call, refused)),
                Err(_gone) => Err(failed(call, "the connection broke")),
            },
            () = self.line.until_cut() => Err(failed(call, "the connection broke")),
        }
    }
}

/// Both ends learn of the end of a session, in any order.
async fn end(world: &Arc<World>, id: u64, line: &Line) {
    let close = async {
        tokio::time::sleep(world.latency(300)).await;
        world.server().close(id);
        world.touch();
    };
    let cut = async {
        tokio::time::sleep(world.latency(300)).await;
        line.cut();
    };
    tokio::join!(close, cut);
}

impl Drop for SimulatedSession {
    fn drop(&mut self) {
        self.line.cut();
        let (world, id) = (self.world.clone(), self.id);
        // None at the very end of the simulation.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(world.latency(200)).await;
                world.server().close(id);
                world.touch();
            });
        }
    }
}

impl Session for SimulatedSession {
    fn installation(&self) -> &str {
        INSTALLATION
    }

    async fn rung(&self) {
        self.rung.notified().await;
    }

    async fn closed(&self) {
        self.line.until_cut().await;
    }
}

/// There is no Kafka here.
impl KafkaStore for SimulatedSession {
    async fn kafka_triggers(&self) -> Result<Vec<KafkaTrigger>, StoreError> {
        Ok(vec![])
    }

    async fn take_records(&self, _: &str, _: &Records<'_>) -> Result<Option<Taken>, StoreError> {
        Ok(None)
    }

    async fn kafka_items(&self, _: &str) -> Result<Option<OpenItems>, StoreError> {
        Ok(None)
    }

    async fn take_lag(&self, _: &str, _: &GroupLag<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn note_kafka(&self, _: &str, _: Option<&str>) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ScaledJobStore for SimulatedSession {
    async fn apply_scaled_job(&self, _: &Value) -> Result<Applied, StoreError> {
        Err(failed("apply_scaled_job", "there is none"))
    }

    async fn keep_scaled_jobs(&self, _: &str, _: &[String]) -> Result<(), StoreError> {
        Ok(())
    }
}

impl Store for SimulatedSession {
    async fn observe(&self, also: &[String]) -> Result<StoreView, StoreError> {
        let (also, world) = (also.to_vec(), self.world.clone());
        self.call("observe", move |tables, epoch| {
            let view = tables.observe(epoch, &also)?;
            world.laws().looked(epoch, tables);
            Ok(view)
        })
        .await
    }

    async fn claim(&self, claims: &[Claim]) -> Result<Vec<RunSpec>, StoreError> {
        let claims = claims.to_vec();
        self.call("claim", move |tables, epoch| tables.claim(epoch, &claims)).await
    }

    async fn claim_next(&self, permits: &[Permit]) -> Result<Vec<RunSpec>, StoreError> {
        let permits = permits.to_vec();
        self.call("claim_next", move |tables, epoch| tables.claim_next(epoch, &permits)).await
    }

    async fn run_specs(&self, runs: &[RunId]) -> Result<Vec<RunSpec>, StoreError> {
        let runs = runs.to_vec();
        self.call("run_specs", move |tables, _epoch| Ok(tables.run_specs(&runs))).await
    }

    async fn over_runs(&self, runs: &[RunId]) -> Result<Vec<RunId>, StoreError> {
        let runs = runs.to_vec();
        self.call("over_runs", move |tables, epoch| tables.over_runs(epoch, &runs)).await
    }

    async fn start_runs(&self, started: &[Started]) -> Result<(), StoreError> {
        let started = started.to_vec();
        self.call("start_runs", move |tables, epoch| tables.start_runs(epoch, &started)).await
    }

    async fn note_runs(&self, notes: &[Note]) -> Result<(), StoreError> {
        let notes = notes.to_vec();
        self.call("note_runs", move |tables, epoch| tables.note_runs(epoch, &notes)).await
    }

    async fn ready_runs(&self, ready: &[Ready]) -> Result<(), StoreError> {
        let ready = ready.to_vec();
        self.call("ready_runs", move |tables, epoch| tables.ready_runs(epoch, &ready)).await
    }

    async fn finish_runs(&self, outcomes: &[Outcome]) -> Result<Vec<ClosedBatch>, StoreError> {
        let outcomes = outcomes.to_vec();
        self.call("finish_runs", move |tables, epoch| tables.finish_runs(epoch, &outcomes)).await
    }

    async fn prune(&self) -> Result<(), StoreError> {
        self.call("prune", move |tables, epoch| tables.prune(epoch)).await
    }
}
