//! One run: started or found, then followed to its end by a thread of its own.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{JobPhase, RunId};
use tracing::{info_span, warn};

use super::command::{CommandContext, shim_spec};
use super::folder::{Begun, Condition, Creation, Folder, ShimSpec, Started};
use super::{Inner, is_same_run, sys};

/// Asks the shim to stop its command. Does nothing where it has ended.
pub(super) fn stop(folder: &Folder) -> io::Result<()> {
    // The file first: a shim that is not ready for the signal yet looks for the file when it is.
    folder.request_stop()?;
    let begun = folder.read::<Begun>("begun.json")?;
    if let (Condition::Live, Some(begun)) = (folder.condition()?, begun) {
        // The lock was held just now, so the number is still the shim's.
        sys::terminate(begun.shim_pid);
    }
    Ok(())
}

impl Inner {
    /// The life of a thread: starts the run, or finds it started, and follows it to its end.
    pub(super) fn start_and_follow(self: &Arc<Self>, spec: &RunSpec) {
        let run = spec.run;
        let _span = info_span!("process", queue = spec.queue, batch = spec.batch, run).entered();
        let environment = |name: &str| std::env::var(name).ok();
        let context = CommandContext {
            installation: &self.installation,
            program: &self.program.to_string_lossy(),
            environment: &environment,
        };
        let shim = match shim_spec(spec, &context) {
            Ok(shim) => shim,
            Err(error) => return self.reject(run, "JobRejected", error.to_string()),
        };
        if let Err(error) = self.start_shim(&shim) {
            self.refuse(run, &error);
        }
    }

    fn start_shim(self: &Arc<Self>, spec: &ShimSpec) -> io::Result<()> {
        let run = spec.run;
        let (folder, lock) = match Folder::create(&self.dir, spec)? {
            Creation::Created(folder, lock) => (folder, lock),
            Creation::Exists(folder) if !is_same_run(&folder, spec)? => {
                let message = format!("{} belongs to another run", folder.path().display());
                self.reject(run, "JobNameTaken", message);
                return Ok(());
            }
            Creation::Exists(folder) => match folder.condition()? {
                Condition::Untouched(lock) => (folder, lock),
                found => {
                    self.set_folder(run, &folder);
                    match found {
                        Condition::Ended(ended) => {
                            self.change(run, |known| known.phase = JobPhase::Ended(ended.into()));
                        }
                        Condition::Gone => self.change(run, |known| known.phase = JobPhase::Gone),
                        Condition::Live | Condition::Untouched(_) => self.follow(run, &folder),
                    }
                    return Ok(());
                }
            },
        };
        self.set_folder(run, &folder);
        let child = match self.spawn_shim(spec, &folder, lock) {
            Ok(child) => child,
            Err(error) => {
                self.change(run, |known| known.folder = None);
                folder.remove()?;
                return Err(error);
            }
        };
        self.change(run, |known| known.phase = JobPhase::Pending);
        self.follow_child(run, &folder, child);
        Ok(())
    }

    fn set_folder(&self, run: RunId, folder: &Folder) {
        self.change(run, |known| {
            known.refusals = 0;
            known.folder = Some(folder.clone());
        });
    }

    /// The shim gets the locked file as its standard input: the lock belongs to whoever has the file open.
    fn spawn_shim(&self, spec: &ShimSpec, folder: &Folder, lock: File) -> io::Result<Child> {
        let inherited = spec.inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
        Command::new(&self.program)
            .arg("process-shim")
            .arg(folder.path())
            .current_dir(folder.path())
            .env_clear()
            .envs(inherited)
            .stdin(lock)
            .stdout(Stdio::piped())
            .stderr(folder.open_log()?)
            .spawn()
    }

    /// Follows a shim of our own: it says when the command runs, and is reaped.
    fn follow_child(&self, run: RunId, folder: &Folder, mut child: Child) {
        if let Some(pipe) = child.stdout.take() {
            let mut line = String::new();
            if matches!(BufReader::new(pipe).read_line(&mut line), Ok(read) if read > 0) {
                self.see_started(run, folder);
            }
        }
        if let Err(error) = child.wait() {
            warn!(run, %error, "cannot wait for the shim");
        }
        self.follow(run, folder);
    }

    /// Waits until the shim has ended, then reads what came of it.
    pub(super) fn follow(&self, run: RunId, folder: &Folder) {
        self.see_started(run, folder);
        let condition = match folder.wait_unlocked().and_then(|()| folder.condition()) {
            Ok(condition) => condition,
            Err(error) => {
                warn!(run, %error, "cannot read how the process ended");
                Condition::Gone
            }
        };
        let phase = match condition {
            Condition::Ended(ended) => JobPhase::Ended(ended.into()),
            Condition::Live | Condition::Untouched(_) | Condition::Gone => {
                kill_leftovers(run, folder);
                JobPhase::Gone
            }
        };
        self.change(run, |known| known.phase = phase);
    }

    fn see_started(&self, run: RunId, folder: &Folder) {
        match folder.read::<Started>("started.json") {
            Ok(Some(started)) => self.change(run, |known| {
                known.started_at = Some(started.started_at);
                known.phase = JobPhase::Running;
            }),
            Ok(None) => {}
            Err(error) => warn!(run, %error, "cannot read when the process started"),
        }
    }
}

/// The kernel has killed the command with its shim; what the command itself started is killed here, at once, while
/// the number of the group cannot have become another one's.
fn kill_leftovers(run: RunId, folder: &Folder) {
    match folder.read::<Started>("started.json") {
        Ok(Some(started)) => sys::kill_group(started.command_pid),
        Ok(None) => {}
        Err(error) => warn!(run, %error, "cannot tell what the process left behind"),
    }
}
