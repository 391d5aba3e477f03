//! From a claimed run to its Kubernetes Job.

use std::collections::BTreeMap;

use k8s_openapi::api::batch::v1::{
    Job, JobSpec, JobTemplateSpec, PodFailurePolicy, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EnvVar, EnvVarSource, KeyToPath, PodSecurityContext, PodSpec, PodTemplateSpec,
    SeccompProfile, SecretKeySelector, SecretVolumeSource, SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::environment::{escape, variables};
use crate::name::{PENDING_POD_CONDITIONS, job_name, labels};
use crate::run::RunSpec;

/// The key of the Secret with the connection URL for the Jobs of queues of SQL.
pub const SQL_SECRET_KEY: &str = "database-url";
/// The key of that Secret with the certificate authority that the URL names, where it names one of its own; it need not be there.
pub const SQL_CA_KEY: &str = "ca.crt";
/// Where the file of that key is, for the URL: `sslrootcert=/etc/pgbatch/ca/ca.crt`. The chart has it there for the dispatcher too.
pub const CA_FOLDER: &str = "/etc/pgbatch/ca";
/// The variable that `pgbatch run-sql` takes the connection URL from.
pub const DATABASE_URL: &str = "PGBATCH_DATABASE_URL";

/// What a manifest needs beyond the run.
#[derive(Debug, Clone, Default)]
pub struct ManifestContext {
    /// The id of the database's installation.
    pub installation: String,
    /// The image of this program, for queues of SQL.
    pub sql_image: Option<String>,
    /// The Secret with the connection URL under [`SQL_SECRET_KEY`], for queues of SQL.
    pub sql_secret: Option<String>,
    /// The Secrets with the logins of the roles that may write statements, by role.
    pub sql_secrets: BTreeMap<String, String>,
}

/// Why a run cannot become a Job. No retry mends any of these.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// It was checked when the queue was made; a newer dispatcher may know fewer fields.
    #[error("the queue's job_template cannot be read: {0}")]
    ReadTemplate(#[source] serde_json::Error),
    /// A flag of the dispatcher is missing.
    #[error("queue {queue} is a queue of SQL: the dispatcher must be started with {flag}")]
    MissingFlag {
        /// The queue.
        queue: String,
        /// The flag.
        flag: &'static str,
    },
    /// The statement may be run by its author's login only.
    #[error(
        "the statement of queue {queue} is by role {role:?}: the dispatcher must be started with --sql-secrets {role}=NAME, the Secret of that role's login"
    )]
    NoLogin {
        /// The queue.
        queue: String,
        /// The role.
        role: String,
    },
}

/// The Job of a run: the queue's template as it is, but for what is said at each step below.
///
/// # Errors
/// The template is none, or a setting for queues of SQL is missing.
pub fn build(spec: &RunSpec, context: &ManifestContext) -> Result<Job, ManifestError> {
    let template = match &spec.job_template {
        Some(value) => {
            serde_json::from_value::<JobTemplateSpec>(value.clone()).map_err(ManifestError::ReadTemplate)?
        }
        None => sql_template(spec, context)?,
    };
    let mut job = template.spec.unwrap_or_default();
    fix_job(&mut job);
    let ours = labels(spec, &context.installation);
    let mut metadata = template.metadata.unwrap_or_default();
    metadata.labels.get_or_insert_default().extend(ours.clone());
    let pod = job.template.metadata.get_or_insert_default();
    pod.labels.get_or_insert_default().extend(ours);
    if let Some(conditions) = &spec.pending_pod_conditions {
        let annotations = pod.annotations.get_or_insert_default();
        annotations.insert(PENDING_POD_CONDITIONS.to_owned(), conditions.join(","));
    }
    fix_pod(job.template.spec.get_or_insert_default(), spec);
    Ok(Job {
        // As with a CronJob's template, labels and annotations are all that is taken from its metadata.
        metadata: ObjectMeta {
            name: Some(job_name(&spec.queue, spec.run)),
            labels: metadata.labels,
            annotations: metadata.annotations,
            ..ObjectMeta::default()
        },
        spec: Some(job),
        status: None,
    })
}

