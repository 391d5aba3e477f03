#!/usr/bin/env bash
# Installs the terminal that the tests of the command line look at, and what makes their certificates: as root by apt-get, else it
# says the one line to run. Does nothing when they are there.
set -euo pipefail

command -v tmux >/dev/null && command -v openssl >/dev/null && exit 0
line="apt-get install -y --no-install-recommends tmux openssl"
if [ "$(id -u)" != 0 ]; then
    echo "missing: tmux or openssl; run: sudo $line" >&2
    exit 1
fi
echo "cli tests: installing tmux and openssl"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive $line; } >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
