package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"weir/appliance"
	"weir/mgmt"
	"weir/mgmt/ssh"
)

// controlCommands is what the running router answers over its control socket and by SSH.
func controlCommands(engine *mgmt.Engine, router *appliance.Router, shell *ssh.Server, log *mgmt.Logbook) []*mgmt.Command {
	return slices.Concat([]*mgmt.Command{
		{Name: "show", Help: "look at the running router", Role: mgmt.ReadOnly, Commands: slices.Concat([]*mgmt.Command{
			showSystem(engine, router),
			showVersion,
			showLog(log),
			show(engine, router, "counters", "where all packets went", all, countersText),
			show(engine, router, "drops", "packets that were dropped, by reason", dropsOf, dropsText),
			show(engine, router, "ports", "ports and what they passed", portsOf, portsText),
			show(engine, router, "queues", "queues of the ports and their rings", queuesOf, queuesText),
			show(engine, router, "neighbors", "neighbours that packets are sent to", neighborsOf, neighborsText),
			show(engine, router, "workers", "workers and how busy they are", workersOf, workersText),
			shell.Command(),
		}, policyCommands(engine, router), engine.ShowCommands())},
		explainCommands(router),
		monitorCommands(router, log),
		captureCommands(router),
		routesCommands(router),
	}, engine.Commands())
}

// show is a command that shows a part of the router's state. For people, what went wrong and could not be undone comes first.
func show[T any](engine *mgmt.Engine, router *appliance.Router, name, help string, part func(appliance.State) T, text func(T) string) *mgmt.Command {
	return &mgmt.Command{Name: name, Help: help, Run: func(_ context.Context, r *mgmt.Request) (any, error) {
		if len(r.Args) > 0 {
			return nil, &mgmt.UsageError{Message: fmt.Sprintf("show %s takes no arguments", name)}
		}
		state := stateOf(engine, router)
		value := part(state)
		if r.JSON {
			return value, nil
		}
		return degraded(state) + text(value), nil
	}}
}

// stateOf is the router's state, and what is to be known of its configuration.
func stateOf(engine *mgmt.Engine, router *appliance.Router) appliance.State {
	state := router.State()
	state.Trouble = append(state.Trouble, engine.Trouble()...)
	state.Notices = engine.Notices()
	return state
}

func all(s appliance.State) appliance.State { return s }

type showCommand struct {
	Control string   `default:"${control}" placeholder:"SOCKET" help:"The running router's control socket (${default})."`
	JSON    bool     `help:"The same as '| json' at the end."`
	What    []string `arg:"" optional:"" help:"system, log, counters, drops, ports, queues, neighbors, workers, rules, marks, tables, routes, commits, configuration or sessions; '| json' at the end for JSON."`
}

// Run asks the running router.
func (c *showCommand) Run() error {
	words := append([]string{"show"}, c.What...)
	if c.JSON {
		words = append(words, "|", "json")
	}
	return callWith(c.Control, nil, words...)
}

type reloadCommand struct{ controlFlags }

// Run makes the running router reload.
func (c *reloadCommand) Run() error { return c.ask(nil, "reload") }

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

// degraded says first what went wrong and could not be undone, and what is to be known.
func degraded(s appliance.State) string {
	var b strings.Builder
	for _, t := range s.Trouble {
		fmt.Fprintf(&b, "DEGRADED: %s\n", t)
	}
	for _, n := range s.Notices {
		fmt.Fprintf(&b, "note: %s\n", n)
	}
	return b.String()
}
