package procedure

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"weir/perf/trial"
)

func goals(list ...Goal) MLRsearchOptions { return MLRsearchOptions{Common: quick(), Goals: list} }

// TestHiddenThroughput finds what devices carry, whatever that is, for all goals at once.
func TestHiddenThroughput(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		rate := rapid.Float64Range(1e4, 4.9e6).Draw(rt, "rate")
		d := newDevice(1, carries(rate))
		r, err := MLRsearch(t.Context(), d, goals(NDR(), PDR(), RFC2544(), TST009()))
		of := bounds(rt, r, err)
		for _, name := range []string{"NDR", "RFC 2544", "TST 009"} {
			found(rt, of[name], rate)
			if b := of[name]; b.Throughput != b.Lower {
				rt.Errorf("%s: throughput %v, without loss at %v", name, b.Throughput, b.Lower)
			}
		}
		found(rt, of["PDR"], rate/(1-0.005))
		if of["PDR"].Lower < of["NDR"].Lower {
			rt.Errorf("PDR %v below NDR %v", of["PDR"].Lower, of["NDR"].Lower)
		}
		if len(r.Refused) > 0 || r.Partial != "" {
			rt.Errorf("refused %v, partial %q", r.Refused, r.Partial)
		}
		// An RFC 2544 throughput needs a trial at the lower bound of a minute, no more than one, and few elsewhere.
		long := 0
		for _, record := range r.Trials {
			if record.Trial.Duration == time.Minute {
				long++
			}
		}
		if long > 16 {
			rt.Errorf("%d trials of a minute", long)
		}
	})
}

// TestSearchIsShort has what a search takes: the time is why there is RFC 9971.
func TestSearchIsShort(t *testing.T) {
	worst := time.Duration(0)
	for rate := 1e5; rate < 4.9e6; rate *= 1.37 {
		d := newDevice(1, carries(rate))
		r, err := MLRsearch(t.Context(), d, goals(NDR(), PDR()))
		bounds(t, r, err)
		worst = max(worst, d.spent)
	}
	// Halving the whole range to the width, for each of the goals, would take 2 × 20 loads of 11 s.
	if worst > 260*time.Second {
		t.Errorf("%v of trials", worst)
	}
	t.Logf("at most %v of trials for NDR and PDR", worst)
}

// TestNoise has trials that lose a frame for no reason, one of ten.
func TestNoise(t *testing.T) {
	for seed := range uint64(20) {
		const rate = 1.234e6
		d := newDevice(seed, func(d *device, t *trial.Trial) float64 {
			lost := carries(rate)(d, t)
			if d.random.Float64() < 0.1 {
				lost++
			}
			return lost
		})
		r, err := MLRsearch(t.Context(), d, goals(NDR(), PDR()))
		of := bounds(t, r, err)
		found(t, of["NDR"], rate)
		found(t, of["PDR"], rate/(1-0.005))
		// RFC 2544 takes the first trial's word, so that noise has it find less. It still finds what it defines.
		r, err = Throughput(t.Context(), d, ThroughputOptions{Common: quick()})
		if b := bounds(t, r, err)["RFC 2544"]; b.Lower > rate {
			t.Errorf("seed %d: %+v", seed, b)
		}
	}
}

// TestNoisyRate has a device whose capacity is another in every trial, by a normal distribution: what is found is near the median.
func TestNoisyRate(t *testing.T) {
	const rate, sigma = 1e6, 0.002
	for seed := range uint64(20) {
		d := newDevice(seed, func(d *device, t *trial.Trial) float64 {
			return carries(rate*(1+sigma*d.random.NormFloat64()))(d, t)
		})
		r, err := MLRsearch(t.Context(), d, goals(NDR()))
		b := bounds(t, r, err)["NDR"]
		if !b.Regular || math.Abs(b.Lower/rate-1) > 3*sigma+NDR().Width {
			t.Errorf("seed %d: %+v", seed, b)
		}
	}
}

// TestFirstSecond has a device that loses 100 frames at the beginning of each trial, whatever its rate.
func TestFirstSecond(t *testing.T) {
	const rate = 1e6
	d := newDevice(1, func(d *device, t *trial.Trial) float64 { return 100 + carries(rate)(d, t) })
	r, err := MLRsearch(t.Context(), d, goals(NDR()))
	if b := bounds(t, r, err)["NDR"]; b.Regular || b.Lower != 0 || b.Throughput != 0 || b.Note != "the lowest load is not carried" {
		t.Errorf("never without loss: %+v", b)
	}
	r, err = MLRsearch(t.Context(), d, goals(PDR()))
	found(t, bounds(t, r, err)["PDR"], (rate-100)/(1-0.005))
	// Together, NDR's trials at the lowest load show it to be an upper bound of PDR too.
	r, err = MLRsearch(t.Context(), d, goals(NDR(), PDR()))
	if b := bounds(t, r, err)["PDR"]; b.Regular || b.Upper != b.Goal.Initial.Seconds()*10 {
		t.Errorf("together: %+v", b)
	}
	// With trials of a minute, 100 frames are few enough at 100 times less.
	long := PDR()
	long.Initial, long.Final, long.Sum, long.ExceedRatio = time.Minute, time.Minute, time.Minute, 0
	r, err = MLRsearch(t.Context(), d, goals(long))
	found(t, bounds(t, r, err)["PDR"], rate/(1-0.005))
}

