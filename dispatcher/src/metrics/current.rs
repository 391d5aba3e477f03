//! Gauges of which only those last set are shown: what has gone from the world has gone from the page.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::Labels;

/// Values by their labels. Clones are handles of the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Current<const N: usize>(Arc<Mutex<BTreeMap<Labels<N>, i64>>>);

impl<const N: usize> Current<N> {
    pub(super) fn set(&self, labels: Labels<N>, value: i64) {
        self.values().insert(labels, value);
    }

    pub(super) fn replace(&self, values: BTreeMap<Labels<N>, i64>) {
        *self.values() = values;
    }

    pub(super) fn retain(&self, stays: impl Fn(&Labels<N>) -> bool) {
        self.values().retain(|labels, _| stays(labels));
    }

    pub(super) fn clear(&self) {
        self.values().clear();
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<Labels<N>, i64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> EncodeMetric for Current<N> {
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
