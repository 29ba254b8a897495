package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"time"

	"weir/perf/trial"
)

// PeersOptions say what Peers does. The zero value is the full comparison on two cores.
type PeersOptions struct {
	Binary        string        // weir; "": this program
	FloorCommand  []string      // that runs RunFloor for --cpu=N --idle-spin=D PORT=MAC …; nil: Binary perf floor
	Peers         []Peer        // nil: those that the load and the machine have
	Rounds        int           // of every peer once; 0: 5
	Window        time.Duration // that a rate is offered for; 0: 1 s
	Rates         []float64     // packets per second; nil: a ladder around what each peer can do
	Common        float64       // the rate at which costs are compared; 0: 0.7 of what the slowest peer can do
	LossRatio     float64       // up to which a window counts as one of low loss; negative: 0; 0: 0.005, as CSIT's PDR
	Sizes         trial.Sizes   // of frames; nil: 64 bytes
	Addresses     int           // destinations of the stream; 0: 1024
	Ports         int           // source ports of the stream; 0: 16
	Load          Load          // rules and routes that the routers have to carry
	GeneratorCPU  int           // where packets are made
	RouterCPU     int           // where they are forwarded; not GeneratorCPU. Both 0: 0 and 1
	IdleSpin      time.Duration // of weir and the floor; negative: 0; 0: 20 µs, as weir has it
	ReceiveYields bool          // leave the ports' receive threads at nice 0, below the worker; else they are its equals
	CommandLine   string        // for the report
	Version       string        // of Binary, for the report; "": the commit that this program knows of
	Progress      io.Writer     // a line for every window; nil: none
}

// allPeers are those that there are.
var allPeers = []Peer{Weir, Plain, Floor, Testpmd, XDP, Kernel, Marked}

func (o *PeersOptions) complete() error {
	if o.Binary == "" {
		o.Binary = "/proc/self/exe"
		if path, err := os.Executable(); err == nil {
			o.Binary = path
		}
	}
	if o.FloorCommand == nil {
		o.FloorCommand = []string{o.Binary, "perf", "floor"}
	}
	if o.Peers == nil {
		o.Peers = slices.Clone(allPeers)
		_, err := exec.LookPath(testpmdProgram)
		_, nftErr := exec.LookPath(nftProgram)
		o.Peers = slices.DeleteFunc(o.Peers, func(p Peer) bool {
			return p == Plain && o.Load.empty() || p == Testpmd && err != nil || p == Marked && (o.Load.Marks == 0 || nftErr != nil)
		})
	}
	if len(o.Sizes) == 0 {
		o.Sizes = trial.Sizes{trial.SizeMin}
	}
	if o.GeneratorCPU == 0 && o.RouterCPU == 0 {
		o.RouterCPU = 1
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	setDefault(&o.Rounds, 5)
	setDefault(&o.Window, time.Second)
	setDefault(&o.Addresses, 1024)
	setDefault(&o.Ports, 16)
	setDefault(&o.IdleSpin, 20*time.Microsecond)
	setDefault(&o.LossRatio, 0.005)
	o.IdleSpin, o.LossRatio = max(o.IdleSpin, 0), max(o.LossRatio, 0)
	var errs []error
	switch {
	case o.GeneratorCPU == o.RouterCPU:
		errs = append(errs, errors.New("generator and router must be on different CPUs"))
	case o.Rounds < 1:
		errs = append(errs, fmt.Errorf("%d rounds: must be at least 1", o.Rounds))
	case o.Window < 10*time.Millisecond:
		errs = append(errs, fmt.Errorf("window %v: must be at least 10ms", o.Window))
	case o.Addresses < 1 || o.Addresses > 1<<24 || o.Ports < 1 || o.Ports > 1<<15:
		errs = append(errs, fmt.Errorf("%d addresses, %d ports: must be 1 to 2^24, 1 to 2^15", o.Addresses, o.Ports))
	}
	if largest := slices.Max(o.Sizes); largest > sizeMax {
		errs = append(errs, fmt.Errorf("frame size %d: must be at most %d", largest, sizeMax))
	}
	for _, p := range o.Peers {
		if !slices.Contains(allPeers, p) {
			errs = append(errs, fmt.Errorf("peer %q: must be among %v", p, allPeers))
		}
	}
	errs = append(errs, o.Load.check())
	return errors.Join(errs...)
}

func setDefault[T comparable](v *T, value T) {
	if *v == *new(T) {
		*v = value
	}
}

// Turn is a peer's part of a round.
type Turn struct {
	Round   int
	Windows []Window // the first at the common rate, then upwards
}

// Peers compares weir, the I/O floor, and the kernel with and without its stack on one testbed. It needs root and two CPUs.
//
// Every peer is first driven into overload to learn what it can do. Then they take turns, in an order that is
// reversed every other round, so that drift meets all of them. A turn is one window at a rate common to all peers,
// and a ladder of windows around what the peer could do before. When ctx ends, so does the run, and everything is
// taken down.
func Peers(ctx context.Context, o PeersOptions) (result *PeersResult, err error) {
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("compare peers: %w", err)
	}
	t, err := newTestbed(&o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.close()) }()
	result = newPeersResult(&o)
	able := make(map[Peer]float64)
	for _, p := range o.Peers {
		if o.Rates != nil && o.Common != 0 {
			break // nobody needs to know
		}
		if err := t.turn(ctx, p, &o, func(r *running) (err error) {
			able[p], err = r.estimate(ctx, &o)
			return err
		}); err != nil {
			return nil, err
		}
		fmt.Fprintf(o.Progress, "%-6s can do about %.3f Mpps\n", p, able[p]/1e6)
	}
	if result.Common = o.Common; result.Common == 0 {
		result.Common = commonRate(able)
	}
	order := slices.Clone(o.Peers)
	for round := range o.Rounds {
		for _, p := range order {
			turn := Turn{Round: round + 1}
			if err := t.turn(ctx, p, &o, func(r *running) (err error) {
				turn.Windows, err = r.climb(ctx, &o, string(p), append([]float64{result.Common}, ladder(&o, able[p])...))
				return err
			}); err != nil {
				return nil, err
			}
			able[p] = max(able[p], turn.Best().Received) // a disturbed turn says nothing about the next
			result.add(p, turn)
		}
		slices.Reverse(order)
	}
	result.finish()
	return result, nil
}