// TestPeriodicLoss has a device that loses in every seventh trial, and one that does in every other.
func TestPeriodicLoss(t *testing.T) {
	const rate = 777e3
	every := func(n int) *device {
		return newDevice(1, func(d *device, t *trial.Trial) float64 {
			lost := carries(rate)(d, t)
			if d.trials%n == 0 {
				lost += 1000
			}
			return lost
		})
	}
	for _, n := range []int{2, 3, 7} {
		r, err := MLRsearch(t.Context(), every(n), goals(NDR()))
		b := bounds(t, r, err)["NDR"]
		if n > 2 {
			found(t, b, rate)
		} else if b.Lower > rate {
			t.Errorf("every other: %+v", b)
		}
	}
}

// TestLateLoss has a device that fills up: what it carries for a second it does not carry for a minute.
func TestLateLoss(t *testing.T) {
	const short, long = 2e6, 0.9e6
	d := newDevice(1, func(d *device, t *trial.Trial) float64 {
		if t.Duration > 10*time.Second {
			return carries(long)(d, t)
		}
		return carries(short)(d, t)
	})
	r, err := MLRsearch(t.Context(), d, goals(RFC2544()))
	found(t, bounds(t, r, err)["RFC 2544"], long)
	r, err = MLRsearch(t.Context(), d, goals(NDR()))
	found(t, bounds(t, r, err)["NDR"], short)
	// Together, the trials of a minute count for both.
	r, err = MLRsearch(t.Context(), d, goals(NDR(), RFC2544()))
	of := bounds(t, r, err)
	found(t, of["RFC 2544"], long)
	if b := of["NDR"]; !b.Regular || b.Lower >= short {
		t.Errorf("together: %+v", b)
	}
	// A goal whose trials are of a minute only finds the same.
	patient := RFC2544()
	patient.Initial = patient.Final
	r, err = MLRsearch(t.Context(), d, goals(patient))
	found(t, bounds(t, r, err)["RFC 2544"], long)
}

// TestNonMonotonic has a device with a hole: it carries up to 2 Mpps, but for what is between 0.3 and 0.4.
func TestNonMonotonic(t *testing.T) {
	d := newDevice(1, func(d *device, t *trial.Trial) float64 {
		if t.Rate > 0.3e6 && t.Rate < 0.4e6 {
			return 10
		}
		return carries(2e6)(d, t)
	})
	r, err := MLRsearch(t.Context(), d, goals(NDR()))
	b := bounds(t, r, err)["NDR"]
	if !b.Regular || math.Abs(b.Lower-2e6) > 0.005*2e6 && math.Abs(b.Lower-0.3e6) > 0.005*0.3e6 {
		t.Errorf("neither edge: %+v", b)
	}
	// Another goal that sees into the hole takes the bounds there with it: the relevant upper bound is the smallest.
	o := goals(NDR())
	s := 0.35e6
	d.ceiling = s
	r, err = MLRsearch(t.Context(), d, o)
	found(t, bounds(t, r, err)["NDR"], 0.3e6)
}

// TestRandomDevice has a device that loses as a hash of load, duration and number says: bounds are what their definitions
// say whatever it does, and the search ends.
func TestRandomDevice(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		seed := rapid.Uint64().Draw(rt, "seed")
		slope := rapid.Float64Range(0, 2).Draw(rt, "slope")
		d := newDevice(seed, func(d *device, t *trial.Trial) float64 {
			h := fnv.New64a()
			if d.random.IntN(4) > 0 { // mostly the load decides
				fmt.Fprint(h, math.Round(math.Log(t.Rate)*20), t.Duration, seed)
			} else {
				fmt.Fprint(h, d.random.Uint64())
			}
			chance := float64(h.Sum64()%1000) / 1000
			if chance < slope*t.Rate/d.ceiling {
				return t.Intended() * chance * 0.02
			}
			return 0
		})
		list := []Goal{NDR(), PDR(), TST009()}
		list[2].Final, list[2].Sum = 8*time.Second, 16*time.Second
		r, err := MLRsearch(t.Context(), d, goals(list...))
		bounds(rt, r, err)
		for _, b := range r.Bounds {
			if !b.Regular && b.Refused == "" && b.Note == "" {
				rt.Errorf("irregular, and nothing says why: %+v", b)
			}
			if b.Note == "bounds are further apart than the width" {
				rt.Errorf("the search gave up: %+v", b)
			}
		}
		if d.trials > 3000 {
			rt.Errorf("%d trials", d.trials)
		}
	})
}

