package procedure

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"pgregory.net/rapid"

	"weir/perf/trial"
)

// device is a tester with a simulated device: it has no clock, and answers the same for the same seed.
type device struct {
	ceiling float64
	link    uint64
	random  *rand.Rand
	trials  int
	spent   time.Duration // sending

	lost  func(d *device, t *trial.Trial) float64           // frames
	shape func(d *device, t *trial.Trial, o *trial.Outcome) // adds to the outcome
	sends func(d *device, t *trial.Trial) float64           // of those asked for; nil: all
	ends  int                                               // number of the trial in which stop is called
	stop  func()
}

func newDevice(seed uint64, lost func(d *device, t *trial.Trial) float64) *device {
	return &device{ceiling: 5e6, random: rand.New(rand.NewPCG(seed, 0)), lost: lost}
}

func (d *device) Calibrate(context.Context, trial.Sizes) (trial.Calibration, error) {
	return trial.Calibration{Ceiling: d.ceiling, LinkSpeed: d.link}, nil
}

func (d *device) Trial(ctx context.Context, t trial.Trial) (trial.Outcome, error) {
	d.trials++
	d.spent += t.Length()
	intended := t.Intended()
	if d.sends != nil {
		intended *= d.sends(d, &t)
	}
	o := trial.Outcome{Sent: uint64(math.Round(intended)), Duration: t.Length()}
	if d.trials == d.ends {
		d.stop()
		o.Sent, o.Duration = o.Sent/2, o.Duration/2
	}
	lost := uint64(max(0, math.Round(d.lost(d, &t))))
	o.Received = o.Sent - min(lost, o.Sent)
	if d.shape != nil {
		d.shape(d, &t, &o)
	}
	if t.During != nil && t.During.Do != nil {
		if err := t.During.Do(ctx); err != nil {
			return o, fmt.Errorf("%s: %w", t.During.Name, err)
		}
	}
	return o, ctx.Err()
}

// carries loses what is above a rate: never less than a frame.
func carries(rate float64) func(*device, *trial.Trial) float64 {
	return func(_ *device, t *trial.Trial) float64 {
		if t.Rate <= rate {
			return 0
		}
		return max(1, (t.Rate-rate)*t.Duration.Seconds())
	}
}

// quick has one frame size and no waits.
func quick() Common {
	return Common{Sizes: []trial.Sizes{{64}}, Drain: -1, Settle: -1}
}

// verify classifies all trials anew, and holds the bounds to their definitions.
func verify(t rapid.TB, r *Result) {
	t.Helper()
	for _, b := range r.Bounds {
		loads := make(map[float64][]trial.Record)
		for _, record := range r.Trials {
			if record.Void == "" && !record.Cut && record.Trial.Sizes.String() == b.Sizes.String() {
				loads[record.Trial.Rate] = append(loads[record.Trial.Rate], record)
			}
		}
		upper := math.Inf(1)
		for load, trials := range loads {
			if b.Goal.Classify(trials) == UpperBound {
				upper = min(upper, load)
			}
		}
		lower := 0.0
		for load, trials := range loads {
			if load < upper && b.Goal.Classify(trials) == LowerBound {
				lower = max(lower, load)
			}
		}
		if math.IsInf(upper, 1) {
			upper = 0
		}
		if b.Lower != lower || b.Upper != upper {
			t.Errorf("%s: bounds %v, %v; by definition %v, %v", b.Goal.Name, b.Lower, b.Upper, lower, upper)
		}
		regular := lower > 0 && upper > 0 && (upper-lower)/upper <= b.Goal.Width
		if b.Regular != regular && r.Partial == "" {
			t.Errorf("%s: regular %v, by definition %v: %v, %v", b.Goal.Name, b.Regular, regular, lower, upper)
		}
		if b.Lower > 0 {
			if got := b.Goal.ConditionalThroughput(b.Lower, loads[b.Lower]); got != b.Throughput {
				t.Errorf("%s: throughput %v, by definition %v", b.Goal.Name, b.Throughput, got)
			}
			if least := b.Lower * (1 - b.Goal.LossRatio); b.Throughput < least-1e-6 {
				t.Errorf("%s: throughput %v is less than what the lower bound %v shows", b.Goal.Name, b.Throughput, b.Lower)
			}
		}
	}
}

func bounds(t rapid.TB, r *Result, err error) map[string]Bounds {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	verify(t, r)
	of := make(map[string]Bounds)
	for _, b := range r.Bounds {
		of[b.Goal.Name] = b
	}
	return of
}

// found fails unless a regular result has a rate between its bounds, or next to them by a frame or two: devices lose whole ones.
func found(t rapid.TB, b Bounds, rate float64) {
	t.Helper()
	if !b.Regular || b.Refused != "" || b.Lower > rate+2 || b.Upper < rate-2 {
		t.Errorf("%s: %v is not found: %+v", b.Goal.Name, rate, b)
	}
}
