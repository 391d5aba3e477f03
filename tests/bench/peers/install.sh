#!/usr/bin/env bash
# Gets the peers of `make bench` from the package registries into target/bench/peers/NAME, each at the version that its
# script names. Nothing is installed into the machine. Does nothing, in milliseconds, for those that are there.
#
# A peer's folder then has `version`, and what makes its schema: `install.sql` for psql, or `install URL`, a program. Where
# something failed it has `missing`, a line that says why, and the tables say so too: a peer is left out by name.
#
# usage: install.sh [NAME...]
set -euo pipefail
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
peers=$here/../../../target/bench/peers

[ $# -gt 0 ] || set -- pgmq graphile-worker procrastinate pgq river awa
for name in "$@"; do
    dir=$peers/$name
    script=$here/$name.sh
    # Another version, or another way to get it, is another folder's content.
    if [ -f "$dir/version" ] && cmp -s "$script" "$dir/made-by"; then
        continue
    fi
    echo "bench: getting $name"
    rm -rf "$dir"
    mkdir -p "$dir"
    if (cd "$dir" && bash "$script") >"$dir/log" 2>&1; then
        cp "$script" "$dir/made-by"
    else
        rm -f "$dir/version"
        grep -v '^$' "$dir/log" | tail -n 1 >"$dir/missing"
        echo "bench: left out: $name: $(cat "$dir/missing")"
    fi
done
