//! Credentials of ScaledJobs that are served: whoever serves them says for which servers they are and how to read them. They
//! are read for each connection, kept for as long as it takes to log in, and nowhere else.
//!
//! Options name them like files, `scaled-jobs/NAMESPACE/NAME/TRIGGER/PARAMETER`. A trigger is watched before its ScaledJob has
//! been looked at, as PostgreSQL remembers it; so a login waits for a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::timeout;

use super::error::CredentialError;

/// The folder that no disk has.
const ROOT: &str = "scaled-jobs/";
/// How long a login waits for the ScaledJob to be looked at.
const LOOK_MAX: Duration = Duration::from_secs(10);

/// Values by parameter, or why they cannot be read, in words without anything secret.
pub(crate) type Parameters = Result<BTreeMap<String, Vec<u8>>, String>;

/// The credentials of a trigger.
#[derive(Clone)]
pub(crate) struct Grant {
    /// They are sent to these only.
    pub(crate) servers: Vec<String>,
    /// Reads them.
    pub(crate) read: Arc<dyn Fn() -> BoxFuture<'static, Parameters> + Send + Sync>,
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("servers", &self.servers).finish_non_exhaustive()
    }
}

/// All of them, by folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Granted(Arc<watch::Sender<BTreeMap<String, Grant>>>);

/// What was read for a connection, by file.
pub(super) type Read = BTreeMap<String, Vec<u8>>;

impl Granted {
    /// The folder of a trigger of a ScaledJob.
    pub(crate) fn folder(namespace: &str, name: &str, trigger: usize) -> String {
        format!("{ROOT}{namespace}/{name}/{trigger}")
    }

    /// Replaces those of a ScaledJob.
    pub(crate) fn put(&self, namespace: &str, name: &str, grants: Vec<(String, Grant)>) {
        let of = format!("{ROOT}{namespace}/{name}/");
        self.0.send_modify(|all| {
            all.retain(|folder, _| !folder.starts_with(&of));
            all.extend(grants);
        });
    }

    /// Forgets those of all but these ScaledJobs of a namespace.
    pub(crate) fn keep(&self, namespace: &str, names: &[String]) {
        let of = format!("{ROOT}{namespace}/");
        self.0.send_modify(|all| {
            all.retain(|folder, _| match folder.strip_prefix(&of).and_then(|rest| rest.split('/').next()) {
                Some(name) => names.iter().any(|kept| kept == name),
                None => true,
            });
        });
    }

    /// Reads what these files are, as far as they are of ScaledJobs, to be sent to these servers.
    pub(super) async fn read(
        &self,
        files: &BTreeSet<&str>,
        servers: &[String],
    ) -> Result<Read, CredentialError> {
        let mut read = Read::new();
        let folders: BTreeSet<&str> = files
            .iter()
            .filter(|file| is_granted(file))
            .filter_map(|file| Some(file.rsplit_once('/')?.0))
            .collect();
        for folder in folders {
            let grant = self.find(folder).await?;
            if let Some(server) = servers.iter().find(|server| !grant.servers.contains(server)) {
                return Err(CredentialError::OtherServers {
                    name: folder.to_owned(),
                    server: server.clone(),
                });
            }
            let parameters = (grant.read)().await.map_err(CredentialError::Granted)?;
            read.extend(parameters.into_iter().map(|(name, value)| (format!("{folder}/{name}"), value)));
        }
        Ok(read)
    }

    async fn find(&self, folder: &str) -> Result<Grant, CredentialError> {
        let mut all = self.0.subscribe();
        let is_there = all.wait_for(|all| all.contains_key(folder));
        let found = match timeout(LOOK_MAX, is_there).await {
            Ok(Ok(all)) => all.get(folder).cloned(),
            _ => None,
        };
        found.ok_or_else(|| CredentialError::NotServed(folder.to_owned()))
    }
}

/// Whether a file is of a ScaledJob.
pub(super) fn is_granted(file: &str) -> bool {
    file.starts_with(ROOT)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn grant(password: &'static str) -> Grant {
        let parameters: BTreeMap<_, _> = [("password".to_owned(), password.into())].into();
        let read = move || std::future::ready(Ok(parameters.clone())).boxed();
        Grant { servers: vec!["a:1".to_owned(), "b:2".to_owned()], read: Arc::new(read) }
    }

    async fn read(granted: &Granted, file: &str, server: &str) -> Result<Option<Vec<u8>>, CredentialError> {
        let read = granted.read(&BTreeSet::from([file, "elsewhere/ca"]), &[server.to_owned()]).await?;
        Ok(read.get(file).cloned())
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_those_of_the_scaled_job_and_for_its_servers_only() {
        let granted = Granted::default();
        let folder = Granted::folder("shop", "claps", 0);
        let file = format!("{folder}/password");
        granted.put("shop", "claps", vec![(folder.clone(), grant("one"))]);
        granted.put("shop", "claps-too", vec![(Granted::folder("shop", "claps-too", 0), grant("other"))]);
        assert_eq!(read(&granted, &file, "b:2").await.unwrap().as_deref(), Some(b"one".as_slice()));
        let refused = read(&granted, &file, "mine:1").await.unwrap_err();
        assert!(
            matches!(&refused, CredentialError::OtherServers { server, .. } if server == "mine:1"),
            "{refused}"
        );
        granted.put("shop", "claps", vec![(folder, grant("two"))]);
        assert_eq!(read(&granted, &file, "a:1").await.unwrap().as_deref(), Some(b"two".as_slice()));
        granted.keep("other", &[]);
        granted.keep("shop", &["claps".to_owned()]);
        assert!(read(&granted, &file, "a:1").await.is_ok());
        assert!(read(&granted, "scaled-jobs/shop/claps-too/0/password", "a:1").await.is_err(), "it was kept");
        assert!(
            read(&granted, "elsewhere/password", "mine:1").await.unwrap().is_none(),
            "that one is a file"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_login_waits_until_the_scaled_job_was_looked_at_and_no_longer() {
        let granted = Granted::default();
        let folder = Granted::folder("shop", "claps", 1);
        let file = format!("{folder}/password");
        let (found, ()) = tokio::join!(read(&granted, &file, "a:1"), async {
            tokio::task::yield_now().await;
            granted.put("shop", "claps", vec![(folder, grant("one"))]);
        });
        assert_eq!(found.unwrap().as_deref(), Some(b"one".as_slice()));
        granted.keep("shop", &[]);
        assert!(matches!(read(&granted, &file, "a:1").await, Err(CredentialError::NotServed(_))));
    }
}
