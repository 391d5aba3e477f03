//! A session with a cluster: what is known from one look to the next, and the doorbells in between.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use pgbatch_core::kafka_options::Options;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::client::{Client, Leader, Partition};
use super::doorbell::{Doorbell, Rung};
use super::error::KafkaError;
use super::look::Look;
use crate::store::KafkaTrigger;

/// How often a cluster where something is amiss is asked again.
const TROUBLED_REFRESH: Duration = Duration::from_secs(5);
/// What is not due at all.
const FAR: Duration = Duration::from_hours(24);

/// A trigger, and its options.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Watched {
    pub(super) trigger: KafkaTrigger,
    pub(super) options: Options,
}

impl Watched {
    pub(super) fn name(&self) -> &str {
        &self.trigger.name
    }

    /// The group whose lag it follows; none: its records are items.
    pub(super) fn group(&self) -> Option<&str> {
        self.trigger.consumer_group.as_deref()
    }
}

/// The topics of each trigger, by its name: the one that it names, or those of its group.
pub(super) type TopicsOf = BTreeMap<String, BTreeSet<String>>;

/// What is known between two looks.
pub(super) struct Session {
    pub(super) look: Look,
    pub(super) bells: Bells,
    pub(super) topics_of: TopicsOf,
    pub(super) refresh_at: Instant,
    pub(super) poll_at: Option<Instant>,
    /// When a trigger is to be looked at without a ring.
    pub(super) due: BTreeMap<String, Instant>,
}

impl Session {
    pub(super) fn topics_of<'s>(&'s self, watched: &Watched) -> impl Iterator<Item = &'s String> + use<'s> {
        self.topics_of.get(watched.name()).into_iter().flatten()
    }

    pub(super) fn is_about(&self, watched: &Watched, topic: &str) -> bool {
        self.topics_of.get(watched.name()).is_some_and(|topics| topics.contains(topic))
    }

    pub(super) fn arm_poll(&mut self, triggers: &[Watched], denied: &BTreeSet<String>) {
        self.poll_at = self.polled(triggers, denied).values().min().map(|period| Instant::now() + *period);
    }

    /// The topics that do not ring, and how often to look at each.
    pub(super) fn polled(&self, triggers: &[Watched], denied: &BTreeSet<String>) -> BTreeMap<&str, Duration> {
        let mut polled: BTreeMap<&str, Duration> = BTreeMap::new();
        for watched in triggers {
            for topic in self.topics_of(watched) {
                if watched.options.doorbell && !denied.contains(topic) {
                    continue;
                }
                let period = Duration::from_millis(watched.options.poll_ms);
                polled.entry(topic).and_modify(|p| *p = period.min(*p)).or_insert(period);
            }
        }
        polled
    }

    /// When to ask whether there are new partitions, other leaders and the like: no doorbell tells of the former.
    pub(super) fn arm_refresh(&mut self, triggers: &[Watched]) {
        let wanted =
            triggers.iter().map(|w| Duration::from_millis(w.options.refresh_ms)).min().unwrap_or(FAR);
        // A group without a topic may not have been asked for them.
        let is_troubled = self.look.is_troubled() || self.topics_of.len() < triggers.len();
        self.refresh_at = Instant::now() + if is_troubled { wanted.min(TROUBLED_REFRESH) } else { wanted };
    }
}

/// The doorbells of the brokers.
pub(super) struct Bells {
    pub(super) rung: mpsc::Receiver<Rung>,
    /// So that the channel stays open when there is none.
    _open: mpsc::Sender<Rung>,
    pub(super) tasks: JoinSet<Result<(), KafkaError>>,
}

impl Bells {
    /// Hangs one at each broker that leads a partition of these topics, from the ends that the look has seen on.
    pub(super) async fn hang(
        client: &Client,
        look: &Look,
        topics: &BTreeSet<&str>,
    ) -> Result<Self, KafkaError> {
        let mut brokers: BTreeMap<i32, BTreeMap<Partition, (Leader, i64)>> = BTreeMap::new();
        for (key, extent) in &look.extents {
            if let Some(leader) = look.topics.leaders.get(key)
                && topics.contains(key.0.as_str())
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

pub(super) fn or_far(at: Option<Instant>) -> Instant {
    at.unwrap_or_else(|| Instant::now() + FAR)
}
