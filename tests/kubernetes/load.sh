#!/usr/bin/env bash
# load.sh [--if-up] [TARBALL...]: loads images (by default the pause image and all of target/images) into this clone's
# cluster; one that the cluster has already, unchanged, is skipped.
set -euo pipefail
# shellcheck source=tests/kubernetes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root
if [ "${1:-}" = --if-up ]; then
    [ -S "$SOCK" ] || exit 0
    shift
fi
[ -S "$SOCK" ] || die "no cluster of this clone is up"
if [ $# = 0 ]; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    install -D -m 755 "$BUILT/bin/pause" "$root/pause"
    "$REPO/deploy/images/image.py" --name pgbatch/pause:dev --root "$root" --entrypoint /pause --output "$BUILT/bin/pause.tar"
    shopt -s nullglob
    set -- "$BUILT/bin/pause.tar" "$REPO"/target/images/*.tar
fi
mkdir -p "$RUN/loaded"
for tarball in "$@"; do
    mark=$RUN/loaded/$(basename "$tarball")
    digest=$(sha256sum <"$tarball")
    [ "$digest" != "$(cat "$mark" 2>/dev/null)" ] || continue
    ctr --address "$SOCK" --namespace k8s.io images import "$tarball" >/dev/null
    echo "$digest" >"$mark"
    echo "cluster: loaded $(basename "$tarball" .tar)"
done
