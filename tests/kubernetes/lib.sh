# Facts and helpers shared by the scripts in this folder; to be sourced, never run.
# shellcheck shell=bash disable=SC2034
# Everything a cluster of this clone owns can be found again from the clone's path alone: the files under
# target/cluster, the short directory under /run (for unix sockets, whose paths are limited to 107 bytes, and
# for what must outlive `cargo clean`), the network namespace and the cgroup. PGBATCH_CLUSTER_DIR names another folder
# for these files, and so another cluster beside the first one; what is built serves all of them.

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
REPO=$(cd "$HERE/../.." && pwd)
BUILT=$REPO/target/cluster
BIN=$BUILT/bin/cluster
KUBECTL=$BUILT/bin/kubectl
C=${PGBATCH_CLUSTER_DIR:-$BUILT}
LOGS=$C/logs
[ "$C" = "$BUILT" ] && OWNER=$REPO || OWNER=$C
HASH=$(printf %s "$OWNER" | sha256sum | cut -c1-8)
RUN=/run/pgbatch-$HASH
SOCK=$RUN/containerd/containerd.sock
STARTED=$SECONDS

die() { echo "cluster: $*" >&2; exit 1; }
step() { printf 'cluster: %3ds  %s\n' $((SECONDS - STARTED)) "$*"; }

# The cluster's number, chosen by up.sh, gives every name and address that must not clash with another clone's.
use_id() {
    ID=$1
    NETNS=pgbatch-$ID
    NODE=pgbatch-$ID
    HOST_IF=pgb$ID-host
    HOST_IP=10.199.$ID.1
    NODE_IP=10.199.$ID.2
    PODS=10.244.$ID.0/24
    API=https://$NODE_IP:6443
}
# These exist once per cluster, seen by nobody outside its network namespace, so all clones use the same ones.
SERVICES=10.96.0.0/16
API_SERVICE_IP=10.96.0.1
DNS_SERVICE_IP=10.96.0.10

# The roots of this machine's cgroup hierarchies: one in version 2; in version 1 one per controller, and often
# an empty one of version 2 beside them.
cgroup_roots() { awk '$3 ~ /^cgroup2?$/ { print $2 }' /proc/self/mounts; }
# The hierarchy that holds the list of this cluster's processes: daemons, container shims and pods.
cgroup_of_processes() {
    if [ -f /sys/fs/cgroup/cgroup.controllers ]; then
        echo "/sys/fs/cgroup/pgbatch-$ID"
    else
        echo "/sys/fs/cgroup/pids/pgbatch-$ID"
    fi
}

pid_of() { cat "$RUN/pids/$1" 2>/dev/null; }
# True if the recorded process of a component lives and is really ours: a pid alone may have been given to
# another process since, for example after a reboot.
is_alive() {
    local pid
    pid=$(pid_of "$1") && grep -qx "$pid" "$(cgroup_of_processes)/daemons/cgroup.procs" 2>/dev/null
}

# start NAME COMMAND...: a daemon in the cluster's network namespace and cgroup, with a clean environment, in a
# session of its own so that it outlives its caller, and with no open file of the caller's (such as up.sh's lock).
start() {
    local name=$1
    shift
    rm -f "$RUN/pids/$name"
    # shellcheck disable=SC2016 # the inner shell is to expand them
    setsid env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root \
        bash -c 'echo $$ >"$1" && echo $$ >"$2" && exec nsenter --net="$3" "${@:4}"' start \
        "$RUN/pids/$name" "$(cgroup_of_processes)/daemons/cgroup.procs" "/run/netns/$NETNS" "$@" \
        </dev/null >>"$LOGS/$name.log" 2>&1 9>&- &
    disown
}

# wait_for SECONDS WHAT COMPONENT COMMAND...: until the command succeeds; shows the guilty log if it does not.
wait_for() {
    local limit=$((SECONDS + $1)) what=$2 component=$3
    shift 3
    sleep 0.1
    until "$@" >/dev/null 2>&1; do
        if ! is_alive "$component" && sleep 0.5 && ! is_alive "$component"; then
            fail "$component ended while waiting for: $what" "$component"
        fi
        [ "$SECONDS" -lt "$limit" ] || fail "timed out waiting for: $what" "$component"
        sleep 0.1
    done
    step "$what"
}
fail() {
    echo "cluster: $1; the end of $LOGS/$2.log:" >&2
    tail -n 25 "$LOGS/$2.log" >&2 || true
    exit 1
}

need_root() { [ "$(id -u)" = 0 ] || die "needs root (network namespaces, mounts, cgroups)"; }
# One of up.sh, down.sh and apiserver.sh of a clone at a time.
take_lock() {
    mkdir -p "$RUN"
    exec 9>"$RUN/lock"
    flock -w 600 9 || die "another script holds $RUN/lock"
}
