#!/usr/bin/env bash
# Checks what a release says of itself: META.json has what PGXN requires, every version is Cargo's, the Debian package has the files
# that `make install` installs, byte for byte, and no other but its licence; checksums and SBOMs, where they are, hold.
#
# usage: check.sh PG_CONFIG
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
readonly root

die() {
    printf 'release: %s\n' "$*" >&2
    exit 1
}

check_meta() {
    python3 - "$root/META.json" "$1" <<-'END'
		import json, sys
		meta, version = json.load(open(sys.argv[1])), sys.argv[2]
		for key in ("name", "version", "abstract", "maintainer", "license", "provides", "meta-spec"):
		    if not meta.get(key):
		        sys.exit(f"release: META.json has no {key}")
		of = meta["provides"]["pgbatch"]
		for key in ("file", "version"):
		    if not of.get(key):
		        sys.exit(f"release: META.json has no provides.pgbatch.{key}")
		if meta["meta-spec"].get("version") != "1.0.0":
		    sys.exit("release: META.json has not meta-spec 1.0.0")
		for found in (meta["version"], of["version"]):
		    if found != version:
		        sys.exit(f"release: META.json has version {found}, Cargo.toml {version}")
	END
    [[ -f $root/$(python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))["provides"]["pgbatch"]["file"])' \
        "$root/META.json") ]] || die "META.json provides a file that is not there"
}

main() {
    local pg_config=$1 version control work deb
    version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"$/\1/p' "$root/Cargo.toml")
    control=$(sed -n "s/^default_version = '\(.*\)'$/\1/p" "$root/pg_extension/pgbatch.control")
    [[ $control == "$version" ]] || die "pgbatch.control has version $control, Cargo.toml $version"
    check_meta "$version"
    work=$(mktemp -d)
    # shellcheck disable=SC2064 # its value of now
    trap "rm -rf -- '$work'" EXIT
    for deb in "$root"/target/release-files/postgresql-*-pgbatch_"$version"_*.deb; do
        [[ -f $deb ]] || die "no Debian package; make it with: make deb"
        dpkg-deb -x "$deb" "$work/deb"
        [[ $(dpkg-deb -f "$deb" Version) == "$version" ]] || die "$deb has another version"
    done
    # As `make install` does, elsewhere.
    # shellcheck disable=SC2016 # for the script that it writes
    printf '#!/bin/sh\nprintf "%%s%%s\\n" %q "$(%q "$1")"\n' "$work/installed" "$pg_config" >"$work/pg_config"
    chmod +x "$work/pg_config"
    "$root/pg_extension/install.sh" "$work/pg_config"
    rm -r -- "$work/deb/usr/share/doc"
    diff -r "$work/installed" "$work/deb" || die "the package and make install differ"
    printf 'release: version %s; the package has what make install installs\n' "$version"
}

main "$@"
