#!/usr/bin/env bash
# Installs what building the Spring Batch examples needs and this machine lacks, from Debian's packages; as another user than
# root it prints the one line to run instead. Does nothing, in milliseconds, when all is there.
set -euo pipefail

missing=()
for need in javac:openjdk-17-jdk-headless jlink:openjdk-17-jdk-headless mvn:maven python3:python3-minimal flock:util-linux; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "spring: missing; run: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
fi
echo "spring: installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# Another apt-get may be running: wait for it.
apt="apt-get -qq -o DPkg::Lock::Timeout=300"
export DEBIAN_FRONTEND=noninteractive
if ! { $apt update && $apt install -y --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 25 "$log" >&2
    exit 1
fi
