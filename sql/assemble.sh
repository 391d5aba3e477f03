#!/usr/bin/env bash
# Prints a script of SQL made of the files of this folder:
#
#   assemble.sh [--without-library] install         all of the current version
#   assemble.sh [--without-library] upgrade FROM    from an earlier version to the current one
#   assemble.sh versions                            the earlier versions that can be upgraded, a line each
#
# install/ is the whole of the current version, in the order of the names: tables first (000 to 099), then what can be replaced,
# and at last what holds for all of it (900 to 999). --without-library takes the file of the same name in without_library/ where
# there is one: what a server without the library has instead. Run that in one transaction, as the owner-to-be:
#
#   assemble.sh --without-library install | psql --single-transaction --set ON_ERROR_STOP=1
#
# upgrade/pgbatch--A--B.sql is what becomes of the tables from one version to the next, and of functions that go or change what they
# return, and of what pg_dump takes (901). All that can be replaced is replaced after it, so that its text is in one place only, and the steps of several versions
# come one after the other.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# The order of the names is that of their bytes, wherever this runs.
export LC_ALL=C

without_library=
if [ "${1:-}" = --without-library ]; then
    without_library=1
    shift
fi

# As CREATE EXTENSION does, around a script that runs without it.
preface() {
    if [ -n "$without_library" ]; then
        cat <<'SQL'
SET LOCAL search_path = pg_catalog, pg_temp;
SET LOCAL check_function_bodies = off;
SET LOCAL client_min_messages = warning;
SQL
    fi
}

print() {
    local file
    for file; do
        if [ -n "$without_library" ] && [ -f "without_library/${file##*/}" ]; then
            file=without_library/${file##*/}
        fi
        cat "$file"
    done
}

# The version that an upgrade step leads to from $1.
next() {
    local step
    for step in upgrade/pgbatch--"$1"--*.sql; do
        step=${step##*--}
        printf '%s\n' "${step%.sql}"
    done
}

case ${1:-} in
    install)
        preface
        print install/*.sql
        ;;
    upgrade)
        from=${2:?"the version to upgrade from"}
        preface
        while [ -n "$(compgen -G "upgrade/pgbatch--$from--*.sql")" ]; do
            to=$(next "$from")
            if [ -n "$without_library" ]; then
                grep -v 'pg_extension_config_dump(' "upgrade/pgbatch--$from--$to.sql"
            else
                cat "upgrade/pgbatch--$from--$to.sql"
            fi
            from=$to
        done
        cat <<'SQL'
-- They are made anew below.
DO $$
DECLARE
    policy record;
BEGIN
    FOR policy IN SELECT p.policyname, p.tablename FROM pg_catalog.pg_policies p WHERE p.schemaname = 'pgbatch' LOOP
        EXECUTE pg_catalog.format('DROP POLICY %I ON pgbatch.%I', policy.policyname, policy.tablename);
    END LOOP;
END
$$;
SQL
        print install/[1-8]*.sql | sed -E 's/^CREATE (FUNCTION|PROCEDURE|VIEW|TRIGGER) /CREATE OR REPLACE \1 /'
        print install/900*.sql install/902*.sql
        cat <<'SQL'
-- Functions that are new, for the roles that had those like them.
SELECT pgbatch.settle_privileges(r.role_name)
FROM (SELECT DISTINCT q.role_name FROM pgbatch.queue_right q
      WHERE q.role_id = pg_catalog.to_regrole(pg_catalog.quote_ident(q.role_name))) r;
SQL
        ;;
    versions)
        for step in upgrade/pgbatch--*--*.sql; do
            step=${step#upgrade/pgbatch--}
            printf '%s\n' "${step%%--*}"
        done
        ;;
    *)
        sed -n 's/^#   a/a/p' "${BASH_SOURCE[0]}" >&2
        exit 2
        ;;
esac
