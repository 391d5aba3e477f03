//! Requests to the API server about one Job, each with a limit in time, and what becomes of their answers.

use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use pgbatch_core::name::{RUN, selector};
use pgbatch_core::snapshot::{RunId, Waiting};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::super::refusal::again_at;
use super::facts::{JobFacts, PodFacts, token};
use super::mirror::{Question, Target};
use super::refusal::{Verdict, asks_for, verdict, why, words};
use super::{Inner, JobApi};
use crate::clock;
use crate::metrics::{THROTTLED, metrics};
use crate::store::silence;

/// A plain request that takes longer will not be answered.
const REQUEST_MAX: Duration = Duration::from_secs(30);
/// How often a question is asked whose answer is only details.
const QUESTION_TRIES_MAX: u32 = 5;

/// A request without an answer in time is one that the network lost.
pub(super) async fn limited<T>(
    limit: Duration,
    request: impl Future<Output = kube::Result<T>>,
) -> kube::Result<T> {
    match tokio::time::timeout(limit, request).await {
        Ok(answer) => answer,
        Err(over) => Err(kube::Error::Service(over.into())),
    }
}

async fn counted<T>(verb: &'static str, request: impl Future<Output = kube::Result<T>>) -> kube::Result<T> {
    let answer = limited(REQUEST_MAX, request).await;
    metrics().kubernetes_request(verb, outcome(&answer));
    answer
}

/// One word for what came of a request.
pub(super) fn outcome<T>(answer: &kube::Result<T>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(kube::Error::Api(status)) if status.code == 429 => THROTTLED,
        Err(kube::Error::Api(_)) => "refused",
        Err(_) => "no_answer",
    }
}

impl<A: JobApi> Inner<A> {
    /// Creates the Job of a run. Sent twice, it makes one Job: the second finds the name taken, with our token.
    pub(super) async fn create(&self, target: Target, job: Job) {
        let run = target.run;
        let asked = Instant::now();
        let mut is_late = false;
        let request = async {
            // A dispatcher that was frozen, or cut off, may not lead any more; its successor may have had this run done
            // and its Job removed, so not even the name would stop another one. The plan asks again, if it is still
            // ours to do so.
            is_late = asked.elapsed() > silence::UNACKNOWLEDGED_MAX;
            if is_late {
                return Err(kube::Error::Service("it waited too long for its turn".into()));
            }
            counted("create", self.api.create(&target.namespace, &job)).await
        };
        match self.gate.pass(request).await {
            Ok(()) => self.update(|mirror| mirror.created(run)),
            Err(_) if is_late => self.update(|mirror| mirror.put_off(run, clock::now())),
            Err(error) => self.resolve(&target, &error).await,
        }
        let mut to_stop = None;
        self.update(|mirror| to_stop = mirror.end_create(run));
        if let Some(target) = to_stop {
            self.delete(target).await;
        }
    }

    async fn resolve(&self, target: &Target, error: &kube::Error) {
        match verdict(error) {
            Verdict::NameTaken => self.resolve_taken(target).await,
            Verdict::Later(at_least) => self.refuse(target.run, error, at_least),
            Verdict::Never => {
                let message = words(error);
                warn!(namespace = target.namespace, message, "the Job was rejected");
                self.update(|mirror| mirror.reject(target.run, clock::now(), "JobRejected", message));
            }
        }
    }

    fn refuse(&self, run: RunId, error: &kube::Error, at_least: Duration) {
        warn!(error = words(error), "the Job cannot be created now");
        let again = |refusals| again_at(clock::now(), refusals, at_least);
        self.update(|mirror| mirror.refuse(run, why(error), again));
    }

