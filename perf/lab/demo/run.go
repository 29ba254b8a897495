package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// Options of Run and Shell. The zero value is the demonstration by this very program, with the embedded example.
type Options struct {
	Binary      string    // the weir program; empty: this one
	Config      string    // configuration file; empty: Example
	Out         io.Writer // nil: standard output
	TCPBytes    int64     // of each transfer; 0: 8 MiB
	Queues      int       // of each port; 0: 2
	Interactive bool      // Run: leave the user a shell in the laboratory before it goes
	ShellHost   string    // where the shell is; empty: client-a

	prepare func(*network) error // tests: runs before the router starts
}

// ErrMismatch is wrapped by Run's error when a flow did not go where the router said that it would.
var ErrMismatch = errors.New("flows did not go as they should")

func (o *Options) fill() error {
	if o.Binary == "" {
		binary, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find own program: %w", err)
		}
		o.Binary = binary
	}
	if o.Out == nil {
		o.Out = os.Stdout
	}
	if o.TCPBytes == 0 {
		o.TCPBytes = 8 << 20
	}
	if o.Queues == 0 {
		o.Queues = 2
	}
	if o.ShellHost == "" {
		o.ShellHost = clientA
	}
	return nil
}

// Run builds the laboratory, starts the router in it, sends every flow, prints what went where and why, and removes
// everything again, also when ctx ends. The error says what went wrong; a flow that did not go as the router had said,
// or as the example means it, is ErrMismatch.
func Run(ctx context.Context, o Options) (err error) {
	if err := o.fill(); err != nil {
		return err
	}
	return withRouter(ctx, o, func(n *network, w *weir) error {
		r := newReport(o.Out)
		r.head("weir lab demo: two clients, a router, two uplinks, in network namespaces")
		r.printf("Every service address exists behind both uplinks, so where a packet arrives\nshows what the router decided. " +
			"Each TCP transfer is compared byte by byte.\n\n")
		probes, wrong, err := sendFlows(ctx, o, n, w, r)
		if err != nil {
			return err
		}
		counters, err := w.counters(ctx)
		if err != nil {
			return err
		}
		r.printf("%s\n%s\n", r.paint(bold, "What the router counted"), indent(counters))
		if wrong > 0 {
			r.printf("%s\n", r.paint(red, fmt.Sprintf("✗ %d of %d probes did not go as they should", wrong, probes)))
			err = fmt.Errorf("%w: %d of %d probes", ErrMismatch, wrong, probes)
		} else {
			r.printf("%s\n", r.paint(green, fmt.Sprintf("✓ %d probes, all went as weir had said", probes)))
		}
		if o.Interactive {
			err = errors.Join(err, runShell(ctx, o, n, w, r))
		}
		return err
	})
}

// withRouter builds the laboratory, starts the router, runs f, and removes both whatever happens.
func withRouter(ctx context.Context, o Options, f func(*network, *weir) error) (err error) {
	n, err := buildNetwork(o.Queues)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.lab.Close()) }()
	if o.prepare != nil {
		if err := o.prepare(n); err != nil {
			return err
		}
	}
	w, err := startWeir(ctx, n, o.Binary, o.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	err = f(n, w)
	if ctx.Err() != nil { // then everything fails somehow, and how does not matter
		return fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return err
}

// sendFlows sends every flow by every protocol of it, in both families, and prints what became of it.
func sendFlows(ctx context.Context, o Options, n *network, w *weir, r *report) (probes, wrong int, err error) {
	s, err := startServices(n)
	if err != nil {
		return 0, 0, err
	}
	defer s.stop()
	for i, f := range flows {
		r.flow(i+1, f)
		for _, e := range f.ends {
			r.ends(f, e)
			var said decision
			for k, p := range f.protocols {
				probes++
				number := uint32(probes)
				d, err := w.explain(ctx, f, e, p, sourcePort(number))
				if err != nil {
					return probes, wrong, err
				}
				if k == 0 || d.String() != said.String() {
					r.decision(d)
					said = d
				}
				out := s.probe(ctx, n.hosts[f.client], f, e, p, number, o.TCPBytes)
				if ctx.Err() != nil {
					return probes, wrong, fmt.Errorf("send flows: %w", context.Cause(ctx))
				}
				verdict := judge(d, out)
				if o.Config == "" {
					verdict = errors.Join(verdict, expect(f, d))
				}
				if verdict != nil {
					wrong++
				}
				r.outcome(p, f.dport, d, out, verdict)
			}
		}
		r.printf("\n")
	}
	return probes, wrong, nil
}

func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("  " + line)
	}
	return b.String()
}
