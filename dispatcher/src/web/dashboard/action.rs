//! What people can do: each is one call of a public function, which says who may, and notes who did.

use maud::{Markup, html};
use serde::Deserialize;
use tokio_postgres::types::ToSql;

use super::link::link;

/// An action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The failed items of a batch again: one of them, those with one error, or all.
    Retry { batch: i64, item: Option<i32>, error: Option<String> },
    /// What has not ended of a batch.
    Cancel { batch: i64 },
    /// Nothing more of a queue.
    Pause { queue: String },
    /// And on.
    Resume { queue: String },
    /// So many runs of a queue at once; none = not said yet.
    Parallelism { queue: String, max_parallel: Option<i32> },
}

/// What a link or a form asks for. A field that is empty is not there.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    act: String,
    batch: Option<i64>,
    item: Option<i32>,
    error: Option<String>,
    queue: Option<String>,
    max_parallel: Option<String>,
    /// Why; of a form.
    #[serde(default)]
    pub(super) reason: String,
}

impl Asked {
    /// The action, or what is wrong with the link.
    pub(super) fn action(&self) -> Result<Action, String> {
        let batch = self.batch.ok_or_else(|| "batch is missing".to_owned());
        let queue = self.queue.clone().filter(|queue| !queue.is_empty()).ok_or("queue is missing");
        Ok(match self.act.as_str() {
            "retry" => Action::Retry {
                batch: batch?,
                item: self.item,
                error: self.error.clone().filter(|error| !error.is_empty()),
            },
            "cancel" => Action::Cancel { batch: batch? },
            "pause" => Action::Pause { queue: queue? },
            "resume" => Action::Resume { queue: queue? },
            "parallelism" => {
                let given = self.max_parallel.as_deref().map(str::trim).filter(|text| !text.is_empty());
                let max_parallel =
                    given.map(|text| text.parse().map_err(|_| format!("{text:?} is no number")));
                Action::Parallelism { queue: queue?, max_parallel: max_parallel.transpose()? }
            }
            other => return Err(format!("there is no action {other:?}")),
        })
    }
}

