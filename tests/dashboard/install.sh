#!/usr/bin/env bash
# Installs the browser that the tests of the dashboard look with, as root by apt-get, else it says the one line to run; and what judges
# its pages (axe-core), by npm, into target/axe. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

axe=4.14.1
if ! { command -v chromium && command -v chromedriver; } >/dev/null; then
    .ci/apt-install "dashboard tests" chromium chromium-driver fonts-dejavu-core
fi
if [ ! -e target/axe/$axe/package/axe.min.js ]; then
    echo "dashboard tests: axe-core $axe"
    mkdir -p target/axe/$axe
    (cd target/axe/$axe && npm pack --silent axe-core@$axe >/dev/null && tar -xzf axe-core-$axe.tgz)
fi
