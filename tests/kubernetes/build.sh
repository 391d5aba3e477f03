#!/usr/bin/env bash
# Builds the cluster program and the pause container's one program into target/cluster/bin; does nothing when
# neither the sources nor the Go version changed.
set -euo pipefail
# shellcheck source=tests/kubernetes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

VERSION=1.36.3
cd "$HERE"
stamp=$(cat go.mod go.sum main.go pause/pause.c build.sh <(go version) | sha256sum)
if [ "$stamp" = "$(cat "$C/bin/.stamp" 2>/dev/null)" ] && [ -x "$BIN" ]; then
    exit 0
fi
step "building Kubernetes $VERSION (some minutes, once)"
mkdir -p "$C/bin"
rm -f "$C/bin/.stamp"

# Without the stamped version the API server calls itself v0.0.0-master, and clients' version checks fail.
v=k8s.io/component-base/version
stamps="-X $v.gitVersion=v$VERSION -X $v.gitMajor=1 -X $v.gitMinor=36"
# No debug information: nobody debugs Kubernetes here, and the program is smaller for it.
# -mod=readonly and the checked-in go.sum: what is built is what was reviewed.
CGO_ENABLED=0 go build -mod=readonly -buildvcs=false -trimpath -gcflags=all=-dwarf=false \
    -ldflags "-s -w $stamps" -o "$BIN.new" . >"$C/build.log" 2>&1 || {
    tail -n 25 "$C/build.log" >&2
    die "go build failed; all of it is in $C/build.log"
}
mv "$BIN.new" "$BIN" # a running cluster keeps the old file
ln -sf cluster "$KUBECTL"
cc -static -Os -s -o "$C/bin/pause" pause/pause.c

echo "$stamp" >"$C/bin/.stamp"
step "built $(du -m "$BIN" | cut -f1) MB"
