package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"weir/appliance"
	"weir/mgmt"
	"weir/perf"
)

type perfStagesCommand struct {
	Rounds  int    `default:"5" help:"Rounds, at least 5 (${default})."`
	Packets int    `default:"1048576" help:"Packets of a pass (${default})."`
	Rules   int    `placeholder:"N" help:"Rules, none of which matches."`
	Marks   int    `placeholder:"N" help:"Mark statements, none of which matches."`
	Wide    bool   `help:"Rules and statements look at more than the source: ports, protocol, mark and others."`
	Routes  string `placeholder:"N|FILE" help:"Routes: a number of random ones, or a file with a prefix a line (.gz too)."`
	Traffic string `enum:"zipf,uniform" default:"zipf" help:"How a million flows inside of the routes are drawn: zipf or uniform (${default})."`
	IPv6    bool   `short:"6" name:"ipv6" help:"IPv6 instead of IPv4."`
	CPU     int    `default:"-1" placeholder:"N" help:"The CPU to run on (the last one)."`
	JSON    bool   `help:"Print the result as JSON."`
	Page    string `placeholder:"FILE" help:"Measure the settings of the results page, with --routes as the full table, and write it to FILE."`
}

// Run measures and prints.
func (c *perfStagesCommand) Run() error {
	if c.Page != "" {
		return c.page()
	}
	r, err := c.measure()
	if err != nil {
		return err
	}
	if !c.JSON {
		return r.WriteText(os.Stdout)
	}
	out := json.NewEncoder(os.Stdout)
	out.SetIndent("", "  ")
	return out.Encode(r)
}

// measure builds a router's packet loop as the router itself would, from a configuration, and measures it.
func (c *perfStagesCommand) measure() (result *perf.StagesResult, err error) {
	o := perf.StagesOptions{Rounds: c.Rounds, Packets: c.Packets, Uniform: c.Traffic == "uniform", CPU: c.CPU, Version: version,
		CommandLine: "weir " + strings.Join(os.Args[1:], " ")}
	o.Load = perf.Load{Rules: c.Rules, Marks: c.Marks, Wide: c.Wide, IPv6: c.IPv6}
	if o.Load.Routes, err = perf.ParseRoutes(c.Routes, c.IPv6); err != nil {
		return nil, err
	}
	if err := o.Complete(); err != nil {
		return nil, fmt.Errorf("measure stages: %w", err)
	}
	text, routes := o.Configuration()
	config, problems := mgmt.Parse("stages", text, func(string) (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(routes)), nil })
	if problems.Refused() {
		printProblems(problems)
		return nil, silent{exitRefused}
	}
	if errs := config.Snapshot.Promote(); errs != nil {
		return nil, errors.Join(errs...)
	}
	stages, err := appliance.NewStages(config.Snapshot)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, stages.Close()) }()
	return perf.Stages(o, stages)
}

// page measures from an empty router to a full one. The goal is for the third.
func (c *perfStagesCommand) page() error {
	if c.Routes == "" {
		return errors.New("--page wants --routes: the full table")
	}
	const goal = 2
	var results []*perf.StagesResult
	for _, s := range []perfStagesCommand{
		{Traffic: "zipf"},
		{Traffic: "zipf", Rules: 1000},
		{Traffic: "zipf", Rules: 1000, Routes: c.Routes},
		{Traffic: "uniform", Rules: 1000, Routes: c.Routes},
		{Traffic: "zipf", Rules: 1000, Wide: true, Routes: c.Routes},
		{Traffic: "zipf", Rules: 4000, Wide: true, Marks: 1000, Routes: c.Routes},
		{Traffic: "zipf", Rules: 1000, Routes: c.Routes, IPv6: true},
	} {
		s.Rounds, s.Packets, s.CPU = c.Rounds, c.Packets, c.CPU
		r, err := s.measure()
		if err != nil {
			return err
		}
		results = append(results, r)
	}
	var b bytes.Buffer
	if err := perf.WriteStages(&b, results, goal, "make bench-stages"); err != nil {
		return err
	}
	return os.WriteFile(c.Page, b.Bytes(), 0o644)
}
