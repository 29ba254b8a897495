package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"weir/appliance"
	"weir/mgmt"
)

// controlCommands is what the running router answers over its control socket.
func controlCommands(engine *mgmt.Engine, router *appliance.Router, log *mgmt.Logbook) []*mgmt.Command {
	return []*mgmt.Command{
		{Name: "show", Help: "look at the running router", Commands: slices.Concat([]*mgmt.Command{
			showSystem(engine, router),
			showLog(log),
			show(router, "counters", "where all packets went", all, countersText),
			show(router, "drops", "packets that were dropped, by reason", dropsOf, dropsText),
			show(router, "ports", "ports and what they passed", portsOf, portsText),
			show(router, "queues", "queues of the ports and their rings", queuesOf, queuesText),
			show(router, "neighbors", "neighbours that packets are sent to", neighborsOf, neighborsText),
			show(router, "workers", "workers and how busy they are", workersOf, workersText),
		}, policyCommands(router))},
		{Name: "monitor", Help: "follow the running router", Commands: []*mgmt.Command{monitorTraffic(router), monitorLog(log)}},
		explainRunning(router),
		captureCommands(router),
		routesCommands(router),
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

// show is a command that shows a part of the router's state. For people, what went wrong and could not be undone comes first.
func show[T any](router *appliance.Router, name, help string, part func(appliance.State) T, text func(T) string) *mgmt.Command {
	return &mgmt.Command{Name: name, Help: help, Run: func(_ context.Context, args []string, asJSON bool) (any, error) {
		if len(args) > 0 {
			return nil, &mgmt.UsageError{Message: fmt.Sprintf("show %s takes no arguments", name)}
		}
		state := router.State()
		value := part(state)
		if asJSON {
			return value, nil
		}
		return degraded(state) + text(value), nil
	}}
}

func all(s appliance.State) appliance.State { return s }

type showCommand struct {
	Control string   `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool     `help:"The same as '| json' at the end."`
	What    []string `arg:"" optional:"" help:"system, log, counters, drops, ports, queues, neighbors, workers, rules, marks or tables; '| json' at the end for JSON."`
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

// degraded says first what went wrong and could not be undone.
func degraded(s appliance.State) string {
	var b strings.Builder
	for _, t := range s.Trouble {
		fmt.Fprintf(&b, "DEGRADED: %s\n", t)
	}
	return b.String()
}
