//! What somebody may find who is woken at night: a batch with two causes of failure, one that still runs and should have ended, one that
//! will be late, a paused queue, triggers.

use e2e::wait::until;

use crate::board::{Board, SOON};

/// The batches of it.
pub(crate) struct Night {
    /// Of 120 items 5 failed, for two causes.
    pub(crate) failed: i64,
    /// The same, the night before, without failures.
    pub(crate) before: i64,
    /// Runs until [`Night::end`], past its deadline.
    pub(crate) running: i64,
    /// Runs until then too: 12 of 30 items ended in 40 minutes, and in 35 minutes all should have.
    pub(crate) late: i64,
    /// Of a queue that is paused.
    pub(crate) paused: i64,
}

/// Fails by its item, in two ways.
const INVOICE: &str = r#"case $PGBATCH_ARG_N in
    13|57|91) echo "deadlock detected: process 40$PGBATCH_ARG_N waits for ShareLock" >&2; exit 1;;
    20|77) [ "$PGBATCH_ARG_GOOD" = true ] || { echo "no such customer: $PGBATCH_ARG_N" >&2; exit 3; };;
esac"#;

impl Night {
    pub(crate) async fn fall(board: &Board) -> Result<Self, Box<dyn std::error::Error>> {
        board.queue("invoices", INVOICE, ", max_attempts => 1, max_parallel => 30").await?;
        let wait = format!("until [ -e '{}' ]; do sleep 0.3; done", board.gate());
        board.queue("exports", &wait, ", max_parallel => 3").await?;
        board
            .queue("ledgers", &format!("[ $PGBATCH_ARG_N -le 12 ] || {wait}"), ", max_parallel => 3")
            .await?;
        board.queue("mails", "true", "").await?;
        board.queue("reports", "true", "").await?;
        board.run("SELECT pgbatch.pause_queue('mails'); CREATE TABLE orders (id int, amount int)").await?;
        board
            .run(
                "SELECT pgbatch.schedule('nightly', 'reports', '30 2 * * MON-FRI', 'Europe/Paris');
                 SELECT pgbatch.enqueue_on_insert('orders', 'mails', 'amount > 100')",
            )
            .await?;
        let enqueue = |queue: &str, items: i32, label: &str, more: &str| {
            format!(
                "SELECT pgbatch.enqueue_query('{queue}', 'SELECT n{more} FROM generate_series(1, {items}) n', label => '{label}')"
            )
        };
        let late = board.number(&enqueue("ledgers", 30, "nightly 2026-11-27", "")).await?;
        let before = board.number(&enqueue("invoices", 12, "nightly 2026-11-26", ", true AS good")).await?;
        board.until_state(before, "succeeded").await;
        let failed = board.number(&enqueue("invoices", 120, "nightly 2026-11-27", "")).await?;
        board.until_state(failed, "failed").await;
        let running = board.number(&enqueue("exports", 40, "export", "")).await?;
        let missed = "SELECT pgbatch.set_deadline($1, now() - interval '25 min')";
        board.world().client.execute(missed, &[&running]).await?;
        let paused = board.number(&enqueue("mails", 7, "monthly", "")).await?;
        until("three exports to run", SOON, async || {
            let sql = "SELECT count(*) FROM pgbatch.runs WHERE queue = 'exports' AND state = 'running'";
            board.number(sql).await.ok().filter(|running| *running == 3)
        })
        .await;
        until("twelve ledgers to have ended", SOON, async || {
            let sql = format!("SELECT succeeded::bigint FROM pgbatch.batches WHERE id = {late}");
            board.number(&sql).await.ok().filter(|ended| *ended == 12)
        })
        .await;
        // Nobody wants to wait so long.
        let began = "UPDATE pgbatch.batch SET started_at = now() - interval '40 min', deadline = now() + interval '35 min' WHERE id = $1";
        board.world().client.execute(began, &[&late]).await?;
        Ok(Self { failed, before, running, late, paused })
    }

    /// Lets what runs end.
    pub(crate) fn end(board: &Board) -> std::io::Result<()> {
        board.let_go()
    }
}
