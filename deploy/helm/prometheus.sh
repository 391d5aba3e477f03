#!/usr/bin/env bash
# prometheus.sh promtool|prometheus: builds one of Prometheus' programs from the Go module proxy into target/tools; does nothing when
# it is there. Prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VERSION=v0.316.0 # of the module; Prometheus 3.16.0
program=$1
tools=$PWD/target/tools
if [ "$(cat "$tools/$program.version" 2>/dev/null)" != "$VERSION" ] || [ ! -x "$tools/$program" ]; then
    echo "$program: building $VERSION (some minutes, once)" >&2
    mkdir -p "$tools"
    # Without the clients of clouds, which are most of it.
    GOBIN=$tools CGO_ENABLED=0 go install -trimpath -tags remove_all_sd -ldflags '-s -w' \
        "github.com/prometheus/prometheus/cmd/$program@$VERSION" >"$tools/$program.log" 2>&1 ||
        { tail -n 25 "$tools/$program.log" >&2; exit 1; }
    echo "$VERSION" >"$tools/$program.version"
fi
echo "$tools/$program"
