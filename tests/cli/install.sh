#!/usr/bin/env bash
# Installs the terminal that the tests of the command line look at, and what makes their certificates: as root by apt-get, else it
# says the one line to run. Does nothing when they are there.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

if ! { command -v tmux && command -v openssl; } >/dev/null; then
    .ci/apt-install "cli tests" tmux openssl
fi
