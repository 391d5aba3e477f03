//! One look at everything: who leads, the queues, the limits, and why work is held.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::rates::Rates;
use crate::cli::output::Output;
use crate::cli::table::{Cell, Column, Kind, Table, Tone};
use crate::people::batch::{Late, deadlines, late, named};
use crate::people::failure::Failure;
use crate::people::queue::{eta_seconds, not_starting};
use crate::people::session::Session;
use crate::people::words;

/// Those that have something to do come first: a screen may have no room for the others.
const QUEUES: &str = "\
    SELECT q.name, q.paused, q.max_parallel, q.pending, q.running, q.retrying, q.failed, q.oldest_pending \
    FROM pgbatch.queues q ORDER BY q.pending + q.running + q.retrying = 0, q.name";

/// The first closed gate before the next item of each queue.
const HELD: &str = "\
    SELECT q.name AS queue, e.gate, e.words \
    FROM unnest($1::text[]) q (name) \
    CROSS JOIN LATERAL ( \
        SELECT b.id, b.items - b.pending + 1 AS item_no FROM pgbatch.batches b \
        WHERE b.queue = q.name AND b.state IN ('waiting', 'pending', 'running') AND b.pending > 0 \
        ORDER BY b.state = 'waiting', b.priority DESC, b.id LIMIT 1) b \
    CROSS JOIN LATERAL ( \
        SELECT e.gate, e.words FROM pgbatch.explain_item(b.id, b.item_no::int) \
        WITH ORDINALITY e (gate, open, words, place) \
        WHERE NOT e.open AND e.gate <> 'dispatcher' ORDER BY e.place LIMIT 1) e";

const COLUMNS: [Column; 9] = [
    Column::new("QUEUE", Kind::Name, 0),
    Column::new("PENDING", Kind::Number, 0),
    Column::new("RUNNING", Kind::Number, 0),
    Column::new("RETRYING", Kind::Number, 2),
    Column::new("FAILED", Kind::Number, 0),
    Column::new("ENDED/S", Kind::Number, 1),
    Column::new("ETA", Kind::Number, 4),
    Column::new("OLDEST", Kind::Number, 3),
    Column::new("HELD", Kind::Words, 0),
];

/// So many that are past their deadline, and so many whose deadline is next: a screen has room for queues, too.
const DEADLINES_MAX: i32 = 5;

/// The look.
pub(super) struct Frame {
    target: String,
    dispatcher: Option<Value>,
    queues: Vec<Value>,
    limits: Vec<Value>,
    /// Batches that have a deadline, open ones.
    deadlines: Vec<Value>,
    now: Timestamp,
}

impl Frame {
    pub(super) async fn read(session: &Session, rates: &mut Rates) -> Result<Self, Failure> {
        let mut queues = session.rows(QUEUES, &[]).await?;
        let rates = rates.look(session).await?;
        let held = held(session, &queues).await?;
        for queue in &mut queues {
            complete(queue, &rates, &held);
        }
        Ok(Self {
            target: session.target().to_owned(),
            // Not everybody may ask.
            dispatcher: session.row("SELECT * FROM pgbatch.explain_dispatcher()", &[]).await.unwrap_or(None),
            queues,
            limits: session.rows("SELECT * FROM pgbatch.limits ORDER BY name", &[]).await?,
            // An extension of the version before has none.
            deadlines: deadlines(session, DEADLINES_MAX).await.unwrap_or_default(),
            now: session.now().await?,
        })
    }

    /// For programs.
    pub(super) fn json(&self) -> Value {
        let dispatcher =
            self.dispatcher.as_ref().map(|found| json!({"leads": found["open"], "words": found["words"]}));
        let late = self.late().map(|(batch, late)| {
            json!({"batch": batch["id"], "queue": batch["queue"], "deadline": batch["deadline"],
                "is_past": matches!(late, Late::Now(_)), "words": late.words()})
        });
        let late: Vec<Value> = late.collect();
        json!({"dispatcher": dispatcher, "late": late, "queues": self.queues, "limits": self.limits})
    }

    /// For people.
    pub(super) fn text(&self, output: &Output) -> String {
        let mut text = format!("pgbatch on {}\n{}\n", self.target, self.leader(output));
        for (batch, late) in self.late() {
            let tone = if matches!(late, Late::Now(_)) { Tone::Bad } else { Tone::Warning };
            text += &format!("{}\n", output.paint(&format!("{}: {}", named(batch), late.words()), tone));
        }
        text += "\n";
        if self.queues.is_empty() {
            return text + "There is no queue yet: pgbatch.create_queue() makes one.\n";
        }
        text += &output.render(&self.queue_table());
        if !self.limits.is_empty() {
            text += "\n";
            text += &output.render(&self.limit_table());
        }
        text
    }

