package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"time"

	"weir/perf/lab"
	"weir/perf/traffic"
	"weir/perf/trial"
)

// Wire is no device: the generator's wire ends at the receiver.
const Wire Peer = "wire"

// Engine is what makes packets.
type Engine string

// Engines.
const (
	Live Engine = "live" // live frames of the kernel's, on one core
	XSK  Engine = "xsk"  // AF_XDP
)

// BenchOptions say what a Bench is of.
type BenchOptions struct {
	Device       Peer             // under test; "": Weir
	Engine       Engine           // "": Live
	Streams      []traffic.Stream // nil: DefaultStreams
	Load         Load             // that the device has to carry
	Binary       string           // weir; "": this program
	FloorCommand []string         // as PeersOptions has it
	GeneratorCPU int
	DeviceCPU    int // both 0: 0 and 1
}

// DefaultStreams are 1,024 flows of UDP to addresses that every device of a Bench forwards.
func DefaultStreams(ipv6 bool) []traffic.Stream {
	text := "from=192.0.2.10 to=10.0.0.0/8 flows=1024"
	if ipv6 {
		text = "from=2001:db8:1::10 to=fd10::/32 flows=1024 size=78"
	}
	s, err := traffic.ParseStream(text)
	if err != nil {
		panic(err) // it is a constant
	}
	return []traffic.Stream{s}
}

// Bench is a testbed on veth, with a device under test between a sender and a receiver. Procedures see a tester.
type Bench struct {
	instruments
	options BenchOptions
	peers   PeersOptions
	bed     *testbed
	device  *running // nil: Wire
	wireOut traffic.Port
	wireIn  traffic.Port
	changed bool // Reconfigure has been there an odd number of times
}

// NewBench builds one and starts the device. The caller closes it.
func NewBench(ctx context.Context, o BenchOptions) (b *Bench, err error) {
	if o.Device == "" {
		o.Device = Weir
	}
	if o.Engine == "" {
		o.Engine = Live
	}
	if o.Streams == nil {
		o.Streams = DefaultStreams(false)
	}
	if err := checkEngine(o.Engine); err != nil {
		return nil, err
	}
	if o.Device != Wire && !slices.Contains(allPeers, o.Device) {
		return nil, fmt.Errorf("device %q: must be %s, or among %v", o.Device, Wire, allPeers)
	}
	b = &Bench{instruments: instruments{engine: o.Engine, streams: o.Streams}, options: o}
	b.peers = PeersOptions{Binary: o.Binary, FloorCommand: o.FloorCommand, Load: o.Load, GeneratorCPU: o.GeneratorCPU, RouterCPU: o.DeviceCPU}
	if o.Device != Wire {
		b.peers.Peers = []Peer{o.Device}
	}
	if err := b.peers.complete(); err != nil {
		return nil, err
	}
	if b.bed, err = newBed(&b.peers); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build bench: %w", err), b.Close())
			b = nil
		}
	}()
	if err := b.addWire(); err != nil {
		return b, err
	}
	t := b.bed
	if o.Device == Wire {
		b.out, b.in, b.link = b.wireOut, b.wireIn, traffic.Link{Source: b.wireOut.MAC, Destination: b.wireIn.MAC}
		return b, nil
	}
	if b.out, err = b.port(t.source, sourceDevice); err != nil {
		return b, err
	}
	if b.in, err = b.port(t.sink, sinkDevice); err != nil {
		return b, err
	}
	b.link = traffic.Link{Source: b.out.MAC, Destination: t.mac[portIn]}
	t.try = func(ctx context.Context) (sent, received uint64, err error) {
		outcome, err := b.Trial(ctx, trial.Trial{Rate: checkRate, Duration: checkWindow, Sizes: b.smallest(), Drain: 500 * time.Millisecond})
		return outcome.Sent, outcome.Received, err
	}
	b.device, err = t.start(ctx, o.Device, &b.peers)
	return b, err
}

