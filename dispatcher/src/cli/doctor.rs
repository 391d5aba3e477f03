//! `pgbatch doctor`: would a dispatcher with these flags work? Tries each thing that it needs, and says what is amiss and what
//! to do about it. Changes nothing.

mod cluster;
mod database;
mod doorbell;
mod findings;

use clap::Args;

use self::findings::Findings;
use super::connection;
use super::failure::{Failure, Fate};
use super::output::Output;
use crate::config::{ClientArgs, ExecutorArgs, ScaledJobArgs};
use crate::executor::ExecutorConfig;

/// The flags of the dispatcher that is meant.
#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    executor: ExecutorArgs,
    #[command(flatten)]
    scaled_jobs: ScaledJobArgs,
}

pub(super) async fn doctor(args: DoctorArgs) -> Result<Fate, Failure> {
    let DoctorArgs { client, executor, scaled_jobs } = args;
    let scaled_jobs = scaled_jobs.into_served(executor.namespace.clone());
    let output = Output::new(client.output);
    let url = connection::database(client.database_url)?;
    let mut findings = Findings::default();
    let queues = match database::examine(&url, &mut findings).await {
        Ok(queues) => queues,
        Err(failure) => {
            findings.failed("database", &failure);
            vec![]
        }
    };
    if let ExecutorConfig::Kubernetes(config) = executor.into() {
        cluster::examine(&config, &queues, scaled_jobs.as_ref(), &mut findings).await;
    }
    findings.print(&output)?;
    Ok(if findings.has_failed() { Fate::NotSucceeded } else { Fate::Fine })
}
