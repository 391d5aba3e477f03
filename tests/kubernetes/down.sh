#!/usr/bin/env bash
# Takes this clone's cluster down and removes its state; target/cluster/bin and the logs stay, for a quick next start.
# Ends only what is in the cluster's own cgroup: its daemons, container shims and pods, never a process by its name.
set -euo pipefail
# shellcheck source=tests/kubernetes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_root
[ "${1:-}" = --locked ] || take_lock # up.sh, which calls this, holds the lock already

processes_in() { find "$1" -name cgroup.procs -exec cat {} + 2>/dev/null || true; }
end_processes() {
    local all pids limit=$((SECONDS + 30))
    all=$(cgroup_of_processes)
    while pids=$(processes_in "$all") && [ -n "$pids" ]; do
        [ $SECONDS -lt $limit ] || die "processes in $all do not end"
        # Nothing is kept, so nothing needs a gentle end. A pid may be gone by the time it is signalled.
        # shellcheck disable=SC2086 # one word per pid is meant
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
}

if [ -f "$RUN/id" ]; then
    use_id "$(cat "$RUN/id")"
    end_processes
    while read -r root; do
        find "$root/pgbatch-$ID" -depth -type d -exec rmdir {} + 2>/dev/null || true
    done < <(cgroup_roots)
    # The veth pair and the routes go with the namespace; other processes that tests left in it keep running in it.
    ip link delete "$HOST_IF" 2>/dev/null || true
    ip netns delete "$NETNS" 2>/dev/null || true
fi
# Everything was mounted in the cluster's own mount namespace, so these are plain files now.
rm -rf "${C:?}"/{env,kubeconfig,pki,etc,etcd,containerd,kubelet,cni} "${RUN:?}"/{id,pids,loaded,containerd,netns}
step "down"
