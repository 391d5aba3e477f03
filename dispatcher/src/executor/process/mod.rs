//! Each run is a local process: the first container's command, under a shim that outlives the dispatcher.
//!
//! As strong as with Kubernetes: a run survives the dispatcher's death, the next dispatcher finds it by its folder,
//! and two dispatchers never start it twice. What the API server's names and watches are there, folders and locks
//! are here:
//!
//! ```text
//! dispatcher ── makes the folder, locked (only one can) ──> pgbatch process-shim FOLDER ──> the command
//!      └── a thread waits until the lock is free <────────── holds the lock while it lives
//! ```
//! Nothing polls: the kernel frees the lock when the shim ends, however that comes.

mod command;
pub(crate) mod folder;
mod runs;
pub(crate) mod sys;

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use pgbatch_core::name::parse_job_name;
use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{Ending, ExecutorView, JobPhase, JobView, RunId};
use tokio::sync::Notify;
use tracing::warn;

use self::folder::{Condition, DRAFT_PREFIX, Folder, ShimSpec, Started};
use super::refusal;
use crate::clock;

/// A draft this old is nobody's any more.
const DRAFT_AGE_MAX: Duration = Duration::from_secs(3600);

/// Settings.
#[derive(Debug)]
pub struct ProcessConfig {
    /// Where the runs' folders are; none = one place per user.
    pub dir: Option<PathBuf>,
}

/// Why local processes cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The folder cannot be used.
    #[error("cannot use the folder of local processes {}: {source}", path.display())]
    OpenFolder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Who can write there can run commands as us.
    #[error("the folder of local processes {} must belong to this user, and only they may write to it", path.display())]
    UnsafeFolder {
        /// Which.
        path: PathBuf,
    },
    /// The shim is this program.
    #[error("cannot find this program's own file: {0}")]
    FindProgram(#[source] io::Error),
}

/// The executor of local processes.
#[derive(Debug)]
pub struct Process {
    inner: Arc<Inner>,
}

/// What the executor and the threads of its runs share.
#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    installation: String,
    program: PathBuf,
    runs: Mutex<BTreeMap<RunId, Entry>>,
    changed: Notify,
}

/// A run, as far as it is known.
#[derive(Debug, Clone)]
struct Entry {
    queue: String,
    phase: JobPhase,
    started_at: Option<Timestamp>,
    stopping: bool,
    /// Refusals in a row.
    refusals: u32,
    /// None: nothing is left of it but this memory.
    folder: Option<Folder>,
}

impl Process {
    /// Opens the folder of the runs of one database and finds the runs of earlier dispatchers in it.
    ///
    /// # Errors
    /// The folder cannot be used, or others could write to it.
    pub fn open(config: &ProcessConfig, installation: &str) -> Result<Self, ProcessError> {
        let program = std::env::current_exe().map_err(ProcessError::FindProgram)?;
        Self::open_with(config, installation, program)
    }

    /// As [`Process::open`], with another program to play the shim: for tests, which are not `pgbatch` themselves.
    ///
    /// # Errors
    /// As for [`Process::open`].
    pub fn open_with(
        config: &ProcessConfig,
        installation: &str,
        program: PathBuf,
    ) -> Result<Self, ProcessError> {
        let base = config.dir.clone().unwrap_or_else(default_dir);
        let dir = base.join(installation);
        for path in [&base, &dir] {
            private_dir(path)?;
        }
        let inner = Arc::new(Inner {
            dir,
            installation: installation.to_owned(),
            program,
            runs: Mutex::new(BTreeMap::new()),
            changed: Notify::new(),
        });
        inner.adopt_all().map_err(|source| ProcessError::OpenFolder { path: inner.dir.clone(), source })?;
        Ok(Self { inner })
    }

    /// See [`super::Executor::start`].
    pub fn start(&self, spec: RunSpec) {
        let (queue, run) = (spec.queue.clone(), spec.run);
        {
            let mut runs = self.inner.runs();
            match runs.get_mut(&run) {
                Some(known) if known.phase == JobPhase::Creating => return,
                Some(known) => known.phase = JobPhase::Creating,
                None => drop(runs.insert(run, Entry::new(&queue))),
            }
        }
        let inner = Arc::clone(&self.inner);
        let spawned =
            thread::Builder::new().name(format!("run {run}")).spawn(move || inner.start_and_follow(&spec));
        if let Err(error) = spawned {
            self.inner.refuse(run, &error);
        }
    }

    /// See [`super::Executor::stop`].
    pub fn stop(&self, run: RunId) {
        let live = {
            let mut runs = self.inner.runs();
            let Some(known) = runs.get_mut(&run) else { return };
            known.stopping = true;
            match known.phase {
                JobPhase::Creating | JobPhase::Pending | JobPhase::Running => known.folder.clone(),
                // Nothing was made, or it is gone.
                JobPhase::Refused { .. } | JobPhase::Gone => {
                    known.phase = JobPhase::Gone;
                    None
                }
                JobPhase::Ended(_) => None,
            }
        };
        if let Some(folder) = live
            && let Err(error) = runs::stop(&folder)
        {
            warn!(run, %error, "cannot ask the process to stop");
        }
        self.inner.changed.notify_one();
    }

    /// See [`super::Executor::forget`].
    pub fn forget(&self, run: RunId) {
        let mut runs = self.inner.runs();
        let Some(known) = runs.get_mut(&run) else { return };
        match &mut known.phase {
            // The words are recorded; what stays is for the history limits.
            JobPhase::Ended(ending) if known.folder.is_some() => ending.message = None,
            JobPhase::Ended(_) | JobPhase::Gone | JobPhase::Refused { .. } => {
                let folder = runs.remove(&run).and_then(|known| known.folder);
                drop(runs);
                remove_folder(run, folder);
            }
            JobPhase::Creating | JobPhase::Pending | JobPhase::Running => {}
        }
    }

