#!/usr/bin/env bash
# Gets KEDA's own definitions of ScaledJobs and TriggerAuthentications (Apache-2.0) from the Go module proxy into target/keda/crds.
# Does nothing, in milliseconds, when they are there. Where they cannot be had it says so, and the tests define these kinds
# themselves, without KEDA's schema.
set -euo pipefail
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
TARGET=$(cd "$HERE/../.." && pwd)/target/keda

VERSION=v2.20.2

# What is there is what was reviewed.
are_right() { (cd "$1" && sha256sum --quiet --check "$HERE/SHA256SUMS") >/dev/null 2>&1; }

! are_right "$TARGET/crds" || exit 0
mkdir -p "$TARGET"
echo "keda: getting the definitions of KEDA $VERSION"
cd "$TARGET"
if ! module=$(go mod download -json "github.com/kedacore/keda/v2@$VERSION" 2>"$TARGET/download.log"); then
    echo "keda: cannot be had, so the tests do without its schema: $(tail -n 1 "$TARGET/download.log")" >&2
    exit 0
fi
from=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])' <<<"$module")/config/crd/bases
rm -rf crds.new
mkdir crds.new
cut -d' ' -f3 "$HERE/SHA256SUMS" | while read -r file; do cp "$from/$file" crds.new/; done
are_right crds.new || { echo "keda: its definitions are not those of tests/keda/SHA256SUMS" >&2; exit 1; }
rm -rf crds
mv crds.new crds
