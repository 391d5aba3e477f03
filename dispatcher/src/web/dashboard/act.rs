//! `/act`: what would be done, to how much, and by which call; then, with a reason, it is done. As the role that is mapped to who asks, in
//! one transaction, and `pgbatch.actions` has it.

use axum::Extension;
use axum::extract::{Form, Query, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Redirect, Response};
use jiff::Timestamp;
use maud::{Markup, html};
use serde_json::Value;
use tokio_postgres::types::ToSql;
use tracing::info;

use super::Dashboard;
use super::action::{Action, Asked};
use super::batch::peek;
use super::batches::peek_queue;
use super::error::PageError;
use super::layout::{Visitor, page};
use crate::people::session::{Actor, Session};
use crate::people::words;

/// As `note_action()` keeps of it.
const REASON_MAX: usize = 1000;
/// Of more items one cause is not counted.
const COUNTED_MAX: i64 = 10_000;

/// What would be done.
struct Outlook {
    /// About what: its queue, its label.
    about: String,
    /// To how much.
    words: Vec<String>,
    /// What the button says; none = there is nothing to do.
    button: Option<String>,
}

/// The form.
pub(super) async fn ask(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Result<Response, PageError> {
    let action = asked.action().map_err(PageError::BadRequest)?;
    Ok(form(&dashboard, &visitor, &action, "", None).await?.into_response())
}

/// Does it, and shows what came of it.
pub(super) async fn act(
    State(dashboard): State<Dashboard>,
    Extension(visitor): Extension<Visitor>,
    Form(asked): Form<Asked>,
) -> Result<Response, PageError> {
    let action = asked.action().map_err(PageError::BadRequest)?;
    let role = visitor.role.as_deref().ok_or(PageError::OnlyLooks)?;
    let reason = asked.reason.trim();
    let problem = match (action.call(), reason.chars().count()) {
        (None, _) => "Say how many runs may run at once.".to_owned(),
        (_, 0) => "Say why: whoever looks at it next will want to know.".to_owned(),
        (_, REASON_MAX..) => format!("A reason has less than {} characters.", words::grouped(1000)),
        (Some((sql, values)), _) => {
            let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
            let actor = Actor { role, person: visitor.name(), reason };
            // Of its own, and closed afterwards: no page is ever read as that role, whatever breaks in between.
            let (mut session, _permit) = dashboard.sessions.own().await?;
            match session.call_as(&actor, sql, &values).await {
                Ok(()) => {
                    info!(action = action.title(), role, by = visitor.name(), "acted in the dashboard");
                    return Ok(Redirect::to(&action.back()).into_response());
                }
                Err(failure) => failure.to_string(),
            }
        }
    };
    let page = form(&dashboard, &visitor, &action, reason, Some(&problem)).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

async fn form(
    dashboard: &Dashboard,
    visitor: &Visitor,
    action: &Action,
    reason: &str,
    problem: Option<&str>,
) -> Result<Html<String>, PageError> {
    let role = visitor.role.as_deref().ok_or(PageError::OnlyLooks)?;
    let session = dashboard.sessions.lend().await?;
    let outlook = outlook(&session, action).await?;
    let now = session.now().await?;
    drop(session);
    let title = action.title();
    let main = html! {
        h1 { (title) }
        p.lead { (outlook.about) }
        @if let Some(problem) = problem { p.problem role="alert" { (problem) } }
        @for words in &outlook.words { p { (words) } }
        pre { (action.sql()) }
        (asked_as(visitor, role, now))
        @match &outlook.button {
            Some(button) => form.act method="post" action="/act" data-still {
                (action.hidden())
                (number_field(action))
                label for="reason" { "Why?" }
                input #reason name="reason" value=(reason) maxlength=(REASON_MAX - 1) autocomplete="off" required
                    autofocus[!matches!(action, Action::Parallelism { .. })];
                p { button.primary type="submit" { (button) } " " a href=(action.back()) { "Leave it as it is" } }
            },
            None => p { a href=(action.back()) { "Back" } },
        }
    };
    Ok(page("", &title, visitor, &main))
}

fn asked_as(visitor: &Visitor, role: &str, now: Timestamp) -> Markup {
    html! {
        p.muted {
            "As role " strong { (role) }
            @if let Some(name) = visitor.name() { ", on behalf of " strong { (name) } }
            "; counted at " (words::clock(now, now)) ". It is kept in pgbatch.actions, with the reason."
        }
    }
}

fn number_field(action: &Action) -> Markup {
    let Action::Parallelism { max_parallel, .. } = action else { return html! {} };
    html! {
        label for="max_parallel" { "At most so many runs at once" }
        input #max_parallel type="number" name="max_parallel" min="1" value=[max_parallel] required autofocus;
    }
}

async fn outlook(session: &Session, action: &Action) -> Result<Outlook, PageError> {
    match action {
        Action::Retry { batch, item, error } => {
            let found = peek(session, *batch).await?;
            Ok(retry(session, &found, *item, error.as_deref()).await)
        }
        Action::Cancel { batch } => Ok(cancel(&peek(session, *batch).await?)),
        Action::Pause { queue } | Action::Resume { queue } | Action::Parallelism { queue, .. } => {
            let found = peek_queue(session, queue).await?;
            let found = found.ok_or_else(|| {
                PageError::NotFound(format!("Queue {queue} does not exist, or may not be read."))
            })?;
            Ok(of_queue(action, &found))
        }
    }
}

async fn retry(session: &Session, batch: &Value, item: Option<i32>, error: Option<&str>) -> Outlook {
    const FAILED: &str = "SELECT count(*) FROM (SELECT FROM pgbatch.items i WHERE i.batch_id = $1 AND i.state = 'failed' \
        AND ($2::int IS NULL OR i.item_no = $2) AND ($3::text IS NULL OR pgbatch.error_kind(i.error) = pgbatch.error_kind($3)) LIMIT $4) i";
    let counted = match (item, error) {
        (None, None) => Some((words::number(batch, "failed"), batch["is_exact"] != false)),
        _ => {
            let id = words::number(batch, "id");
            // The items of a batch of millions may take longer than a page may.
            let count = session.number(FAILED, &[&id, &item, &error, &COUNTED_MAX]).await.ok();
            count.map(|count| (count, count < COUNTED_MAX))
        }
    };
    Outlook { about: about(batch), ..retried(batch, counted, error) }
}

/// `counted`: how many have failed, and whether that is all; none = it is not known.
fn retried(batch: &Value, counted: Option<(i64, bool)>, error: Option<&str>) -> Outlook {
    let total = words::count(words::number(batch, "items"), "item");
    let attempts = words::count(words::number(batch, "max_attempts"), "attempt");
    let cause = if error.is_some() { " for this cause" } else { "" };
    let least = counted.filter(|(_, is_all)| !is_all).map_or("", |_| "at least ");
    let failed = match counted {
        Some((count, _)) => format!("{least}{} of its {total} failed{cause}", words::grouped(count)),
        None => format!("How many of its {total} failed{cause} takes too long to be counted"),
    };
    let mut told = vec![format!("{failed}. They are tried again at once, with {attempts} each.")];
    told.extend(error.map(words::clean));
    let button = match (words::text(batch, "state").as_str(), counted) {
        ("cancelled", _) => {
            told.push("It was cancelled: nothing of it is tried again. Enqueue its items anew.".to_owned());
            None
        }
        (_, Some((0, _))) => None,
        (_, Some((count, _))) => Some(format!("Retry {least}{}", words::count(count, "item"))),
        (_, None) => Some("Retry them".to_owned()),
    };
    Outlook { about: String::new(), words: told, button }
}

fn cancel(batch: &Value) -> Outlook {
    let number = |column| words::number(batch, column);
    let (waiting, running) = (number("pending") + number("retrying"), number("running"));
    let told = format!(
        "{} that wait are not started any more, {} that run are stopped. What has ended stays as it is. A cancelled batch cannot be \
         resumed, and batches that come after it are cancelled too.",
        words::count(waiting, "item"),
        words::grouped(running)
    );
    match batch["finished_at"].is_null() {
        true => Outlook {
            about: about(batch),
            words: vec![told],
            button: Some(format!("Cancel {}", words::count(waiting + running, "item"))),
        },
        false => Outlook {
            about: about(batch),
            words: vec![format!("It has ended: {}.", words::text(batch, "state"))],
            button: None,
        },
    }
}

fn of_queue(action: &Action, queue: &Value) -> Outlook {
    let number = |column| words::number(queue, column);
    let least = if queue["is_exact"] == false { "at least " } else { "" };
    let waiting = format!("{least}{}", words::count(number("pending") + number("retrying"), "item"));
    let running = format!("{least}{}", words::count(number("running"), "item"));
    let about = format!(
        "{waiting} waiting, {running} running, at most {} at once{}",
        words::count(number("max_parallel"), "run"),
        if queue["paused"] == true { "; paused" } else { "" }
    );
    let (told, button) = match (action, queue["paused"] == true) {
        (Action::Pause { .. }, true) => ("It is paused already.", None),
        (Action::Pause { .. }, false) => ("Nothing of it starts any more; what runs goes on.", Some("Pause")),
        (Action::Resume { .. }, true) => ("What waits starts again, as the limits allow.", Some("Resume")),
        (Action::Resume { .. }, false) => ("It is not paused.", None),
        _ => ("For whatever starts from now on: nothing that runs is stopped.", Some("Change")),
    };
    Outlook { about, words: vec![told.to_owned()], button: button.map(str::to_owned) }
}

fn about(batch: &Value) -> String {
    let (queue, label) = (words::text(batch, "queue"), words::text(batch, "label"));
    if label.is_empty() { format!("Queue {queue}") } else { format!("Queue {queue}, \"{label}\"") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_cancelled_is_counted_and_what_has_ended_is_left() {
        let open =
            cancel(&json!({"queue": "q", "label": "nightly", "pending": 1000, "retrying": 2, "running": 30}));
        assert_eq!(open.about, "Queue q, \"nightly\"");
        assert!(
            open.words[0]
                .starts_with("1,002 items that wait are not started any more, 30 that run are stopped")
        );
        assert_eq!(open.button.as_deref(), Some("Cancel 1,032 items"));
        let ended = cancel(&json!({"queue": "q", "state": "failed", "finished_at": "2026-01-01T00:00:00Z"}));
        assert_eq!((ended.words[0].as_str(), ended.button), ("It has ended: failed.", None));
    }

    #[test]
    fn what_is_retried_is_counted_as_far_as_it_can_be() {
        let batch = json!({"items": 5000, "max_attempts": 3, "state": "failed"});
        let told = |counted, error| {
            let outlook = retried(&batch, counted, error);
            (outlook.words.join("|"), outlook.button)
        };
        let again = "They are tried again at once, with 3 attempts each.";
        let all = told(Some((2, true)), None);
        assert_eq!(all, (format!("2 of its 5,000 items failed. {again}"), Some("Retry 2 items".to_owned())));
        let some = told(Some((1000, false)), Some("no\nroom"));
        assert_eq!(
            some.0,
            format!("at least 1,000 of its 5,000 items failed for this cause. {again}|no room")
        );
        assert_eq!(some.1.as_deref(), Some("Retry at least 1,000 items"));
        assert_eq!(told(None, Some("x")).1.as_deref(), Some("Retry them"));
        assert_eq!(told(Some((0, true)), None).1, None);
    }

    #[test]
    fn a_queue_is_paused_or_resumed_once() {
        let (pause, resume) = (Action::Pause { queue: "q".into() }, Action::Resume { queue: "q".into() });
        let can = |action, paused| of_queue(action, &json!({"paused": paused})).button.is_some();
        assert_eq!(
            [can(&pause, true), can(&pause, false), can(&resume, true), can(&resume, false)],
            [false, true, true, false]
        );
        let told = of_queue(
            &resume,
            &json!({"paused": true, "pending": 2000, "running": 1, "max_parallel": 30, "is_exact": false}),
        );
        assert_eq!(
            told.about,
            "at least 2,000 items waiting, at least 1 item running, at most 30 runs at once; paused"
        );
    }
}
