//! The task of one cluster: looks, listens, and takes what is new.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{debug, warn};

use super::client::{Client, Isolation, Leader, Partition};
use super::credentials::{Access, CredentialsFolder};
use super::doorbell::Rung;
use super::error::KafkaError;
use super::group;
use super::look::Look;
use super::session::{Bells, Session, TopicsOf, Watched, or_far};
use super::take::Asked;
use super::{KAFKA, Seen};
use crate::metrics::metrics;
use crate::store::{KafkaStore, StoreError};

/// After a failure, doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
pub(super) const RETRY_LAST: Duration = Duration::from_secs(30);

/// Why a session with a cluster ended.
pub(super) enum Ended {
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
    pub(super) store: &'a S,
    pub(super) client: Client,
    triggers: watch::Receiver<Arc<Vec<Watched>>>,
    seen: watch::Receiver<Seen>,
    /// What PostgreSQL has been told last to be wrong with a trigger.
    pub(super) noted: BTreeMap<String, String>,
    /// Topics that may be looked at and not read, so that they do not ring.
    pub(super) denied: BTreeSet<String>,
    /// What was seen when each trigger asked for Jobs last.
    pub(super) asked: BTreeMap<String, Asked>,
    /// What each group has committed, and since when.
    pub(super) committed: BTreeMap<String, group::Committed>,
}

impl<'a, S: KafkaStore> Cluster<'a, S> {
    pub(super) fn new(
        store: &'a S,
        access: Access,
        folder: CredentialsFolder,
        triggers: watch::Receiver<Arc<Vec<Watched>>>,
        seen: watch::Receiver<Seen>,
    ) -> Self {
        Self {
            store,
            client: Client::new(access, folder),
            triggers,
            seen,
            noted: BTreeMap::new(),
            denied: BTreeSet::new(),
            asked: BTreeMap::new(),
            committed: BTreeMap::new(),
        }
    }

    /// Watches until the session with PostgreSQL breaks.
    pub(super) async fn watch(mut self) -> StoreError {
        let mut pause = RETRY_FIRST;
        let mut known: Arc<Vec<Watched>> = Arc::default();
        loop {
            let began = Instant::now();
            let triggers = self.triggers.borrow_and_update().clone();
            self.forget_others(&known, &triggers);
            known = triggers.clone();
            let ended = match self.listen(&triggers).await {
                Ok(never) => match never {},
                Err(Ended::Store(error)) => return error,
                Err(Ended::Anew) => None,
                Err(Ended::Kafka(error)) => Some(error),
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

    /// One that was made again under its name is another one.
    fn forget_others(&mut self, known: &[Watched], triggers: &[Watched]) {
        let stays = |name: &str| triggers.iter().any(|w| w.name() == name && known.contains(w));
        self.noted.retain(|name, _| stays(name));
        self.asked.retain(|name, _| stays(name));
        self.committed.retain(|name, _| stays(name));
    }

    /// One failure of all.
    async fn note_all(&mut self, triggers: &[Watched], error: &str) -> Result<(), StoreError> {
        for watched in triggers {
            self.note(watched.name(), error).await?;
        }
        Ok(())
    }

    /// Says what is wrong with a trigger, once.
    pub(super) async fn note(&mut self, name: &str, error: &str) -> Result<(), StoreError> {
        metrics().trigger(KAFKA, name, true);
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
    async fn listen(&mut self, triggers: &[Watched]) -> Result<std::convert::Infallible, Ended> {
        let mut session = self.begin(triggers).await?;
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
                // A run has ended, and so may have committed, and makes room.
                Ok(()) = self.seen.changed() => self.take_lags(&mut session, triggers).await?,
                () = sleep_until(session.refresh_at) => self.refresh(&mut session, triggers).await?,
                () = sleep_until(or_far(session.poll_at)), if session.poll_at.is_some() => {
                    self.poll(&mut session, triggers).await?;
                }
                () = sleep_until(or_far(due)), if due.is_some() => self.take_due(&mut session, triggers).await?,
            }
        }
    }

    /// Looks, and hangs the doorbells.
    async fn begin(&mut self, triggers: &[Watched]) -> Result<Session, Ended> {
        let topics_of = self.topics_of(triggers).await?;
        let look = Look::at(&mut self.client, &names(&topics_of)).await?;
        let ringing: BTreeSet<&str> = triggers
            .iter()
            .filter(|watched| watched.options.doorbell)
            .filter_map(|watched| topics_of.get(watched.name()))
            .flatten()
            .filter(|topic| !self.denied.contains(*topic))
            .map(String::as_str)
            .collect();
        let bells = Bells::hang(&self.client, &look, &ringing).await?;
        let mut session = Session {
            refresh_at: Instant::now(),
            look,
            bells,
            topics_of,
            due: BTreeMap::new(),
            poll_at: None,
        };
        session.arm_refresh(triggers);
        Ok(session)
    }

    /// A group whose topics cannot be told is left out, and said.
    async fn topics_of(&mut self, triggers: &[Watched]) -> Result<TopicsOf, Ended> {
        let mut topics_of = TopicsOf::new();
        for watched in triggers {
            let topics = match (&watched.trigger.topic, watched.group()) {
                (Some(topic), _) => BTreeSet::from([topic.clone()]),
                (None, group) => match self.client.committed(group.unwrap_or_default(), None).await {
                    Ok((committed, _)) => committed.into_keys().map(|(topic, _)| topic).collect(),
                    Err(error @ KafkaError::Refused { .. }) => {
                        self.note(watched.name(), &error.to_string()).await?;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                },
            };
            topics_of.insert(watched.name().to_owned(), topics);
        }
        Ok(topics_of)
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
            if session.topics_of(watched).any(|topic| self.denied.contains(topic)) {
                self.take_whole(session, watched).await?;
            }
        }
        Ok(())
    }

    async fn poll(&mut self, session: &mut Session, triggers: &[Watched]) -> Result<(), Ended> {
        let polled = session.polled(triggers, &self.denied);
        let leaders: BTreeMap<Partition, Leader> = session
            .look
            .topics
            .leaders
            .iter()
            .filter(|((topic, _), _)| polled.contains_key(topic.as_str()))
            .map(|(key, leader)| (key.clone(), *leader))
            .collect();
        let (extents, refused) = self.client.extents(&leaders, Isolation::Committed).await?;
        if refused.keys().any(|key| !session.look.refused.contains_key(key)) {
            return Err(Ended::Anew);
        }
        self.take_more(session, triggers, extents.into_iter().collect()).await?;
        session.arm_poll(triggers, &self.denied);
        Ok(())
    }

    /// Whether there are other partitions, leaders or topics than before.
    async fn refresh(&mut self, session: &mut Session, triggers: &[Watched]) -> Result<(), Ended> {
        let topics_of = self.topics_of(triggers).await?;
        let topics = self.client.topics(&names(&topics_of)).await?;
        if topics_of != session.topics_of || topics != session.look.topics || !session.look.refused.is_empty()
        {
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
        session.arm_refresh(triggers);
        Ok(())
    }
}

fn names(topics_of: &TopicsOf) -> BTreeSet<String> {
    topics_of.values().flatten().cloned().collect()
}
