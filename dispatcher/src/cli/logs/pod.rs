//! The log of a run's pod, from the cluster that kubectl would use.

use futures_util::{AsyncRead, AsyncReadExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::LogParams;
use kube::{Api, Client, Config};
use serde_json::Value;

use crate::cli::output::Output;
use crate::people::failure::Failure;
use crate::people::pod::{default_container, newest};
use crate::store::with_causes;

/// What came of it.
pub(super) enum PodLog {
    /// All of it was printed.
    Copied,
    /// There is none yet, and why.
    NotYet(String),
    /// There is none, and why.
    None(String),
}

/// Copies the log of the run's pod to standard output.
pub(super) async fn copy_log(
    run: &Value,
    namespace: Option<&str>,
    container: Option<&str>,
    follow: bool,
    output: &Output,
) -> Result<PodLog, Failure> {
    let Ok(mut config) = Config::infer().await else {
        return Ok(PodLog::None("no Kubernetes cluster is configured (KUBECONFIG)".to_owned()));
    };
    // A log that grows slowly is no dead connection.
    config.read_timeout = None;
    let namespace = run["namespace"].as_str().or(namespace).unwrap_or(&config.default_namespace).to_owned();
    let client = match Client::try_from(config) {
        Ok(client) => client,
        Err(error) => return Ok(PodLog::None(no_access(&error))),
    };
    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let pod = match newest(&pods, run).await {
        Ok(Some(pod)) => pod,
        Ok(None) => return Ok(PodLog::NotYet(format!("namespace {namespace} has no pod of it"))),
        Err(error) => return Ok(PodLog::None(no_access(&error))),
    };
    let name = pod.metadata.name.clone().unwrap_or_default();
    let container = container.map(str::to_owned).or_else(|| default_container(&pod));
    let parameters = LogParams { container, follow, ..LogParams::default() };
    match pods.log_stream(&name, &parameters).await {
        Ok(log) => {
            copy(log, output).await?;
            Ok(PodLog::Copied)
        }
        // 400: its container has not started.
        Err(kube::Error::Api(status)) if status.code == 400 => Ok(PodLog::NotYet(status.message)),
        Err(error) => Ok(PodLog::None(no_access(&error))),
    }
}

fn no_access(error: &kube::Error) -> String {
    format!("the cluster does not give its log: {}", with_causes(error))
}

async fn copy(log: impl AsyncRead, output: &Output) -> Result<(), Failure> {
    let mut log = std::pin::pin!(log);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read =
            log.read(&mut buffer).await.map_err(|e| Failure::new(format!("the log broke off: {e}")))?;
        if read == 0 {
            return Ok(());
        }
        output.bytes(&buffer[..read])?;
    }
}