fn fix_job(job: &mut JobSpec) {
    // A run is one attempt: retries, their number and their backoff are the queue's, in SQL, where they survive
    // and can be seen. A template with a limit for each index has a policy of its own that 0 would defeat.
    if job.backoff_limit_per_index.is_none() {
        job.backoff_limit = Some(0);
    }
    // One run is one pod, unless the template says how many it wants.
    if job.completion_mode.as_deref() != Some("Indexed") && job.completions.is_none() {
        job.completions = Some(1);
        job.parallelism = Some(1);
    }
    // Eviction, drain and preemption are not the program's fault: Kubernetes replaces the pod, no attempt is burnt.
    if job.pod_failure_policy.is_none() {
        job.pod_failure_policy = Some(ignore_disruptions());
    }
    // Ended Jobs are kept and removed by keep_succeeded and keep_failed. A TTL could remove one before its end was
    // seen: then the run would count as lost.
    job.ttl_seconds_after_finished = None;
    // `suspend` stays: a queueing layer such as Kueue sets and clears it.
}

fn ignore_disruptions() -> PodFailurePolicy {
    let disrupted = PodFailurePolicyOnPodConditionsPattern {
        type_: "DisruptionTarget".to_owned(),
        status: Some("True".to_owned()),
    };
    let rule = PodFailurePolicyRule {
        action: "Ignore".to_owned(),
        on_exit_codes: None,
        on_pod_conditions: Some(vec![disrupted]),
    };
    PodFailurePolicy { rules: vec![rule] }
}

fn fix_pod(pod: &mut PodSpec, spec: &RunSpec) {
    // With OnFailure the kubelet restarts a container in place: an attempt that nobody counts, and whose logs are
    // lost. A podFailurePolicy needs Never, too.
    pod.restart_policy = Some("Never".to_owned());
    // First, so that the template's own variables and args can refer to them; escaped, so that data stays data.
    let ours: Vec<EnvVar> = variables(spec)
        .into_iter()
        .map(|(name, value)| EnvVar { name, value: Some(escape(&value)), value_from: None })
        .collect();
    for container in pod.containers.iter_mut().chain(pod.init_containers.iter_mut().flatten()) {
        container.env.get_or_insert_default().splice(0..0, ours.iter().cloned());
        // The last words of a program that failed become the item's error; without a message, the end of its log.
        container.termination_message_policy.get_or_insert_with(|| "FallbackToLogsOnError".to_owned());
    }
}

/// The template of a queue of SQL: this program's own image, with no right but to connect.
fn sql_template(spec: &RunSpec, context: &ManifestContext) -> Result<JobTemplateSpec, ManifestError> {
    let missing = |flag| ManifestError::MissingFlag { queue: spec.queue.clone(), flag };
    let image = context.sql_image.as_ref().ok_or_else(|| missing("--sql-image"))?;
    let secret = match &spec.sql_role {
        None => context.sql_secret.as_ref().ok_or_else(|| missing("--sql-secret"))?,
        Some(role) => context
            .sql_secrets
            .get(role)
            .ok_or_else(|| ManifestError::NoLogin { queue: spec.queue.clone(), role: role.clone() })?,
    };
    let pod = PodSpec {
        containers: vec![sql_container(image, secret)],
        volumes: Some(vec![ca_volume(secret)]),
        automount_service_account_token: Some(false),
        security_context: Some(PodSecurityContext {
            run_as_non_root: Some(true),
            seccomp_profile: Some(SeccompProfile {
                type_: "RuntimeDefault".to_owned(),
                ..SeccompProfile::default()
            }),
            ..PodSecurityContext::default()
        }),
        ..PodSpec::default()
    };
    let template = PodTemplateSpec { metadata: None, spec: Some(pod) };
    Ok(JobTemplateSpec { metadata: None, spec: Some(JobSpec { template, ..JobSpec::default() }) })
}

fn ca_volume(secret: &str) -> Volume {
    let file = KeyToPath { key: SQL_CA_KEY.to_owned(), path: SQL_CA_KEY.to_owned(), ..KeyToPath::default() };
    Volume {
        name: "ca".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items: Some(vec![file]),
            optional: Some(true),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn sql_container(image: &str, secret: &str) -> Container {
    let url = SecretKeySelector { name: secret.to_owned(), key: SQL_SECRET_KEY.to_owned(), optional: None };
    Container {
        name: "sql".to_owned(),
        image: Some(image.to_owned()),
        args: Some(vec!["run-sql".to_owned()]),
        env: Some(vec![EnvVar {
            name: DATABASE_URL.to_owned(),
            value: None,
            value_from: Some(EnvVarSource { secret_key_ref: Some(url), ..EnvVarSource::default() }),
        }]),
        volume_mounts: Some(vec![VolumeMount {
            name: "ca".to_owned(),
            mount_path: CA_FOLDER.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { add: None, drop: Some(vec!["ALL".to_owned()]) }),
            ..SecurityContext::default()
        }),
        ..Container::default()
    }
}

#[cfg(test)]
mod tests;
