#!/usr/bin/env bash
# Installs what building and testing pgbatch needs and this machine lacks: as root by apt-get, else it says
# the one line to run. Does nothing, in milliseconds, when all is there.
set -euo pipefail

missing=()
need() { [ -e "$1" ] || missing+=("$2"); }
need /usr/lib/postgresql/15/bin/postgres postgresql-15
need /usr/lib/postgresql/15/bin/psql postgresql-client-15
need /usr/include/postgresql/15/server/postgres.h postgresql-server-dev-15
need /usr/bin/clang clang
need /etc/ssl/certs/ca-certificates.crt ca-certificates
compgen -G '/usr/lib/*/libclang-*.so*' >/dev/null || compgen -G '/usr/lib/llvm-*/lib/libclang*.so*' >/dev/null ||
    missing+=(libclang-dev)
[ ${#missing[@]} -gt 0 ] || exit 0

# The server of the package is not wanted, only its programs.
"$(dirname "${BASH_SOURCE[0]}")/../.ci/apt-install" tools "${missing[@]}"
