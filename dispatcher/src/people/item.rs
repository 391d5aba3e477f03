//! An item: what the views know of it, the runs that had it, and the gates on its way.

use serde_json::Value;

use super::failure::Failure;
use super::session::Session;
use super::words;

/// Attempt by attempt, each an index lookup, however many runs its batch has.
const RUNS: &str = "\
    SELECT r.* FROM generate_series(1, $3) a (attempt) CROSS JOIN LATERAL ( \
        SELECT * FROM pgbatch.runs r WHERE r.batch_id = $1 AND r.attempt = a.attempt AND r.first_item <= $2 \
        ORDER BY r.first_item DESC LIMIT 1) r \
    WHERE r.last_item >= $2 ORDER BY r.attempt";

const GATES: &str = "\
    SELECT e.gate, e.open, e.words FROM pgbatch.explain_item($1, $2) \
    WITH ORDINALITY e (gate, open, words, place) ORDER BY e.place";

/// An item, as the view has it.
pub(crate) async fn item(session: &Session, batch: i64, item: i32) -> Result<Option<Value>, Failure> {
    session.row("SELECT * FROM pgbatch.items WHERE batch_id = $1 AND item_no = $2", &[&batch, &item]).await
}

/// The runs that had an item, as the view has them, the first attempt first.
pub(crate) async fn runs(session: &Session, item: &Value) -> Result<Vec<Value>, Failure> {
    let number = |column| i32::try_from(words::number(item, column)).unwrap_or(i32::MAX);
    let (item_no, attempts) = (number("item_no"), number("attempts"));
    session.rows(RUNS, &[&words::number(item, "batch_id"), &item_no, &attempts]).await
}

/// The gates on an item's way, in order.
pub(crate) async fn gates(session: &Session, batch: i64, item: i32) -> Result<Vec<Value>, Failure> {
    session.rows(GATES, &[&batch, &item]).await
}

/// The first closed gate says why; where all are open, the last one says what became of the item.
pub(crate) fn verdict(gates: &[Value]) -> String {
    let gate = gates.iter().find(|gate| !is_open(gate)).or(gates.last());
    gate.map_or_else(String::new, |gate| words::text(gate, "words"))
}

/// Whether a gate lets the item pass.
pub(crate) fn is_open(gate: &Value) -> bool {
    gate["open"].as_bool().unwrap_or(false)
}
