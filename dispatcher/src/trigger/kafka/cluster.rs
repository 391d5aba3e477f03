//! The task of one cluster: looks, listens, and takes what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, info, warn};

use super::client::{Client, Extent, Leader, Partition};
use super::credentials::{Access, CredentialsFolder};
use super::doorbell::{Doorbell, Rung};
use super::error::KafkaError;
use super::look::{Look, extent_of};
use super::options::Options;
use crate::store::{KafkaStore, KafkaTrigger, PartitionExtent, Records, StoreError};

/// How often a cluster where something is amiss is asked again.
const TROUBLED_REFRESH: Duration = Duration::from_secs(5);
/// After a failure, doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(30);
/// What is not due at all.
const FAR: Duration = Duration::from_hours(24);

/// A trigger, and its options.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    pub(super) trigger: KafkaTrigger,
    pub(super) options: Options,
}

impl Watched {
    fn name(&self) -> &str {
        &self.trigger.name
    }

    fn topic(&self) -> Option<&str> {
        self.trigger.topic.as_deref()
    }

    fn takes_records(&self) -> bool {
        self.trigger.consumer_group.is_none()
    }
}

/// Why a session with a cluster ended.
enum Ended {
    /// It has to be looked at anew.
    Anew,
    /// It cannot be used now.
    Kafka(KafkaError),
    /// The session with PostgreSQL is broken.
    Store(StoreError),
}

impl From<KafkaError> for Ended {
    fn from(error: KafkaError) -> Self {
        Self::Kafka(error)
    }
}

impl From<StoreError> for Ended {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// A cluster.
pub(super) struct Cluster<'a, S> {
    store: &'a S,
    client: Client,
    triggers: watch::Receiver<Arc<Vec<Watched>>>,
    /// What PostgreSQL has been told last to be wrong with a trigger.
    noted: BTreeMap<String, String>,
    /// Topics that may be looked at and not read, so that they do not ring.
    denied: BTreeSet<String>,
}

impl<'a, S: KafkaStore> Cluster<'a, S> {
    pub(super) fn new(
        store: &'a S,
        access: Access,
        folder: CredentialsFolder,
        triggers: watch::Receiver<Arc<Vec<Watched>>>,
    ) -> Self {
        Self {
            store,
            client: Client::new(access, folder),
            triggers,
            noted: BTreeMap::new(),
            denied: BTreeSet::new(),
        }
    }

    /// Watches until the session with PostgreSQL breaks.
    pub(super) async fn watch(mut self) -> StoreError {
        let mut pause = RETRY_FIRST;
        loop {
            let began = Instant::now();
            let triggers = self.triggers.borrow_and_update().clone();
            let ended = match self.session(&triggers).await {
                Ended::Store(error) => return error,
                Ended::Anew => None,
                Ended::Kafka(error) => Some(error),
            };
            // What goes wrong at once, again and again, must not keep the broker busy.
            pause = if began.elapsed() > pause * 2 { RETRY_FIRST } else { (pause * 2).min(RETRY_LAST) };
            if let Some(error) = ended
                && let Err(error) = self.note_all(&triggers, &error.to_string()).await
            {
                return error;
            }
            tokio::select! {
                () = sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
                // Somebody has mended it, or made the next one.
                Ok(()) = self.triggers.changed() => pause = RETRY_FIRST,
            }
        }
    }

    /// One failure of all, said once.
    async fn note_all(&mut self, triggers: &[Watched], error: &str) -> Result<(), StoreError> {
        for watched in triggers {
            self.note(watched.name(), error).await?;
        }
        Ok(())
    }

    async fn note(&mut self, name: &str, error: &str) -> Result<(), StoreError> {
        if self.noted.get(name).is_some_and(|noted| noted == error) {
            return Ok(());
        }
        warn!(trigger = name, error, "the trigger cannot be watched");
        self.noted.insert(name.to_owned(), error.to_owned());
        match self.store.note_kafka(name, Some(error)).await {
            Err(error) if !error.is_refusal() => Err(error),
            _ => Ok(()),
        }
    }

