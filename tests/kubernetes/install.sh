#!/usr/bin/env bash
# Installs what the cluster needs and this machine lacks, from Debian's packages; as another user than root it
# prints the one line to run instead. Arguments add to the list: COMMAND-OR-FILE:PACKAGE...
set -euo pipefail

needs=(containerd:containerd ctr:containerd runc:runc /usr/lib/cni/ptp:containernetworking-plugins
    nft:nftables ip:iproute2 nsenter:util-linux openssl:openssl python3:python3-minimal cc:gcc "$@")
missing=()
for need in "${needs[@]}"; do
    command -v "${need%%:*}" >/dev/null || missing+=("${need#*:}")
done
# Debian's Go is older than Kubernetes asks for, so it is not installed from there.
command -v go >/dev/null || { echo "cluster: needs Go (go.mod says which): https://go.dev/dl" >&2; exit 1; }
[ ${#missing[@]} -gt 0 ] || exit 0

"$(dirname "${BASH_SOURCE[0]}")/../../.ci/apt-install" cluster "${missing[@]}"