    /// See [`super::Executor::remove`].
    pub fn remove(&self, run: RunId) {
        let mut runs = self.inner.runs();
        if runs.get(&run).is_some_and(|known| matches!(known.phase, JobPhase::Ended(_))) {
            let folder = runs.remove(&run).and_then(|known| known.folder);
            drop(runs);
            remove_folder(run, folder);
        }
    }

    /// See [`super::Executor::view`].
    #[must_use]
    pub fn view(&self) -> ExecutorView {
        let runs = self.inner.runs();
        ExecutorView {
            synced: true,
            jobs: runs.iter().map(|(run, known)| (*run, known.view(*run))).collect(),
            ..ExecutorView::default()
        }
    }

    /// See [`super::Executor::changed`].
    pub async fn changed(&self) {
        self.inner.changed.notified().await;
    }
}

impl Entry {
    fn new(queue: &str) -> Self {
        Self {
            queue: queue.to_owned(),
            phase: JobPhase::Creating,
            started_at: None,
            stopping: false,
            refusals: 0,
            folder: None,
        }
    }

    fn view(&self, run: RunId) -> JobView {
        let Self { queue, phase, started_at, stopping, refusals: _, folder: _ } = self.clone();
        JobView { run, queue, phase, started_at, stopping, waiting: None, disruptions: 0, is_ready: None }
    }
}

impl Inner {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<RunId, Entry>> {
        // Every change is one assignment: a thread that panicked left nothing half done.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, run: RunId, change: impl FnOnce(&mut Entry)) {
        if let Some(known) = self.runs().get_mut(&run) {
            change(known);
        }
        self.changed.notify_one();
    }

    /// It may work later.
    fn refuse(&self, run: RunId, error: &io::Error) {
        warn!(run, %error, "cannot start the process now");
        self.change(run, |known| {
            known.refusals += 1;
            let again_at = refusal::again_at(clock::now(), known.refusals, Duration::ZERO);
            known.phase = JobPhase::Refused { again_at };
        });
    }

    /// No retry mends it.
    fn reject(&self, run: RunId, reason: &str, message: String) {
        self.change(run, |known| {
            known.phase = JobPhase::Ended(Ending {
                finished_at: Some(clock::now()),
                reason: Some(reason.to_owned()),
                message: Some(message),
                ..Ending::default()
            });
        });
    }

    /// Finds the runs of earlier dispatchers.
    fn adopt_all(self: &Arc<Self>) -> io::Result<()> {
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(DRAFT_PREFIX) {
                remove_old_draft(&entry.path());
            } else if let Some((queue, run)) = parse_job_name(name)
                && let Err(error) = self.adopt(queue, run, Folder::at(&entry.path()))
            {
                // Others must not wait for one broken folder; this run counts as lost.
                warn!(queue, run, %error, "cannot read the folder of a local process");
            }
        }
        Ok(())
    }

    fn adopt(self: &Arc<Self>, queue: &str, run: RunId, folder: Folder) -> io::Result<()> {
        let mut known = Entry { stopping: folder.is_stopping(), ..Entry::new(queue) };
        known.started_at = folder.read::<Started>("started.json")?.map(|started| started.started_at);
        let mut live = false;
        known.phase = match folder.condition()? {
            // The dispatcher died before the shim lived: as if it had never been there.
            Condition::Untouched(_lock) => return folder.remove(),
            Condition::Live => {
                live = true;
                if known.started_at.is_some() { JobPhase::Running } else { JobPhase::Pending }
            }
            Condition::Ended(ended) => JobPhase::Ended(ended.into()),
            Condition::Gone => JobPhase::Gone,
        };
        known.folder = Some(folder.clone());
        let stopping = known.stopping;
        self.runs().insert(run, known);
        if live {
            if stopping {
                // The earlier dispatcher may have died between asking and waking.
                runs::stop(&folder)?;
            }
            let inner = Arc::clone(self);
            thread::Builder::new().name(format!("run {run}")).spawn(move || inner.follow(run, &folder))?;
        }
        Ok(())
    }
}

/// What the shim needs to know is the same as what makes two starts the same run.
fn is_same_run(folder: &Folder, spec: &ShimSpec) -> io::Result<bool> {
    Ok(folder.read::<ShimSpec>("spec.json")?.is_some_and(|known| known.token == spec.token))
}

fn remove_folder(run: RunId, folder: Option<Folder>) {
    let Some(folder) = folder else { return };
    thread::spawn(move || {
        if let Err(error) = folder.remove() {
            warn!(run, %error, "cannot remove the folder of an ended process");
        }
    });
}

fn remove_old_draft(path: &Path) {
    let age =
        fs::metadata(path).and_then(|meta| meta.modified()).map(|at| SystemTime::now().duration_since(at));
    if matches!(age, Ok(Ok(age)) if age > DRAFT_AGE_MAX)
        && let Err(error) = fs::remove_dir_all(path)
    {
        warn!(path = %path.display(), %error, "cannot remove a half made folder");
    }
}

fn default_dir() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir).join("pgbatch"),
        _ => std::env::temp_dir().join(format!("pgbatch-{}", sys::user_id())),
    }
}

fn private_dir(path: &Path) -> Result<(), ProcessError> {
    let failed = |source| ProcessError::OpenFolder { path: path.to_owned(), source };
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed)?;
    // Not following links: in a folder for everybody, a link may be another user's.
    let found = fs::symlink_metadata(path).map_err(failed)?;
    if found.is_dir() && found.uid() == sys::user_id() && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(ProcessError::UnsafeFolder { path: path.to_owned() })
    }
}
