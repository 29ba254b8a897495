package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"weir/perf/lab/demo"
)

type labCommand struct {
	Demo  labDemoCommand  `cmd:"" help:"Build a laboratory, send real traffic through weir, and print what went where and why."`
	Shell labShellCommand `cmd:"" help:"The same laboratory with the router running, and a shell inside to play."`
}

type labDemoCommand struct{}

// Run shows weir at work.
func (*labDemoCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	return demo.Run(ctx, demo.Options{Out: os.Stdout})
}

type labShellCommand struct{}

// Run opens the laboratory for a person.
func (*labShellCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	return demo.Shell(ctx, demo.Options{Out: os.Stdout})
}

func untilInterrupted() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
}
