#!/usr/bin/env bash
# Brings this clone's cluster up: returns at once when it is up and healthy, starts afresh when it is half-dead.
set -euo pipefail
here=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=tests/kubernetes/lib.sh
source "$here/lib.sh"
# shellcheck source=tests/kubernetes/pki.sh
source "$here/pki.sh"
# shellcheck source=tests/kubernetes/config.sh
source "$here/config.sh"
# shellcheck source=tests/kubernetes/components.sh
source "$here/components.sh"

healthy() {
    [ -f "$RUN/id" ] && [ -f "$C/env" ] && [ -x "$KUBECTL" ] || return 1
    use_id "$(cat "$RUN/id")"
    local component
    for component in "${COMPONENTS[@]}"; do is_alive "$component" || return 1; done
    (api_ready && node_ready && dns_ready) >/dev/null 2>&1
}

# The first free number from the one that the clone's path gives: the name of a network namespace can be taken
# by one only, so creating it is the test.
choose_id() {
    local first=${PGBATCH_CLUSTER_ID:-$((16#$HASH % 250 + 1))} i
    if ! [[ $first =~ ^[1-9][0-9]{0,2}$ ]] || [ "$first" -gt 250 ]; then die "PGBATCH_CLUSTER_ID must be 1 to 250"; fi
    for ((i = 0; i < 250; i++)); do
        use_id $(((first - 1 + i) % 250 + 1))
        [ -z "$(ip route show "10.199.$ID.0/24")$(ip route show "$PODS")" ] || continue
        if ip netns add "$NETNS" 2>/dev/null; then
            echo "$ID" >"$RUN/id"
            return
        fi
    done
    die "no free cluster number"
}

join_network() {
    ip link add "$HOST_IF" type veth peer name eth0 netns "$NETNS"
    ip address add "$HOST_IP/24" dev "$HOST_IF"
    ip link set "$HOST_IF" up
    ip -n "$NETNS" link set lo up
    ip -n "$NETNS" address add "$NODE_IP/24" dev eth0
    ip -n "$NETNS" link set eth0 up
    ip -n "$NETNS" route add default via "$HOST_IP"
    ip route add "$PODS" via "$NODE_IP"
    nsenter --net="/run/netns/$NETNS" bash -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
}

make_cgroups() {
    local root own
    while read -r root; do
        own=$root/pgbatch-$ID
        mkdir -p "$own"
        # Version 1 starts a cpuset without any processor or memory node.
        if [ -f "$own/cpuset.cpus" ] && [ ! -f "$own/cgroup.controllers" ]; then
            cat "$root/cpuset.cpus" >"$own/cpuset.cpus"
            cat "$root/cpuset.mems" >"$own/cpuset.mems"
        fi
    done < <(cgroup_roots)
    mkdir -p "$(cgroup_of_processes)/daemons"
}

write_env() {
    cat >"$C/env" <<ENV
CLUSTER_NETNS=$NETNS
CLUSTER_API=$API
CLUSTER_NODE=$NODE
CLUSTER_NODE_IP=$NODE_IP
CLUSTER_HOST_IP=$HOST_IP
CLUSTER_POD_SUBNET=$PODS
CLUSTER_CONTAINERD_SOCK=$SOCK
KUBECONFIG=$C/kubeconfig
ENV
}

need_root
take_lock
if healthy; then
    step "already up: export KUBECONFIG=$C/kubeconfig"
    exit 0
fi
"$HERE/install.sh"
# What is built is the same for every cluster of this clone.
env -u PGBATCH_CLUSTER_DIR "$HERE/build.sh"
"$HERE/down.sh" --locked

rm -rf "$LOGS"
mkdir -p "$LOGS" "$RUN/pids"
succeeded=no
clean_up() { [ $succeeded = yes ] || "$HERE/down.sh" --locked; }
trap clean_up EXIT # a failed start leaves its logs and nothing else
choose_id
join_network
make_cgroups
new_pki
write_config
step "network namespace $NETNS, node $NODE_IP, pods $PODS"

start_component etcd
start_component kube-apiserver
start_component mounts
wait_for 10 "mount namespace" mounts mounts_ready
start_component containerd
wait_for 30 "containerd answers" containerd containerd_ready
"$HERE/load.sh"
step "images loaded"
wait_for 60 "API server ready" kube-apiserver api_ready
for component in kube-controller-manager kube-scheduler kubelet kube-proxy coredns; do
    start_component "$component"
done
admin apply -f "$C/etc/dns.yaml" >/dev/null
wait_for 30 "default service account exists" kube-controller-manager account_ready
wait_for 30 "cluster DNS ready" coredns dns_ready
wait_for 60 "node ready" kubelet node_ready
write_env
succeeded=yes
step "up: export KUBECONFIG=$C/kubeconfig"
