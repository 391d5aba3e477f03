# The cluster's certificates and one kubeconfig per user; to be sourced after lib.sh, made anew at every start.
# shellcheck shell=bash

new_pki() (
    mkdir -p "$C/pki" "$C/etc"
    local names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
    names+=,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$NODE_IP,IP:$API_SERVICE_IP
    cd "$C/pki" || exit
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=pgbatch-test-cluster \
        -keyout ca.key -out ca.crt 2>/dev/null
    certificate server /CN=kube-apiserver "$names"
    certificate apiserver-to-kubelet /O=system:masters/CN=kube-apiserver-kubelet-client
    openssl ecparam -name prime256v1 -genkey -noout -out service-accounts.key
    openssl ec -in service-accounts.key -pubout -out service-accounts.pub 2>/dev/null

    user admin /O=system:masters/CN=admin "$C/kubeconfig"
    local name
    for name in kube-controller-manager kube-scheduler kube-proxy coredns; do
        user "$name" "/CN=system:$name" "$C/etc/$name.kubeconfig"
    done
    user kubelet "/O=system:nodes/CN=system:node:$NODE" "$C/etc/kubelet.kubeconfig"
)

# certificate NAME SUBJECT [ALTERNATIVE-NAMES]
certificate() {
    openssl req -x509 -CA ca.crt -CAkey ca.key -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 \
        -subj "$2" -addext "subjectAltName=${3:-DNS:localhost}" -addext basicConstraints=critical,CA:FALSE \
        -keyout "$1.key" -out "$1.crt" 2>/dev/null
}

# user NAME SUBJECT FILE: a kubeconfig that needs no other file, so it can be copied anywhere.
user() {
    certificate "$1" "$2"
    (umask 077 && cat >"$3") <<YAML
apiVersion: v1
kind: Config
clusters:
- {name: pgbatch, cluster: {server: "$API", certificate-authority-data: "$(base64 -w0 ca.crt)"}}
users:
- name: $1
  user: {client-certificate-data: "$(base64 -w0 "$1.crt")", client-key-data: "$(base64 -w0 "$1.key")"}
contexts:
- {name: pgbatch, context: {cluster: pgbatch, user: $1, namespace: default}}
current-context: pgbatch
YAML
}
