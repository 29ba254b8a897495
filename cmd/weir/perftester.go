package main

import (
	"bytes"
	"os"
	"strings"
	"time"

	"weir/perf"
)

type perfTesterCommand struct {
	Pacing time.Duration `default:"5s" help:"How long each rate is paced (${default})."`
	Long   time.Duration `default:"60s" help:"How long 80 % of the ceiling are sent (${default})."`
	Engine []string      `placeholder:"ENGINE" help:"live or xsk (both)."`
	Page   string        `placeholder:"FILE" help:"Write the page of results to FILE."`
	Quiet  bool          `short:"q" help:"No progress."`
}

// Run measures and prints.
func (c *perfTesterCommand) Run() error {
	o := perf.TesterOptions{Pacing: c.Pacing, Long: c.Long, Version: version, CommandLine: "weir " + strings.Join(os.Args[1:], " ")}
	for _, e := range c.Engine {
		o.Engines = append(o.Engines, perf.Engine(e))
	}
	if !c.Quiet {
		o.Progress = os.Stderr
	}
	ctx, stop := untilInterrupted()
	defer stop()
	r, err := perf.Tester(ctx, o)
	if err != nil {
		return err
	}
	if c.Page == "" {
		return r.WriteMarkdown(os.Stdout)
	}
	var b bytes.Buffer
	if err := r.WriteMarkdown(&b); err != nil {
		return err
	}
	return os.WriteFile(c.Page, b.Bytes(), 0o644)
}
