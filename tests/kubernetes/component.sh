#!/usr/bin/env bash
# component.sh stop|kill|start COMPONENT: takes one component of the running cluster down and brings it back, for
# tests of what happens then: `component.sh stop kube-apiserver`.
set -euo pipefail
# shellcheck source=tests/kubernetes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
# shellcheck source=tests/kubernetes/components.sh
source "$HERE/components.sh"

need_root
[ $# = 2 ] || die "usage: component.sh stop|kill|start COMPONENT; there are: ${COMPONENTS[*]}"
take_lock
[ -f "$RUN/id" ] || die "no cluster of this clone is up"
use_id "$(cat "$RUN/id")"

# end COMPONENT SIGNAL: returns when the process has ended.
end() {
    is_alive "$1" || return 0
    kill "-$2" "$(pid_of "$1")"
    local limit=$((SECONDS + 15))
    while is_alive "$1"; do
        [ $SECONDS -lt $limit ] || kill -KILL "$(pid_of "$1")" 2>/dev/null || true
        sleep 0.05
    done
}

case $1 in
stop) end "$2" TERM ;;
kill) end "$2" KILL ;;
start)
    is_alive "$2" || start_component "$2"
    [ "$2" != kube-apiserver ] || wait_for 60 "API server ready" kube-apiserver api_ready
    ;;
*) die "usage: component.sh stop|kill|start COMPONENT" ;;
esac
