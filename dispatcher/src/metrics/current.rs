//! Gauges of which only those last set are shown: what has gone from the world has gone from the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeGaugeValue, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::Labels;

/// Values by their labels. Clones are handles of the same.
#[derive(Debug, Clone)]
pub(super) struct Current<const N: usize, V = i64>(Arc<Mutex<BTreeMap<Labels<N>, V>>>);

impl<const N: usize, V> Default for Current<N, V> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<const N: usize, V> Current<N, V> {
    pub(super) fn set(&self, labels: Labels<N>, value: V) {
        self.values().insert(labels, value);
    }

    pub(super) fn replace(&self, values: BTreeMap<Labels<N>, V>) {
        *self.values() = values;
    }

    /// Replaces all but those that stay.
    pub(super) fn replace_but(&self, stays: impl Fn(&Labels<N>) -> bool, values: BTreeMap<Labels<N>, V>) {
        let mut all = self.values();
        all.retain(|labels, _| stays(labels));
        all.extend(values);
    }

    pub(super) fn retain(&self, stays: impl Fn(&Labels<N>) -> bool) {
        self.values().retain(|labels, _| stays(labels));
    }

    pub(super) fn clear(&self) {
        self.values().clear();
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Labels<N>, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize, V: EncodeGaugeValue> EncodeMetric for Current<N, V> {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        self.values()
            .iter()
            .try_for_each(|(labels, value)| encoder.encode_family(labels)?.encode_gauge(value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.values().is_empty()
    }
}
