package main

import (
	"context"
	"slices"
	"time"

	"weir/perf"
	"weir/perf/procedure"
	"weir/perf/trial"
)

// sameRate gives every size the same rate; none is given by 0.
func sameRate(rate float64, common procedure.Common) []float64 {
	if rate == 0 {
		return nil
	}
	return slices.Repeat([]float64{rate}, len(common.Sizes))
}

// searchFlags are those of the search for the throughput, with which most procedures begin.
type searchFlags struct {
	Initial time.Duration `placeholder:"TIME" help:"Of the first trials of a search (1s)."`
	Final   time.Duration `placeholder:"TIME" help:"Of the trials that count (60s)."`
	Width   float64       `placeholder:"SHARE" help:"To which the search is exact (0.005)."`
}

func (f *searchFlags) options(common procedure.Common) procedure.ThroughputOptions {
	return procedure.ThroughputOptions{Common: common, Initial: f.Initial, Final: f.Final, Width: f.Width}
}

type perfRFC2544Command struct {
	Throughput perfThroughputCommand `cmd:"" help:"The highest rate without loss (section 26.1)."`
	Latency    perfLatencyCommand    `cmd:"" help:"How long packets take at the throughput (section 26.2)."`
	Loss       perfLossCommand       `cmd:"" help:"Loss from the highest rate downwards (section 26.3)."`
	BackToBack perfBackToBackCommand `cmd:"" name:"back-to-back" help:"The longest burst without loss (RFC 9004)."`
	Recovery   perfRecoveryCommand   `cmd:"" help:"How long an overload is felt (section 26.5)."`
	Reset      perfResetCommand      `cmd:"" help:"How long a restart of the device is felt (section 26.6)."`
	All        perfAllCommand        `cmd:"" help:"Throughput, latency, loss and back-to-back, in one report."`
}

type perfThroughputCommand struct {
	perfTest
	searchFlags
}

// Run searches.
func (c *perfThroughputCommand) Run() error {
	return c.run("RFC 2544 throughput", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.Throughput(ctx, b, c.options(common))
	})
}

type latencyFlags struct {
	Shares   []float64     `placeholder:"SHARE" help:"Of the throughput to measure latency at: 0.1,0.5,0.9 (1)."`
	Duration time.Duration `placeholder:"TIME" help:"Of a trial for latency (120s)."`
	Repeats  int           `placeholder:"N" help:"Trials for latency (20)."`
}

type perfLatencyCommand struct {
	perfTest
	searchFlags
	latencyFlags
	Rate float64 `placeholder:"N" help:"The throughput, in packets a second, if it is known; else it is searched for first."`
}

// Run searches and measures.
func (c *perfLatencyCommand) Run() error {
	return c.perfTest.run("RFC 2544 latency", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.Latency(ctx, b, procedure.LatencyOptions{
			Common: common, Search: c.options(common), Rates: sameRate(c.Rate, common), Shares: c.Shares, Duration: c.latencyFlags.Duration, Repeats: c.Repeats,
		})
	})
}

type perfLossCommand struct {
	perfTest
	Step     float64       `default:"0.1" help:"Between rates, as a share of the highest (${default})."`
	Duration time.Duration `placeholder:"TIME" help:"Of a trial (60s)."`
}

// Run measures.
func (c *perfLossCommand) Run() error {
	return c.run("RFC 2544 loss", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.LossCurve(ctx, b, procedure.LossOptions{Common: common, Step: c.Step, Duration: c.Duration})
	})
}

type perfBackToBackCommand struct {
	perfTest
	searchFlags
	Tests   int           `placeholder:"N" help:"How often the longest burst is searched for (50)."`
	Longest time.Duration `placeholder:"TIME" help:"Burst (30s)."`
}

// Run searches.
func (c *perfBackToBackCommand) Run() error {
	return c.run("Back-to-back frames", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.BackToBack(ctx, b, procedure.BackToBackOptions{Common: common, Search: c.options(common), Tests: c.Tests, Longest: c.Longest})
	})
}

type perfRecoveryCommand struct {
	perfTest
	searchFlags
	Overload time.Duration `placeholder:"TIME" help:"How long (60s)."`
	After    time.Duration `placeholder:"TIME" help:"How long to watch then (60s)."`
	Repeats  int           `placeholder:"N" help:"How often (5)."`
}

// Run measures.
func (c *perfRecoveryCommand) Run() error {
	return c.run("System recovery", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.Recovery(ctx, b, procedure.RecoveryOptions{Common: common, Search: c.options(common), Overload: c.Overload, After: c.After, Repeats: c.Repeats})
	})
}

type perfResetCommand struct {
	perfTest
	searchFlags
	Rate    float64       `placeholder:"N" help:"The throughput, in packets a second, if it is known; else it is searched for first."`
	Before  time.Duration `placeholder:"TIME" help:"How long packets are sent before (10s)."`
	After   time.Duration `placeholder:"TIME" help:"And after (60s)."`
	Repeats int           `placeholder:"N" help:"How often (1)."`
	Do      string        `placeholder:"COMMAND" help:"What resets the device, for /bin/sh (it is stopped and started)."`
}

// Run measures.
func (c *perfResetCommand) Run() error {
	if err := c.changes(c.Do); err != nil {
		return err
	}
	return c.run("Reset", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		common.Sizes = common.Sizes[:1]
		return procedure.Reset(ctx, b, procedure.ResetOptions{
			Common: common, Search: c.options(common), Rates: sameRate(c.Rate, common), Before: c.Before, After: c.After, Repeats: c.Repeats,
			Reset: change(c.Do, "stop and start", b, (*perf.Bench).Restart),
		})
	})
}

type perfAllCommand struct {
	perfTest
	searchFlags
	latencyFlags
	Tests int `placeholder:"N" help:"How often the longest burst is searched for (50)."`
}

// Run makes them one after the other; the throughputs that the first finds are the others'.
func (c *perfAllCommand) Run() error {
	var found []float64
	return c.perfTest.run("RFC 2544", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		result, err := procedure.Throughput(ctx, b, c.options(common))
		if err == nil {
			found = throughputs(result, procedure.RFC2544().Name, common.Sizes)
		}
		return result, err
	}, func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.Latency(ctx, b, procedure.LatencyOptions{
			Common: common, Search: c.options(common), Rates: found, Shares: c.Shares, Duration: c.latencyFlags.Duration, Repeats: c.Repeats,
		})
	}, func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.LossCurve(ctx, b, procedure.LossOptions{Common: common, Duration: c.Final})
	}, func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		return procedure.BackToBack(ctx, b, procedure.BackToBackOptions{Common: common, Search: c.options(common), Throughputs: found, Tests: c.Tests})
	})
}

// throughputs are those that a search found for a goal and the sizes, or nil where it did not for one of them.
func throughputs(r *procedure.Result, goal string, sizes []trial.Sizes) (list []float64) {
	for _, s := range sizes {
		i := slices.IndexFunc(r.Bounds, func(b procedure.Bounds) bool {
			return b.Goal.Name == goal && slices.Equal(b.Sizes, s) && b.Refused == "" && b.Lower > 0
		})
		if i < 0 {
			return nil
		}
		list = append(list, r.Bounds[i].Lower)
	}
	return list
}
