//! The process executor with real processes: the shim is the built `pgbatch`.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what a test cannot go on without fails it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbatch_core::run::RunSpec;
use pgbatch_core::snapshot::{Ending, JobPhase, JobView, RunId};
use pgbatch_dispatcher::executor::process::{Process, ProcessConfig};
use serde_json::{Value, json};

const INSTALLATION: &str = "3f1c";
const LIMIT: Duration = Duration::from_secs(20);

/// A folder of its own for each test, removed when the test has passed.
struct Dir(PathBuf);

impl Dir {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("pgbatch-process-{test}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn open(&self) -> Process {
        let config = ProcessConfig { dir: Some(self.0.clone()) };
        Process::open_with(&config, INSTALLATION, env!("CARGO_BIN_EXE_pgbatch").into()).unwrap()
    }

    /// As if the shim had never been there.
    fn undo(&self, run: RunId) {
        for file in ["begun.json", "started.json", "ended.json"] {
            fs::remove_file(self.run(run).join(file)).unwrap();
        }
    }

    fn run(&self, run: RunId) -> PathBuf {
        self.0.join(INSTALLATION).join(format!("q-{run}"))
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

fn spec(run: RunId, container: Value) -> RunSpec {
    let pod = json!({"containers": [container], "terminationGracePeriodSeconds": 1});
    serde_json::from_value(json!({
        "run": run, "queue": "q", "batch": 1, "namespace": null, "first_item": 1, "last_item": 1, "attempt": 1,
        "token": format!("token-{run}"), "items": [{"who": "it's $(me)"}], "items_per_run": 1,
        "job_template": {"spec": {"template": {"spec": pod}}},
    }))
    .unwrap()
}

fn shell(run: RunId, script: &str) -> RunSpec {
    spec(run, json!({"name": "c", "image": "i", "command": ["sh", "-c", script]}))
}

async fn until(executor: &Process, run: RunId, what: &str, is: impl Fn(&JobView) -> bool) -> JobView {
    let seen = async {
        loop {
            if let Some(job) = executor.view().jobs.get(&run).filter(|job| is(job)) {
                return job.clone();
            }
            executor.changed().await;
        }
    };
    match tokio::time::timeout(LIMIT, seen).await {
        Ok(job) => job,
        Err(_) => panic!("run {run} never {what}: {:?}", executor.view().jobs.get(&run)),
    }
}

async fn running(executor: &Process, run: RunId) -> JobView {
    until(executor, run, "ran", |job| job.phase == JobPhase::Running).await
}

async fn ended(executor: &Process, run: RunId) -> Ending {
    let job = until(executor, run, "ended", |job| matches!(job.phase, JobPhase::Ended(_))).await;
    match job.phase {
        JobPhase::Ended(ending) => ending,
        other => panic!("{other:?}"),
    }
}

fn pid_in(file: &Path, key: &str) -> i64 {
    serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap()[key].as_i64().unwrap()
}

fn signal(name: &str, pid: i64) {
    assert!(std::process::Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

/// Waits until a process has ended: not there, or dead and not yet reaped.
async fn gone(pid: i64) {
    let dead = async {
        loop {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest.chars().next());
            if matches!(state, None | Some(Some('Z' | 'X'))) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, dead).await.unwrap();
}

#[tokio::test]
async fn a_success_with_a_result() {
    let dir = Dir::new("success");
    let executor = dir.open();
    let script = r#"printf '{"who":"%s"}' "$PGBATCH_ARG_WHO" > "$PGBATCH_TERMINATION_LOG"; pwd"#;
    executor.start(shell(1, script));
    let ending = ended(&executor, 1).await;
    assert!(ending.succeeded, "{ending:?}");
    assert_eq!((ending.exit_code, ending.message.as_deref()), (Some(0), Some(r#"{"who":"it's $(me)"}"#)));
    assert!(executor.view().jobs[&1].started_at.is_some());
    assert_eq!(fs::read_to_string(dir.run(1).join("log")).unwrap().trim(), dir.run(1).to_str().unwrap());
    executor.remove(1);
    assert!(executor.view().jobs.is_empty());
}

#[tokio::test]
async fn a_failure_tells_the_end_of_its_log() {
    let dir = Dir::new("failure");
    let executor = dir.open();
    executor.start(shell(1, "echo working; echo no such table >&2; exit 3"));
    let ending = ended(&executor, 1).await;
    let words = (ending.succeeded, ending.exit_code, ending.reason.as_deref(), ending.message.as_deref());
    assert_eq!(words, (false, Some(3), Some("Error"), Some("working\nno such table")));
    // Kubernetes makes one dollar of two.
    executor.start(shell(2, "kill -9 $$$$"));
    let ending = ended(&executor, 2).await;
    assert_eq!((ending.exit_code, ending.reason.as_deref()), (Some(137), Some("SIGKILL")));
}

#[tokio::test]
async fn a_command_that_does_not_exist() {
    let dir = Dir::new("nocommand");
    let executor = dir.open();
    executor.start(spec(1, json!({"name": "c", "image": "i", "command": ["no-such-program"]})));
    let ending = ended(&executor, 1).await;
    assert_eq!((ending.exit_code, ending.reason.as_deref()), (Some(128), Some("StartError")));
    assert!(ending.message.unwrap().contains("no-such-program"));
    executor.start(spec(2, json!({"name": "c", "image": "i"})));
    let ending = ended(&executor, 2).await;
    assert_eq!(ending.reason.as_deref(), Some("JobRejected"));
    assert!(ending.message.unwrap().contains("containers[0].command"));
    executor.forget(2);
    assert!(!executor.view().jobs.contains_key(&2), "only memory had it");
}

#[tokio::test]
async fn a_run_outlives_its_dispatcher_and_is_found_by_the_next() {
    let dir = Dir::new("adoption");
    let first = dir.open();
    let gate = dir.0.join("gate");
    first.start(shell(1, &format!("mkfifo {0}; read line < {0}; exit 4", gate.display())));
    let started_at = running(&first, 1).await.started_at;
    drop(first);
    let second = dir.open();
    let found = second.view().jobs[&1].clone();
    assert_eq!((found.phase, found.started_at, found.stopping), (JobPhase::Running, started_at, false));
    tokio::task::spawn_blocking(move || fs::write(gate, "go\n")).await.unwrap().unwrap();
    assert_eq!(ended(&second, 1).await.exit_code, Some(4));
    drop(second);
    assert_eq!(ended(&dir.open(), 1).await.exit_code, Some(4), "an end is kept");
}

#[tokio::test]
async fn starting_twice_runs_once() {
    let dir = Dir::new("twice");
    let (one, two) = (dir.open(), dir.open());
    let marks = dir.0.join("marks");
    let script = format!("echo x >> {}; sleep 0.2", marks.display());
    for executor in [&one, &two, &one] {
        executor.start(shell(1, &script));
    }
    assert!(ended(&one, 1).await.succeeded && ended(&two, 1).await.succeeded);
    two.start(shell(1, &script));
    assert!(ended(&two, 1).await.succeeded);
    assert_eq!(fs::read_to_string(marks).unwrap(), "x\n");

    let mut foreign = shell(1, &script);
    foreign.token = "another".into();
    let three = dir.open();
    three.start(foreign);
    let taken = until(
        &three,
        1,
        "was refused",
        |job| matches!(&job.phase, JobPhase::Ended(e) if e.reason.as_deref() == Some("JobNameTaken")),
    );
    taken.await;
}

#[tokio::test]
async fn a_stop_is_polite_first() {
    let dir = Dir::new("stop");
    let executor = dir.open();
    executor
        .start(shell(1, "trap 'echo told; exit 9' TERM; echo ready > ready; while :; do sleep 0.05; done"));
    running(&executor, 1).await;
    // The shell must have set its trap.
    while !dir.run(1).join("ready").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    executor.stop(1);
    assert!(executor.view().jobs[&1].stopping);
    let ending = ended(&executor, 1).await;
    assert_eq!(ending.exit_code, Some(9));
    assert!(ending.message.unwrap().ends_with("told"));
    assert!(executor.view().jobs[&1].stopping, "it ended because of the stop");

    executor.start(shell(2, "trap '' TERM; while :; do sleep 0.05; done"));
    running(&executor, 2).await;
    executor.stop(2);
    // By SIGTERM where that came before the trap, else by SIGKILL after the grace period.
    assert!(matches!(ended(&executor, 2).await.exit_code, Some(143 | 137)));
}

#[tokio::test]
async fn a_stop_reaches_an_adopted_run() {
    let dir = Dir::new("stopadopted");
    let first = dir.open();
    first.start(shell(1, "sleep 60"));
    running(&first, 1).await;
    drop(first);
    let second = dir.open();
    second.stop(1);
    assert_eq!(ended(&second, 1).await.exit_code, Some(143));
    let third = dir.open();
    assert!(third.view().jobs[&1].stopping, "the next dispatcher knows");
}

#[tokio::test]
async fn with_its_shim_a_command_dies_and_all_that_it_started() {
    let dir = Dir::new("killed");
    let executor = dir.open();
    executor.start(shell(1, "sleep 61 & echo $! > child; wait"));
    running(&executor, 1).await;
    let child = dir.run(1).join("child");
    while fs::read_to_string(&child).unwrap_or_default().trim().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let child: i64 = fs::read_to_string(child).unwrap().trim().parse().unwrap();
    let command = pid_in(&dir.run(1).join("started.json"), "command_pid");
    signal("-KILL", pid_in(&dir.run(1).join("begun.json"), "shim_pid"));
    until(&executor, 1, "was gone", |job| job.phase == JobPhase::Gone).await;
    gone(command).await;
    gone(child).await;
    drop(executor);
    let next = dir.open();
    assert_eq!(next.view().jobs[&1].phase, JobPhase::Gone, "the next dispatcher knows");
    next.forget(1);
    assert!(next.view().jobs.is_empty());
}

#[tokio::test]
async fn without_a_dispatcher_too_a_command_dies_with_its_shim() {
    let dir = Dir::new("orphan");
    let executor = dir.open();
    executor.start(shell(1, "test -e ../again && exec sleep 62"));
    ended(&executor, 1).await;
    drop(executor);
    dir.undo(1);
    fs::write(dir.0.join(INSTALLATION).join("again"), "").unwrap();
    let lock = fs::File::open(dir.run(1).join("lock")).unwrap();
    lock.lock().unwrap();
    let mut shim = std::process::Command::new(env!("CARGO_BIN_EXE_pgbatch"));
    let mut shim = shim.arg("process-shim").arg(dir.run(1)).stdin(lock).spawn().unwrap();
    let started = dir.run(1).join("started.json");
    while !started.exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    shim.kill().unwrap();
    shim.wait().unwrap();
    gone(pid_in(&started, "command_pid")).await;
}

#[tokio::test]
async fn a_start_that_the_dispatcher_did_not_survive_leaves_nothing() {
    let dir = Dir::new("untouched");
    let executor = dir.open();
    executor.start(shell(1, "true"));
    ended(&executor, 1).await;
    drop(executor);
    // As if the dispatcher had died with the folder made and the shim not started.
    dir.undo(1);
    let next = dir.open();
    assert!(next.view().jobs.is_empty());
    next.start(shell(1, "true"));
    assert!(ended(&next, 1).await.succeeded);
}

#[tokio::test]
async fn a_folder_that_others_can_write_to_is_refused() {
    let dir = Dir::new("unsafe");
    fs::set_permissions(&dir.0, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    let config = ProcessConfig { dir: Some(dir.0.clone()) };
    let error = Process::open_with(&config, INSTALLATION, "pgbatch".into()).unwrap_err().to_string();
    assert!(error.contains("only they may write"), "{error}");
}

#[test]
fn a_shim_started_by_hand_does_nothing() {
    let dir = Dir::new("byhand");
    fs::write(dir.0.join("lock"), "").unwrap();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_pgbatch"))
        .arg("process-shim")
        .arg(&dir.0)
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("not locked"));
}
