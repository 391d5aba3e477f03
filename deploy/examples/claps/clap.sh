#!/bin/sh
# (b) One clap: any image with a program. It gets its row by PGBATCH_ARG_ID, fails on purpose three times, and
# succeeds at the fourth. psql finds the database by the usual PG* variables.
set -eu

query() {
    psql --no-psqlrc --quiet --no-align --tuples-only --set ON_ERROR_STOP=1 \
        --set id="$PGBATCH_ARG_ID" --set session="run $PGBATCH_RUN_ID" "$@"
}

iteration=$(query <<'SQL'
INSERT INTO clap AS c (id, status, session_id, creation_date, creation_time, iteration)
VALUES (:'id', 'RUNNING', :'session', current_date, clock_timestamp(), 1)
ON CONFLICT (id) DO UPDATE SET status = 'RUNNING', session_id = excluded.session_id, end_time = NULL,
    creation_date = excluded.creation_date, creation_time = excluded.creation_time, iteration = c.iteration + 1
RETURNING iteration;
SQL
)

sleep "$PGBATCH_ARG_DURATION_SECONDS"

if [ "$iteration" -lt 4 ]; then status=FAILED; else status=SUCCESS; fi
query --set status="$status" <<'SQL'
UPDATE clap SET status = :'status', end_time = clock_timestamp() WHERE id = :'id' AND session_id = :'session';
SQL

if [ "$status" = FAILED ]; then
    echo "clap $PGBATCH_ARG_ID did not sound, iteration $iteration" >&2
    exit 1
fi
