package perf

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"time"

	"weir/perf/lab"
)

// testpmdProgram is DPDK's (Debian: dpdk, librte-net-af-xdp23).
const testpmdProgram = "dpdk-testpmd"

// startTestpmd starts DPDK's own forwarder over AF_XDP sockets, which writes MAC addresses and does nothing else. It polls
// without a pause. It has no huge pages, of which packets on veth, copied by the kernel, would make nothing.
func (r *running) startTestpmd(ctx context.Context, o *PeersOptions) (err error) {
	program, err := exec.LookPath(testpmdProgram)
	if err != nil {
		return err
	}
	args := []string{
		"--no-pci", "--no-huge", "-m", "256", "--no-shconf", "--no-telemetry", "--log-level=error",
		"--lcores", fmt.Sprintf("0@%d,1@%d", o.GeneratorCPU, o.RouterCPU), // the first one sleeps
	}
	for i, port := range ports {
		args = append(args, "--vdev", fmt.Sprintf("net_af_xdp%d,iface=%s,busy_budget=0", i, port))
	}
	args = append(args, "--", "--forward-mode=mac", "--total-num-mbufs=16384", "--no-mlockall", "--burst=64", "--rxd=2048", "--txd=2048",
		"--stats-period=3600") // else it ends with its input
	for i, port := range ports {
		args = append(args, fmt.Sprintf("--eth-peer=%d,%s", i, r.bed.mac["behind "+port]))
	}
	r.process, err = r.bed.router.Start(context.WithoutCancel(ctx), lab.Command{Name: program, Args: args})
	if err != nil {
		return err
	}
	r.stops = append(r.stops, r.process.Stop)
	waiting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := r.awaitForwarding(waiting); err != nil {
		return err
	}
	return r.raise()
}

// awaitForwarding waits until a packet comes through, for a process that does not say when it is ready.
func (r *running) awaitForwarding(ctx context.Context) error {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for {
		select {
		case <-r.process.Done():
			return errors.Join(errors.New("it ended before it was ready"), r.process.Wait())
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if r.bed.check(ctx) == nil {
			return nil
		}
	}
}