    /// The name is taken: by an earlier create of this very run, or by somebody else's Job.
    async fn resolve_taken(&self, target: &Target) {
        let run = target.run;
        let as_of = self.mirror().lists_ended(&target.namespace);
        match counted("get", self.api.get(&target.namespace, &target.name)).await {
            Ok(Some(job)) if token(&job) == target.token => {
                debug!("the Job was there already");
                self.update(|mirror| {
                    mirror.created(run);
                    mirror.read(run, JobFacts::of(&job), as_of);
                });
            }
            Ok(Some(_)) => {
                let Target { name, namespace, .. } = target;
                let message = format!("a Job {name} that is not this run's exists in namespace {namespace}");
                warn!(message, "the Job was rejected");
                self.update(|mirror| mirror.reject(run, clock::now(), "JobNameTaken", message));
            }
            // Deleted in between: whose it was, nobody knows. The next create tells.
            Ok(None) => self.update(|mirror| {
                let again = |refusals| again_at(clock::now(), refusals, Duration::ZERO);
                let message = "a Job of this name was being deleted".to_owned();
                mirror.refuse(run, Waiting { reason: "JobNameTaken".to_owned(), message }, again);
            }),
            Err(error) => self.refuse(run, &error, asks_for(&error)),
        }
    }

    /// Deletes a Job and, in the background, its pods with their own grace period; tries until it is answered.
    pub(super) async fn delete(&self, mut target: Target) {
        for tries in 1.. {
            match self.gate.pass(self.try_delete(&mut target)).await {
                Ok(()) => return,
                Err(error) => {
                    if tries == 1 {
                        warn!(error = words(&error), "cannot delete the Job, trying again");
                    }
                    self.pause(tries, &error).await;
                }
            }
        }
    }

    async fn try_delete(&self, target: &mut Target) -> kube::Result<()> {
        if target.uid.is_none() {
            // A Job that was never seen: it may not exist, and it may be somebody else's.
            let as_of = self.mirror().lists_ended(&target.namespace);
            let job = counted("get", self.api.get(&target.namespace, &target.name))
                .await?
                .filter(|job| token(job) == target.token);
            target.uid = job.as_ref().and_then(|job| job.metadata.uid.clone());
            self.update(|mirror| mirror.read(target.run, job.as_ref().and_then(JobFacts::of), as_of));
        }
        let Some(uid) = target.uid.clone() else { return Ok(()) };
        match counted("delete", self.api.delete(&target.namespace, &target.name, &uid)).await {
            Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
            // This Job is gone and another one has its name; or something else is in the way, and it goes on.
            Err(kube::Error::Api(status)) if status.is_conflict() => {
                let job = counted("get", self.api.get(&target.namespace, &target.name)).await?;
                match job.and_then(|job| job.metadata.uid) == Some(uid) {
                    true => Err(kube::Error::Api(status)),
                    false => Ok(()),
                }
            }
            other => other,
        }
    }

    /// Answers what only the API server can answer.
    pub(super) async fn answer(&self, question: Question) {
        for tries in 1.. {
            let Err(error) = self.gate.pass(self.try_answer(&question)).await else { return };
            if tries >= QUESTION_TRIES_MAX && self.mirror().give_up(&question) {
                warn!(error = words(&error), ?question, "no answer from the API server");
                return self.update(|_| {});
            }
            self.pause(tries, &error).await;
        }
    }

    async fn try_answer(&self, question: &Question) -> kube::Result<()> {
        let (Question::Pods(run) | Question::Exists(run)) = *question;
        let Some((namespace, name)) = self.mirror().place(run) else { return Ok(()) };
        match question {
            Question::Pods(_) => {
                let ours = format!("{},{RUN}={run}", selector(&self.installation));
                let pods = counted("list", self.api.list_pods(&namespace, &ours)).await?;
                let facts = pods.iter().filter_map(PodFacts::of).collect();
                self.update(|mirror| mirror.answer_pods(run, facts));
            }
            Question::Exists(_) => {
                let as_of = self.mirror().lists_ended(&namespace);
                let job = counted("get", self.api.get(&namespace, &name)).await?;
                self.update(|mirror| mirror.read(run, job.as_ref().and_then(JobFacts::of), as_of));
            }
        }
        Ok(())
    }

    async fn pause(&self, tries: u32, error: &kube::Error) {
        let now = clock::now();
        let until = again_at(now, tries, asks_for(error));
        tokio::time::sleep(Duration::try_from(until.duration_since(now)).unwrap_or_default()).await;
    }
}
