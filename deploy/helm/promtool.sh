#!/usr/bin/env bash
# Builds promtool from the Go module proxy into target/tools/promtool; does nothing when it is there. Prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VERSION=v0.316.0 # of the module; Prometheus 3.16.0
tools=$PWD/target/tools
if [ "$(cat "$tools/promtool.version" 2>/dev/null)" != "$VERSION" ] || [ ! -x "$tools/promtool" ]; then
    echo "promtool: building $VERSION (some minutes, once)" >&2
    mkdir -p "$tools"
    GOBIN=$tools CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' \
        "github.com/prometheus/prometheus/cmd/promtool@$VERSION" >"$tools/promtool.log" 2>&1 ||
        { tail -n 25 "$tools/promtool.log" >&2; exit 1; }
    echo "$VERSION" >"$tools/promtool.version"
fi
echo "$tools/promtool"
