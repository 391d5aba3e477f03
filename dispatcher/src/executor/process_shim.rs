//! `pgbatch process-shim FOLDER`: the parent of one local command, as the kubelet is the parent of a container.
//!
//! It holds the folder's lock (its standard input is the locked file), starts the command, stops it when asked by
//! SIGTERM, and writes down how it ended. If it is killed, the kernel kills the command and frees the lock.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, Signal, SignalKind};

use super::message;
use super::process::folder::{Begun, Ended, Folder, ShimSpec, Started};
use super::process::sys;
use super::signal;

/// Where a command says how it ended, in the place of a container's `terminationMessagePath`.
const TERMINATION_LOG: &str = "PGBATCH_TERMINATION_LOG";
/// The exit code of a command that could not be started, as Kubernetes has it.
const CANNOT_START: i32 = 128;

/// Why there is no end written down.
#[derive(Debug, thiserror::Error)]
enum ShimError {
    #[error("cannot start the runtime: {0}")]
    StartRuntime(#[source] io::Error),
    #[error("cannot listen to SIGTERM: {0}")]
    Listen(#[source] io::Error),
    #[error("this folder is not locked: process-shim is started by the dispatcher, not by hand")]
    NotLocked,
    #[error("cannot use {}: {source}", file)]
    UseFile { file: &'static str, source: io::Error },
    #[error("cannot wait for the command: {0}")]
    Wait(#[source] io::Error),
}

/// The whole program. The exit status tells nothing: what counts is in the folder.
#[must_use]
pub fn main(dir: &Path) -> ExitCode {
    sys::leave_session();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = match runtime {
        // One thread: the kernel's "die with your parent" means the thread that started the command.
        Ok(runtime) => runtime.block_on(shim(&Folder::at(dir))),
        Err(error) => Err(ShimError::StartRuntime(error)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the run's log. If that cannot be written, there is nowhere to say so.
            let _ = writeln!(io::stderr(), "pgbatch process-shim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn shim(folder: &Folder) -> Result<(), ShimError> {
    let mut terminate = unix::signal(SignalKind::terminate()).map_err(ShimError::Listen)?;
    let _lock = take_lock(folder)?;
    let spec: ShimSpec = folder
        .read("spec.json")
        .and_then(|spec| spec.ok_or_else(|| io::ErrorKind::NotFound.into()))
        .map_err(|source| ShimError::UseFile { file: "spec.json", source })?;
    let begun = Begun { shim_pid: i32::try_from(std::process::id()).unwrap_or_default() };
    write(folder, "begun.json", &begun)?;
    // Looked for after SIGTERM is heard and begun.json is there: a stop finds one or the other.
    if folder.is_stopping() {
        return write(folder, "ended.json", &stopped_before_start());
    }
    let ended = match start(folder, &spec) {
        Ok(child) => follow(folder, &spec, child, &mut terminate).await?,
        Err(error) => cannot_start(&spec, &error),
    };
    write(folder, "ended.json", &ended)
}

/// Keeps the lock, which is the standard input's, to itself: no copy of it goes to the command.
fn take_lock(folder: &Folder) -> Result<impl Sized + use<>, ShimError> {
    let failed = |source| ShimError::UseFile { file: "lock", source };
    let probe = File::open(folder.file("lock")).map_err(failed)?;
    match probe.try_lock_shared() {
        Err(TryLockError::WouldBlock) => io::stdin().as_fd().try_clone_to_owned().map_err(failed),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Ok(()) => Err(ShimError::NotLocked),
    }
}

fn write<T: serde::Serialize>(folder: &Folder, file: &'static str, value: &T) -> Result<(), ShimError> {
    folder.write(file, value).map_err(|source| ShimError::UseFile { file, source })
}

fn start(folder: &Folder, spec: &ShimSpec) -> io::Result<Child> {
    let (program, arguments) = spec.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let log = folder.open_log()?;
    let inherited = spec.inherited.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(&spec.env)
        .envs(inherited)
        .env(TERMINATION_LOG, folder.file("termination-log"))
        .current_dir(spec.working_dir.as_deref().unwrap_or(folder.path()))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0);
    sys::die_with_parent(&mut command);
    command.spawn()
}

async fn follow(
    folder: &Folder,
    spec: &ShimSpec,
    mut child: Child,
    terminate: &mut Signal,
) -> Result<Ended, ShimError> {
    let group = child.id().and_then(|id| i32::try_from(id).ok()).unwrap_or_default();
    write(folder, "started.json", &Started { command_pid: group, started_at: Timestamp::now() })?;
    // The dispatcher that listens may be gone: then the next one reads the file.
    let _ = writeln!(io::stdout(), "started");
    let ended = tokio::select! {
        status = child.wait() => status,
        _ = terminate.recv() => stop(&mut child, group, Duration::from_millis(spec.grace_period_ms)).await,
    };
    // What the command left running ends with it, as in a container.
    sys::kill_group(group);
    Ok(ending(folder, ended.map_err(ShimError::Wait)?))
}

async fn stop(child: &mut Child, group: i32, grace_period: Duration) -> io::Result<ExitStatus> {
    sys::terminate_group(group);
    match tokio::time::timeout(grace_period, child.wait()).await {
        Ok(ended) => ended,
        Err(_over) => {
            sys::kill_group(group);
            child.wait().await
        }
    }
}

fn ending(folder: &Folder, status: ExitStatus) -> Ended {
    let exit_code = status.code().or_else(|| Some(128 + status.signal()?)).unwrap_or(CANNOT_START);
    let mut message = message::termination_message(&folder.file("termination-log"));
    if !status.success() {
        message = message
            .or_else(|| message::log_tail(&folder.file("log")))
            .or_else(|| Some(format!("the command {}", signal::words_of(exit_code))));
    }
    Ended {
        succeeded: status.success(),
        finished_at: Timestamp::now(),
        exit_code,
        reason: Some(if status.success() { "Completed" } else { signal::reason_of(exit_code) }.to_owned()),
        message,
    }
}

fn stopped_before_start() -> Ended {
    Ended {
        succeeded: false,
        finished_at: Timestamp::now(),
        exit_code: 143,
        reason: Some("Error".to_owned()),
        message: Some("stopped before the command was started".to_owned()),
    }
}

fn cannot_start(spec: &ShimSpec, error: &io::Error) -> Ended {
    let program = spec.argv.first().map(String::as_str).unwrap_or_default();
    Ended {
        succeeded: false,
        finished_at: Timestamp::now(),
        exit_code: CANNOT_START,
        reason: Some("StartError".to_owned()),
        message: message::clean(&format!("cannot start {program:?}: {error}")),
    }
}
