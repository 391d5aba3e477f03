#!/usr/bin/env bash
# Installs what building the Spring Batch examples needs and this machine lacks, from Debian's packages; as another user than
# root it prints the one line to run instead. Does nothing, in milliseconds, when all is there.
set -euo pipefail

missing=()
for need in javac:openjdk-17-jdk-headless jlink:openjdk-17-jdk-headless mvn:maven python3:python3-minimal flock:util-linux; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
"$(dirname "${BASH_SOURCE[0]}")/../../.ci/apt-install" spring "${missing[@]}"
