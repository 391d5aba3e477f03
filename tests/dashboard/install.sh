#!/usr/bin/env bash
# Installs the browser that the tests of the dashboard look with, as root by apt-get, else it says the one line to run; and what judges
# its pages (axe-core), by npm, into target/axe. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

axe=4.14.1
if ! { command -v chromium && command -v chromedriver; } >/dev/null; then
    line="apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core"
    if [ "$(id -u)" != 0 ]; then
        echo "missing: chromium or chromedriver; run: sudo $line" >&2
        exit 1
    fi
    echo "dashboard tests: installing chromium and its driver"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    if ! { apt-get update && DEBIAN_FRONTEND=noninteractive $line; } >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
fi
if [ ! -e target/axe/$axe/package/axe.min.js ]; then
    echo "dashboard tests: axe-core $axe"
    mkdir -p target/axe/$axe
    (cd target/axe/$axe && npm pack --silent axe-core@$axe >/dev/null && tar -xzf axe-core-$axe.tgz)
fi
