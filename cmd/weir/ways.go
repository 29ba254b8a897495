package main

import (
	"cmp"
	"context"
	"errors"
	"os"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"

	"weir/appliance"
	"weir/appliance/boot"
	"weir/appliance/management"
	"weir/mgmt"
)

// ways is the machine around the router, as the configuration says it: how it is reached, and on the appliance its name, whether the
// kernel forwards, and where interrupts go. It is a mgmt.Service.
type ways struct {
	appliance bool // the machine is weir's
	manager   *management.Manager
	log       *zap.Logger
	prepared  mgmt.System
	changed   chan struct{} // has room for one
}

func newWays(appliance bool, log *zap.Logger) *ways {
	return &ways{appliance: appliance, manager: management.New(log), log: log, changed: make(chan struct{}, 1)}
}

// Prepare remembers what there shall be. Nothing of it can be tried beforehand.
func (w *ways) Prepare(s mgmt.System) error {
	w.prepared = s
	return nil
}

// Abort forgets it.
func (w *ways) Abort() {}

// Publish makes it so.
func (w *ways) Publish() {
	s := w.prepared
	if w.appliance {
		w.publishMachine(s)
	}
	var port *management.Port
	if m := s.Management; m != nil {
		port = &management.Port{Name: m.Port, DHCP: m.DHCP, Addresses: m.Addresses, Gateways: m.Gateways}
	}
	w.manager.Set(port)
}

// publishMachine sets what is the appliance's alone.
func (w *ways) publishMachine(s mgmt.System) {
	if err := unix.Sethostname([]byte(cmp.Or(s.Hostname, "weir"))); err != nil {
		w.log.Warn("set host name", zap.Error(err))
	}
	// The kernel forwards when the data plane does not run only where it knows the policy.
	value := map[bool]string{true: "1", false: "0"}[s.KernelRoutes]
	err := errors.Join(os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0o644),
		os.WriteFile("/proc/sys/net/ipv6/conf/all/forwarding", []byte(value), 0o644))
	if err != nil {
		w.log.Warn("set whether the kernel forwards", zap.Error(err))
	}
	select {
	case w.changed <- struct{}{}:
	default:
	}
}

// tuneInterval is for ports that come back, with interrupts anew.
const tuneInterval = 30 * time.Second

// tune keeps interrupts where the workers want them, until the context ends.
func (w *ways) tune(ctx context.Context, router *appliance.Router) {
	tick := time.NewTicker(tuneInterval)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.changed:
		case <-tick.C:
		}
		state := router.State()
		var ports []string
		var cpus []int
		for _, p := range state.Ports {
			ports = append(ports, p.Name)
		}
		for _, worker := range state.Workers {
			cpus = append(cpus, worker.CPU)
		}
		text := ""
		if err := boot.Tune(ports, cpus); err != nil {
			text = err.Error()
		}
		if text != told && text != "" {
			w.log.Warn("interrupts are not where workers want them", zap.String("why", text))
		}
		told = text
	}
}
