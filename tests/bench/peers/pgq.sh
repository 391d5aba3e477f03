#!/usr/bin/env bash
# PgQ from Debian's package for the server's version, unpacked only: with its C library, and all in PL/pgSQL.
set -euo pipefail
pg_config=${PGBATCH_PG_CONFIG:-pg_config}
major=$("$pg_config" --version | sed 's/^[^0-9]*\([0-9]*\).*/\1/')
package=postgresql-$major-pgq3
apt-get -qq -o APT::Sandbox::User=root download "$package" || {
    apt-get -qq update
    apt-get -qq -o APT::Sandbox::User=root download "$package"
}
dpkg -x ./"$package"_*.deb package
# The server runs as a user who may not reach this folder, so the library goes where the server's user reads.
library=$(mktemp -d /var/tmp/pgbatch-bench-pgq-XXXXXX)
chmod 755 "$library"
cp package/usr/lib/postgresql/"$major"/lib/*.so "$library"
sed "s#'\$libdir/#'$library/#" package/usr/share/postgresql/"$major"/contrib/pgq.sql >install.sql
cp package/usr/share/postgresql/"$major"/contrib/pgq_pl_only.sql install-plpgsql.sql
dpkg-deb --field ./"$package"_*.deb Version >version
