package perf

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"weir/perf/environment"
	"weir/perf/traffic"
	"weir/perf/trial"
)

func newTestBench(t *testing.T, o BenchOptions) *Bench {
	t.Helper()
	needTwoCPUs(t)
	o.FloorCommand = floorCommand(t)
	b := must[*Bench](t)(NewBench(t.Context(), o))
	t.Cleanup(func() {
		check(t, b.Close())
		nothingLeft(t)
	})
	return b
}

// TestBench has trials made on devices: what is sent comes back, in both families and several sizes, one after the other on one bench.
func TestBench(t *testing.T) {
	for _, device := range []Peer{Wire, Kernel, Floor} {
		for _, engine := range []Engine{Live, XSK} {
			t.Run(fmt.Sprintf("%s by %s", device, engine), func(t *testing.T) {
				streams := append(DefaultStreams(false), DefaultStreams(true)...)
				b := newTestBench(t, BenchOptions{Device: device, Engine: engine, Streams: streams})
				for _, sizes := range []string{"78", "128x3,1518", "78"} {
					o := must[trial.Outcome](t)(b.Trial(t.Context(), trial.Trial{
						Rate: 4000, Duration: 500 * time.Millisecond, Sizes: must[trial.Sizes](t)(trial.ParseSizes(sizes)), Drain: time.Second,
					}))
					if o.Sent == 0 || o.Sent > 2001 || o.Received != o.Sent || o.Duplicated+o.Reordered > 0 || o.Cut || o.LastLost != 0 {
						t.Errorf("%s bytes: %d sent, %d received, %d again, %d reordered, %d foreign", sizes, o.Sent, o.Received, o.Duplicated, o.Reordered, o.Foreign)
					}
					if o.Duration < 400*time.Millisecond || o.Duration > time.Second || uint64(o.Latency.Count()) != o.Received {
						t.Errorf("%s bytes: %v, %d latencies", sizes, o.Duration, o.Latency.Count())
					}
				}
				ports := must[[]environment.Port](t)(b.Ports())
				if len(ports) != 2 || ports[0].Driver != "veth" {
					t.Errorf("ports %+v", ports)
				}
			})
		}
	}
}

