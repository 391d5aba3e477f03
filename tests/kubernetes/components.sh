# How each component is started; to be sourced after lib.sh. Flags are upstream's defaults unless said why.
# shellcheck shell=bash

COMPONENTS=(mounts etcd containerd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy coredns)

start_component() {
    local client=http://127.0.0.1:2379 peer=http://127.0.0.1:2380 pki=$C/pki
    case $1 in
    mounts) # Only holds the mount namespace of containerd and the kubelet, so that each can be restarted alone.
        start mounts unshare --mount --propagation private "$HERE/private-mounts.sh" "$RUN" "$C" sleep infinity
        ;;
    etcd) # Its data is thrown away with the cluster, so nothing waits for the disk.
        start etcd "$BIN" etcd --data-dir "$C/etcd" --unsafe-no-fsync --log-level warn \
            --listen-client-urls $client --advertise-client-urls $client --listen-peer-urls $peer \
            --initial-advertise-peer-urls $peer --initial-cluster default=$peer
        ;;
    containerd)
        start containerd nsenter --target "$(pid_of mounts)" --mount containerd --config "$C/etc/containerd.toml"
        ;;
    kube-apiserver) # One audit file of at most 2 GB: a rotated one would break the tests' counting.
        start kube-apiserver "$BIN" kube-apiserver --etcd-servers $client \
            --secure-port 6443 --advertise-address "$NODE_IP" --service-cluster-ip-range "$SERVICES" \
            --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" --client-ca-file "$pki/ca.crt" \
            --service-account-issuer https://kubernetes.default.svc.cluster.local \
            --service-account-key-file "$pki/service-accounts.pub" \
            --service-account-signing-key-file "$pki/service-accounts.key" \
            --requestheader-client-ca-file "$pki/ca.crt" --requestheader-allowed-names front-proxy-client \
            --authorization-mode Node,RBAC --enable-admission-plugins NodeRestriction --allow-privileged=true \
            --kubelet-preferred-address-types InternalIP \
            --kubelet-client-certificate "$pki/apiserver-to-kubelet.crt" \
            --kubelet-client-key "$pki/apiserver-to-kubelet.key" \
            --audit-policy-file "$C/etc/audit-policy.yaml" --audit-log-path "$LOGS/audit.log" --audit-log-maxsize 2000
        ;;
    kube-controller-manager) # Leader election among one would only delay a restart.
        local config=$C/etc/kube-controller-manager.kubeconfig
        start kube-controller-manager "$BIN" kube-controller-manager --kubeconfig "$config" \
            --authentication-kubeconfig "$config" --authorization-kubeconfig "$config" --bind-address 127.0.0.1 \
            --root-ca-file "$pki/ca.crt" --service-account-private-key-file "$pki/service-accounts.key" \
            --cluster-signing-cert-file "$pki/ca.crt" --cluster-signing-key-file "$pki/ca.key" \
            --use-service-account-credentials --leader-elect=false
        ;;
    kube-scheduler)
        local config=$C/etc/kube-scheduler.kubeconfig
        start kube-scheduler "$BIN" kube-scheduler --kubeconfig "$config" --authentication-kubeconfig "$config" \
            --authorization-kubeconfig "$config" --bind-address 127.0.0.1 --leader-elect=false
        ;;
    kubelet)
        start kubelet nsenter --target "$(pid_of mounts)" --mount "$BIN" kubelet \
            --config "$C/etc/kubelet.yaml" --kubeconfig "$C/etc/kubelet.kubeconfig" \
            --hostname-override "$NODE" --node-ip "$NODE_IP"
        ;;
    kube-proxy)
        start kube-proxy "$BIN" kube-proxy --config "$C/etc/kube-proxy.yaml"
        ;;
    coredns)
        start coredns "$BIN" coredns "$C/etc/Corefile"
        ;;
    *) die "no such component: $1; there are: ${COMPONENTS[*]}" ;;
    esac
}

admin() { "$KUBECTL" --kubeconfig "$C/kubeconfig" --request-timeout 5s "$@"; }
api_ready() { admin get --raw /readyz; }
node_ready() { admin get node "$NODE" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -qx True; }
account_ready() { admin get serviceaccount default; }
mounts_ready() { grep -q ' /var/log/containers ' "/proc/$(pid_of mounts)/mountinfo"; } # the last of them
containerd_ready() { ctr --address "$SOCK" version; }
dns_ready() ( # a subshell, so that the connection is closed again
    exec 3<>"/dev/tcp/$NODE_IP/8181" || exit 1
    printf 'GET /ready HTTP/1.0\r\n\r\n' >&3
    grep -q '200 OK' <&3
)