impl Action {
    fn fields(&self) -> Vec<(&'static str, String)> {
        let fields = match self {
            Self::Retry { batch, item, error } => vec![
                ("act", Some("retry".to_owned())),
                ("batch", Some(batch.to_string())),
                ("item", item.map(|item| item.to_string())),
                ("error", error.clone()),
            ],
            Self::Cancel { batch } => {
                vec![("act", Some("cancel".to_owned())), ("batch", Some(batch.to_string()))]
            }
            Self::Pause { queue } => vec![("act", Some("pause".to_owned())), ("queue", Some(queue.clone()))],
            Self::Resume { queue } => {
                vec![("act", Some("resume".to_owned())), ("queue", Some(queue.clone()))]
            }
            Self::Parallelism { queue, max_parallel } => vec![
                ("act", Some("parallelism".to_owned())),
                ("queue", Some(queue.clone())),
                ("max_parallel", max_parallel.map(|runs| runs.to_string())),
            ],
        };
        fields.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// Where its form is.
    pub(super) fn url(&self) -> String {
        let fields = self.fields();
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, Some(value.as_str()))).collect();
        link("/act", &fields)
    }

    /// The same, in a form, but for what one types there.
    pub(super) fn hidden(&self) -> Markup {
        let fields = self.fields().into_iter().filter(|(name, _)| *name != "max_parallel");
        html! { @for (name, value) in fields { input type="hidden" name=(name) value=(value); } }
    }

    /// Where one sees what came of it.
    pub(super) fn back(&self) -> String {
        match self {
            Self::Retry { batch, item: Some(item), .. } => format!("/batches/{batch}/items/{item}"),
            Self::Retry { batch, .. } | Self::Cancel { batch } => format!("/batches/{batch}"),
            Self::Pause { queue } | Self::Resume { queue } | Self::Parallelism { queue, .. } => {
                link("/batches", &[("queue", Some(queue))])
            }
        }
    }

    pub(super) fn title(&self) -> String {
        match self {
            Self::Retry { batch, item: Some(item), .. } => format!("Retry item {item} of batch {batch}"),
            Self::Retry { batch, error: Some(_), .. } => format!("Retry one cause of batch {batch}"),
            Self::Retry { batch, .. } => format!("Retry batch {batch}"),
            Self::Cancel { batch } => format!("Cancel batch {batch}"),
            Self::Pause { queue } => format!("Pause queue {queue}"),
            Self::Resume { queue } => format!("Resume queue {queue}"),
            Self::Parallelism { queue, .. } => format!("Parallelism of queue {queue}"),
        }
    }

    /// The call, for people to read, and to type elsewhere.
    pub(super) fn sql(&self) -> String {
        let call = match self {
            Self::Retry { batch, item, error } => {
                let items = item.map(|item| format!(", items => '{{{item}}}'")).unwrap_or_default();
                let error = error.as_deref().map(|error| format!(", error => {}", literal(error)));
                format!("retry_batch({batch}{items}{})", error.unwrap_or_default())
            }
            Self::Cancel { batch } => format!("cancel_batch({batch})"),
            Self::Pause { queue } => format!("pause_queue({})", literal(queue)),
            Self::Resume { queue } => format!("resume_queue({})", literal(queue)),
            Self::Parallelism { queue, max_parallel } => {
                let runs = max_parallel.map_or_else(|| "...".to_owned(), |runs| runs.to_string());
                format!("alter_queue({}, max_parallel => {runs})", literal(queue))
            }
        };
        format!("SELECT pgbatch.{call};")
    }

    /// The call, for PostgreSQL; none = it is not said yet what is to be called.
    pub(super) fn call(&self) -> Option<(&'static str, Vec<Box<dyn ToSql + Sync + Send>>)> {
        Some(match self {
            Self::Retry { batch, item, error } => (
                "SELECT pgbatch.retry_batch($1, $2, $3)",
                vec![Box::new(*batch), Box::new(item.map(|item| vec![item])), Box::new(error.clone())],
            ),
            Self::Cancel { batch } => ("SELECT pgbatch.cancel_batch($1)", vec![Box::new(*batch)]),
            Self::Pause { queue } => ("SELECT pgbatch.pause_queue($1)", vec![Box::new(queue.clone())]),
            Self::Resume { queue } => ("SELECT pgbatch.resume_queue($1)", vec![Box::new(queue.clone())]),
            Self::Parallelism { queue, max_parallel } => (
                "SELECT pgbatch.alter_queue($1, max_parallel => $2)",
                vec![Box::new(queue.clone()), Box::new((*max_parallel)?)],
            ),
        })
    }
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(act: &str) -> Asked {
        Asked { act: act.to_owned(), ..Asked::default() }
    }

    #[test]
    fn a_link_leads_to_its_form_and_shows_the_call() {
        let retry = Action::Retry { batch: 12, item: None, error: Some("it's & 7".to_owned()) };
        assert_eq!(retry.url(), "/act?act=retry&batch=12&error=it%27s%20%26%207");
        assert_eq!(retry.sql(), "SELECT pgbatch.retry_batch(12, error => 'it''s & 7');");
        assert_eq!(retry.hidden().into_string().matches("<input").count(), 3);
        let one = Action::Retry { batch: 12, item: Some(5), error: None };
        assert_eq!(
            (one.url().as_str(), one.back().as_str()),
            ("/act?act=retry&batch=12&item=5", "/batches/12/items/5")
        );
        assert_eq!(one.sql(), "SELECT pgbatch.retry_batch(12, items => '{5}');");
    }

    #[test]
    fn what_a_link_lacks_is_said() {
        assert_eq!(asked("retry").action(), Err("batch is missing".to_owned()));
        assert_eq!(asked("pause").action(), Err("queue is missing".to_owned()));
        assert_eq!(asked("drop").action(), Err("there is no action \"drop\"".to_owned()));
        let some = |text: &str| Asked {
            queue: Some("q".to_owned()),
            max_parallel: Some(text.to_owned()),
            ..asked("parallelism")
        };
        assert_eq!(some("many").action(), Err("\"many\" is no number".to_owned()));
        let unsaid = Action::Parallelism { queue: "q".to_owned(), max_parallel: None };
        assert_eq!(some(" ").action(), Ok(unsaid.clone()));
        assert!(unsaid.call().is_none());
    }
}
