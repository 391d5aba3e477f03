#!/usr/bin/env bash
# A broker for the program that runs this: it obeys orders (start, stop, kill), a line each, and says "done" after each. At the
# end of the orders the broker ends, and its folder goes; so it cannot outlive who started it, however that ends.
set -euo pipefail
# shellcheck source=tests/kafka/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

end() {
    [ -z "${broker:-}" ] || kill -"$1" "$broker" 2>/dev/null || true
    # Without the shell's own words about what was killed.
    [ -z "${broker:-}" ] || wait "$broker" 2>/dev/null || true
    broker=
}
trap 'end KILL; [ "${PGBATCH_KEEP:-}" = 1 ] || rm -rf "$K"' EXIT

start() {
    "${JAVA[@]}" kafka.Kafka "$K/run.properties" </dev/null >>"$K/log" 2>&1 &
    broker=$!
    for ((i = 0; i < 1200; i++)); do
        ! listens || return 0
        if ! kill -0 "$broker" 2>/dev/null; then
            tail -n 25 "$K/log" >&2
            die "it ended; its log is $K/log"
        fi
        sleep 0.1
    done
    die "it does not listen after two minutes; its log is $K/log"
}

mkdir -p "$K"
prepare
while read -r order; do
    case $order in
    start) start ;;
    stop) end TERM ;;
    kill) end KILL ;;
    *) die "what is $order?" ;;
    esac
    echo "done"
done
