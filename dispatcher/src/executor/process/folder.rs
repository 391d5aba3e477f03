//! The folder of a run: the one place where the dispatcher, the shim and the next dispatcher meet.
//!
//! ```text
//! spec.json        what to run, before anything else
//! lock             locked by the shim for as long as it lives; the dispatcher locks it until the shim has it
//! begun.json       the shim lives and is about to start the command: from here on the run may have done something
//! started.json     the command runs
//! stop             a stop was asked for
//! ended.json       how it ended; without it, a free lock means that nobody knows
//! log              what the command wrote to stdout and stderr
//! termination-log  what the command has to say about its end
//! ```

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use pgbatch_core::name::job_name;
use pgbatch_core::snapshot::{Ending, RunId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// What the shim needs to know: `spec.json`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ShimSpec {
    /// Its queue.
    pub(crate) queue: String,
    /// Its batch.
    pub(crate) batch: i64,
    /// Its run.
    pub(crate) run: RunId,
    /// Tells this run from another one of the same name.
    pub(crate) token: String,
    /// The program and its arguments.
    pub(crate) argv: Vec<String>,
    /// The whole environment, but for `inherited`.
    pub(crate) env: BTreeMap<String, String>,
    /// Names of secrets that are passed on from the dispatcher's environment, and so never written down.
    pub(crate) inherited: Vec<String>,
    /// Where it runs; none = in the run's folder.
    pub(crate) working_dir: Option<PathBuf>,
    /// From SIGTERM to SIGKILL, in milliseconds.
    pub(crate) grace_period_ms: u64,
}

/// `begun.json`
#[derive(Serialize, Deserialize)]
pub(crate) struct Begun {
    /// Who takes the SIGTERM of a stop.
    pub(crate) shim_pid: i32,
}

/// `started.json`
#[derive(Serialize, Deserialize)]
pub(crate) struct Started {
    /// The command; it leads its process group.
    pub(crate) command_pid: i32,
    /// When.
    pub(crate) started_at: Timestamp,
}

/// `ended.json`
#[derive(Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) succeeded: bool,
    pub(crate) finished_at: Timestamp,
    pub(crate) exit_code: i32,
    pub(crate) reason: Option<String>,
    pub(crate) message: Option<String>,
}

impl From<Ended> for Ending {
    fn from(ended: Ended) -> Self {
        let Ended { succeeded, finished_at, exit_code, reason, message } = ended;
        Self {
            succeeded,
            finished_at: Some(finished_at),
            exit_code: Some(exit_code),
            reason,
            message,
            disrupted: false,
        }
    }
}

/// The folder of a run.
#[derive(Debug, Clone)]
pub(crate) struct Folder(PathBuf);

/// What became of [`Folder::create`].
pub(crate) enum Creation {
    /// It is ours; the file holds its lock.
    Created(Folder, File),
    /// It was there.
    Exists(Folder),
}

/// What a folder says about its run.
pub(crate) enum Condition {
    /// The shim was never there: nothing has happened. The file holds the lock.
    Untouched(File),
    /// The shim lives (or a dispatcher is about to start it).
    Live,
    /// It ended.
    Ended(Ended),
    /// The shim was there and is gone without a word.
    Gone,
}

impl Folder {
    /// The folder at `path`, whether it exists or not.
    pub(crate) fn at(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// Makes the folder of a run, complete and locked, in one step that only one can win.
    pub(crate) fn create(parent: &Path, spec: &ShimSpec) -> io::Result<Creation> {
        let path = parent.join(job_name(&spec.queue, spec.run));
        let draft = Self(draft_path(parent));
        DirBuilder::new().mode(0o700).create(&draft.0)?;
        let made = draft.write("spec.json", spec).and_then(|()| {
            let lock = private_file(&draft.file("lock"))?;
            lock.lock()?;
            // Fails where the target is a folder with anything in it, and every run's folder has.
            fs::rename(&draft.0, &path)?;
            Ok(lock)
        });
        match made {
            Ok(lock) => Ok(Creation::Created(Self(path), lock)),
            Err(error) => {
                fs::remove_dir_all(&draft.0)?;
                match error.kind() {
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => {
                        Ok(Creation::Exists(Self(path)))
                    }
                    _ => Err(error),
                }
            }
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// The path of a file in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What it says about its run.
    pub(crate) fn condition(&self) -> io::Result<Condition> {
        if let Some(ended) = self.read("ended.json")? {
            return Ok(Condition::Ended(ended));
        }
        let lock = self.open_lock()?;
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => return Ok(Condition::Live),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        // It may have ended between the two looks: now nobody writes any more.
        if let Some(ended) = self.read("ended.json")? {
            return Ok(Condition::Ended(ended));
        }
        Ok(if self.read::<Begun>("begun.json")?.is_some() {
            Condition::Gone
        } else {
            Condition::Untouched(lock)
        })
    }

    /// Waits, without limit, until nobody holds the lock.
    pub(crate) fn wait_unlocked(&self) -> io::Result<()> {
        self.open_lock()?.lock()
    }

    fn open_lock(&self) -> io::Result<File> {
        OpenOptions::new().read(true).write(true).open(self.file("lock"))
    }

    /// Whether a stop was asked for.
    pub(crate) fn is_stopping(&self) -> bool {
        self.file("stop").exists()
    }

    /// Asks for a stop; the shim is woken apart from this.
    pub(crate) fn request_stop(&self) -> io::Result<()> {
        private_file(&self.file("stop")).map(drop)
    }

    /// Reads a file of it; none where it does not exist (yet).
    pub(crate) fn read<T: DeserializeOwned>(&self, name: &str) -> io::Result<Option<T>> {
        match fs::read(self.file(name)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a file of it: all of it or none.
    pub(crate) fn write<T: Serialize>(&self, name: &str, value: &T) -> io::Result<()> {
        let draft = self.file(&format!(".{name}"));
        let mut file = private_file(&draft)?;
        file.write_all(&serde_json::to_vec(value)?)?;
        file.sync_all()?;
        fs::rename(draft, self.file(name))
    }

    /// Opens the log to append to it.
    pub(crate) fn open_log(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).mode(0o600).open(self.file("log"))
    }

    /// Takes it away in one step, then deletes what was in it.
    pub(crate) fn remove(&self) -> io::Result<()> {
        let Some(parent) = self.0.parent() else { return Ok(()) };
        let draft = draft_path(parent);
        match fs::rename(&self.0, &draft) {
            Ok(()) => fs::remove_dir_all(draft),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Folders whose name starts so are half made or half deleted.
pub(crate) const DRAFT_PREFIX: &str = ".draft-";

fn draft_path(parent: &Path) -> PathBuf {
    parent.join(format!("{DRAFT_PREFIX}{}-{:016x}", std::process::id(), fastrand::u64(..)))
}

fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)
}
