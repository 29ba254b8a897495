package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"weir/perf"
	"weir/perf/trial"
)

type perfCommand struct {
	Run       perfRunCommand       `cmd:"" help:"Offer a rate for a while, and say what came back."`
	RFC2544   perfRFC2544Command   `cmd:"" name:"rfc2544" help:"The procedures of RFC 2544: throughput, latency, loss, back-to-back (RFC 9004), recovery, reset; or all but the last."`
	MLRsearch perfMLRsearchCommand `cmd:"" name:"mlrsearch" help:"Search the rates at which several loss ratios are kept (RFC 9971): NDR and PDR unless told otherwise."`
	Imix      perfImixCommand      `cmd:"" help:"The highest rate without loss of a mix of frame sizes (RFC 6985)."`
	Reconf    perfReconfCommand    `cmd:"" help:"Say for how long a change of the running device stops packets."`
	Soak      perfSoakCommand      `cmd:"" help:"Offer a rate for half an hour."`
	Peers     perfPeersCommand     `cmd:"" help:"Put weir beside the I/O floor and the kernel's forwarding, by XDP and by its stack, on one testbed (root, two CPUs)."`
	Tester    perfTesterCommand    `cmd:"" help:"Say what the generator and the receiver can do on their own: pacing, ceiling, bias (root, two CPUs)."`
	Stages    perfStagesCommand    `cmd:"" help:"Say what each stage of the packet loop takes, without devices: parsing, decision, rewriting."`
	Compare   perfCompareCommand   `cmd:"" help:"Put the figures of one report through those of another, with the interval that each ratio is known to."`
	Floor     perfFloorCommand     `cmd:"" hidden:"" help:"The least that a forwarder on AF_XDP can do; peers runs it."`
}

type perfPeersCommand struct {
	Rounds   int           `default:"5" help:"Rounds; each has a turn of every peer (${default})."`
	Window   time.Duration `default:"1s" help:"How long each rate is offered (${default})."`
	Size     string        `default:"64" placeholder:"BYTES" help:"Frame size, or sizes in the order in which packets have them: 64,594,1518 (${default})."`
	Rules    int           `placeholder:"N" help:"Rules that the routers have, none of which matches."`
	Marks    int           `placeholder:"N" help:"Mark statements that weir has, and the peer nft, none of which matches."`
	Routes   string        `placeholder:"N|FILE" help:"Routes: a number of random ones, or a file with a prefix a line (.gz too)."`
	Peers    []string      `placeholder:"PEER" help:"Those of weir, plain, floor, testpmd, xdp, kernel and nft that take part (all; plain is weir without rules, marks and routes, nft the kernel with the marks in nftables)."`
	IdleSpin time.Duration `default:"20us" help:"How long weir and the floor may spin before they sleep (${default})."`
	Yields   bool          `help:"Leave the ports' receive threads at nice 0, below the worker."`
	Out      string        `placeholder:"NAME" help:"Write NAME.md and NAME.json into --dir too."`
	Dir      string        `default:"perf/results" help:"Where --out writes (${default})."`
	Quiet    bool          `short:"q" help:"No line for every window."`
}

// Run measures and prints.
func (c *perfPeersCommand) Run() error {
	sizes, err := trial.ParseSizes(c.Size)
	if err != nil {
		return err
	}
	spin := c.IdleSpin
	if spin == 0 {
		spin = -1 // none, where 0 is the default
	}
	o := perf.PeersOptions{Rounds: c.Rounds, Window: c.Window, Sizes: sizes, IdleSpin: spin, ReceiveYields: c.Yields, Version: version,
		CommandLine: "weir " + strings.Join(os.Args[1:], " ")}
	o.Load = perf.Load{Rules: c.Rules, Marks: c.Marks}
	if o.Load.Routes, err = perf.ParseRoutes(c.Routes, false); err != nil {
		return err
	}
	for _, p := range c.Peers {
		o.Peers = append(o.Peers, perf.Peer(p))
	}
	if !c.Quiet {
		o.Progress = os.Stderr
	}
	ctx, stop := untilInterrupted()
	defer stop()
	result, err := perf.Peers(ctx, o)
	if err != nil {
		return err
	}
	if err := result.WriteText(os.Stdout); err != nil {
		return err
	}
	if c.Out == "" {
		return nil
	}
	return result.Write(c.Dir, c.Out)
}

type perfFloorCommand struct {
	CPU      int           `required:"" help:"The CPU to run on."`
	IdleSpin time.Duration `default:"20us" help:"How long to spin before sleeping."`
	Ports    []string      `arg:"" placeholder:"PORT=MAC" help:"Ports in pairs, each with the MAC address that its packets go to."`
}

// Run forwards until it is told to stop.
func (c *perfFloorCommand) Run() error {
	o := perf.FloorOptions{CPU: c.CPU, IdleSpin: c.IdleSpin}
	for _, text := range c.Ports {
		p, err := perf.ParseFloorPort(text)
		if err != nil {
			return err
		}
		o.Ports = append(o.Ports, p)
	}
	ctx, stop := untilInterrupted()
	defer stop()
	if err := perf.RunFloor(ctx, o); err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	return nil
}
