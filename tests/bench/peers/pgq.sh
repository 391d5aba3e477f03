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
library=$PWD/package/usr/lib/postgresql/$major/lib
# As root's servers run as another user, who may not get here.
if [ "$(id -u)" = 0 ] &&
    ! setpriv --reuid=postgres --regid=postgres --clear-groups test -r "$library/pgq_lowlevel.so"; then
    reachable=$(mktemp -d /var/tmp/pgbatch-bench-pgq-XXXXXX)
    chmod 755 "$reachable"
    cp "$library"/*.so "$reachable"
    library=$reachable
fi
sed "s#'\$libdir/#'$library/#" package/usr/share/postgresql/"$major"/contrib/pgq.sql >install.sql
cp package/usr/share/postgresql/"$major"/contrib/pgq_pl_only.sql install-plpgsql.sql
dpkg-deb --field ./"$package"_*.deb Version >version
