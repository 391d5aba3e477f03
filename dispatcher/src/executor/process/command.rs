//! From a claimed run to a local command: the first container of the very Job that Kubernetes would get.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{Container, EnvVar, PodSpec};
use pgbatch_core::environment::{expand, variables};
use pgbatch_core::job_manifest::{DATABASE_URL, ManifestContext, ManifestError, build};
use pgbatch_core::run::RunSpec;

use super::folder::ShimSpec;

/// What a command gets of the dispatcher's environment: enough to find programs and files, and no secret.
const PASSED_ON: [&str; 5] = ["PATH", "HOME", "LANG", "TZ", "TMPDIR"];
/// What a queue of SQL gets besides.
const SQL_PASSED_ON: [&str; 2] = [DATABASE_URL, "PGPASSWORD"];
/// As in Kubernetes.
const GRACE_PERIOD_DEFAULT_S: i64 = 30;

/// Why a run cannot become a local process. No retry mends any of these.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// As for Kubernetes.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The template has no container.
    #[error("job_template has no container at spec.template.spec.containers")]
    NoContainer,
    /// There are no images here, so there is no entrypoint.
    #[error(
        "job_template has no command at spec.template.spec.containers[0].command: a local process (--executor \
         process) has no image whose entrypoint it could run"
    )]
    NoCommand,
    /// There are no ConfigMaps, Secrets or pods here.
    #[error("job_template has a {path}: a local process (--executor process) has only plain values")]
    NotPlain {
        /// Where.
        path: String,
    },
    /// `run-sql` would not know where to connect.
    #[error(
        "queue {queue} is a queue of SQL: as local processes (--executor process) its runs take the connection URL \
         from the dispatcher's environment variable {DATABASE_URL}, which is not set"
    )]
    NoDatabaseUrl {
        /// The queue.
        queue: String,
    },
    /// There is one login for all.
    #[error(
        "the statement of queue {queue} is by role {role:?}, and local processes (--executor process) have one login for \
         all: give it as the extension's owner"
    )]
    OwnLogin {
        /// The queue.
        queue: String,
        /// The role.
        role: String,
    },
}

/// What the command of a run is made of beyond the run.
pub(super) struct CommandContext<'a> {
    /// The id of the database's installation.
    pub(super) installation: &'a str,
    /// This program.
    pub(super) program: &'a str,
    /// The dispatcher's environment.
    pub(super) environment: &'a dyn Fn(&str) -> Option<String>,
}

/// The command of a run.
///
/// Of the template, the first container's `command`, `args`, `env` and `workingDir` and the pod's
/// `terminationGracePeriodSeconds` mean something here; all else is Kubernetes' own.
pub(super) fn shim_spec(spec: &RunSpec, context: &CommandContext<'_>) -> Result<ShimSpec, CommandError> {
    let mut env: BTreeMap<String, String> = PASSED_ON
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), (context.environment)(name)?)))
        .collect();
    let mut shim = ShimSpec {
        queue: spec.queue.clone(),
        batch: spec.batch,
        run: spec.run,
        token: spec.token.clone(),
        argv: vec![],
        env: BTreeMap::new(),
        inherited: vec![],
        working_dir: None,
        grace_period_ms: milliseconds(GRACE_PERIOD_DEFAULT_S),
    };
    if spec.job_template.is_none() {
        if let Some(role) = &spec.sql_role {
            return Err(CommandError::OwnLogin { queue: spec.queue.clone(), role: role.clone() });
        }
        if (context.environment)(DATABASE_URL).is_none() {
            return Err(CommandError::NoDatabaseUrl { queue: spec.queue.clone() });
        }
        env.extend(variables(spec));
        shim.argv = vec![context.program.to_owned(), "run-sql".to_owned()];
        shim.inherited = SQL_PASSED_ON.map(str::to_owned).to_vec();
    } else {
        let (container, grace_period_s) = first_container(spec, context.installation)?;
        let template_env = expanded_env(&container, variables(spec).len())?;
        shim.argv = expanded_argv(&container, &template_env)?;
        shim.working_dir = container.working_dir.filter(|dir| !dir.is_empty()).map(PathBuf::from);
        shim.grace_period_ms = milliseconds(grace_period_s.unwrap_or(GRACE_PERIOD_DEFAULT_S));
        env.extend(template_env);
    }
    shim.env = env;
    Ok(shim)
}

fn milliseconds(seconds: i64) -> u64 {
    u64::try_from(seconds).unwrap_or(0).saturating_mul(1000)
}

fn first_container(spec: &RunSpec, installation: &str) -> Result<(Container, Option<i64>), CommandError> {
    let context = ManifestContext { installation: installation.to_owned(), ..ManifestContext::default() };
    let PodSpec { containers, termination_grace_period_seconds, .. } =
        build(spec, &context)?.spec.unwrap_or_default().template.spec.unwrap_or_default();
    let container = containers.into_iter().next().ok_or(CommandError::NoContainer)?;
    Ok((container, termination_grace_period_seconds))
}

