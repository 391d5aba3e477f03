//! Kubernetes' side: whether the API server answers, what we may do there, and whether it takes the queues' Jobs.

use std::collections::BTreeSet;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::batch::v1::Job;
use kube::api::{DynamicObject, ListParams, PostParams};
use kube::{Api, Client, Config};
use pgbatch_core::job_manifest::{ManifestContext, build};
use pgbatch_core::run::RunSpec;

use super::findings::Findings;
use crate::executor::kubernetes::{DISPENSABLE_VERB, KubernetesConfig, VERBS};
use crate::store::with_causes;
use crate::trigger::scaled_job::{self, ScaledJobs};

/// Examines it. `runs`: one of each queue.
pub(super) async fn examine(
    config: &KubernetesConfig,
    runs: &[RunSpec],
    scaled_jobs: Option<&ScaledJobs>,
    findings: &mut Findings,
) {
    let Some((client, own)) = connect(config, findings).await else { return };
    let namespaces: BTreeSet<&str> =
        runs.iter().filter_map(|run| run.namespace.as_deref()).chain([own.as_str()]).collect();
    for namespace in namespaces {
        if rights(&client, namespace, &VERBS, findings).await {
            let words = format!("it may do all that a dispatcher does in namespace {namespace}");
            findings.fine("account", words);
        }
        events(&client, namespace, findings).await;
    }
    if let Some(ScaledJobs { namespaces, .. }) = scaled_jobs {
        let own = std::slice::from_ref(&own);
        for namespace in if namespaces.is_empty() { own } else { namespaces } {
            try_scaled_jobs(&client, namespace, findings).await;
        }
    }
    let context = config.manifest_context("doctor");
    for run in runs {
        let namespace = run.namespace.as_deref().unwrap_or(&own);
        try_job(&client, namespace, run, &context, findings).await;
    }
}

/// The client, and the namespace of queues that name none.
async fn connect(config: &KubernetesConfig, findings: &mut Findings) -> Option<(Client, String)> {
    let cluster = match Config::infer().await {
        Ok(cluster) => cluster,
        Err(error) => {
            findings.fail(
                "cluster",
                format!("no Kubernetes cluster is configured: {}", with_causes(&error)),
                "set KUBECONFIG, or say --executor process",
            );
            return None;
        }
    };
    let address = cluster.cluster_url.to_string();
    let namespace = config.namespace.clone().unwrap_or_else(|| cluster.default_namespace.clone());
    let found = async {
        let client = Client::try_from(cluster)?;
        let version = client.apiserver_version().await?;
        Ok::<_, kube::Error>((client, version))
    };
    match found.await {
        Ok((client, version)) => {
            findings.fine("cluster", format!("Kubernetes {} at {address}", version.git_version));
            Some((client, namespace))
        }
        Err(error) => {
            findings.fail(
                "cluster",
                format!("the API server at {address} does not answer: {}", with_causes(&error)),
                "kubectl version tries the same; a NetworkPolicy may forbid it, or a credential be over",
            );
            None
        }
    }
}

/// Each verb that the dispatcher uses, as the API server sees this account. Returns whether it has all.
async fn rights(
    client: &Client,
    namespace: &str,
    needed: &[(&str, &str, &[&str])],
    findings: &mut Findings,
) -> bool {
    let mut is_whole = true;
    for (group, resource, verbs) in needed {
        for verb in *verbs {
            match may(client, namespace, group, resource, verb).await {
                Ok(true) => {}
                Ok(false) => {
                    is_whole = false;
                    findings.fail(
                        "account",
                        format!("it may not {verb} {resource} in namespace {namespace}"),
                        "a Role in that namespace must have this verb, and a RoleBinding name the account; the chart makes both",
                    );
                }
                Err(error) => {
                    findings.fail(
                        "account",
                        format!(
                            "the API server does not say whether it may {verb} {resource}: {}",
                            with_causes(&error)
                        ),
                        "kubectl auth can-i tries the same",
                    );
                    return false;
                }
            }
        }
    }
    is_whole
}

/// Whether it may tell people of a Job, which a dispatcher can do without.
async fn events(client: &Client, namespace: &str, findings: &mut Findings) {
    let (group, resource, verb) = DISPENSABLE_VERB;
    if let Ok(false) = may(client, namespace, group, resource, verb).await {
        findings.warn(
            "account",
            format!("it may not {verb} {resource} in namespace {namespace}"),
            "all works without it, but kubectl describe job does not say what becomes of a run's items",
        );
    }
}

/// What `--scaled-jobs` needs in a namespace.
async fn try_scaled_jobs(client: &Client, namespace: &str, findings: &mut Findings) {
    if !rights(client, namespace, &scaled_job::VERBS, findings).await {
        return;
    }
    let resource = scaled_job::resource();
    let objects: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    match objects.list(&ListParams::default().limit(1)).await {
        Ok(_) => findings.fine("ScaledJobs", format!("those of namespace {namespace} can be served")),
        Err(kube::Error::Api(status)) if status.code == 404 => findings.fail(
            "ScaledJobs",
            "the cluster has no kind ScaledJob",
            "it is one of KEDA's CustomResourceDefinitions, which are there without its operator too; or leave --scaled-jobs out",
        ),
        Err(error) => findings.fail(
            "ScaledJobs",
            format!("those of namespace {namespace} cannot be listed: {}", with_causes(&error)),
            "kubectl get scaledjobs tries the same",
        ),
    }
}

/// A subresource follows its resource and a slash, as in a Role.
async fn may(
    client: &Client,
    namespace: &str,
    group: &str,
    resource: &str,
    verb: &str,
) -> Result<bool, kube::Error> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let attributes = ResourceAttributes {
        namespace: Some(namespace.to_owned()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() },
        ..Default::default()
    };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

/// Whether the API server, with all that has a say in it (admission, quotas), takes a Job of the queue. It stores nothing.
async fn try_job(
    client: &Client,
    namespace: &str,
    run: &RunSpec,
    context: &ManifestContext,
    findings: &mut Findings,
) {
    let queue = &run.queue;
    let job = match build(run, context) {
        Ok(job) => job,
        Err(error) => {
            return findings.fail(
                "queue",
                error.to_string(),
                "give doctor the dispatcher's flags and variables; or alter_queue() mends the template",
            );
        }
    };
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    match jobs.create(&PostParams { dry_run: true, ..PostParams::default() }, &job).await {
        Ok(_) => findings.fine("queue", format!("{queue}: namespace {namespace} takes its Jobs")),
        Err(kube::Error::Api(status)) if status.message.contains("exceeded quota") => findings.warn(
            "queue",
            format!("{queue}: namespace {namespace} has no room now: {}", status.message),
            "its runs wait until there is; a larger ResourceQuota helps",
        ),
        Err(error) => findings.fail(
            "queue",
            format!("{queue}: namespace {namespace} does not take its Jobs: {}", with_causes(&error)),
            "pgbatch.alter_queue() changes the template or the namespace",
        ),
    }
}