// port is a host's device as senders and receivers use it: on the generator's CPU, urgent.
func (b *Bench) port(h *lab.Host, device string) (p traffic.Port, err error) {
	p = traffic.Port{Name: device, Do: func(f func() error) error {
		return h.Do(func() error {
			restore, err := pinUrgent(b.peers.GeneratorCPU)
			if err != nil {
				return err
			}
			defer restore()
			return f()
		})
	}}
	if p.Index, err = h.Index(device); err != nil {
		return p, err
	}
	if p.MAC, err = h.MAC(device); err != nil {
		return p, err
	}
	p.MTU, err = h.MTU(device)
	return p, err
}

// addWire adds what a calibration is made on.
func (b *Bench) addWire() (err error) {
	near, err := b.bed.lab.Host("near")
	if err != nil {
		return err
	}
	far, err := b.bed.lab.Host("far")
	if err != nil {
		return err
	}
	if _, err := b.bed.lab.Link(near, sourceDevice, far, sinkDevice, lab.LinkOptions{NoMerge: true}); err != nil {
		return err
	}
	if b.wireOut, err = b.port(near, sourceDevice); err != nil {
		return err
	}
	b.wireIn, err = b.port(far, sinkDevice)
	return err
}

// Calibrate is part of trial.Tester. It measures on a wire of the same kind what the sender can send and the receiver takes without
// loss, and then what the sender can send to the device, whatever that loses.
func (b *Bench) Calibrate(ctx context.Context, sizes trial.Sizes) (trial.Calibration, error) {
	return b.calibrate(sizes, func() (c trial.Calibration, err error) {
		if b.options.Device == Wire { // its receiver is where the wire ends
			if err := b.dismiss(); err != nil {
				return c, err
			}
		}
		i, err := b.on(b.wireOut, b.wireIn, traffic.Link{Source: b.wireOut.MAC, Destination: b.wireIn.MAC}, sizes)
		if err != nil {
			return c, err
		}
		c, err = i.calibrateWire(ctx, sizes)
		if err = errors.Join(err, i.close()); err != nil || b.options.Device == Wire {
			return c, err
		}
		// A device on another CPU makes sending dearer: every batch may have to wake it.
		if i, err = b.get(sizes); err != nil {
			return c, err
		}
		with, err := i.ceiling(ctx, sizes, func(o trial.Outcome) (uint64, error) { return o.Sent, nil })
		c.Ceiling = min(c.Ceiling, with)
		return c, err
	})
}

// Reconfigure makes a change to weir while it runs, a reload by which a table comes or goes, and waits until it is in force.
func (b *Bench) Reconfigure(ctx context.Context) error {
	if b.options.Device != Weir {
		return fmt.Errorf("reconfigure: %s cannot, %s can", b.options.Device, Weir)
	}
	text := b.bed.configuration(&b.peers.Load)
	if b.changed = !b.changed; b.changed {
		text += "  changed: {id: 200, routes: [{to: 203.0.113.0/24, via: " + sinkAddress.String() + "}]}\n"
	}
	if err := os.WriteFile(b.device.config, []byte(text), 0o600); err != nil {
		return fmt.Errorf("reconfigure: %w", err)
	}
	command := exec.CommandContext(ctx, b.peers.Binary, "reload", "--control", b.device.control)
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("reconfigure: %w: %s", err, bytes.TrimSpace(out))
	}
	return nil
}

// Restart takes the device out and puts it in again.
func (b *Bench) Restart(ctx context.Context) error {
	if b.device == nil {
		return errors.New("restart: a wire cannot")
	}
	err := b.device.stop()
	b.device = nil
	if err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	try := b.bed.try
	b.bed.try = func(context.Context) (sent, received uint64, err error) { return 1, 1, nil } // a trial is under way
	defer func() { b.bed.try = try }()
	b.device, err = b.bed.start(ctx, b.options.Device, &b.peers)
	return err
}

// Close takes all down.
func (b *Bench) Close() error {
	err := b.dismiss()
	if b.device != nil {
		err = errors.Join(err, b.device.stop())
	}
	return errors.Join(err, b.bed.close())
}
