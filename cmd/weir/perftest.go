package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"weir/perf"
	"weir/perf/environment"
	"weir/perf/procedure"
	"weir/perf/report"
	"weir/perf/traffic"
	"weir/perf/trial"
)

// perfTest are the flags of all procedures: what is tested, with what, and where the report goes.
type perfTest struct {
	Testbed string   `default:"veth" enum:"veth" help:"Where: veth, namespaces that are built and torn down (${default})."`
	Device  string   `default:"weir" placeholder:"DEVICE" help:"Under test: weir, kernel, xdp, nft, floor, testpmd, or wire for nothing (${default})."`
	Engine  string   `default:"live" enum:"live,xsk" help:"What makes packets: live, frames of the kernel's, or xsk, AF_XDP (${default})."`
	Stream  []string `placeholder:"STREAM" sep:"none" help:"Streams, each as 'to=10.0.0.0/24 proto=tcp dport=443 flows=1000 choice=zipf'; again for more."`
	Streams string   `placeholder:"FILE" type:"existingfile" help:"Streams of a YAML file."`
	IPv6    bool     `name:"ipv6" help:"IPv6 where no streams are given."`
	Size    []string `placeholder:"SIZE" sep:"none" help:"Frame sizes with FCS, each a test of its own: 64, imix, 64x7,570x4,1518x1, or a genome of RFC 6985 (those of RFC 2544 section 9.1)."`
	Rules   int      `placeholder:"N" help:"Rules that the device has, none of which matches."`
	Marks   int      `placeholder:"N" help:"Mark statements that it has."`
	Routes  string   `placeholder:"N|FILE" help:"Routes that it has: a number of random ones, or a file."`

	Drain  time.Duration `placeholder:"TIME" help:"How long to wait for frames after a trial (2s, as RFC 2544 section 23 has it)."`
	Settle time.Duration `placeholder:"TIME" help:"How long to leave the device alone then (5s)."`
	Out    string        `placeholder:"NAME" help:"Write NAME.md, NAME.html, NAME.json and NAME.csv into --dir too."`
	Dir    string        `default:"perf/results" help:"Where --out writes (${default})."`
	JSON   bool          `help:"Print the report as JSON instead of text."`
	Quiet  bool          `short:"q" help:"No progress."`
}

// perfProcedure is one of the procedures, on a bench.
type perfProcedure func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error)

// run builds the bench, has the procedures made one after the other, and writes the report. What an interrupted one has found is
// reported too.
func (c *perfTest) run(title string, list ...perfProcedure) (err error) {
	o := perf.BenchOptions{Device: perf.Peer(c.Device), Engine: perf.Engine(c.Engine)}
	if o.Streams, err = c.streams(); err != nil {
		return err
	}
	o.Load = perf.Load{Rules: c.Rules, Marks: c.Marks}
	if o.Load.Routes, err = perf.ParseRoutes(c.Routes, false); err != nil {
		return err
	}
	common := procedure.Common{Drain: c.Drain, Settle: c.Settle}
	if common.Sizes, err = c.sizes(o.Streams); err != nil {
		return err
	}
	if !c.Quiet {
		p := newProgress(os.Stderr)
		defer p.close()
		common.Progress = p.show
	}
	ctx, stop := untilInterrupted()
	defer stop()
	started, before := time.Now(), environment.LoadAverage()
	b, err := perf.NewBench(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	e := report.Environment{
		Machine: environment.ThisMachine(), Device: c.Device, Traffic: c.traffic(o.Streams), CommandLine: "weir " + strings.Join(os.Args[1:], " "),
		Started: started, LoadBefore: before,
	}
	if version != "unknown" {
		e.Machine.Commit = version
	}
	if e.Ports, err = b.Ports(); err != nil {
		return err
	}
	r := report.New(title, e)
	for _, one := range list {
		var result *procedure.Result
		result, err = one(ctx, b, common)
		r.Add(result)
		if err != nil || ctx.Err() != nil {
			break
		}
	}
	r.Environment.Elapsed, r.Environment.LoadAfter = time.Since(started), environment.LoadAverage()
	if len(r.Results) == 0 {
		return err
	}
	write := r.WriteMarkdown
	if c.JSON {
		write = r.WriteJSON
	}
	err = errors.Join(err, write(os.Stdout))
	if c.Out != "" {
		err = errors.Join(err, r.Write(c.Dir, c.Out))
	}
	if err == nil && ctx.Err() != nil {
		return silent{exitRefused} // the report says where it ended
	}
	return err
}

func (c *perfTest) streams() (list []traffic.Stream, err error) {
	if c.Streams != "" {
		if list, err = traffic.ReadStreams(c.Streams); err != nil {
			return nil, err
		}
	}
	for _, text := range c.Stream {
		s, err := traffic.ParseStream(text)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	if list == nil {
		list = perf.DefaultStreams(c.IPv6)
	}
	return list, nil
}

// sizes are those asked for, or RFC 2544's; where streams have headers that do not fit into 64 bytes, the smallest is the one that they do
// (as CSIT takes 78 for IPv6).
func (c *perfTest) sizes(streams []traffic.Stream) (list []trial.Sizes, err error) {
	least := 0
	for i := range streams {
		least = max(least, streams[i].SizeMin())
	}
	for _, text := range c.Size {
		s, err := trial.ParseSizes(text)
		if err != nil {
			return nil, err
		}
		if slices.Min(s) < least {
			return nil, fmt.Errorf("frame size %d: the streams' headers and a stamp take %d bytes", slices.Min(s), least)
		}
		list = append(list, s)
	}
	if list == nil {
		list = trial.StandardSizes()
		list[0][0] = max(list[0][0], least)
	}
	return list, nil
}

// traffic is the streams in a line.
func (c *perfTest) traffic(list []traffic.Stream) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].String()
	}
	return strings.Join(texts, "; ")
}

