#!/bin/sh
# Starts PostgreSQL; the first time it makes the data folder, PGDATA. As in the official image, POSTGRES_PASSWORD is the
# superuser's (postgres), or POSTGRES_PASSWORD_FILE holds it, and arguments go to the server: -c name=value.
set -eu

PGDATA=${PGDATA:-/var/lib/postgresql/data/pgdata}
export PGDATA

make_data() {
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then
        POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    fi
    if [ -z "${POSTGRES_PASSWORD:-}" ]; then
        echo "start-postgres: POSTGRES_PASSWORD is not set; take it from a Secret" >&2
        exit 1
    fi
    # Under its name it is complete: whatever kills this leaves nothing that would be taken for data.
    rm -rf "$PGDATA.new"
    printf '%s\n' "$POSTGRES_PASSWORD" | initdb --pgdata="$PGDATA.new" --username=postgres --pwfile=/dev/stdin \
        --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=scram-sha-256
    echo 'host all all all scram-sha-256' >>"$PGDATA.new/pg_hba.conf"
    mv "$PGDATA.new" "$PGDATA"
}

[ "${1:-}" != postgres ] || shift
[ -s "$PGDATA/PG_VERSION" ] || make_data
unset POSTGRES_PASSWORD
exec postgres -c listen_addresses='*' "$@"
