package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"weir/appliance"
	"weir/mgmt"
)

type explainCommand struct {
	Config  string   `short:"c" required:"" placeholder:"FILE" help:"The configuration."`
	JSON    bool     `help:"Print JSON instead of text."`
	Packets string   `placeholder:"FILE" help:"Decide on many packets: one JSON object a line in, one decision a line out; - is standard input."`
	Steps   bool     `help:"With --packets: add the steps."`
	Packet  []string `arg:"" optional:"" placeholder:"NAME=VALUE" help:"The packet: iif= src= dst= proto= sport= dport= tos= dscp= mark= icmp-type= icmp-code= tcp-flags= length= ttl= fragment= df= flowlabel=; by name or number"`
}

// Run explains one packet, or many.
func (c *explainCommand) Run() error {
	if (c.Packets != "") == (len(c.Packet) > 0) {
		fmt.Fprintln(os.Stderr, "weir: explain takes a packet (iif=em0 src=… dst=…), or --packets FILE")
		return silent{exitUsage}
	}
	config, err := load(c.Config)
	if err != nil {
		return err
	}
	if c.Packets == "" {
		k, err := config.Snapshot.ParsePacket(c.Packet)
		if err != nil {
			return err
		}
		explanation := config.Snapshot.Explain(&k)
		if !c.JSON {
			return explanation.WriteText(os.Stdout)
		}
		out := json.NewEncoder(os.Stdout)
		out.SetIndent("", "  ")
		return out.Encode(explanation)
	}
	var in io.Reader = os.Stdin
	name := "standard input"
	if c.Packets != "-" {
		f, err := os.Open(c.Packets)
		if err != nil {
			return err
		}
		defer f.Close()
		in, name = f, c.Packets
	}
	if err := config.Snapshot.ExplainPackets(in, os.Stdout, c.Steps); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// explainRunning explains a packet by what runs: neighbours are as they are now.
func explainRunning(router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "explain", Help: "what becomes of a packet: iif=em0 src=192.0.2.9 dst=198.51.100.7 …", Run: func(_ context.Context, args []string, asJSON bool) (any, error) {
		if len(args) == 0 {
			return nil, &mgmt.UsageError{Message: "explain takes a packet, as in iif=em0 src=192.0.2.9 dst=198.51.100.7"}
		}
		explanation, err := router.Explain(args)
		if err != nil || asJSON {
			return explanation, err
		}
		var b strings.Builder
		err = explanation.WriteText(&b)
		return b.String(), err
	}}
}
