#!/usr/bin/env bash
# Runs the SQL suite on databases that have the SQL without the library: sql_only.sh [ARGUMENTS OF THE SUITE]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

skipped=(
    # The library itself, the extension as an object, and the way from its version before.
    library:: extension::it_ upgrade::
    # Sleeping in PostgreSQL: without the library a dispatcher listens, and tries to lead again and again.
    doorbell::a_prepared_transaction_is_refused_in_clear_words
    doorbell::a_sleeper_can_be_cancelled_and_terminated_and_has_a_time_limit
    doorbell::the_extension_can_be_dropped_while_somebody_sleeps
    doorbell::the_limits_for_idle_sessions_do_not_end_a_sleep
    doorbell::who_sleeps_holds_no_snapshot_and_no_transaction_id
    lead::a_standby_can_be_cancelled
    lead::a_standby_holds_no_snapshot_and_leads_when_the_leader_is_gone
    lead::the_key_is_the_same_in_sql_and_in_the_library
    pooler::a_sleeper_behind_a_pooler_wakes
    replication::a_promoted_standby_rings
    wait::the_bell_rings_once_for_a_commit_and_not_for_a_rollback
    # A dispatcher checks Job templates later; sql_only:: and the tests with processes have that. So the calls that are refused at
    # once, and whether each message is among them, are for the library.
    bad_input::several_problems_of_a_template_are_listed bad_input::template_with messages::every_error
    # The program reads ScaledJobs: the tests of its command line have that.
    import_scaled_job:: scaled_jobs::
)
arguments=()
for test in "${skipped[@]}"; do
    arguments+=(--skip "$test")
done
PGBATCH_TEST_SQL_ONLY=1 cargo test -p e2e --test sql -- "${arguments[@]}" "$@"