// TestCeiling has devices that do more than the generator: nothing is stated of them.
func TestCeiling(t *testing.T) {
	never := func(*device, *trial.Trial) float64 { return 0 }
	d := newDevice(1, never)
	r, err := Throughput(t.Context(), d, ThroughputOptions{Common: quick()})
	b := bounds(t, r, err)["RFC 2544"]
	if b.Regular || !strings.Contains(b.Refused, "the generator's ceiling, 5000000 frames a second, is carried") || len(r.Refused) != 1 {
		t.Errorf("%+v, %q", b, r.Refused)
	}
	// On a link that is slower than the generator, the link's rate is the device's.
	d.link = 1e9
	r, err = Throughput(t.Context(), d, ThroughputOptions{Common: quick()})
	if b := bounds(t, r, err)["RFC 2544"]; b.Refused != "" || b.Throughput != 1488095 || b.Note != "the link's rate is carried" || math.Floor(b.Line) != 1488095 {
		t.Errorf("at the link's rate: %+v", b)
	}
	// The link is faster.
	d.link = 10e9
	r, err = Throughput(t.Context(), d, ThroughputOptions{Common: quick()})
	if b := bounds(t, r, err)["RFC 2544"]; b.Refused == "" {
		t.Errorf("on a fast link: %+v", b)
	}
}

// TestShortGenerator has one that does not hold what its calibration promised.
func TestShortGenerator(t *testing.T) {
	d := newDevice(1, func(*device, *trial.Trial) float64 { return 0 })
	d.sends = func(_ *device, t *trial.Trial) float64 { return min(1, 3e6/t.Rate) }
	r, err := MLRsearch(t.Context(), d, goals(NDR()))
	if b := bounds(t, r, err)["NDR"]; !strings.Contains(b.Refused, "the generator fell short at the upper bound") {
		t.Errorf("%+v", b)
	}
	// One that stumbles now and then makes the trial again.
	const rate = 1e6
	d = newDevice(1, carries(rate))
	d.sends = func(d *device, _ *trial.Trial) float64 {
		if d.trials%5 == 0 {
			return 0.9
		}
		return 1
	}
	r, err = Throughput(t.Context(), d, ThroughputOptions{Common: quick()})
	found(t, bounds(t, r, err)["RFC 2544"], rate)
	voids := 0
	for _, record := range r.Trials {
		if record.Void != "" {
			voids++
		}
	}
	if voids == 0 {
		t.Error("no trial was made again")
	}
}

func TestEnd(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	d := newDevice(1, carries(1e6))
	d.ends, d.stop = 9, func() { cancel(errors.New("interrupted")) }
	r, err := MLRsearch(ctx, d, goals(NDR(), PDR()))
	of := bounds(t, r, err)
	if r.Partial != "ended in trial 9: interrupted" || len(r.Trials) != 9 || !r.Trials[8].Cut {
		t.Errorf("%q, %d trials", r.Partial, len(r.Trials))
	}
	if len(of) != 2 || of["NDR"].Regular || of["NDR"].Refused != "the search did not end" {
		t.Errorf("%+v", of)
	}
	// Before the first trial.
	r, err = Throughput(ctx, d, ThroughputOptions{Common: quick()})
	if err != nil || r.Partial == "" || len(r.Trials) != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// broken is a tester that fails.
type broken struct{ *device }

func (b broken) Trial(ctx context.Context, t trial.Trial) (trial.Outcome, error) {
	if b.trials == 3 {
		return trial.Outcome{}, errors.New("the cable is out")
	}
	return b.device.Trial(ctx, t)
}

func TestBrokenTester(t *testing.T) {
	r, err := MLRsearch(t.Context(), broken{newDevice(1, carries(1e6))}, goals(NDR()))
	if err == nil || err.Error() != "mlrsearch: the cable is out" || r == nil || len(r.Trials) != 3 || r.Partial != "failed in trial 4: the cable is out" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestProgress(t *testing.T) {
	o := goals(NDR(), PDR())
	var begun, done int
	last := time.Duration(0)
	o.Progress = func(p Progress) {
		if p.Done {
			done++
			if p.Number != done || p.Loss < 0 || p.Loss > 1 {
				t.Errorf("%+v", p)
			}
		} else {
			begun++
			if p.Number != begun || p.Left < p.Trial.Whole() || p.Procedure != "mlrsearch" || p.Step == "" {
				t.Errorf("%+v", p)
			}
		}
		last = p.Left
	}
	r, err := MLRsearch(t.Context(), newDevice(1, carries(1e6)), o)
	bounds(t, r, err)
	if begun != len(r.Trials) || done != begun {
		t.Errorf("%d, %d of %d", begun, done, len(r.Trials))
	}
	if last > time.Minute {
		t.Errorf("%v left at the end", last)
	}
	// What comes behind a search is part of what is left.
	l := LatencyOptions{Common: quick()}
	first := time.Duration(0)
	l.Progress = func(p Progress) { first = max(first, p.Left) }
	d := newDevice(1, carries(1e6))
	d.shape = timed
	if _, err := Latency(t.Context(), d, l); err != nil || first < 20*2*time.Minute+10*time.Minute {
		t.Errorf("%v, %v left at the beginning", err, first)
	}
}
