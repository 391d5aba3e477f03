//! A look at a cluster: all that is to be known of the topics before their doorbells are listened to.

use std::collections::{BTreeMap, BTreeSet};

use super::client::{Client, Extent, Isolation, Partition, Topics};
use super::error::{KafkaError, words};
use crate::store::PartitionExtent;

/// What there is.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) topics: Topics,
    pub(super) extents: BTreeMap<Partition, Extent>,
    /// Partitions that cannot be read now: Kafka's number of the error.
    pub(super) refused: BTreeMap<Partition, i16>,
}

/// Of a topic that is not there.
const UNKNOWN_TOPIC: i16 = 3;

impl Look {
    /// Looks at these topics.
    pub(super) async fn at(client: &mut Client, names: &BTreeSet<String>) -> Result<Self, KafkaError> {
        let topics = client.topics(names).await?;
        let (extents, refused) = client.extents(&topics.leaders, Isolation::Committed).await?;
        Ok(Self { topics, extents, refused })
    }

    /// Whether something is amiss that may be over soon.
    pub(super) fn is_troubled(&self) -> bool {
        !self.topics.refused.is_empty() || !self.refused.is_empty()
    }

    /// The offsets of the partitions of a topic.
    pub(super) fn partitions(&self, topic: &str) -> Vec<PartitionExtent> {
        self.of(topic).map(|((_, partition), extent)| extent_of(*partition, *extent)).collect()
    }

    fn of<'a>(&'a self, topic: &'a str) -> impl Iterator<Item = (&'a Partition, &'a Extent)> {
        self.extents.range((topic.to_owned(), i32::MIN)..).take_while(move |((name, _), _)| name == topic)
    }

    /// Whether all partitions of the topic are known, be it that there is none because there is no topic.
    pub(super) fn is_complete(&self, topic: &str) -> bool {
        self.topics.refused.get(topic).is_none_or(|code| *code == UNKNOWN_TOPIC)
            && !self.refused.keys().any(|(name, _)| name == topic)
    }

    /// What is wrong with a topic, in words.
    pub(super) fn problem(&self, topic: &str) -> Option<String> {
        if let Some(code) = self.topics.refused.get(topic) {
            return Some(format!("topic {topic}: {}", words(*code)));
        }
        let mut refused = self.refused.iter().filter(|((name, _), _)| name == topic);
        let ((_, partition), code) = refused.next()?;
        let others = refused.count();
        let more = if others == 0 { String::new() } else { format!(", and {others} more") };
        Some(format!("partition {partition} of topic {topic}: {}{more}", words(*code)))
    }

    /// Takes over what somebody has found later. Returns what is more.
    pub(super) fn grow(
        &mut self,
        found: impl IntoIterator<Item = (Partition, Extent)>,
    ) -> Vec<(Partition, Extent)> {
        let mut more = Vec::new();
        for (key, extent) in found {
            let known = self.extents.insert(key.clone(), extent);
            if known.is_none_or(|known| known.end != extent.end) {
                more.push((key, extent));
            }
        }
        more
    }
}

/// As PostgreSQL is told.
pub(super) fn extent_of(partition: i32, extent: Extent) -> PartitionExtent {
    PartitionExtent { partition, start: extent.start, end: extent.end }
}