    /// The batches that are past their deadline or will be, and the words for it.
    fn late(&self) -> impl Iterator<Item = (&Value, Late)> {
        self.deadlines.iter().filter_map(|batch| Some((batch, late(batch, self.now)?)))
    }

    fn leader(&self, output: &Output) -> String {
        let Some(dispatcher) = &self.dispatcher else {
            return "whether a dispatcher leads, this role may not ask".to_owned();
        };
        let words = words::text(dispatcher, "words");
        let (first, _) = words.split_once(',').unwrap_or((&words, ""));
        let leads = dispatcher["open"].as_bool().unwrap_or(false);
        output.paint(first, if leads { Tone::Good } else { Tone::Bad })
    }

    fn queue_table(&self) -> Table {
        let mut table = Table::new(&COLUMNS);
        for queue in &self.queues {
            let number = |column| words::number(queue, column);
            let toned = |column, tone: Tone| {
                Cell::toned(number(column).to_string(), tone.unless_zero(number(column)))
            };
            let rate = queue["per_second"].as_f64().unwrap_or(0.0);
            let eta = queue["eta_seconds"].as_f64().map(words::seconds).unwrap_or_default();
            let held: Vec<&str> =
                queue["held"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            table.row(vec![
                words::text(queue, "name").into(),
                number("pending").into(),
                toned("running", Tone::Busy),
                toned("retrying", Tone::Warning),
                toned("failed", Tone::Bad),
                format!("{rate:.1}").into(),
                eta.into(),
                words::age(queue, "oldest_pending", self.now).into(),
                Cell::toned(held.join("; "), Tone::Warning),
            ]);
        }
        table
    }

    fn limit_table(&self) -> Table {
        let mut table = Table::new(&[
            Column::new("LIMIT", Kind::Name, 0),
            Column::new("RUNS", Kind::Number, 0),
            Column::new("OF", Kind::Number, 0),
            Column::new("QUEUES", Kind::Words, 0),
        ]);
        for limit in &self.limits {
            let queues = limit["queues"].as_array().into_iter().flatten().filter_map(Value::as_str);
            table.row(vec![
                words::text(limit, "name").into(),
                words::number(limit, "running").into(),
                words::number(limit, "max_parallel").into(),
                queues.collect::<Vec<_>>().join(", ").into(),
            ]);
        }
        table
    }
}

/// Why work of a queue is held, by queue.
async fn held(session: &Session, queues: &[Value]) -> Result<HashMap<String, Vec<String>>, Failure> {
    let waiting: Vec<&str> = queues
        .iter()
        .filter(|queue| words::number(queue, "pending") > 0)
        .filter_map(|queue| queue["name"].as_str())
        .collect();
    let mut held: HashMap<String, Vec<String>> = HashMap::new();
    let mut add = |queue: String, words: String| held.entry(queue).or_default().push(words);
    // An item may be claimed, or its batch be deleted, between the two looks: the next one tells.
    for gate in session.rows(HELD, &[&waiting]).await.unwrap_or_default() {
        add(words::text(&gate, "queue"), words::short(&gate, "words"));
    }
    for (queue, words) in not_starting(session).await? {
        add(queue, words);
    }
    Ok(held)
}

/// Adds rate, ETA and what holds it.
fn complete(queue: &mut Value, rates: &HashMap<String, f64>, held: &HashMap<String, Vec<String>>) {
    let name = words::text(queue, "name");
    let mut reasons = held.get(&name).cloned().unwrap_or_default();
    let paused = queue["paused"].as_bool().unwrap_or(false);
    if paused && reasons.is_empty() {
        reasons.push("paused".to_owned());
    }
    let retrying = words::number(queue, "retrying");
    if retrying > 0 && reasons.is_empty() {
        let verb = if retrying == 1 { "waits" } else { "wait" };
        reasons.push(format!("{} {verb} to be retried", words::count(retrying, "item")));
    }
    let rate = rates.get(&name).copied().unwrap_or(0.0);
    queue["per_second"] = json!((rate * 1000.0).round() / 1000.0);
    queue["eta_seconds"] = json!(eta_seconds(queue, rate));
    queue["held"] = json!(reasons);
}