// TestBenchTrial: exact numbers of packets, rates that follow one another, an intervention in the middle that cuts the device off, and
// the end of a context.
func TestBenchTrial(t *testing.T) {
	b := newTestBench(t, BenchOptions{Device: Kernel})
	sizes := trial.Sizes{64}
	o := must[trial.Outcome](t)(b.Trial(t.Context(), trial.Burst(333, 2000, sizes)))
	if o.Sent != 333 || o.Received != 333 {
		t.Errorf("a burst of 333: %d sent, %d received, %d foreign", o.Sent, o.Received, o.Foreign)
	}
	o = must[trial.Outcome](t)(b.Trial(t.Context(), trial.Trial{
		Rate: 2000, Duration: 100 * time.Millisecond, Sizes: sizes, Then: []trial.Step{{Rate: 500, Duration: 200 * time.Millisecond}},
	}))
	if o.Sent == 0 || o.Sent > 302 || o.Received != o.Sent {
		t.Errorf("two rates: %d sent, %d received", o.Sent, o.Received)
	}
	const off, on = 200 * time.Millisecond, 300 * time.Millisecond
	o = must[trial.Outcome](t)(b.Trial(t.Context(), trial.Trial{
		Rate: 2000, Duration: time.Second, Sizes: sizes,
		During: &trial.Intervention{Name: "cut", At: off, Do: func(context.Context) error {
			err := b.bed.forwardInKernel(false)
			time.Sleep(on - off)
			return errors.Join(err, b.bed.forwardInKernel(true))
		}},
	}))
	lost := o.Lost()
	if lost < 100 || lost > 1000 || o.LastLost < off || o.Silence.Length() < 50*time.Millisecond || o.Intervened.Length() < on-off || o.Intervened.From < off/2 {
		t.Errorf("cut off for %v: %d of %d lost, the last at %v, silence %v, intervened %v to %v", on-off, lost, o.Sent, o.LastLost, o.Silence, o.Intervened.From, o.Intervened.To)
	}
	for at, in := range o.Series {
		if in.At+in.Duration < off/2 && in.Sent != in.Received {
			t.Errorf("interval %d: %+v", at, in)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	o, err := b.Trial(ctx, trial.Trial{Rate: 1000, Duration: time.Minute, Sizes: sizes})
	if !errors.Is(err, context.DeadlineExceeded) || !o.Cut || o.Sent == 0 || o.Sent > 10_000 {
		t.Errorf("a trial that was cut: %d sent, cut %v, %v", o.Sent, o.Cut, err)
	}
	o = must[trial.Outcome](t)(b.Trial(t.Context(), trial.Burst(100, 5000, sizes)))
	if o.Received != 100 {
		t.Errorf("after a trial that was cut: %d of %d received, %d again, %d foreign", o.Received, o.Sent, o.Duplicated, o.Foreign)
	}
}

// TestBenchCalibrate: a wire carries what the sender can send, and adds next to nothing.
func TestBenchCalibrate(t *testing.T) {
	b := newTestBench(t, BenchOptions{Device: Wire})
	c, err := b.Calibrate(t.Context(), trial.Sizes{64})
	if err != nil && strings.Contains(err.Error(), "too busy") {
		t.Skip(err) // it says so rather than state a figure
	}
	check(t, err)
	if c.Ceiling < 20_000 || c.Bias.Count() == 0 || c.Bias.Quantile(0) > 5*time.Millisecond {
		t.Errorf("ceiling %.0f, bias %v in %d packets", c.Ceiling, c.Bias.Quantile(0.5), c.Bias.Count())
	}
	t.Logf("ceiling %.0f packets a second, bias %v, at the 99th percentile %v", c.Ceiling, c.Bias.Quantile(0.5), c.Bias.Quantile(0.99))
	if o := must[trial.Outcome](t)(b.Trial(t.Context(), trial.Burst(100, 5000, trial.Sizes{64}))); o.Received != 100 {
		t.Errorf("a trial behind the calibration: %+v", o)
	}
}

// TestBenchErrors wants errors that say what is wrong.
func TestBenchErrors(t *testing.T) {
	needTwoCPUs(t)
	six, err := traffic.ParseStream("from=2001:db8:1::10 to=fd10::1 proto=tcp size=128")
	check(t, err)
	for part, o := range map[string]BenchOptions{
		`device "toaster": must be wire, or among`: {Device: "toaster"},
		`engine "steam": must be live or xsk`:      {Engine: "steam"},
		"no ports today":                           {Device: Floor, FloorCommand: []string{"/bin/sh", "-c", "echo no ports today; exit 1"}},
	} {
		if b, err := NewBench(t.Context(), o); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: %v", o, err)
			if b != nil {
				check(t, b.Close())
			}
		}
	}
	b := newTestBench(t, BenchOptions{Device: Wire, Streams: []traffic.Stream{six}})
	for part, tr := range map[string]trial.Trial{
		"headers and a stamp take 90 bytes": {Rate: 1000, Duration: time.Second, Sizes: trial.Sizes{64}},
		"must be up to 6e+08":               {Rate: 1e9, Duration: time.Second, Sizes: trial.Sizes{128}},
		"must be longer than 0":             {Rate: 1000, Sizes: trial.Sizes{128}},
	} {
		if _, err := b.Trial(t.Context(), tr); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: %v", tr, err)
		}
	}
	// What is done to the device fails: the trial is over.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	o, err := b.Trial(ctx, trial.Trial{Rate: 100, Duration: time.Hour, Sizes: trial.Sizes{128},
		During: &trial.Intervention{Name: "kick", At: 10 * time.Millisecond, Do: func(context.Context) error { return errors.New("no foot") }}})
	if err == nil || err.Error() != "kick: no foot" || o.Cut {
		t.Errorf("an intervention that fails: %v, cut %v", err, o.Cut)
	}
}
