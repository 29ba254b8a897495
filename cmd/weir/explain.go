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

// explainCommands say what becomes of a packet by what runs: neighbours are as they are now.
func explainCommands(router *appliance.Router) *mgmt.Command {
	return &mgmt.Command{Name: "explain", Help: "what becomes of a packet, and why", Arguments: "iif=PORT src=ADDRESS dst=ADDRESS [NAME=VALUE…]", Role: mgmt.ReadOnly,
		Complete: func([]string) (list []mgmt.Candidate) {
			for _, name := range []string{"iif", "src", "dst", "proto", "sport", "dport", "mark", "dscp", "tcp-flags", "icmp-type", "length", "ttl", "fragment"} {
				list = append(list, mgmt.Candidate{Text: name + "=", Help: "of the packet"})
			}
			return list
		},
		Run: func(_ context.Context, r *mgmt.Request) (any, error) {
			if len(r.Args) == 0 {
				return nil, &mgmt.UsageError{Message: "explain takes a packet: iif=PORT src=ADDRESS dst=ADDRESS [NAME=VALUE…]"}
			}
			explanation, err := router.Explain(r.Args)
			if err != nil {
				return nil, &mgmt.UsageError{Message: err.Error()}
			}
			if r.JSON {
				return explanation, nil
			}
			var b strings.Builder
			err = explanation.WriteText(&b)
			return b.String(), err
		}}
}

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
