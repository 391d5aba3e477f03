//! The pod of a run, as the API server has it.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::ListParams;
use pgbatch_core::name::{BATCH, MANAGED_BY, MANAGER, QUEUE, RUN};
use serde_json::Value;

use super::words;

/// Which container kubectl takes, where somebody said so.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";

/// The pod of a run; of several the newest: one that was evicted has a successor.
pub(crate) async fn newest(pods: &Api<Pod>, run: &Value) -> Result<Option<Pod>, kube::Error> {
    let labels = format!(
        "{MANAGED_BY}={MANAGER},{QUEUE}={},{BATCH}={},{RUN}={}",
        words::text(run, "queue"),
        words::number(run, "batch_id"),
        words::number(run, "id")
    );
    let found = pods.list(&ListParams::default().labels(&labels)).await?;
    Ok(found.items.into_iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0)))
}

/// The container whose log kubectl would show.
pub(crate) fn default_container(pod: &Pod) -> Option<String> {
    let said = pod.metadata.annotations.as_ref().and_then(|notes| notes.get(DEFAULT_CONTAINER)).cloned();
    said.or_else(|| pod.spec.as_ref()?.containers.first().map(|first| first.name.clone()))
}
