package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"weir/perf/procedure"
	"weir/perf/trial"
)

type perfMLRsearchCommand struct {
	perfTest
	latencyFlags
	Goal  []string      `placeholder:"GOAL" sep:"none" help:"What to search for: ndr, pdr, rfc2544, tst009, or NAME:LOSS-RATIO:EXCEED-RATIO such as mine:0.001:0.5; again for more (ndr and pdr)."`
	Final time.Duration `placeholder:"TIME" help:"Trial duration of all goals (their own)."`
	Sum   time.Duration `placeholder:"TIME" help:"Duration sum of all goals (their own)."`
	Width float64       `placeholder:"SHARE" help:"To which the search is exact (their own)."`
}

// Run searches.
func (c *perfMLRsearchCommand) Run() error {
	goals, err := c.goals()
	if err != nil {
		return err
	}
	var found []float64
	list := []perfProcedure{func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		result, err := procedure.MLRsearch(ctx, b, procedure.MLRsearchOptions{Common: common, Goals: goals})
		if err == nil {
			found = throughputs(result, goals[len(goals)-1].Name, common.Sizes)
		}
		return result, err
	}}
	if c.Shares != nil {
		list = append(list, func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
			if found == nil {
				return nil, fmt.Errorf("latency: no %s was found to take shares of", goals[len(goals)-1].Name)
			}
			return procedure.Latency(ctx, b, procedure.LatencyOptions{Common: common, Rates: found, Shares: c.Shares, Duration: c.Duration, Repeats: c.Repeats})
		})
	}
	return c.run("MLRsearch", list...)
}

func (c *perfMLRsearchCommand) goals() (list []procedure.Goal, err error) {
	names := c.Goal
	if names == nil {
		names = []string{"ndr", "pdr"}
	}
	known := map[string]func() procedure.Goal{"ndr": procedure.NDR, "pdr": procedure.PDR, "rfc2544": procedure.RFC2544, "tst009": procedure.TST009}
	for _, name := range names {
		var g procedure.Goal
		if make, ok := known[strings.ToLower(name)]; ok {
			g = make()
		} else {
			g = procedure.NDR()
			parts := strings.Split(name, ":")
			if len(parts) != 3 || parts[0] == "" {
				return nil, fmt.Errorf("goal %q: must be ndr, pdr, rfc2544, tst009, or NAME:LOSS-RATIO:EXCEED-RATIO", name)
			}
			g.Name = parts[0]
			if _, err := fmt.Sscanf(parts[1]+" "+parts[2], "%g %g", &g.LossRatio, &g.ExceedRatio); err != nil {
				return nil, fmt.Errorf("goal %q: ratios are numbers from 0 to 1", name)
			}
		}
		if c.Final > 0 {
			g.Final = c.Final
			g.Initial = min(g.Initial, c.Final)
			g.Sum = max(g.Sum, c.Final)
		}
		if c.Sum > 0 {
			g.Sum = c.Sum
		}
		if c.Width > 0 {
			g.Width = c.Width
		}
		list = append(list, g)
	}
	return list, nil
}

type perfImixCommand struct {
	perfTest
	searchFlags
}

// Run searches. Where streams have headers that do not fit into 64 bytes, the smallest frames of the mix are as long as they have to be.
func (c *perfImixCommand) Run() error {
	if len(c.Size) == 0 {
		streams, err := c.streams()
		if err != nil {
			return err
		}
		mix, err := trial.ParseSizes(trial.SizeImix)
		if err != nil {
			return err
		}
		for i := range mix {
			mix[i] = max(mix[i], sizeMin(streams))
		}
		c.Size = []string{mix.String()}
	}
	return c.run("IMIX", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.Imix(ctx, b, c.options(common))
	})
}
