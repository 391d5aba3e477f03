//! Settings, from flags to what the parts take. Every flag is also an environment variable `PGBATCH_<FLAG>`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use http::HeaderName;

use crate::executor::ExecutorConfig;
use crate::executor::kubernetes::KubernetesConfig;
use crate::executor::process::ProcessConfig;
use crate::store::DatabaseUrl;
use crate::telemetry::LogFormat;
use crate::trigger::Triggers;
use crate::trigger::kafka::CredentialsFolder;
use crate::trigger::scaled_job::ScaledJobs;
use crate::web::dashboard::{ActingRole, Token};

/// How to reach PostgreSQL.
#[derive(Debug, Args)]
pub struct DatabaseArgs {
    /// Connection URL of the database with the extension, e.g. postgres://app@db/shop?sslmode=verify-full.
    /// Give the password by the environment (PGPASSWORD, or this URL in PGBATCH_DATABASE_URL), not here: command
    /// lines can be read by others. @FILE: the URL is in that file, which is read again for each connection.
    #[arg(long, env = "PGBATCH_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: DatabaseUrl,
}

/// What the commands for people have in common.
#[derive(Debug, Args)]
pub struct ClientArgs {
    /// Connection URL of the database with the extension, or @FILE with it. Without it, PGHOST, PGPORT, PGDATABASE, PGUSER,
    /// PGSSLMODE, PGSSLROOTCERT, PGSSLCERT, PGSSLKEY and PGCHANNELBINDING say where and how, as for psql; the password may come from
    /// PGPASSWORD, or from PGPASSFILE (~/.pgpass).
    #[arg(long, env = "PGBATCH_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<DatabaseUrl>,
    /// table for people, json for programs.
    #[arg(short, long, env = "PGBATCH_OUTPUT", default_value = "table", value_name = "FORMAT")]
    pub output: OutputFormat,
}

/// The shape of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How to log.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// text for people, json for collectors.
    #[arg(long, env = "PGBATCH_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// error, warn, info, debug, trace; or per module, as in `info,pgbatch_dispatcher=debug`.
    #[arg(long, env = "PGBATCH_LOG", default_value = "info", value_name = "LEVEL")]
    pub log: String,
}

/// Where runs run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ExecutorKind {
    /// Each run is a Kubernetes Job.
    Kubernetes,
    /// Each run is a local process: the container's command. For a laptop, tests and the demo.
    Process,
}

/// Where runs run, and how.
#[derive(Debug, Args)]
pub struct ExecutorArgs {
    /// Where runs run.
    #[arg(long, env = "PGBATCH_EXECUTOR", default_value = "kubernetes", value_name = "KIND")]
    pub executor: ExecutorKind,
    /// Namespace of the Jobs of queues that name none; default: that of the kubeconfig or of the pod.
    #[arg(long, env = "PGBATCH_NAMESPACE", value_name = "NAME")]
    pub namespace: Option<String>,
    /// Image of this program, for the Jobs of queues of SQL.
    #[arg(long, env = "PGBATCH_SQL_IMAGE", value_name = "IMAGE")]
    pub sql_image: Option<String>,
    /// Secret whose key database-url is the connection URL of the Jobs of queues of SQL; its key ca.crt, if it has one, is their file
    /// /etc/pgbatch/ca/ca.crt.
    #[arg(long, env = "PGBATCH_SQL_SECRET", value_name = "NAME")]
    pub sql_secret: Option<String>,
    /// Secrets, likewise, with the logins of roles that have given a queue of theirs a statement: its Jobs connect as that role and
    /// as no other.
    #[arg(long, env = "PGBATCH_SQL_SECRETS", value_name = "ROLE=NAME", value_delimiter = ',', value_parser = login)]
    pub sql_secrets: Vec<(String, String)>,
    /// Folder for the state of local processes (executor process); default: one per user.
    #[arg(long, env = "PGBATCH_PROCESS_DIR", value_name = "DIR")]
    pub process_dir: Option<PathBuf>,
}

/// `ROLE=NAME`. A role may have a `=` in its name, a Secret has none.
fn login(text: &str) -> Result<(String, String), String> {
    match text.rsplit_once('=') {
        Some((role, secret)) if !role.is_empty() && !secret.is_empty() => {
            Ok((role.to_owned(), secret.to_owned()))
        }
        _ => Err("expected ROLE=NAME, the name of a role of PostgreSQL and that of a Secret".to_owned()),
    }
}

impl From<ExecutorArgs> for ExecutorConfig {
    fn from(args: ExecutorArgs) -> Self {
        // No `..`: a flag that is forgotten here does not compile.
        let ExecutorArgs { executor, namespace, sql_image, sql_secret, sql_secrets, process_dir } = args;
        match executor {
            ExecutorKind::Kubernetes => Self::Kubernetes(KubernetesConfig {
                namespace,
                sql_image,
                sql_secret,
                sql_secrets: sql_secrets.into_iter().collect(),
            }),
            ExecutorKind::Process => Self::Process(ProcessConfig { dir: process_dir }),
        }
    }
}

/// Which ScaledJobs of KEDA to serve.
#[derive(Debug, Args)]
pub struct ScaledJobArgs {
    /// Serve the ScaledJobs of KEDA in these namespaces; without a name, in that of the Jobs. Whoever may create one there has
    /// his queries run with the rights of the extension's owner. KEDA's operator must not serve them too.
    #[arg(
        long,
        env = "PGBATCH_SCALED_JOBS",
        value_name = "NAMESPACE",
        value_delimiter = ',',
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    pub scaled_jobs: Option<Vec<String>>,
}

