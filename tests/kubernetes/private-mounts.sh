#!/usr/bin/env bash
# private-mounts.sh RUN CLUSTER COMMAND...: runs in a new mount namespace, in which the machine's directories that
# containerd, CNI and the kubelet use are this cluster's own. So they keep their usual, short paths, several clusters
# do not meet there, and everything ever mounted is gone with the last process of the cluster.
set -euo pipefail
run=$1 cluster=$2
shift 2

# Shared among the cluster's own containers from here on, not with the machine.
mount --make-rshared /
own() {
    mkdir -p "$1" "$2"
    mount --bind "$1" "$2"
}
own "$run/containerd" /run/containerd
own "$run/netns" /run/netns
own "$cluster/cni" /var/lib/cni
own "$cluster/kubelet" /var/lib/kubelet
own "$cluster/logs/pods" /var/log/pods
own "$cluster/logs/containers" /var/log/containers
exec "$@"
