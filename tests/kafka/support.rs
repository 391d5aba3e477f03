//! What the tests have in common: a world with a queue, and looks at what a trigger has made.

use std::time::Duration;

use e2e::kafka::{Broker, KafkaClient};
use e2e::wait::until;
use e2e::world::World;
use serde_json::{Value, json};

pub(crate) type Tested<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Longer than anything takes here.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A database with the queue `q`, a topic of the test's name, and what makes records.
pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) kafka: KafkaClient,
    pub(crate) topic: String,
    pub(crate) broker: &'static Broker,
}

impl Stage {
    pub(crate) async fn new(test: &str, partitions: i32) -> Tested<Self> {
        Self::on(test, partitions, Broker::shared()?).await
    }

    /// On a broker that the test may stop. It ends with the test process.
    pub(crate) async fn on_own_broker(test: &str, partitions: i32) -> Tested<Self> {
        Self::on(test, partitions, Box::leak(Box::new(Broker::start()?))).await
    }

    async fn on(test: &str, partitions: i32, broker: &'static Broker) -> Tested<Self> {
        let mut kafka = broker.client().await?;
        kafka.create_topic(test, partitions, &[]).await?;
        let world = World::new(test).await?;
        world.shell_queue("q", "exit 0", ", max_parallel => 4").await?;
        Ok(Self { world, kafka, topic: test.to_owned(), broker })
    }

    /// Watches the topic on the plain listener, by a trigger `t`.
    pub(crate) async fn watch(&self, options: Value) -> Tested {
        self.watch_at("t", &self.broker.plain(), 1000, options).await
    }

    pub(crate) async fn watch_at(
        &self,
        name: &str,
        servers: &str,
        records_per_item: i64,
        options: Value,
    ) -> Tested {
        let sql = "SELECT pgbatch.watch_kafka($1, 'q', $2, $3, records_per_item => $4, options => $5)";
        self.world.client.query(sql, &[&name, &servers, &self.topic, &records_per_item, &options]).await?;
        Ok(())
    }

    /// Waits until the dispatcher has looked at the topic for a trigger.
    pub(crate) async fn until_looked(&self, trigger: &str) {
        let sql = "SELECT positioned FROM pgbatch.kafka_trigger WHERE trigger_name = $1";
        until(&format!("a look at the topic of {trigger}"), SOON, async || {
            let row = self.world.client.query_one(sql, &[&trigger]).await.ok()?;
            row.get::<_, bool>(0).then_some(())
        })
        .await;
    }

    /// The ranges of a trigger's items: (partition, from, to), in order.
    pub(crate) async fn ranges(&self, trigger: &str) -> Tested<Vec<(i64, i64, i64)>> {
        let sql = "SELECT i.item FROM pgbatch.items i JOIN pgbatch.batch b ON b.id = i.batch_id WHERE b.trigger_name = $1";
        let mut ranges = Vec::new();
        for row in self.world.client.query(sql, &[&trigger]).await? {
            let item: Value = row.get(0);
            assert_eq!(item["topic"], json!(self.topic), "{item}");
            let number = |key: &str| item[key].as_i64().ok_or_else(|| format!("{key} of {item}"));
            ranges.push((number("partition")?, number("from")?, number("to")?));
        }
        ranges.sort_unstable();
        Ok(ranges)
    }

    /// Waits until a trigger has made items of so many offsets of a partition, and returns the ranges of that one. Checks
    /// that no offset is in two.
    pub(crate) async fn until_taken(
        &self,
        trigger: &str,
        partition: i64,
        from: i64,
        to: i64,
    ) -> Vec<(i64, i64)> {
        until(&format!("items of {from} to {to} of partition {partition}"), SOON, async || {
            let ranges = self.ranges(trigger).await.ok()?;
            let of = ranges.into_iter().filter(|r| r.0 == partition).map(|r| (r.1, r.2)).collect::<Vec<_>>();
            for pair in of.windows(2) {
                assert_eq!(pair[0].1, pair[1].0, "ranges that do not follow each other: {of:?}");
            }
            (of.first()?.0 == from && of.last()?.1 >= to).then_some(of)
        })
        .await
    }

    /// Waits until what `triggers` says of a trigger is as wanted.
    pub(crate) async fn until_error(
        &self,
        trigger: &str,
        wanted: impl Fn(Option<&str>) -> bool,
    ) -> Option<String> {
        let sql = "SELECT error FROM pgbatch.triggers WHERE name = $1";
        let mut last = None;
        until(&format!("another error of {trigger}"), SOON, async || {
            let row = self.world.client.query_one(sql, &[&trigger]).await.ok()?;
            let error: Option<String> = row.get(0);
            if last != error {
                eprintln!("the error of {trigger}: {error:?}");
                last.clone_from(&error);
            }
            wanted(error.as_deref()).then_some(error)
        })
        .await
    }

    /// Waits until all that a trigger has made has succeeded.
    pub(crate) async fn until_succeeded(&self, trigger: &str, batches: i64) {
        let sql = "SELECT count(*) FROM pgbatch.batches b JOIN pgbatch.batch t USING (id)
            WHERE t.trigger_name = $1 AND b.state = 'succeeded'";
        until(&format!("{batches} batches of {trigger} to succeed"), SOON, async || {
            let row = self.world.client.query_one(sql, &[&trigger]).await.ok()?;
            (row.get::<_, i64>(0) >= batches).then_some(())
        })
        .await;
    }
}
