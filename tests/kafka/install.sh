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
[ ${#missing[@]} = 0 ] || "$REPO/.ci/apt-install" kafka "${missing[@]}"

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
