//! What is made of what was found: PostgreSQL is told, and decides what is new.

use std::time::Duration;

use pgbatch_core::scaling::{OpenJobs, Policy, Reading, jobs_to_create};
use tokio::time::Instant;
use tracing::{info, warn};

use super::KAFKA;
use super::client::{Extent, Partition};
use super::cluster::{Cluster, Ended, RETRY_LAST};
use super::error::KafkaError;
use super::group::{self, Lag};
use super::look::extent_of;
use super::session::{Session, Watched};
use crate::metrics::metrics;
use crate::store::{GroupLag, KafkaStore, PartitionExtent, Records, StoreError};

/// Jobs that end without a commit must not make the next ones at once, and those too: that takes a period, and doubling from
/// there up to this.
const VAIN_LAST: Duration = Duration::from_secs(300);

/// What was seen when a trigger asked for Jobs.
pub(super) struct Asked {
    state: group::State,
    pause: Duration,
    /// Not again before, unless something else is seen.
    not_before: Instant,
}

impl<S: KafkaStore> Cluster<'_, S> {
    /// Takes what was written, for the triggers of those topics.
    pub(super) async fn take_more(
        &mut self,
        session: &mut Session,
        triggers: &[Watched],
        found: Vec<(Partition, Extent)>,
    ) -> Result<(), Ended> {
        let more = session.look.grow(found);
        for watched in triggers {
            let new = more.iter().filter(|((topic, _), _)| session.is_about(watched, topic));
            let new: Vec<PartitionExtent> = new.map(|((_, p), extent)| extent_of(*p, *extent)).collect();
            match (new.is_empty(), watched.group()) {
                (true, _) => {}
                (false, Some(_)) => self.take_lag(session, watched).await?,
                (false, None) => self.take_records(session, watched, &new, false).await?,
            }
        }
        Ok(())
    }

    /// Takes all that there is.
    pub(super) async fn take_whole(&mut self, session: &mut Session, watched: &Watched) -> Result<(), Ended> {
        if watched.group().is_some() {
            return self.take_lag(session, watched).await;
        }
        let topic = watched.trigger.topic.as_deref().unwrap_or_default();
        let partitions = session.look.partitions(topic);
        self.take_records(session, watched, &partitions, true).await
    }

    /// What has lingered long enough, what was refused, and lags that were there at the last look.
    pub(super) async fn take_due(
        &mut self,
        session: &mut Session,
        triggers: &[Watched],
    ) -> Result<(), Ended> {
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

    /// The lags that were there at the last look.
    pub(super) async fn take_lags(
        &mut self,
        session: &mut Session,
        triggers: &[Watched],
    ) -> Result<(), Ended> {
        for watched in triggers {
            if watched.group().is_some() && session.due.contains_key(watched.name()) {
                self.take_lag(session, watched).await?;
            }
        }
        Ok(())
    }

    async fn take_records(
        &mut self,
        session: &mut Session,
        watched: &Watched,
        partitions: &[PartitionExtent],
        is_whole: bool,
    ) -> Result<(), Ended> {
        let (name, topic) = (watched.name(), watched.trigger.topic.as_deref().unwrap_or_default());
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
                Err(error) => return self.refused(session, watched, error).await,
            };
            if taken.items > 0 {
                info!(trigger = name, topic, items = taken.items, "new records are items");
            }
            for lost in taken.lost {
                warn!(trigger = name, topic, lost, "records were skipped");
            }
            if taken.more {
                continue;
            }
            if !taken.rest || is_due {
                session.due.remove(name);
            }
            if taken.rest && !linger.is_zero() {
                session.due.entry(name.to_owned()).or_insert_with(|| Instant::now() + linger);
            }
            break;
        }
        if is_whole {
            self.told(name, problem);
        }
        Ok(())
    }

    async fn take_lag(&mut self, session: &mut Session, watched: &Watched) -> Result<(), Ended> {
        let name = watched.name();
        // By then at the latest, unless there is no lag. And so even if the look fails.
        let period = Duration::from_millis(watched.options.poll_ms);
        session.due.insert(name.to_owned(), Instant::now() + period);
        let Some(topics) = session.topics_of.get(name) else { return Ok(()) };
        let since = self.committed.entry(name.to_owned()).or_default();
        let found =
            match group::lag(&mut self.client, watched, topics, &session.look.topics.leaders, since).await {
                Ok(found) => found,
                Err(error @ KafkaError::Refused { .. }) => {
                    return Ok(self.note(name, &error.to_string()).await?);
                }
                Err(error) => return Err(error.into()),
            };
        if found.total <= 0 && found.problem.is_none() {
            session.due.remove(name);
        }
        let missing = topics.iter().find_map(|topic| session.look.problem(topic));
        let denied = topics.iter().find_map(|topic| self.denial(watched, topic));
        let problem = missing.or_else(|| found.problem.clone()).or(denied);
        match self.make_items(watched, &found, problem.as_deref()).await {
            Ok(()) => {
                self.told(name, problem);
                Ok(())
            }
            Err(error) => self.refused(session, watched, error).await,
        }
    }

    async fn make_items(
        &mut self,
        watched: &Watched,
        found: &Lag,
        problem: Option<&str>,
    ) -> Result<(), StoreError> {
        let name = watched.name();
        metrics().trigger_lag(name, found.total);
        let Some(items) = self.store.kafka_items(name).await? else { return Ok(()) };
        let policy = Policy {
            strategy: watched.options.strategy,
            custom_deduction: 0,
            custom_running_percentage: None,
            combine: watched.options.combine.unwrap_or_default(),
            min: 0,
            max: Some(items.most),
        };
        let open = OpenJobs { running: items.open, pending: items.pending };
        // What the others asked for is of their last look, which is a period ago at most while they have lag.
        let combined = items.combined.iter();
        let mut readings: Vec<Reading> =
            combined.filter_map(|one| if one.name == name { found.reading } else { one.reading }).collect();
        if items.combined.is_empty() {
            readings.extend(found.reading);
        }
        let wanted = jobs_to_create(&readings, &policy, open);
        let period = Duration::from_millis(watched.options.poll_ms);
        let asked = self.asked.get(name).filter(|asked| asked.state == found.state);
        let wanted = if asked.is_some_and(|asked| Instant::now() < asked.not_before) { 0 } else { wanted };
        if wanted > 0 {
            let pause = asked.map_or(period, |asked| (asked.pause * 2).min(VAIN_LAST.max(period)));
            let asked = Asked { state: found.state.clone(), pause, not_before: Instant::now() + pause };
            self.asked.insert(name.to_owned(), asked);
            info!(trigger = name, lag = found.total, items = wanted, "the lag asks for Jobs");
        }
        let lag = GroupLag { lag: found.total, reading: found.reading, items: wanted, problem };
        self.store.take_lag(name, &lag).await
    }

    /// A trigger's own trouble, and nobody else's: it is tried again later.
    async fn refused(
        &mut self,
        session: &mut Session,
        watched: &Watched,
        error: StoreError,
    ) -> Result<(), Ended> {
        if !error.is_refusal() {
            return Err(error.into());
        }
        self.note(watched.name(), &error.to_string()).await?;
        session.due.insert(watched.name().to_owned(), Instant::now() + RETRY_LAST);
        Ok(())
    }

    /// PostgreSQL has been told what is wrong with a trigger, or that nothing is.
    fn told(&mut self, name: &str, problem: Option<String>) {
        metrics().trigger(KAFKA, name, problem.is_some());
        match problem {
            Some(problem) if self.noted.get(name) == Some(&problem) => {}
            Some(problem) => {
                warn!(trigger = name, error = problem, "the trigger is not watched as it should be");
                self.noted.insert(name.to_owned(), problem);
            }
            None if self.noted.remove(name).is_some() => {
                info!(trigger = name, "the trigger is watched again")
            }
            None => {}
        }
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
}
