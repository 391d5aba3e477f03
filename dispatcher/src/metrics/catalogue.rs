//! The names and the meanings of all metrics.

use std::fmt::Debug;

use prometheus_client::encoding::EncodeMetric;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The registry, and what it does not tell of what is in it.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    registry: Registry,
    described: Vec<Described>,
}

/// A metric.
#[cfg_attr(not(test), expect(dead_code, reason = "a test makes the README's table of it"))]
#[derive(Debug)]
struct Described {
    name: String,
    kind: &'static str,
    labels: &'static str,
    meaning: &'static str,
}

impl Catalogue {
    /// `name`: a counter's without `_total`, which comes by itself. `labels`: comma-separated.
    pub(super) fn add<M>(&mut self, name: &str, labels: &'static str, meaning: &'static str, metric: &M)
    where
        M: EncodeMetric + Clone + Debug + Send + Sync + 'static,
    {
        let (suffix, kind) = match metric.metric_type() {
            MetricType::Counter => ("_total", "counter"),
            MetricType::Histogram => ("", "histogram"),
            _ => ("", "gauge"),
        };
        self.described.push(Described { name: format!("{name}{suffix}"), kind, labels, meaning });
        self.registry.register(name, meaning, metric.clone());
    }

    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// What a query may name: a histogram has three names, and none of them is its own.
    #[cfg(test)]
    pub(super) fn series(&self) -> std::collections::BTreeSet<String> {
        let names = self.described.iter().flat_map(|metric| match metric.kind {
            "histogram" => {
                ["_bucket", "_sum", "_count"].map(|part| format!("{}{part}", metric.name)).to_vec()
            }
            _ => vec![metric.name.clone()],
        });
        names.collect()
    }

    /// The table of the README.
    #[cfg(test)]
    pub(super) fn table(&self) -> String {
        let rows = self.described.iter().map(|Described { name, kind, labels, meaning }| {
            let labels: Vec<String> =
                labels.split(", ").filter(|l| !l.is_empty()).map(|l| format!("`{l}`")).collect();
            format!("| `{name}` | {kind} | {} | {meaning} |\n", labels.join(", ")).replace("|  |", "| |")
        });
        format!("| name | type | labels | meaning |\n|---|---|---|---|\n{}", rows.collect::<String>())
    }
}
