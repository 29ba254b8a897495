package perf

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"weir/perf/lab"
)

// Peer is one of those that are compared.
type Peer string

// Peers.
const (
	Weir    Peer = "weir"
	Plain   Peer = "plain"   // weir with one route, without rules and marks: what its load costs
	Floor   Peer = "floor"   // the least that a forwarder over AF_XDP can do
	Testpmd Peer = "testpmd" // DPDK's least forwarder over AF_XDP, where it is installed
	XDP     Peer = "xdp"     // an XDP program that asks Linux's tables: what there is no stack in between for
	Kernel  Peer = "kernel"  // Linux's own forwarding
	Marked  Peer = "nft"     // the same, with the marks as statements of nftables, where that is installed
)

// startTimeout is how long a peer may take to be ready.
const startTimeout = 60 * time.Second

// Rate and length of the trial that shows that a peer forwards at all.
const (
	checkRate   = 10e3
	checkWindow = 50 * time.Millisecond
)

// running is a peer that stands in the router's place.
type running struct {
	bed     *testbed
	process *lab.Process // nil: the kernel
	worker  []int        // threads
	napi    []int        // threads
	stops   []func() error

	config, control string // of weir: files
}

// start puts a peer into the router's place, and sees that it forwards.
func (t *testbed) start(ctx context.Context, peer Peer, o *PeersOptions) (_ *running, err error) {
	r := &running{bed: t}
	defer func() {
		if err == nil {
			return
		}
		if r.process != nil {
			err = fmt.Errorf("%w\n%s", err, strings.TrimSpace(r.process.Output()))
		}
		err = errors.Join(fmt.Errorf("start %s: %w", peer, err), r.stop())
	}()
	switch peer {
	case Kernel:
		err = r.useKernel()
	case Marked:
		if err = r.useKernel(); err == nil {
			err = r.useNFT(ctx, &o.Load)
		}
	case Testpmd:
		err = r.startTestpmd(ctx, o)
	case XDP:
		if err = r.useKernel(); err != nil { // else the tables have no answers
			break
		}
		var stop func() error
		if stop, err = t.routeInXDP(); err == nil {
			r.stops = append(r.stops, stop)
		}
	case Floor:
		err = r.startProcess(ctx, o.floorCommand(t))
	case Weir, Plain:
		load := &o.Load
		if peer == Plain {
			load = &Load{}
			if o.Load.Routes != nil {
				load.Routes = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
			}
		}
		var command []string
		if command, err = r.weirCommand(o, load); err == nil {
			err = r.startProcess(ctx, command)
		}
	default:
		err = errors.New("no such peer")
	}
	if err != nil {
		return nil, err
	}
	if r.napi, err = t.threadNAPI(); err != nil {
		return nil, err
	}
	if err := t.check(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// useKernel has the kernel forward, by neighbours that a router which was here before may have taken along.
func (r *running) useKernel() error {
	r.stops = append(r.stops, func() error { return r.bed.forwardInKernel(false) })
	return errors.Join(r.bed.addNeighbors(), r.bed.forwardInKernel(true))
}

// startProcess starts a program in the router's namespace, waits until it is ready, and makes its worker urgent.
func (r *running) startProcess(ctx context.Context, command []string) error {
	notify, err := r.bed.lab.ListenNotify()
	if err != nil {
		return err
	}
	defer notify.Close()
	// The process must outlive ctx until stop has been called: how it ends is to be seen.
	r.process, err = r.bed.router.Start(context.WithoutCancel(ctx), lab.Command{
		Name: command[0], Args: command[1:], Env: []string{notify.Env()},
	})
	if err != nil {
		return err
	}
	r.stops = append(r.stops, r.process.Stop)
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	go func() {
		select {
		case <-r.process.Done(): // it will never be ready
			cancel()
		case <-waiting.Done():
		}
	}()
	if err := notify.Wait(waiting, "READY=1"); err != nil {
		select {
		case <-r.process.Done():
			return errors.Join(errors.New("it ended before it was ready"), r.process.Wait())
		default:
			return err
		}
	}
	return r.raise()
}

// raise makes the process's worker urgent.
func (r *running) raise() (err error) {
	if r.worker, err = threadsOn(r.process.PID(), r.bed.cpu); err != nil {
		return err
	}
	for _, tid := range r.worker {
		if err := makeUrgent(tid); err != nil {
			return err
		}
	}
	restore, err := raiseGroup(r.process.PID())
	if err != nil {
		return err
	}
	r.stops = append(r.stops, restore)
	return nil
}

// floorCommand is `weir perf floor`, or what stands in for it.
func (o *PeersOptions) floorCommand(t *testbed) []string {
	command := append([]string{}, o.FloorCommand...)
	command = append(command, fmt.Sprintf("--cpu=%d", o.RouterCPU), "--idle-spin="+o.IdleSpin.String())
	for _, port := range ports {
		command = append(command, FloorPort{Name: port, NextHop: t.mac["behind "+port]}.String())
	}
	return command
}

// weirCommand writes a configuration and is `weir run` with it.
func (r *running) weirCommand(o *PeersOptions, load *Load) ([]string, error) {
	dir, err := os.MkdirTemp("", "weir-perf-")
	if err != nil {
		return nil, fmt.Errorf("make state directory: %w", err)
	}
	r.stops = append(r.stops, func() error { return os.RemoveAll(dir) })
	config := filepath.Join(dir, "weir.yaml")
	if err := os.WriteFile(config, []byte(r.bed.configuration(load)), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	if err := os.WriteFile(filepath.Join(dir, routesFile), load.routes(sinkAddress), 0o600); err != nil {
		return nil, fmt.Errorf("write routes: %w", err)
	}
	r.config, r.control = config, filepath.Join(dir, "control.sock")
	return []string{
		o.Binary, "run", "-c", config, "--control", r.control, "--state-dir", dir,
		"--idle-spin", o.IdleSpin.String(),
	}, nil
}

// configuration is the kernel's own, in weir's words.
func (t *testbed) configuration(load *Load) string {
	return fmt.Sprintf(`version: 1
system: {workers: [%d]}
ports:
  %s: {addresses: [%q, %q]}
  %s: {addresses: [%q, %q]}
neighbors:
- {address: %q, port: %s, mac: "%s"}
- {address: %q, port: %s, mac: "%s"}
%s`, t.cpu, portIn, portInPrefix, portInPrefix6, portOut, portOutPrefix, portOutPrefix6,
		sinkAddress, portOut, t.mac["behind "+portOut], sink6, portOut, t.mac["behind "+portOut], load.configuration(sinkAddress, sink6))
}

// stop takes the peer out again, last thing first.
func (r *running) stop() error {
	var errs []error
	for i := len(r.stops) - 1; i >= 0; i-- {
		errs = append(errs, r.stops[i]())
	}
	r.stops = nil
	return errors.Join(errs...)
}

// usage is the time that the threads of a peer have run since they began.
type usage struct {
	worker, napi, softirq time.Duration
	other                 time.Duration // the process's other threads, anywhere
	cpu                   processorTime
}

func (r *running) usage() (u usage, err error) {
	add := func(to *time.Duration, tid int) {
		t, readErr := threadTime(tid)
		*to += t
		err = errors.Join(err, readErr)
	}
	for _, tid := range r.worker {
		add(&u.worker, tid)
	}
	if r.process != nil {
		tids, listErr := threadsOf(r.process.PID())
		err = errors.Join(err, listErr)
		for _, tid := range tids {
			if t, readErr := threadTime(tid); readErr == nil && !slices.Contains(r.worker, tid) { // others come and go
				u.other += t
			}
		}
	}
	for _, tid := range r.napi {
		add(&u.napi, tid)
	}
	add(&u.softirq, r.bed.softirq)
	var cpuErr error
	u.cpu, cpuErr = readProcessor(r.bed.cpu)
	return u, errors.Join(err, cpuErr)
}
