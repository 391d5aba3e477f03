//! What is known of each namespace: whether it has been read, and whether it is watched now.

use std::collections::BTreeSet;

use pgbatch_core::snapshot::RunId;

use super::super::job_api::Watched;
use super::Mirror;

#[derive(Debug, Default)]
pub(super) struct Namespace {
    pub(super) jobs: Listing<RunId>,
    pub(super) pods: Listing<String>,
    /// Jobs that had ended before the list of pods began: that list says all there is about their pods.
    pub(super) ended_before_pods: BTreeSet<RunId>,
}

/// The state of one watch.
#[derive(Debug)]
pub(super) struct Listing<K> {
    /// Whether anything of a list has ever come.
    heard: bool,
    /// Whether a list has ever been complete.
    pub(super) synced: bool,
    /// Counts the lists begun.
    pub(super) lists: u64,
    /// Counts those that were complete.
    pub(super) ended: u64,
    /// What the list under way has shown so far.
    pub(super) seen: BTreeSet<K>,
    /// Why there is no watch now.
    trouble: Option<String>,
}

impl<K> Default for Listing<K> {
    fn default() -> Self {
        Self { heard: false, synced: false, lists: 0, ended: 0, seen: BTreeSet::new(), trouble: None }
    }
}

impl Mirror {
    /// Whether the namespace is new here.
    pub(in super::super) fn add_namespace(&mut self, namespace: &str) -> bool {
        let is_new = !self.namespaces.contains_key(namespace);
        self.namespaces.entry(namespace.to_owned()).or_default();
        is_new
    }

    /// The namespaces of all queues are known now.
    pub(in super::super) fn tell_namespaces(&mut self) {
        self.namespaces_told = true;
    }

    /// Whether both lists of the namespace have been complete.
    pub(in super::super) fn is_synced(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|n| n.jobs.synced && n.pods.synced)
    }

    /// Whether the API server has begun to tell of the namespace's Jobs.
    pub(in super::super) fn is_heard(&self, namespace: &str) -> bool {
        self.namespaces.get(namespace).is_some_and(|n| n.jobs.heard)
    }

    /// A list or a watch of the namespace failed, or (none) goes on.
    pub(in super::super) fn note_trouble(
        &mut self,
        namespace: &str,
        watched: Watched,
        trouble: Option<String>,
    ) {
        let Some(namespace) = self.namespaces.get_mut(namespace) else { return };
        match watched {
            Watched::Jobs => namespace.jobs.trouble = trouble,
            Watched::Pods => namespace.pods.trouble = trouble,
            // Nothing is decided by those.
            Watched::Blocked => {}
        }
    }

    /// The first namespace whose Jobs and pods are not seen now, and why, in words.
    pub(in super::super) fn unsynced(&self) -> Option<String> {
        self.namespaces.iter().find_map(|(name, namespace)| {
            let trouble = namespace.jobs.trouble.as_deref().or(namespace.pods.trouble.as_deref());
            match (self.is_synced(name), trouble) {
                (true, None) => None,
                (true, Some(why)) => Some(format!("the watch of namespace {name} is interrupted: {why}")),
                (false, why) => {
                    let why = why.unwrap_or("no answer yet");
                    Some(format!("the watch of namespace {name} is not synced: {why}"))
                }
            }
        })
    }
}

impl<K> Listing<K> {
    pub(super) fn begin(&mut self) {
        self.lists += 1;
        self.seen.clear();
    }

    /// Something of a list has come. Returns whether it is the first that ever did.
    pub(super) fn hear(&mut self) -> bool {
        !std::mem::replace(&mut self.heard, true)
    }

    pub(super) fn end(&mut self) -> BTreeSet<K> {
        self.heard = true;
        self.synced = true;
        self.ended += 1;
        std::mem::take(&mut self.seen)
    }
}