/// Kubernetes' order: a value may refer to the variables before it, and a name given twice has its last value.
fn expanded_env(container: &Container, ours: usize) -> Result<BTreeMap<String, String>, CommandError> {
    const PATH: &str = "spec.template.spec.containers[0]";
    if container.env_from.as_ref().is_some_and(|sources| !sources.is_empty()) {
        return Err(CommandError::NotPlain { path: format!("{PATH}.envFrom") });
    }
    let mut expanded = BTreeMap::new();
    for (index, EnvVar { name, value, value_from }) in container.env.iter().flatten().enumerate() {
        if value_from.is_some() {
            // The template's own variables stand behind those of the run.
            let index = index.saturating_sub(ours);
            return Err(CommandError::NotPlain { path: format!("{PATH}.env[{index}].valueFrom") });
        }
        let value = expand_in(value.as_deref().unwrap_or_default(), &expanded);
        expanded.insert(name.clone(), value);
    }
    Ok(expanded)
}

fn expanded_argv(container: &Container, env: &BTreeMap<String, String>) -> Result<Vec<String>, CommandError> {
    let command = container.command.as_deref().unwrap_or_default();
    if command.is_empty() {
        return Err(CommandError::NoCommand);
    }
    Ok(command.iter().chain(container.args.iter().flatten()).map(|word| expand_in(word, env)).collect())
}

fn expand_in(text: &str, env: &BTreeMap<String, String>) -> String {
    expand(text, |name| env.get(name).map(String::as_str))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn run(job_template: Option<Value>) -> RunSpec {
        let item = json!({"who": "$(PATH) it's; $HOME"});
        serde_json::from_value(json!({
            "run": 9, "queue": "q", "batch": 2, "namespace": null, "first_item": 1, "last_item": 1, "attempt": 1,
            "token": "t", "items": [item], "job_template": job_template, "items_per_run": 1,
        }))
        .unwrap()
    }

    fn shim(template: Option<Value>, environment: &[(&str, &str)]) -> Result<ShimSpec, CommandError> {
        let lookup = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let context = CommandContext { installation: "3f1c", program: "/opt/pgbatch", environment: &lookup };
        shim_spec(&run(template), &context)
    }

    fn template(container: Value) -> Option<Value> {
        let pod = json!({"containers": [container], "terminationGracePeriodSeconds": 5});
        Some(json!({"spec": {"template": {"spec": pod}}}))
    }

    #[test]
    fn the_first_containers_command() {
        let container = json!({
            "name": "c", "image": "i", "command": ["sh", "-c", "echo \"$1\" $$HOME", "--"],
            "args": ["$(HELLO)", "$(PGBATCH_ARG_WHO)", "$(UNKNOWN)"], "workingDir": "/srv",
            "env": [{"name": "HELLO", "value": "hello $(PGBATCH_ARG_WHO)"}, {"name": "PATH", "value": "/only"}],
        });
        let got = shim(template(container), &[("PATH", "/bin"), ("HOME", "/root"), ("SECRET", "s")]).unwrap();
        let who = "$(PATH) it's; $HOME";
        let argv = ["sh", "-c", "echo \"$1\" $HOME", "--", &format!("hello {who}"), who, "$(UNKNOWN)"];
        assert_eq!(got.argv, argv);
        assert_eq!(got.working_dir, Some(PathBuf::from("/srv")));
        assert_eq!(got.grace_period_ms, 5000);
        assert_eq!(got.env["PATH"], "/only");
        assert_eq!(got.env["HOME"], "/root");
        assert_eq!(got.env["PGBATCH_ARG_WHO"], who);
        assert_eq!(got.env["PGBATCH_RUN_TOKEN"], "t");
        assert!(!got.env.contains_key("SECRET"));
    }

    #[test]
    fn what_needs_a_cluster_is_named() {
        let cases = [
            (json!({"name": "c", "image": "i"}), "containers[0].command"),
            (
                json!({"name": "c", "command": ["x"], "env": [
                    {"name": "A", "value": "1"}, {"name": "B", "valueFrom": {}}]}),
                "containers[0].env[1].valueFrom",
            ),
            (json!({"name": "c", "command": ["x"], "envFrom": [{}]}), "containers[0].envFrom"),
        ];
        for (container, expected) in cases {
            let error = shim(template(container), &[]).err().unwrap().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_queue_of_sql_is_this_program() {
        let got = shim(None, &[("PGBATCH_DATABASE_URL", "postgres://u:pw@h/d")]).unwrap();
        assert_eq!(got.argv, ["/opt/pgbatch", "run-sql"]);
        assert_eq!(got.inherited, ["PGBATCH_DATABASE_URL", "PGPASSWORD"]);
        assert_eq!(got.env["PGBATCH_RUN_ID"], "9");
        assert!(!got.env.values().any(|value| value.contains("pw")), "the password is not written down");
        let error = shim(None, &[]).err().unwrap().to_string();
        assert!(error.contains("PGBATCH_DATABASE_URL"), "{error}");
    }

    #[test]
    fn a_statement_by_another_role_does_not_get_the_dispatchers_login() {
        let lookup = |name: &str| Some(name.to_owned());
        let context = CommandContext { installation: "3f1c", program: "/opt/pgbatch", environment: &lookup };
        let spec = RunSpec { sql_role: Some("shop".into()), ..run(None) };
        let error = shim_spec(&spec, &context).err().unwrap().to_string();
        assert!(error.contains("by role \"shop\""), "{error}");
    }
}
