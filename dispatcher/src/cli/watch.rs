//! `pgbatch watch BATCH`: a progress bar until the batch ends, and its failures as they come.

use std::collections::HashSet;
use std::fmt::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use jiff::Timestamp;
use serde_json::Value;

use super::failure::{Failure, Fate};
use super::output::Output;
use super::session::Session;
use super::{BatchArgs, ClientArgs, show, words};
use crate::people::batch;

/// A person looks at it: this often is live, and cheap.
const REFRESH: Duration = Duration::from_millis(250);

/// Two lines, as a narrow terminal has no room for all on one.
const TEMPLATE: &str = "{prefix} [{wide_bar}] {pos}/{len}  {rate}  ETA {left}\n{msg}";

/// So many failures are told at a time; what a thousand have in common is for `pgbatch show`.
const FAILURES_MAX: usize = 8;

/// The failed runs after `$2`; and up to which run all have ended, so that the next look may begin there.
const FAILURES: &str = "\
    SELECT r.id, r.job_name, r.first_item, r.last_item, r.attempt, r.state, r.exit_code, r.reason, r.message \
    FROM pgbatch.runs r WHERE r.batch_id = $1 AND r.id > $2 AND r.state IN ('failed', 'timed_out', 'lost') ORDER BY r.id";
const ALL_ENDED: &str = "\
    SELECT coalesce((SELECT min(r.id) - 1 FROM pgbatch.runs r WHERE r.batch_id = $1 AND r.state IN ('starting', 'running')), \
        (SELECT max(r.id) FROM pgbatch.runs r WHERE r.batch_id = $1), 0)";

pub(super) async fn watch(args: BatchArgs) -> Result<Fate, Failure> {
    let BatchArgs { client: ClientArgs { database_url, output }, batch } = args;
    let output = Output::new(output);
    let session = Session::open(database_url, "watch").await?;
    session.listen().await?;
    let (ended, fate) = follow(&session, batch).await?;
    match output.is_json() {
        true => output.json(&ended)?,
        false => output.line(&told(&ended, session.now().await?))?,
    }
    Ok(fate)
}

/// How it ended, on one line.
pub(super) fn told(batch: &Value, now: Timestamp) -> String {
    let (id, state) = (words::number(batch, "id"), words::text(batch, "state"));
    let after = match words::took(batch, "started_at", "finished_at", now) {
        took if took.is_empty() => took,
        took => format!(" after {took}"),
    };
    let because = match words::text(batch, "cancel_reason") {
        reason if reason.is_empty() => reason,
        reason => format!(" ({reason})"),
    };
    let due = batch::ended(batch).map(|ended| format!("; {ended} its deadline")).unwrap_or_default();
    format!("batch {id} {state}{after}{because}; items: {}{due}", show::progress(batch))
}

/// Follows a batch to its end, on standard error: a bar where that is a terminal, and the failures as they come. The
/// session listens already.
pub(super) async fn follow(session: &Session, batch: i64) -> Result<(Value, Fate), Failure> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(style());
    bar.set_prefix(format!("batch {batch}"));
    let mut failures = Failures::default();
    let mut begun = false;
    loop {
        let now = session.batch(batch).await?;
        show_progress(&bar, &now, &due(session, &now).await?);
        if !begun {
            // What was done before we came says nothing about the rate.
            bar.reset_eta();
            begun = true;
        }
        failures.tell(session, batch, &bar).await?;
        let state = words::text(&now, "state");
        if matches!(state.as_str(), "succeeded" | "failed" | "cancelled") {
            bar.abandon();
            let fate = if state == "succeeded" { Fate::Fine } else { Fate::NotSucceeded };
            return Ok((now, fate));
        }
        // NOTIFY ends the wait at once; the period is only for the picture.
        session.rung(REFRESH).await;
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_| ProgressStyle::default_bar());
    style
        .progress_chars("=> ")
        .with_key("rate", |state: &ProgressState, text: &mut dyn Write| {
            let _ = write!(text, "{:.1}/s", state.per_sec());
        })
        .with_key("left", |state: &ProgressState, text: &mut dyn Write| {
            let _ = match state.per_sec() > 0.0 {
                true => text.write_str(&words::seconds(state.eta().as_secs_f64())),
                false => text.write_str("?"),
            };
        })
}

/// What there is to say of its deadline, if it has one.
async fn due(session: &Session, batch: &Value) -> Result<String, Failure> {
    if batch["deadline"].is_null() {
        return Ok(String::new());
    }
    let now = session.now().await?;
    Ok(match batch::late(batch, now) {
        Some(late) => format!("; {}", late.words()),
        None => format!("; deadline {}", batch::deadline(batch, now)),
    })
}

fn show_progress(bar: &ProgressBar, batch: &Value, due: &str) {
    let items = |column| u64::try_from(words::number(batch, column)).unwrap_or(0);
    bar.set_length(items("items"));
    bar.set_position(items("succeeded") + items("failed") + items("cancelled"));
    let counts: Vec<String> = ["pending", "running", "retrying", "succeeded", "failed", "cancelled"]
        .into_iter()
        .filter(|state| items(state) > 0)
        .map(|state| format!("{} {state}", items(state)))
        .collect();
    bar.set_message(match words::text(batch, "state").as_str() {
        "waiting" => format!("waiting for its time, or for other batches{due}"),
        _ => counts.join(", ") + due,
    });
}

/// The failures that were told.
#[derive(Default)]
struct Failures {
    /// All runs up to this one have ended, and were told.
    floor: i64,
    /// Those after it.
    told: HashSet<i64>,
}

impl Failures {
    async fn tell(&mut self, session: &Session, batch: i64, bar: &ProgressBar) -> Result<(), Failure> {
        // In this order: what ends between the two is told now, and begun after next time.
        let ended = session.number(ALL_ENDED, &[&batch]).await?;
        let failed = session.rows(FAILURES, &[&batch, &self.floor]).await?;
        let new: Vec<&Value> =
            failed.iter().filter(|run| self.told.insert(words::number(run, "id"))).collect();
        let skipped = new.len().saturating_sub(FAILURES_MAX);
        if skipped > 0 {
            say(
                bar,
                &format!(
                    "{} failed before; pgbatch show {batch} groups them",
                    words::count(count(skipped), "run")
                ),
            );
        }
        for run in &new[skipped..] {
            say(bar, &describe(run));
        }
        self.floor = ended;
        self.told.retain(|run| *run > ended);
        Ok(())
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Above the bar, or on a line of its own where there is none.
fn say(bar: &ProgressBar, line: &str) {
    if bar.is_hidden() {
        eprintln!("{line}");
    } else {
        bar.println(line);
    }
}

fn describe(run: &Value) -> String {
    let (first, last) = (words::number(run, "first_item"), words::number(run, "last_item"));
    let items = if first == last { format!("item {first}") } else { format!("items {first} to {last}") };
    let exit = match words::text(run, "exit_code") {
        code if code.is_empty() => code,
        code => format!("exit code {code}"),
    };
    let said: Vec<String> = [words::short(run, "reason"), exit, words::short(run, "message")]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let (attempt, state) = (words::number(run, "attempt"), words::text(run, "state"));
    format!("{items}, attempt {attempt} {}: {}", state.replace('_', " "), said.join(", "))
}
