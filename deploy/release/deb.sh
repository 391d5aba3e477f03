#!/usr/bin/env bash
# The extension as a Debian package under target/release-files: what pg_extension/install.sh installs, and a control file.
#
# usage: deb.sh PG_CONFIG
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root

# relocated PG_CONFIG ROOT: a pg_config whose folders are below ROOT.
relocated() {
    # shellcheck disable=SC2016 # for the script that it writes
    printf '#!/bin/sh\nprintf "%%s%%s\\n" %q "$(%q "$1")"\n' "$2" "$1"
}

main() {
    if (($# != 1)); then
        sed -n 's/^# usage: /usage: /p' -- "${BASH_SOURCE[0]}" >&2
        exit 2
    fi
    local pg_config=$1 out=$root/target/release-files version major arch work
    version=$(sed -n "s/^default_version = '\(.*\)'$/\1/p" "$root/pg_extension/pgbatch.control")
    major=$("$pg_config" --version | sed -E 's/^PostgreSQL ([0-9]+).*/\1/')
    arch=$(dpkg --print-architecture)
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # its value of now
    trap "rm -rf -- '$work'" EXIT
    relocated "$pg_config" "$work/root" >"$work/pg_config"
    chmod +x "$work/pg_config"
    "$root/pg_extension/install.sh" "$work/pg_config"
    install -D -m 0644 "$root/LICENSE" "$work/root/usr/share/doc/postgresql-$major-pgbatch/copyright"
    mkdir -p "$work/root/DEBIAN" "$out"
    cat >"$work/root/DEBIAN/control" <<-END
		Package: postgresql-$major-pgbatch
		Version: $version
		Architecture: $arch
		Maintainer: The pgbatch developers <pgbatch@localhost>
		Depends: postgresql-$major, libc6, libgcc-s1
		Section: database
		Priority: optional
		Description: batches in PostgreSQL, run as Kubernetes Jobs
		 The extension pgbatch for PostgreSQL $major: a queue whose items become Kubernetes
		 Jobs when the transaction that enqueued them commits. The dispatcher is not in it.
	END
    chmod -R u=rwX,go=rX "$work/root"
    dpkg-deb --root-owner-group --build "$work/root" "$out/postgresql-$major-pgbatch_${version}_$arch.deb"
}

main "$@"
