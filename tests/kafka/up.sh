#!/usr/bin/env bash
# Brings the broker up, empty, and says where it listens; returns at once when it is up. It stays until down.sh.
set -euo pipefail
# shellcheck source=tests/kafka/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

if ! pid >/dev/null; then
    ! listens || die "port $PLAIN is taken; PGBATCH_KAFKA_PORTS='1 2 3 4 5' names others"
    prepare
    setsid "${JAVA[@]}" kafka.Kafka "$K/run.properties" </dev/null >"$K/log" 2>&1 &
    echo $! >"$K/pid"
    disown
fi
for ((i = 0; i < 600; i++)); do
    if ! pid >/dev/null; then
        tail -n 25 "$K/log" >&2
        die "it ended; its log is $K/log"
    fi
    ! listens || break
    sleep 0.1
done
listens || die "it does not listen after a minute; its log is $K/log"
cat <<END
kafka: up
  plain                     127.0.0.1:$PLAIN
  TLS, client certificate   127.0.0.1:$TLS       CA, client.crt, client.key: ${K#"$REPO/"}/certs
  TLS and SASL              127.0.0.1:$SASL_TLS       admin, admin-secret: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512
  SASL                      127.0.0.1:$SASL
END
