#!/usr/bin/env bash
# Builds helm from the Go module proxy into target/tools/helm; does nothing when it is there. Prints its path.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

VERSION=v4.3.1
tools=$PWD/target/tools
if [ "$(cat "$tools/helm.version" 2>/dev/null)" != "$VERSION" ] || [ ! -x "$tools/helm" ]; then
    echo "helm: building $VERSION (some minutes, once)" >&2
    mkdir -p "$tools"
    GOBIN=$tools CGO_ENABLED=0 go install -trimpath -ldflags '-s -w' "helm.sh/helm/v4/cmd/helm@$VERSION" \
        >"$tools/helm.log" 2>&1 || { tail -n 25 "$tools/helm.log" >&2; exit 1; }
    echo "$VERSION" >"$tools/helm.version"
fi
echo "$tools/helm"
