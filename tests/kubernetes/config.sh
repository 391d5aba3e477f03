# The configuration files of the cluster's components; to be sourced after lib.sh, written anew at every start.
# shellcheck shell=bash

write_config() {
    mkdir -p "$C/etc/cni"
    # restrict_oom_score_adj: lowering a score needs a right that a container may lack.
    cat >"$C/etc/containerd.toml" <<TOML
version = 2
root = "$C/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "docker.io/pgbatch/pause:dev"
  restrict_oom_score_adj = true
  stream_server_address = "127.0.0.1"
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = "$C/etc/cni"
TOML
    # ptp, not bridge: every packet between two pods is then routed, so a Service works between pods of one node
    # without the bridge-netfilter kernel module.
    cat >"$C/etc/cni/10-pods.conflist" <<JSON
{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "ptp", "ipMasq": false,
  "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
JSON
    # failCgroupV1: version 1 is refused by default. Its own cgroupRoot: a kubelet removes every pod cgroup below
    # its root that it does not know, also another cluster's. evictionHard: a nearly full disk of a developer's
    # machine is no reason to evict.
    cat >"$C/etc/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $C/pki/ca.crt}}
authorization: {mode: Webhook}
cgroupDriver: cgroupfs
cgroupRoot: /pgbatch-$ID
failCgroupV1: false
failSwapOn: false
makeIPTablesUtilChains: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
clusterDomain: cluster.local
clusterDNS: [$DNS_SERVICE_IP]
resolvConf: ""
imageGCHighThresholdPercent: 100
evictionHard: {nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", memory.available: "0%"}
maxPods: 240
YAML
    # conntrack 0: its limits belong to the whole machine, so they are left as they are.
    cat >"$C/etc/kube-proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $C/etc/kube-proxy.kubeconfig}
clusterCIDR: $PODS
hostnameOverride: $NODE
conntrack: {maxPerCore: 0, min: 0}
YAML
    # One line per request when it has ended; a watch has one when it begins, too, with the same auditID.
    cat >"$C/etc/audit-policy.yaml" <<YAML
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules: [{level: Metadata}]
YAML
    # Nothing outside the cluster can be reached from it, so every other name does not exist, said at once.
    cat >"$C/etc/Corefile" <<CORE
cluster.local:53 in-addr.arpa:53 ip6.arpa:53 {
    errors
    ready $NODE_IP:8181
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        kubeconfig $C/etc/coredns.kubeconfig
    }
}
.:53 {
    template ANY ANY {
        rcode NXDOMAIN
    }
}
CORE
    # CoreDNS is a process on the node, not a pod, hence a Service without a selector.
    cat >"$C/etc/dns.yaml" <<YAML
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: "system:coredns"}
rules:
- {apiGroups: [""], resources: [services, namespaces], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: "system:coredns"}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:coredns"}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: "system:coredns"}]
---
apiVersion: v1
kind: Service
metadata: {name: kube-dns, namespace: kube-system}
spec:
  clusterIP: $DNS_SERVICE_IP
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: kube-dns, namespace: kube-system, labels: {kubernetes.io/service-name: kube-dns}}
addressType: IPv4
endpoints: [{addresses: ["$NODE_IP"], conditions: {ready: true}}]
ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
YAML
}
