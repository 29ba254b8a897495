package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"time"

	"weir/perf/environment"
	"weir/perf/lab"
	"weir/perf/traffic"
	"weir/perf/trial"
	"weir/rings"
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
	options BenchOptions
	peers   PeersOptions
	bed     *testbed
	device  *running // nil: Wire
	out, in traffic.Port
	link    traffic.Link
	near    *lab.Host // of a wire for calibration
	wireOut traffic.Port
	wireIn  traffic.Port
	ready   map[string]*instrument // for the device, by sizes
	changed bool                   // Reconfigure has been there an odd number of times
}

// instrument is a sender and a receiver for a plan.
type instrument struct {
	sender   traffic.Sender
	receiver *traffic.Receiver
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
	if o.Engine != Live && o.Engine != XSK {
		return nil, fmt.Errorf("engine %q: must be %s or %s", o.Engine, Live, XSK)
	}
	if o.Device != Wire && !slices.Contains(allPeers, o.Device) {
		return nil, fmt.Errorf("device %q: must be %s, or among %v", o.Device, Wire, allPeers)
	}
	b = &Bench{options: o, ready: make(map[string]*instrument)}
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

// smallest are frames that all streams fit in.
func (b *Bench) smallest() trial.Sizes {
	size := trial.SizeMin
	for i := range b.options.Streams {
		size = max(size, b.options.Streams[i].SizeMin())
	}
	return trial.Sizes{size}
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
	p.MAC, err = h.MAC(device)
	return p, err
}

// addWire adds what a calibration is made on.
func (b *Bench) addWire() (err error) {
	if b.near, err = b.bed.lab.Host("near"); err != nil {
		return err
	}
	far, err := b.bed.lab.Host("far")
	if err != nil {
		return err
	}
	if _, err := b.bed.lab.Link(b.near, sourceDevice, far, sinkDevice, lab.LinkOptions{NoMerge: true}); err != nil {
		return err
	}
	if b.wireOut, err = b.port(b.near, sourceDevice); err != nil {
		return err
	}
	b.wireIn, err = b.port(far, sinkDevice)
	return err
}

// open makes a sender and a receiver.
func (b *Bench) open(out, in traffic.Port, link traffic.Link, sizes trial.Sizes) (i *instrument, err error) {
	plan, err := traffic.NewPlan(b.options.Streams, link, sizes)
	if err != nil {
		return nil, err
	}
	i = &instrument{}
	if i.receiver, err = traffic.NewReceiver(in, plan); err != nil {
		return nil, err
	}
	if b.options.Engine == XSK {
		i.sender, err = traffic.NewXSK(out, plan, traffic.XSKOptions{Mode: rings.Auto})
	} else {
		i.sender, err = traffic.NewLive(out, plan)
	}
	if err != nil {
		return nil, errors.Join(err, i.receiver.Close())
	}
	return i, nil
}

func (i *instrument) close() error { return errors.Join(i.sender.Close(), i.receiver.Close()) }

// instrument is the one for the device and frames of these sizes. There is one at a time: a port has one receiver.
func (b *Bench) instrument(sizes trial.Sizes) (*instrument, error) {
	key := sizes.String()
	if i := b.ready[key]; i != nil {
		return i, nil
	}
	if err := b.dismiss(); err != nil {
		return nil, err
	}
	i, err := b.open(b.out, b.in, b.link, sizes)
	if err == nil {
		b.ready[key] = i
	}
	return i, err
}

func (b *Bench) dismiss() (err error) {
	for key, i := range b.ready {
		err = errors.Join(err, i.close())
		delete(b.ready, key)
	}
	return err
}

// drainMax is how long a trial waits for packets when it asks for no more.
const drainMax = 200 * time.Millisecond

// Trial is part of trial.Tester.
func (b *Bench) Trial(ctx context.Context, t trial.Trial) (outcome trial.Outcome, err error) {
	i, err := b.instrument(t.Sizes)
	if err != nil {
		return outcome, err
	}
	return i.trial(ctx, t)
}

func (i *instrument) trial(ctx context.Context, t trial.Trial) (outcome trial.Outcome, err error) {
	run := traffic.Run{Start: traffic.Ahead(), Phases: []traffic.Phase{{Rate: t.Rate, Duration: t.Duration}}, Limit: t.Frames}
	for _, s := range t.Then {
		run.Phases = append(run.Phases, traffic.Phase{Rate: s.Rate, Duration: s.Duration})
	}
	type intervention struct {
		span trial.Silence
		err  error
	}
	intervened := make(chan intervention, 1)
	if d := t.During; d != nil {
		timer := time.AfterFunc(d.At, func() {
			var v intervention
			v.span.From = traffic.Since(run.Start)
			if v.err = d.Do(ctx); v.err != nil {
				v.err = fmt.Errorf("%s: %w", d.Name, v.err)
			}
			v.span.To = traffic.Since(run.Start)
			intervened <- v
		})
		defer timer.Stop()
	} else {
		intervened <- intervention{}
	}
	r, err := i.receiver.Measure(ctx, i.sender, run, max(t.Drain, drainMax), t.Drain > drainMax)
	select {
	case v := <-intervened:
		outcome.Intervened = v.span
		err = errors.Join(err, v.err)
	case <-ctx.Done(): // it may never have begun
	}
	outcome.Sent, outcome.Received, outcome.Duplicated, outcome.Reordered = r.Packets, r.Received, r.Again, r.Reordered
	outcome.Foreign = r.Strangers + r.Old + r.Corrupt
	outcome.Duration, outcome.Latency, outcome.Series = r.Time, r.Latency, r.Series(seriesLength)
	outcome.LastLost, outcome.Silence, outcome.Cut = r.LastLost, r.Silence, ctx.Err() != nil
	if r.Packets > 1 {
		outcome.Duration += r.Time / time.Duration(r.Packets-1) // the pause behind the last
	}
	if err != nil {
		return outcome, err
	}
	select {
	case <-time.After(t.Settle):
	case <-ctx.Done():
	}
	return outcome, ctx.Err()
}

// seriesLength is how many intervals a trial's series has.
const seriesLength = 120

// Calibration of a Bench: packets a second are tried upwards, each for calibrateTime, and latencies at a rate that no device minds.
const (
	calibrateTime = 200 * time.Millisecond
	biasRate      = 10_000
)

// Calibrate is part of trial.Tester. It measures on a wire of the same kind, what the sender can send and the receiver takes without
// loss.
func (b *Bench) Calibrate(ctx context.Context, sizes trial.Sizes) (c trial.Calibration, err error) {
	c.Sizes = sizes
	if b.options.Device == Wire { // its receiver is where the wire ends
		if err := b.dismiss(); err != nil {
			return c, err
		}
	}
	i, err := b.open(b.wireOut, b.wireIn, traffic.Link{Source: b.wireOut.MAC, Destination: b.wireIn.MAC}, sizes)
	if err != nil {
		return c, fmt.Errorf("calibrate: %w", err)
	}
	defer func() { err = errors.Join(err, i.close()) }()
	offer := func(rate float64) (trial.Outcome, error) {
		return i.trial(ctx, trial.Trial{Rate: rate, Duration: calibrateTime, Sizes: sizes, Drain: drainMax})
	}
	flat, err := offer(0)
	if err != nil {
		return c, fmt.Errorf("calibrate: %w", err)
	}
	for _, share := range []float64{1, 0.95, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2} {
		rate := share * flat.Rate()
		o, err := offer(rate)
		if err != nil {
			return c, fmt.Errorf("calibrate: %w", err)
		}
		if o.Lost() == 0 && float64(o.Sent) >= (1-trial.Shortfall)*rate*calibrateTime.Seconds() {
			c.Ceiling = rate
			break
		}
	}
	if c.Ceiling == 0 {
		return c, fmt.Errorf("calibrate: a fifth of %.0f packets a second on a wire were not kept up: the machine is too busy to measure", flat.Rate())
	}
	o, err := offer(biasRate)
	if err != nil {
		return c, fmt.Errorf("calibrate: %w", err)
	}
	c.Bias = o.Latency
	return c, nil
}

// Ports are what the test used.
func (b *Bench) Ports() (list []environment.Port, err error) {
	read := func(p *traffic.Port, role string) {
		err = errors.Join(err, p.Do(func() error {
			one, err := environment.ReadPort(p.Name, role)
			list = append(list, one)
			return err
		}))
	}
	read(&b.out, "sends")
	read(&b.in, "receives")
	return list, err
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

// Addresses are the MAC addresses between which packets go.
func (b *Bench) Addresses() (from, to net.HardwareAddr) { return b.link.Source, b.link.Destination }

// Close takes all down.
func (b *Bench) Close() error {
	err := b.dismiss()
	if b.device != nil {
		err = errors.Join(err, b.device.stop())
	}
	return errors.Join(err, b.bed.close())
}