    /// From one look to the next.
    async fn session(&mut self, triggers: &[Watched]) -> Ended {
        match self.listen(triggers).await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn listen(&mut self, triggers: &[Watched]) -> Result<std::convert::Infallible, Ended> {
        let names: BTreeSet<String> = triggers.iter().filter_map(Watched::topic).map(str::to_owned).collect();
        let look = Look::at(&mut self.client, &names).await?;
        let bells = Bells::hang(&self.client, &look, triggers, &self.denied).await?;
        let mut session = Session {
            refresh_at: refresh_at(&look, triggers),
            look,
            bells,
            due: BTreeMap::new(),
            poll_at: None,
        };
        for watched in triggers {
            self.take_whole(&mut session, watched).await?;
        }
        session.arm_poll(triggers, &self.denied);
        loop {
            let due = session.due.values().copied().min();
            tokio::select! {
                rung = session.bells.rung.recv() => match rung {
                    Some(Rung::More(found)) => self.take_more(&mut session, triggers, found).await?,
                    Some(Rung::Denied(topics)) => self.deny(&mut session, triggers, topics).await?,
                    None => return Err(Ended::Anew),
                },
                Some(ended) = session.bells.tasks.join_next() => {
                    debug!(?ended, "a doorbell has ended");
                    return Err(Ended::Anew);
                }
                _ = self.triggers.changed() => return Err(Ended::Anew),
                () = sleep_until(session.refresh_at) => self.refresh(&mut session, &names, triggers).await?,
                () = sleep_until(or_far(session.poll_at)), if session.poll_at.is_some() => {
                    self.poll(&mut session, triggers).await?;
                }
                () = sleep_until(or_far(due)), if due.is_some() => self.take_due(&mut session, triggers).await?,
            }
        }
    }

    /// Takes what was written, for the triggers of those topics.
    async fn take_more(
        &mut self,
        session: &mut Session,
        triggers: &[Watched],
        found: Vec<(Partition, Extent)>,
    ) -> Result<(), Ended> {
        let more = session.look.grow(found);
        for watched in triggers.iter().filter(|w| w.takes_records()) {
            let new = more.iter().filter(|((topic, _), _)| Some(topic.as_str()) == watched.topic());
            let new: Vec<PartitionExtent> = new.map(|((_, p), extent)| extent_of(*p, *extent)).collect();
            if !new.is_empty() {
                self.take(session, watched, &new, false).await?;
            }
        }
        Ok(())
    }

    /// Takes all that there is.
    async fn take_whole(&mut self, session: &mut Session, watched: &Watched) -> Result<(), Ended> {
        let (true, Some(topic)) = (watched.takes_records(), watched.topic()) else { return Ok(()) };
        let partitions = session.look.partitions(topic);
        self.take(session, watched, &partitions, true).await
    }

    async fn take(
        &mut self,
        session: &mut Session,
        watched: &Watched,
        partitions: &[PartitionExtent],
        is_whole: bool,
    ) -> Result<(), Ended> {
        let (name, topic) = (watched.name(), watched.topic().unwrap_or_default());
        let linger = Duration::from_millis(watched.options.linger_ms);
        let is_due = session.due.get(name).is_some_and(|at| *at <= Instant::now());
        let problem = session.look.problem(topic).or_else(|| self.denial(watched, topic));
        let records = Records {
            topic_id: session.look.topics.ids.get(topic).map(String::as_str),
            partitions,
            is_whole,
            is_complete: session.look.is_complete(topic),
            only_full: !linger.is_zero() && !is_due,
            problem: problem.as_deref(),
        };
        loop {
            let taken = match self.store.take_records(name, &records).await {
                Ok(taken) => taken.unwrap_or_default(),
                Err(error) if error.is_refusal() => {
                    // Its own trouble, and nobody else's.
                    self.note(name, &error.to_string()).await?;
                    session.due.insert(name.to_owned(), Instant::now() + RETRY_LAST);
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            if taken.items > 0 {
                info!(trigger = name, topic, items = taken.items, "new records are items");
            }
            for lost in taken.lost {
                warn!(trigger = name, topic, lost, "records were skipped");
            }
            if !taken.more {
                if !taken.rest || is_due {
                    session.due.remove(name);
                }
                if taken.rest && !linger.is_zero() {
                    session.due.entry(name.to_owned()).or_insert_with(|| Instant::now() + linger);
                }
                break;
            }
        }
        if is_whole {
            match problem {
                Some(problem) => {
                    if self.noted.insert(name.to_owned(), problem.clone()).as_ref() != Some(&problem) {
                        warn!(trigger = name, error = problem, "the trigger is not watched as it should be");
                    }
                }
                None if self.noted.remove(name).is_some() => {
                    info!(trigger = name, "the trigger is watched again")
                }
                None => {}
            }
        }
        Ok(())
    }

    /// That the topic does not ring, where it should.
    fn denial(&self, watched: &Watched, topic: &str) -> Option<String> {
        (watched.options.doorbell && self.denied.contains(topic)).then(|| {
            format!(
                "READ on topic {topic} is denied, so it does not ring: it is polled every {} ms \
                 (options.poll_ms; options.doorbell = false says that this is meant)",
                watched.options.poll_ms
            )
        })
    }

    /// What has lingered long enough, and what was refused.
    async fn take_due(&mut self, session: &mut Session, triggers: &[Watched]) -> Result<(), Ended> {
        let now = Instant::now();
        for watched in triggers {
            if session.due.get(watched.name()).is_some_and(|at| *at <= now) {
                self.take_whole(session, watched).await?;
            }
        }
        // Those of no trigger here would be due for ever.
        session.due.retain(|_, at| *at > now);
        Ok(())
    }

    /// Topics that do not ring for us are looked at from time to time.
    async fn deny(
        &mut self,
        session: &mut Session,
        triggers: &[Watched],
        topics: BTreeSet<String>,
    ) -> Result<(), Ended> {
        self.denied.extend(topics);
        session.arm_poll(triggers, &self.denied);
        for watched in triggers {
            if watched.topic().is_some_and(|topic| self.denied.contains(topic)) {
                self.take_whole(session, watched).await?;
            }
        }
        Ok(())
    }

    async fn poll(&mut self, session: &mut Session, triggers: &[Watched]) -> Result<(), Ended> {
        let polled = polled(triggers, &self.denied);
        let leaders: BTreeMap<Partition, Leader> = session
            .look
            .topics
            .leaders
            .iter()
            .filter(|((topic, _), _)| polled.contains_key(topic.as_str()))
            .map(|(key, leader)| (key.clone(), *leader))
            .collect();
        let (extents, refused) = self.client.extents(&leaders).await?;
        if refused.keys().any(|key| !session.look.refused.contains_key(key)) {
            return Err(Ended::Anew);
        }
        self.take_more(session, triggers, extents.into_iter().collect()).await?;
        session.arm_poll(triggers, &self.denied);
        Ok(())
    }

    /// Whether there are other partitions, leaders or topics than before.
    async fn refresh(
        &mut self,
        session: &mut Session,
        names: &BTreeSet<String>,
        triggers: &[Watched],
    ) -> Result<(), Ended> {
        let topics = self.client.topics(names).await?;
        if topics != session.look.topics || !session.look.refused.is_empty() {
            return Err(Ended::Anew);
        }
        for topic in self.denied.clone() {
            let mut of = topics.leaders.iter().filter(|((name, _), _)| *name == topic);
            if let Some((partition, leader)) = of.next()
                && self.client.may_read(partition, *leader).await?
            {
                self.denied.remove(&topic);
                return Err(Ended::Anew);
            }
        }
        session.refresh_at = refresh_at(&session.look, triggers);
        Ok(())
    }
}

/// What is known between two looks.
struct Session {
    look: Look,
    bells: Bells,
    refresh_at: Instant,
    poll_at: Option<Instant>,
    /// When a trigger is to be looked at without a ring.
    due: BTreeMap<String, Instant>,
}

impl Session {
    fn arm_poll(&mut self, triggers: &[Watched], denied: &BTreeSet<String>) {
        self.poll_at = polled(triggers, denied).values().min().map(|period| Instant::now() + *period);
    }
}

/// When to ask whether there are new partitions, other leaders and the like: no doorbell tells of the former.
fn refresh_at(look: &Look, triggers: &[Watched]) -> Instant {
    let wanted = triggers.iter().map(|w| Duration::from_millis(w.options.refresh_ms)).min().unwrap_or(FAR);
    Instant::now() + if look.is_troubled() { wanted.min(TROUBLED_REFRESH) } else { wanted }
}

/// The topics that do not ring, and how often to look at each.
fn polled<'t>(triggers: &'t [Watched], denied: &BTreeSet<String>) -> BTreeMap<&'t str, Duration> {
    let mut polled: BTreeMap<&str, Duration> = BTreeMap::new();
    for watched in triggers {
        let Some(topic) = watched.topic() else { continue };
        if watched.options.doorbell && !denied.contains(topic) {
            continue;
        }
        let period = Duration::from_millis(watched.options.poll_ms);
        polled.entry(topic).and_modify(|p| *p = period.min(*p)).or_insert(period);
    }
    polled
}

/// The doorbells of the brokers.
struct Bells {
    rung: mpsc::Receiver<Rung>,
    /// So that the channel stays open when there is none.
    _open: mpsc::Sender<Rung>,
    tasks: JoinSet<Result<(), KafkaError>>,
}

impl Bells {
    /// Hangs one at each broker that leads a partition of a topic that is to ring, from the ends that the look has seen on.
    async fn hang(
        client: &Client,
        look: &Look,
        triggers: &[Watched],
        denied: &BTreeSet<String>,
    ) -> Result<Self, KafkaError> {
        let wanted: BTreeSet<&str> =
            triggers.iter().filter(|w| w.options.doorbell).filter_map(Watched::topic).collect();
        let mut brokers: BTreeMap<i32, BTreeMap<Partition, (Leader, i64)>> = BTreeMap::new();
        for (key, extent) in &look.extents {
            if let Some(leader) = look.topics.leaders.get(key)
                && wanted.contains(key.0.as_str())
                && !denied.contains(&key.0)
            {
                brokers.entry(leader.broker).or_default().insert(key.clone(), (*leader, extent.end));
            }
        }
        let (sender, rung) = mpsc::channel(16);
        let mut tasks = JoinSet::new();
        for (broker, positions) in brokers {
            let bell = Doorbell::new(client.open(broker).await?, positions);
            tasks.spawn(bell.ring(sender.clone()));
        }
        Ok(Self { rung, _open: sender, tasks })
    }
}

fn or_far(at: Option<Instant>) -> Instant {
    at.unwrap_or_else(|| Instant::now() + FAR)
}
