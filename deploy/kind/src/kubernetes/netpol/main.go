// Command netpol enforces NetworkPolicy on its node: the upstream engine decides about the first packet of every
// connection that the node's rules (node/kind/bin/pod-network.sh) put into its queue.
package main

import (
	"context"
	"flag"
	"os"
	"os/signal"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	"sigs.k8s.io/kube-network-policies/pkg/networkpolicy"
)

const (
	credentials = "/etc/kubernetes/kubelet.conf"
	names       = "/run/pod-names"
	queue       = 100
)

func main() {
	klog.InitFlags(nil)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		klog.ErrorS(err, "netpol ends")
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", credentials)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	if err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, mayRead(client)); err != nil {
		return err
	}
	watched := informers.NewSharedInformerFactory(client, 0)
	controller, err := networkpolicy.NewController(client,
		watched.Networking().V1().NetworkPolicies(), watched.Core().V1().Namespaces(), namedPods{watched.Core().V1().Pods(), names},
		nil, nil, nil, nil, networkpolicy.Config{QueueID: queue})
	if err != nil {
		return err
	}
	watched.Start(ctx.Done())
	return controller.Run(ctx)
}

// mayRead tells whether the API server is there and this node may read policies. Informers that start before fall back to
// trying every few seconds, and all Pods' traffic waits for them.
func mayRead(client kubernetes.Interface) wait.ConditionWithContextFunc {
	return func(ctx context.Context) (bool, error) {
		_, err := client.NetworkingV1().NetworkPolicies("").List(ctx, metav1.ListOptions{Limit: 1})
		return err == nil, nil
	}
}