// sameRate gives every size the same rate.
func sameRate(rate float64, common procedure.Common) []float64 {
	if rate == 0 {
		return nil
	}
	return slices.Repeat([]float64{rate}, len(common.Sizes))
}

type perfRunCommand struct {
	perfTest
	Rate     float64       `required:"" placeholder:"N" help:"Packets a second."`
	Duration time.Duration `default:"60s" help:"How long (${default})."`
}

// Run makes one trial.
func (c *perfRunCommand) Run() error {
	return c.run("One trial", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Run(ctx, b, procedure.RunOptions{Common: common, Rates: sameRate(c.Rate, common), Duration: c.Duration})
	})
}

type perfSoakCommand struct {
	perfTest
	Rate     float64       `required:"" placeholder:"N" help:"Packets a second."`
	Duration time.Duration `default:"30m" help:"How long (${default})."`
}

// Run makes a long trial.
func (c *perfSoakCommand) Run() error {
	return c.run("Soak", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Soak(ctx, b, procedure.RunOptions{Common: common, Rates: sameRate(c.Rate, common), Duration: c.Duration})
	})
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
	return c.run("RFC 2544 throughput", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.Throughput(ctx, b, c.options(common))
	})
}

type latencyFlags struct {
	Shares   []float64     `placeholder:"SHARE" help:"Of the throughput to measure at: 0.1,0.5,0.9 (1)."`
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
	return c.perfTest.run("RFC 2544 latency", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
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
	return c.run("RFC 2544 loss", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
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
	return c.run("Back-to-back frames", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
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
	return c.run("System recovery", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.Recovery(ctx, b, procedure.RecoveryOptions{Common: common, Search: c.options(common), Overload: c.Overload, After: c.After, Repeats: c.Repeats})
	})
}

// change is a command of the user's, or what the bench does.
func change(command, name string, own func(context.Context) error) procedure.Change {
	if command == "" {
		return procedure.Change{Name: name, Do: own}
	}
	return procedure.Change{Name: command, Do: func(ctx context.Context) error {
		out, err := exec.CommandContext(ctx, "/bin/sh", "-c", command).CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	}}
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
	return c.run("Reset", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		common.Sizes = common.Sizes[:1]
		return procedure.Reset(ctx, b, procedure.ResetOptions{
			Common: common, Search: c.options(common), Rates: sameRate(c.Rate, common), Before: c.Before, After: c.After, Repeats: c.Repeats,
			Reset: change(c.Do, "stop and start", b.Restart),
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
	return c.perfTest.run("RFC 2544", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		result, err := procedure.Throughput(ctx, b, c.options(common))
		if err == nil {
			found = throughputs(result, common.Sizes)
		}
		return result, err
	}, func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.Latency(ctx, b, procedure.LatencyOptions{
			Common: common, Search: c.options(common), Rates: found, Shares: c.Shares, Duration: c.latencyFlags.Duration, Repeats: c.Repeats,
		})
	}, func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.LossCurve(ctx, b, procedure.LossOptions{Common: common, Duration: c.Final})
	}, func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.BackToBack(ctx, b, procedure.BackToBackOptions{Common: common, Search: c.options(common), Throughputs: found, Tests: c.Tests})
	})
}

// throughputs are those that a search found for the sizes, or nil where it did not for one of them.
func throughputs(r *procedure.Result, sizes []trial.Sizes) (list []float64) {
	for _, s := range sizes {
		i := slices.IndexFunc(r.Bounds, func(b procedure.Bounds) bool { return slices.Equal(b.Sizes, s) && b.Refused == "" && b.Lower > 0 })
		if i < 0 {
			return nil
		}
		list = append(list, r.Bounds[i].Lower)
	}
	return list
}

type perfMLRsearchCommand struct {
	perfTest
	Goal  []string      `placeholder:"GOAL" sep:"none" help:"ndr, pdr, rfc2544, tst009, or NAME:LOSS-RATIO:EXCEED-RATIO such as mine:0.001:0.5; again for more (ndr and pdr)."`
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
	return c.run("MLRsearch", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		return procedure.MLRsearch(ctx, b, procedure.MLRsearchOptions{Common: common, Goals: goals})
	})
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
	return c.run("Reconfiguration", func(ctx context.Context, b *perf.Bench, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Reconfiguration(ctx, b, procedure.ReconfigurationOptions{
			Common: common, Search: c.options(common), Rates: sameRate(c.Rate, common), Duration: c.Duration, Repeats: c.Repeats,
			Change: change(c.Do, "reload with a table more or less", b.Reconfigure),
		})
	})
}
