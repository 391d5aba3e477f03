#!/usr/bin/env bash
# Builds the PartitionHandler and the application that tests it, twice: batch5/target/batch5.jar, batch6/target/batch6.jar.
# Does nothing, in milliseconds, when nothing has changed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../.." && pwd)

"$here/install.sh"
key=$(find "$here" "$repo/deploy/spring-batch-pgbatch" -name target -prune -o -type f -print0 | sort -z |
    xargs -0 sha256sum | sha256sum)
if [ ! -f "$here/batch6/target/batch6.jar" ] || [ "$key" != "$(cat "$here/target/key" 2>/dev/null)" ]; then
    mvn --quiet --batch-mode -Dstyle.color=never --file "$here/pom.xml" package
    mkdir -p "$here/target"
    echo "$key" >"$here/target/key"
fi
