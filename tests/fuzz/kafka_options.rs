//! Options of a Kafka trigger: any JSON is read or refused, and what is made of a ScaledJob's trigger can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use pgbatch_core::kafka_lag::is_listed;
use pgbatch_core::kafka_options::Options;
use pgbatch_core::scaled_job::{Source, import};
use serde_json::{Map, Value, json};

// JSON, or lines `key=value` of a trigger's `metadata`.
fuzz_target!(|text: &str| {
    if let Ok(options) = serde_json::from_str::<Options>(text) {
        let list = options.partition_limitation.unwrap_or_default();
        // Never a panic, whatever the list is.
        let _ = [0, 7, i32::MAX].map(|partition| is_listed(&list, partition));
    }
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    let mut metadata: Map<String, Value> = pairs.map(|(key, value)| (key.to_owned(), value.into())).collect();
    for (key, value) in [("bootstrapServers", "k:9092"), ("consumerGroup", "g")] {
        metadata.entry(key).or_insert_with(|| value.into());
    }
    let manifest = json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob", "metadata": {"name": "q"},
        "spec": {
            "jobTargetRef": {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}},
            "triggers": [{"type": "kafka", "metadata": metadata}],
        },
    });
    let Ok(imported) = import(&manifest) else { return };
    for trigger in imported.triggers {
        let Source::Kafka(kafka) = trigger.source else { continue };
        let read = serde_json::from_value::<Options>(kafka.options.clone());
        assert!(read.is_ok(), "{read:?} of {}", kafka.options);
    }
});
