#!/usr/bin/env bash
# Installs the extension into the PostgreSQL that a pg_config belongs to: the control file, the SQL and the library.
# Each file is put in place by a rename, so that servers that have the old library mapped go on with it.
#
# usage: install.sh PG_CONFIG [LIBRARY]     LIBRARY: default target/release/libpgbatch.so
set -euo pipefail

root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
readonly root

# install_file NAME DIRECTORY: its content is read from standard input.
install_file() {
    local target=$2/$1 new
    mkdir -p -- "$2"
    new=$(mktemp -- "$2/.$1.XXXXXX")
    cat >"$new"
    chmod 0644 -- "$new"
    mv -f -- "$new" "$target"
}

main() {
    if (($# < 1 || $# > 2)); then
        sed -n 's/^# usage: /usage: /p' -- "${BASH_SOURCE[0]}" >&2
        exit 2
    fi
    local pg_config=$1 library=${2:-$root/target/release/libpgbatch.so}
    local extension_dir library_dir version
    if [[ ! -f $library ]]; then
        printf '%s: no such file; build it with: cargo build --release -p pgbatch-extension\n' "$library" >&2
        exit 1
    fi
    extension_dir=$("$pg_config" --sharedir)/extension
    library_dir=$("$pg_config" --pkglibdir)
    version=$(sed -n "s/^default_version = '\(.*\)'$/\1/p" "$root/pg_extension/pgbatch.control")

    install_file pgbatch.so "$library_dir" <"$library"
    "$root/sql/assemble.sh" install | install_file "pgbatch--$version.sql" "$extension_dir"
    local from
    for from in $("$root/sql/assemble.sh" versions); do
        "$root/sql/assemble.sh" upgrade "$from" | install_file "pgbatch--$from--$version.sql" "$extension_dir"
    done
    # Last, as it makes the version available.
    install_file pgbatch.control "$extension_dir" <"$root/pg_extension/pgbatch.control"
}

main "$@"
