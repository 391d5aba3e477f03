#!/usr/bin/env bash
# Stops the broker, if it is up. Its log stays to be read; its data goes with the next up.sh.
set -euo pipefail
# shellcheck source=tests/kafka/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

broker=$(pid) || exit 0
kill "$broker"
for ((i = 0; i < 150; i++)); do
    pid >/dev/null || break
    sleep 0.1
done
# It may wait long for a controller that is gone: it has no data that anybody wants.
! pid >/dev/null || kill -KILL "$broker"
rm -f "$K/pid"
echo "kafka: down"