// turn starts a peer, lets measure do its work, and stops it.
func (t *testbed) turn(ctx context.Context, p Peer, o *PeersOptions, measure func(*running) error) (err error) {
	r, err := t.start(ctx, p, o)
	if err != nil {
		return err
	}
	if err := measure(r); err != nil {
		err = fmt.Errorf("measure %s: %w", p, err)
		if r.process != nil && ctx.Err() == nil {
			err = fmt.Errorf("%w\n%s", err, r.process.Output())
		}
		return errors.Join(err, r.stop())
	}
	return r.stop()
}

// estimate raises the rate until most of it is lost twice in a row (once may be an accident), and returns the
// highest rate that came through.
func (r *running) estimate(ctx context.Context, o *PeersOptions) (best float64, err error) {
	const first, last = 100e3, 20e6
	for rate, lost := float64(first), 0; rate < last && lost < 2; rate *= 1.4 {
		w, err := r.quietWindow(ctx, rate, min(o.Window, 200*time.Millisecond))
		if err != nil {
			return 0, err
		}
		best = max(best, w.Received)
		if w.Received < 0.75*rate {
			lost++
		} else {
			lost = 0
		}
	}
	return best, nil
}

// climb measures a window for every rate. As long as more comes through in the last of a ladder than in any before it,
// there may be more yet, and it goes on upwards.
func (r *running) climb(ctx context.Context, o *PeersOptions, name string, rates []float64) ([]Window, error) {
	windows, most := make([]Window, 0, len(rates)), 0.0
	for len(rates) > 0 {
		w, err := r.quietWindow(ctx, rates[0], o.Window)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(o.Progress, "%-6s %s\n", name, w.String())
		windows = append(windows, w)
		rates = rates[1:]
		if len(rates) == 0 && o.Rates == nil && w.Received > 1.02*most && w.Offered > 0.9*w.Asked {
			rates = []float64{1.1 * w.Asked}
		}
		most = max(most, w.Received)
	}
	return windows, nil
}

// rungs are the rates of a ladder, as multiples of what a peer can do.
var rungs = []float64{0.60, 0.75, 0.85, 0.90, 0.95, 1.00, 1.05, 1.12, 1.25}

// ladder is the rates that a peer is offered that can do able packets per second.
func ladder(o *PeersOptions, able float64) []float64 {
	if o.Rates != nil {
		return o.Rates
	}
	rates := make([]float64, len(rungs))
	for i, rung := range rungs {
		rates[i] = rung * able
	}
	return rates
}

// commonRate is one that every peer can do without trouble, in steps of 10,000 packets per second.
func commonRate(able map[Peer]float64) float64 {
	const step = 10e3
	lowest := 0.0
	for _, a := range able {
		if lowest == 0 || a < lowest {
			lowest = a
		}
	}
	return max(step, float64(int(0.7*lowest/step))*step)
}
