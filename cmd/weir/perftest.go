package main

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	Testbed string   `default:"veth" enum:"veth,ports" help:"Where: veth, namespaces that are built and torn down, or ports, two of this machine's (${default})."`
	Device  string   `placeholder:"DEVICE" help:"Under test: weir, kernel, xdp, nft, floor, testpmd, or wire for nothing (weir); between ports, wire, or any name for the report."`
	Send    string   `placeholder:"PORT" help:"Of --testbed ports: where frames go out."`
	Receive string   `placeholder:"PORT" help:"And where they come back."`
	Gateway string   `placeholder:"MAC|ADDRESS" help:"And what they go to: a MAC address of the device, or its IP address, for ARP or ND."`
	CPU     int      `placeholder:"N" help:"And the CPU that they are made on (0)."`
	Force   bool     `help:"Take ports that a default route leaves by."`
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

// perfBed is a testbed with a device in it.
type perfBed interface {
	trial.Tester
	Ports() ([]environment.Port, error)
	Close() error
}

// perfProcedure is one of the procedures, on a testbed.
type perfProcedure func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error)

// run builds the bench, has the procedures made one after the other, and writes the report. What an interrupted one has found is
// reported too.
func (c *perfTest) run(title string, list ...perfProcedure) (err error) {
	streams, err := c.streams()
	if err != nil {
		return err
	}
	common := procedure.Common{Drain: c.Drain, Settle: c.Settle}
	if common.Sizes, err = c.sizes(streams); err != nil {
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
	b, err := c.bed(ctx, streams)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	e := report.Environment{
		Machine: environment.ThisMachine(), Device: c.device(), Traffic: c.traffic(streams), CommandLine: "weir " + strings.Join(os.Args[1:], " "),
		Started: started, LoadBefore: before,
	}
	if version != "unknown" {
		e.Machine.Commit = version
	}
	r := report.New(title+" of "+e.Device, e)
	for _, one := range list {
		var result *procedure.Result
		result, err = one(ctx, b, common)
		r.Add(result)
		if err != nil || ctx.Err() != nil {
			break
		}
	}
	var portsErr error
	r.Environment.Ports, portsErr = b.Ports() // the sender has its sockets by now
	err = errors.Join(err, portsErr)
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

// device is what the report calls it.
func (c *perfTest) device() string {
	switch {
	case c.Device != "":
		return c.Device
	case c.Testbed == "ports":
		return "what is between " + c.Send + " and " + c.Receive
	}
	return string(perf.Weir)
}

// bed builds the testbed that the flags ask for.
func (c *perfTest) bed(ctx context.Context, streams []traffic.Stream) (perfBed, error) {
	if c.Testbed == "ports" {
		switch {
		case c.Send == "" || c.Receive == "":
			return nil, errors.New("--testbed ports: which ones? Say --send PORT and --receive PORT")
		case len(c.Stream) == 0 && c.Streams == "":
			return nil, errors.New("--testbed ports: which packets does the device forward? Say with --stream or --streams")
		case c.Rules != 0 || c.Marks != 0 || c.Routes != "":
			return nil, errors.New("--testbed ports: --rules, --marks and --routes are for devices of --testbed veth")
		}
		return perf.NewPorts(ctx, perf.PortsOptions{
			Send: c.Send, Receive: c.Receive, Gateway: c.Gateway, Wire: c.Device == string(perf.Wire), Engine: perf.Engine(c.Engine), Streams: streams, CPU: c.CPU, Force: c.Force,
		})
	}
	if c.Send+c.Receive+c.Gateway != "" {
		return nil, errors.New("--send, --receive and --gateway are for --testbed ports")
	}
	o := perf.BenchOptions{Device: perf.Peer(c.Device), Engine: perf.Engine(c.Engine), Streams: streams, Load: perf.Load{Rules: c.Rules, Marks: c.Marks}}
	var err error
	if o.Load.Routes, err = perf.ParseRoutes(c.Routes, false); err != nil {
		return nil, err
	}
	return perf.NewBench(ctx, o)
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
	least := sizeMin(streams)
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

// sizeMin is the least size that all streams' headers and a stamp fit in.
func sizeMin(streams []traffic.Stream) (least int) {
	for i := range streams {
		least = max(least, streams[i].SizeMin())
	}
	return least
}

// traffic is the streams in a line.
func (c *perfTest) traffic(list []traffic.Stream) string {
	texts := make([]string, len(list))
	for i := range list {
		texts[i] = list[i].String()
	}
	return strings.Join(texts, "; ")
}

type perfRunCommand struct {
	perfTest
	Rate     float64       `required:"" placeholder:"N" help:"Packets a second."`
	Duration time.Duration `default:"60s" help:"How long (${default})."`
}

// Run makes one trial.
func (c *perfRunCommand) Run() error {
	return c.run("One trial", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Run(ctx, b, procedure.RunOptions{Common: common, Rates: slices.Repeat([]float64{c.Rate}, len(common.Sizes)), Duration: c.Duration})
	})
}

type perfSoakCommand struct {
	perfTest
	Rate     float64       `required:"" placeholder:"N" help:"Packets a second."`
	Duration time.Duration `default:"30m" help:"How long (${default})."`
}

// Run makes a long trial.
func (c *perfSoakCommand) Run() error {
	return c.run("Soak", func(ctx context.Context, b perfBed, common procedure.Common) (*procedure.Result, error) {
		if len(c.Size) == 0 {
			common.Sizes = common.Sizes[:1]
		}
		return procedure.Soak(ctx, b, procedure.RunOptions{Common: common, Rates: slices.Repeat([]float64{c.Rate}, len(common.Sizes)), Duration: c.Duration})
	})
}
