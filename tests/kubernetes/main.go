// One program that is a whole Kubernetes cluster: the upstream commands, chosen by the first argument
// (or by the program's own name, so that a link called kubectl is kubectl).
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	kubectl "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"
)

func main() {
	name := filepath.Base(os.Args[0])
	if name != "kubectl" {
		if len(os.Args) < 2 {
			usage()
		}
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	switch name {
	case "etcd":
		etcdmain.Main(os.Args)
	case "kube-apiserver":
		os.Exit(cli.Run(apiserver.NewAPIServerCommand()))
	case "kube-controller-manager":
		os.Exit(cli.Run(controllers.NewControllerManagerCommand()))
	case "kube-scheduler":
		os.Exit(cli.Run(scheduler.NewSchedulerCommand()))
	case "kubelet":
		os.Exit(cli.Run(kubelet.NewKubeletCommand(context.Background())))
	case "kube-proxy":
		os.Exit(cli.Run(proxy.NewProxyCommand()))
	case "coredns":
		runDNS(os.Args[1:])
	case "kubectl":
		runKubectl()
	default:
		usage()
	}
}

func usage() {
	fmt.Fprintln(os.Stderr, "usage: cluster etcd|kube-apiserver|kube-controller-manager|kube-scheduler|"+
		"kubelet|kube-proxy|coredns COREFILE|kubectl [argument...]")
	os.Exit(2)
}

func runKubectl() {
	// As upstream's main does: the verbosity must hold while the command is still being built.
	_, _ = logs.GlogSetter(kubectl.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectl.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err)
	}
}

// runDNS is CoreDNS with only the plugins imported above. Its own coremain is not used because that
// registers process-wide flags, which the other commands would then offer as theirs.
func runDNS(args []string) {
	if len(args) != 1 {
		usage()
	}
	text, err := os.ReadFile(args[0])
	if err == nil {
		dnsserver.Quiet, caddy.Quiet = true, true
		var instance *caddy.Instance
		instance, err = caddy.Start(caddy.CaddyfileInput{Filepath: args[0], Contents: text, ServerTypeName: "dns"})
		if err == nil {
			instance.Wait()
			return
		}
	}
	fmt.Fprintln(os.Stderr, "coredns:", err)
	os.Exit(1)
}
