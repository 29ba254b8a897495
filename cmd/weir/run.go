package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"weir/appliance"
	"weir/appliance/boot"
	"weir/mgmt"
	"weir/mgmt/ssh"
)

type runCommand struct {
	Config    string        `short:"c" required:"" placeholder:"FILE" help:"The configuration."`
	Control   string        `default:"${control}" placeholder:"SOCKET" help:"The local control socket (${default})."`
	StateDir  string        `default:"/run/weir" placeholder:"DIR" help:"Where to note what is changed in the kernel (${default})."`
	Log       string        `default:"console" enum:"console,json" help:"Log format: console or json (${default})."`
	IdleSpin  time.Duration `default:"20us" help:"How long an idle worker may spin for the next packet before it sleeps (${default}); 0 never spins."`
	RingSize  int           `default:"2048" help:"Entries of each AF_XDP ring, a power of two from 64 (${default})."`
	Strict    bool          `help:"Do not start with the last good configuration where the file cannot be put in force."`
	HugePages bool          `help:"Keep frames in 2 MiB pages (vm.nr_hugepages must allow it)."`
	LastGood  bool          `help:"Start with the last good configuration that differs from the file's: that one has been seen to do no good."`
	Boot      string        `hidden:"" placeholder:"SOCKET" help:"PID 1 of the appliance, which started this process."`
}

// distrusted is why the file is passed over with --last-good.
const distrusted = "weir ended several times within a minute of starting with it"

// ringSizeMin is what fits a batch: see package rings.
const ringSizeMin = 64

// Run is the router's life, from the first commit to the signal that ends it.
func (c *runCommand) Run() error {
	if n := c.RingSize; n < ringSizeMin || n&(n-1) != 0 { // said before a port is touched
		fmt.Fprintf(os.Stderr, "weir: a ring size is a power of two, at least %d\n", ringSizeMin)
		return silent{exitUsage}
	}
	logs := newLogs(c.Log)
	log := logs.Logger
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)

	var router *appliance.Router
	registry := prometheus.NewRegistry()
	var engine *mgmt.Engine
	vital := newPulse()
	var tree atomic.Pointer[[]*mgmt.Command] // nil until there is a router
	metrics := mgmt.NewMetrics(watching(registry, vital, &tree, func() string { return hostname(engine) }), log)
	defer metrics.Close()
	shell := ssh.New(ssh.HostKeyFile(c.Config), ssh.DefaultLimits, log)
	defer shell.Close()
	ways := newWays(c.Boot != "", log)
	engine = mgmt.NewEngine(c.Config, func(s mgmt.System) (mgmt.Router, error) {
		if router != nil { // that was for a configuration which cannot be put in force
			if err := router.Close(); err != nil {
				return nil, err
			}
			router = nil
		}
		r, err := appliance.New(appliance.Options{
			CPUs: s.Workers, Isolated: c.Boot != "", IdleSpin: c.IdleSpin, RingSize: c.RingSize, StateDir: c.StateDir, HugePages: c.HugePages,
		}, log)
		if err != nil {
			return nil, err
		}
		router = r
		return r, nil
	}, log, logs.syslog, metrics, shell, ways)
	engine.Strict, engine.Step = c.Strict, engineStep
	if c.LastGood {
		engine.Distrust = distrusted
	}
	defer func() { _ = engine.Close() }() // of a lock, which goes with the process

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go ways.manager.Run(ctx)
	first := engine.Start(ctx)
	if !first.OK() {
		printProblems(first.Problems)
		err := silent{exitRefused}
		if first.Failed != "" {
			fmt.Fprintln(os.Stderr, "weir:", first.Failed)
		}
		if router != nil {
			return errors.Join(err, router.Close())
		}
		return err
	}
	printProblems(first.Problems)
	registerMetrics(registry, router, engine, shell, logs.book)

	listener, err := listenControl(c.Control)
	if err != nil {
		return errors.Join(err, router.Close())
	}
	commands := controlCommands(engine, router, shell, logs.book)
	if c.Boot != "" {
		commands = withAppliance(commands, boot.Client{Socket: c.Boot})
		go ways.tune(ctx, router)
	}
	tree.Store(&commands)
	serving, served := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(served)
		var all sync.WaitGroup
		defer all.Wait()
		all.Go(func() { shell.Serve(ctx, engine, commands) })
		serving <- mgmt.Serve(ctx, listener, commands)
	}()
	notify(log, daemon.SdNotifyReady)
	go vital.beat(ctx, router, log)

	failure := live(ctx, engine, signals, serving, log)
	notify(log, daemon.SdNotifyStopping)
	stop()
	select {
	case <-served:
	case <-time.After(goodbye):
	}
	return errors.Join(failure, engine.Close(), router.Close())
}

// engineStep is called before each step of a commit. Tests end the process there.
var engineStep func(name string)

// goodbye is how long clients have to take the last of what streams to them.
const goodbye = 2 * time.Second

func listenControl(path string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("make directory of the control socket: %w", err)
	}
	return mgmt.Listen(path)
}

// live reloads on SIGHUP and returns on any other signal, or when the control socket fails.
func live(ctx context.Context, engine *mgmt.Engine, signals <-chan os.Signal, serving <-chan error, log *zap.Logger) error {
	for {
		select {
		case err := <-serving:
			return fmt.Errorf("serve control socket: %w", err)
		case s := <-signals:
			if s != syscall.SIGHUP {
				log.Info("stopping", zap.Stringer("signal", s))
				return nil
			}
			reload(ctx, engine, log)
		}
	}
}

// reload commits the file as it is now. The engine logs the outcome.
func reload(ctx context.Context, engine *mgmt.Engine, log *zap.Logger) mgmt.Report {
	notify(log, daemon.SdNotifyReloading+"\n"+daemon.SdNotifyMonotonicUsec())
	defer notify(log, daemon.SdNotifyReady)
	return engine.Reload(ctx, mgmt.Author{Via: "signal"})
}

// notify tells systemd, where that started us.
func notify(log *zap.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		log.Warn("notify service manager", zap.Error(err))
	}
}
