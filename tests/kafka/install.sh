#!/usr/bin/env bash
# Installs what the broker needs and this machine lacks, from Debian's packages, and gets its jars from Maven Central; as
# another user than root it prints the one line to run instead. Does nothing, in milliseconds, when all is there.
set -euo pipefail
# shellcheck source=tests/kafka/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

missing=()
for need in java:openjdk-17-jre-headless mvn:maven openssl:openssl flock:util-linux; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
if [ ${#missing[@]} -gt 0 ]; then
    [ "$(id -u)" = 0 ] || die "missing; run: sudo apt-get install -y --no-install-recommends ${missing[*]}"
    echo "kafka: installing ${missing[*]}"
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    # Another apt-get may be running: wait for it.
    apt="apt-get -qq -o DPkg::Lock::Timeout=300"
    export DEBIAN_FRONTEND=noninteractive
    if ! { $apt update && $apt install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -n 25 "$log" >&2
        exit 1
    fi
fi

[ ! -d "$LIBS" ] || exit 0
mkdir -p "$REPO/target/kafka"
# One at a time; who waited finds them there.
exec 9>"$REPO/target/kafka/install.lock"
flock 9
[ ! -d "$LIBS" ] || exit 0
echo "kafka: getting the broker's jars from Maven Central"
rm -rf "$LIBS.new"
mvn --quiet --batch-mode -Dstyle.color=never --file "$HERE/pom.xml" dependency:copy-dependencies -DoutputDirectory="$LIBS.new"
mv "$LIBS.new" "$LIBS"