impl ScaledJobArgs {
    /// None: none. `own`: the namespace of the dispatcher's Jobs, where it is given.
    pub(crate) fn into_served(self, own: Option<String>) -> Option<ScaledJobs> {
        let is_named = |namespace: &String| !namespace.is_empty();
        self.scaled_jobs
            .map(|named| ScaledJobs { namespaces: named.into_iter().filter(is_named).collect(), own })
    }
}

/// The dashboard, and who may look at it.
#[derive(Debug, Clone, Args)]
pub struct DashboardArgs {
    /// Serve the dashboard at --listen, by this login at PostgreSQL: of a role that may read and no more, as by
    /// pgbatch.grant('*', 'dashboard', 'read'). @FILE: the URL is in that file, which is read again for each connection.
    #[arg(long, env = "PGBATCH_DASHBOARD_DATABASE_URL", hide_env_values = true, value_name = "URL|@FILE")]
    pub dashboard_database_url: Option<DatabaseUrl>,
    /// Who has this token may look. @FILE: it is in that file; give it so, or by the environment, as command lines can be read
    /// by others. Without it, and without --dashboard-user-header, the dashboard is served to this host only.
    #[arg(long, env = "PGBATCH_DASHBOARD_TOKEN", hide_env_values = true, value_name = "@FILE")]
    pub dashboard_token: Option<Token>,
    /// Whom this header names may look: a proxy in front sets it for those whom it has let in, and takes it from all others.
    #[arg(long, env = "PGBATCH_DASHBOARD_USER_HEADER", value_name = "NAME")]
    pub dashboard_user_header: Option<HeaderName>,
    /// As which role of PostgreSQL people act in the dashboard (retry, cancel, pause): those whom the proxy calls USER, or, without
    /// USER=, all others who are let in. The dashboard's login must be a member of each: GRANT ops TO dashboard. Without it nobody
    /// can do anything there. Comma-separated, or given several times.
    #[arg(long, env = "PGBATCH_DASHBOARD_ROLE", value_name = "[USER=]ROLE", value_delimiter = ',')]
    pub dashboard_role: Vec<ActingRole>,
    /// On the page of an item, show what the API server knows of its pod: when it was scheduled, its image pulled and its containers
    /// started, its Events, and the end of its log, to whoever may look. Needs the verbs list of events and get of pods/log.
    #[arg(long, env = "PGBATCH_DASHBOARD_PODS", value_parser = clap::builder::FalseyValueParser::new())]
    pub dashboard_pods: bool,
}

/// The flags of `pgbatch dispatch`.
#[derive(Debug, Args)]
pub struct DispatchArgs {
    /// How to reach PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseArgs,
    /// Where runs run.
    #[command(flatten)]
    pub executor: ExecutorArgs,
    /// Address and port of the pages /healthz, /readyz and /metrics (which names queues and triggers), e.g. 127.0.0.1:8080;
    /// default: none. Nobody has to log in to read them.
    #[arg(long, env = "PGBATCH_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
    /// The dashboard, and who may look at it.
    #[command(flatten)]
    pub dashboard: DashboardArgs,
    /// Where to send traces, as OTLP over HTTP, e.g. http://collector:4318; also OTEL_EXPORTER_OTLP_ENDPOINT. Default: nowhere.
    /// A batch has one if it was enqueued in a trace: SET LOCAL pgbatch.traceparent = '00-...'.
    #[arg(long, env = "PGBATCH_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Folder with the credentials for Kafka that triggers of watch_kafka() may name: certificates, keys, passwords. With a
    /// file bootstrap-servers in it, a folder below is for those servers only. Environment variables that begin with
    /// PGBATCH_KAFKA_CREDENTIAL_ may be named too.
    #[arg(long, env = "PGBATCH_KAFKA_CREDENTIALS", value_name = "DIR")]
    pub kafka_credentials: Option<PathBuf>,
    /// Which ScaledJobs of KEDA to serve.
    #[command(flatten)]
    pub scaled_jobs: ScaledJobArgs,
    /// How to log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The settings of a dispatcher.
#[derive(Debug)]
pub struct Config {
    /// The database with the extension.
    pub database_url: DatabaseUrl,
    /// Where runs run.
    pub executor: ExecutorConfig,
    /// Where to serve pages.
    pub listen: Option<SocketAddr>,
    /// The dashboard, and who may look at it.
    pub dashboard: DashboardArgs,
    /// Where to send traces.
    pub otlp_endpoint: Option<String>,
    /// What is watched outside of PostgreSQL.
    pub triggers: Triggers,
}

impl From<DispatchArgs> for Config {
    fn from(args: DispatchArgs) -> Self {
        // No `..`: a flag that is forgotten here does not compile.
        let DispatchArgs {
            database,
            executor,
            listen,
            dashboard,
            otlp_endpoint,
            kafka_credentials,
            scaled_jobs,
            log: _,
        } = args;
        let scaled_jobs = scaled_jobs.into_served(executor.namespace.clone());
        Self {
            database_url: database.database_url,
            executor: executor.into(),
            listen,
            dashboard,
            // The variable that every program with OpenTelemetry knows; an empty one is none.
            otlp_endpoint: otlp_endpoint
                .or_else(|| std::env::var("OTEL_EXPORTER_OTLP_ENDPOINT").ok())
                .filter(|endpoint| !endpoint.is_empty()),
            triggers: Triggers { kafka_credentials: CredentialsFolder::new(kafka_credentials), scaled_jobs },
        }
    }
}
