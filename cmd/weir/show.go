package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"weir/appliance"
	"weir/mgmt"
)

// controlCommands is what the running router answers over its control socket.
func controlCommands(engine *mgmt.Engine, router *appliance.Router) []*mgmt.Command {
	show := func(name, help string, text func(appliance.State) string) *mgmt.Command {
		return &mgmt.Command{Name: name, Help: help, Run: func(_ context.Context, args []string, asJSON bool) (any, error) {
			if len(args) > 0 {
				return nil, &mgmt.UsageError{Message: fmt.Sprintf("show %s takes no arguments", name)}
			}
			state := router.State()
			if asJSON {
				return state, nil
			}
			return text(state), nil
		}}
	}
	return []*mgmt.Command{
		{Name: "show", Help: "look at the running router", Commands: append([]*mgmt.Command{
			show("counters", "where all packets went", countersText),
			show("ports", "ports and their queues", portsText),
			show("neighbors", "neighbours that packets are sent to", neighborsText),
			show("workers", "workers and the publication they run", workersText),
		}, policyCommands(router)...)},
		{Name: "reload", Help: "read the configuration file again", Run: func(ctx context.Context, args []string, asJSON bool) (any, error) {
			if len(args) > 0 {
				return nil, &mgmt.UsageError{Message: "reload takes no arguments: it reads the file that weir was started with"}
			}
			report := engine.Reload(ctx)
			if !report.OK() {
				return nil, fmt.Errorf("%s", strings.TrimSuffix(report.String(), "\n"))
			}
			if asJSON {
				return report, nil
			}
			return report.String(), nil
		}},
	}
}

type showCommand struct {
	Control string   `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool     `help:"The same as '| json' at the end."`
	What    []string `arg:"" optional:"" help:"counters, rules, marks, tables, ports, neighbors or workers; '| json' at the end for JSON."`
}

// Run asks the running router.
func (c *showCommand) Run() error {
	words := append([]string{"show"}, c.What...)
	if c.JSON {
		words = append(words, "|", "json")
	}
	return call(c.Control, words...)
}

type reloadCommand struct {
	Control string `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool   `help:"Print the report as JSON."`
}

// Run makes the running router reload.
func (c *reloadCommand) Run() error {
	words := []string{"reload"}
	if c.JSON {
		words = append(words, "|", "json")
	}
	return call(c.Control, words...)
}

// call runs a command over the control socket: its output to standard output, or to standard error if it is refused.
func call(socket string, words ...string) error {
	out, status, err := mgmt.Call(context.Background(), socket, words...)
	if err != nil {
		return fmt.Errorf("%w (is weir running here? --control names its socket)", err)
	}
	to := os.Stdout
	if status != 0 {
		to = os.Stderr
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	if _, err := to.Write(out); err != nil {
		return err
	}
	if status != 0 {
		return silent{status}
	}
	return nil
}

// table writes rows of columns.
func table(write func(row func(cells ...any))) string {
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	write(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, c)
		}
		fmt.Fprintln(w)
	})
	if err := w.Flush(); err != nil {
		return err.Error()
	}
	return b.String()
}

func countersText(s appliance.State) string {
	t := s.Totals
	text := degraded(s) + table(func(row func(...any)) {
		row("received", t.Received)
		row("generated", t.Generated, " ICMP errors of the router's own")
		row("transmitted", t.Transmitted)
		row("punted", t.Punted, " given to the kernel by the policy")
		row("waiting", t.Waiting, " for a neighbour")
		row("dropped", t.Dropped)
		for _, reason := range slices.Sorted(maps.Keys(t.Drops)) {
			row("  "+reason, t.Drops[reason])
		}
		if t.ICMPLimited > 0 {
			row("not answered", t.ICMPLimited, " ICMP rate limit")
		}
	})
	return text + table(func(row func(...any)) {
		for _, p := range s.Ports {
			for _, class := range slices.Sorted(maps.Keys(p.Steered)) {
				row(p.Name+" steered", class, p.Steered[class])
			}
		}
	})
}

func portsText(s appliance.State) string {
	reasons := ""
	for _, p := range s.Ports {
		if p.Reason != "" {
			reasons += fmt.Sprintf("%s is %s: %s\n", p.Name, p.State, p.Reason)
		}
	}
	return degraded(s) + reasons + table(func(row func(...any)) {
		row("PORT", "STATE", "MODE", "XDP", "DRIVER", "QUEUE", "WORKER", "RECEIVED", "TRANSMITTED", "KICKS", "RING FULL", "NO FILL", "ERRNO")
		for _, p := range s.Ports {
			for _, q := range p.Queues {
				var errnos []string
				for _, name := range slices.Sorted(maps.Keys(q.Errno)) {
					errnos = append(errnos, fmt.Sprintf("%s %d", name, q.Errno[name]))
				}
				row(p.Name, p.State, p.Mode, p.XDP, p.Driver, q.Queue, q.Worker, q.Received, q.Transmitted, q.Kicks, q.RingFull, q.NoFill, strings.Join(errnos, ", "))
			}
			if len(p.Queues) == 0 {
				row(p.Name, p.State, p.Mode)
			}
		}
	})
}

func neighborsText(s appliance.State) string {
	return degraded(s) + table(func(row func(...any)) {
		row("NEIGHBOR", "PORT", "MAC", "STATE")
		for _, n := range s.Neighbors {
			row(n.Address, n.Port, n.MAC, n.State)
		}
	})
}

func workersText(s appliance.State) string {
	return degraded(s) + table(func(row func(...any)) {
		row("WORKER", "CPU", "PUBLICATION", "SLEEPS")
		for _, w := range s.Workers {
			row(w.Worker, w.CPU, w.Epoch, w.Sleeps)
		}
	})
}

// degraded says first what went wrong and could not be undone.
func degraded(s appliance.State) string {
	var b strings.Builder
	for _, t := range s.Trouble {
		fmt.Fprintf(&b, "DEGRADED: %s\n", t)
	}
	return b.String()
}
