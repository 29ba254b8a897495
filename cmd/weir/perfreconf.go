package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"weir/perf"
	"weir/perf/procedure"
)

type perfReconfCommand struct {
	perfTest
	searchFlags
	Rate     float64       `placeholder:"N" help:"Packets a second (the throughput, which is searched for first)."`
	Duration time.Duration `placeholder:"TIME" help:"Of a trial, in the middle of which the change is made (60s)."`
	Repeats  int           `placeholder:"N" help:"How often (5)."`
	Do       string        `placeholder:"COMMAND" help:"The change, for /bin/sh (weir reloads a configuration in which a table comes or goes)."`
}

// Run measures.
func (c *perfReconfCommand) Run() error {
	if err := c.changes(c.Do); err != nil {
		return err
	}
	return c.run("Reconfiguration", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Reconfiguration(ctx, b, procedure.ReconfigurationOptions{
			Common: common, Search: c.options(common), Rates: sameRate(c.Rate, common), Duration: c.Duration, Repeats: c.Repeats,
			Change: change(c.Do, "reload with a table more or less", b, (*perf.Bench).Reconfigure),
		})
	})
}

// changes refuses to change a device that is not ours without a command that does.
func (c *perfTest) changes(command string) error {
	if c.Testbed != "veth" && command == "" {
		return errors.New("the device between ports is not ours to change: say how with --do COMMAND")
	}
	return nil
}

// change is a command of the user's, or what the bench does.
func change(command, name string, b perfBed, own func(*perf.Bench, context.Context) error) procedure.Change {
	if bench, ok := b.(*perf.Bench); ok && command == "" {
		return procedure.Change{Name: name, Do: func(ctx context.Context) error { return own(bench, ctx) }}
	}
	return procedure.Change{Name: command, Do: func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}}
}
