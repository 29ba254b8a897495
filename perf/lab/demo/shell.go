package demo

import (
	"context"
	"fmt"
	"os"
	"slices"

	"weir/perf/lab"
)

// Shell builds the laboratory, starts the router in it, tells how to use it, and starts the user's shell in one of
// the hosts. When the shell ends, everything is removed.
func Shell(ctx context.Context, o Options) error {
	if err := o.fill(); err != nil {
		return err
	}
	if !slices.Contains(Hosts(), o.ShellHost) {
		return fmt.Errorf("open shell: no host %q in the laboratory (it has %v)", o.ShellHost, Hosts())
	}
	return withRouter(ctx, o, func(n *network, w *weir) error {
		r := newReport(o.Out)
		r.head("weir lab shell: two clients, a router, two uplinks, in network namespaces")
		return runShell(ctx, o, n, w, r)
	})
}

func runShell(ctx context.Context, o Options, n *network, w *weir, r *report) error {
	r.printf("%s\n", r.paint(bold, "Enter a host from another terminal"))
	for _, name := range Hosts() {
		r.printf("  ip netns exec %s sh\n", n.hosts[name].Namespace())
	}
	r.printf("\n%s\n", r.paint(bold, "Try"))
	r.printf("  ping -c 3 %s\n", known[0])
	r.printf("  ping -c 3 -I %s %s\n", bobby[0], known[0])
	r.printf("  tcpdump -ni eth0\n")
	r.printf("  %s explain -c %s \\\n      iif=em0 src=%s dst=%s proto=tcp dport=80\n", o.Binary, w.config, alice[0], known[0])
	r.printf("  %s show --control %s counters\n", o.Binary, w.control)
	r.printf("\nThis shell is in %s. When it ends, the laboratory goes.\n", r.paint(bold, o.ShellHost))

	shell := os.Getenv("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	p, err := n.hosts[o.ShellHost].Start(ctx, lab.Command{
		Name: shell, Foreground: true, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		Env: []string{"WEIR_LAB_HOST=" + o.ShellHost},
	})
	if err != nil {
		return err
	}
	<-p.Done() // whatever its exit code: that is the code of the last command a person typed
	return nil
}
