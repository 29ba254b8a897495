package procedure

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/perf/trial"
)

func contains(t *testing.T, list []string, part string) {
	t.Helper()
	if !slices.ContainsFunc(list, func(s string) bool { return strings.Contains(s, part) }) {
		t.Errorf("nothing with %q in %q", part, list)
	}
}

// timed has frames take 10 µs, and one of a hundred as many more as the trial's number.
func timed(d *device, _ *trial.Trial, o *trial.Outcome) {
	o.Latency = trial.NewLatency()
	o.Latency.Record(10*time.Microsecond, int64(o.Received-o.Received/100))
	o.Latency.Record(time.Duration(10+d.trials)*time.Microsecond, int64(o.Received/100))
}

// TestStandardDurations has what the standards say where nothing else is asked for, and that nothing then deviates.
func TestStandardDurations(t *testing.T) {
	d := newDevice(1, carries(1e6))
	d.link = 1e9
	r, err := Throughput(t.Context(), d, ThroughputOptions{Common: Common{Sizes: trial.StandardSizes()}})
	if bounds(t, r, err); len(r.Deviations) > 0 || len(r.Bounds) != 7 {
		t.Errorf("%q, %d sizes", r.Deviations, len(r.Bounds))
	}
	last := r.Trials[len(r.Trials)-1].Trial
	if last.Drain != 2*time.Second || last.Settle != 5*time.Second {
		t.Errorf("waits %v, %v", last.Drain, last.Settle)
	}
	for _, b := range r.Bounds {
		line := math.Min(1e6, math.Floor(b.Line))
		if math.Abs(b.Throughput/line-1) > 0.005 {
			t.Errorf("%s: %v of %v", b.Sizes, b.Throughput, line)
		}
	}
	r, err = Throughput(t.Context(), d, ThroughputOptions{Common: quick(), Final: 10 * time.Second})
	bounds(t, r, err)
	for _, part := range []string{
		"waits 0s for frames", "alone for 0s", "final trials last 10s, where RFC 2544 section 24 has 1m0s", "leaves out frame sizes [128 256 512 1024 1280 1518]",
	} {
		contains(t, r.Deviations, part)
	}
	if len(r.Deviations) != 4 {
		t.Errorf("%q", r.Deviations)
	}
}

func TestImix(t *testing.T) {
	d := newDevice(1, carries(1e6))
	r, err := Imix(t.Context(), d, ThroughputOptions{Common: Common{Drain: -1, Settle: -1}})
	found(t, bounds(t, r, err)["RFC 2544"], 1e6)
	if got := r.Bounds[0].Sizes.String(); got != trial.SizeImix || r.Parameters[0].Value != trial.SizeImix+": 353.8 bytes on average" {
		t.Errorf("%s, %q", got, r.Parameters)
	}
}

func TestLatency(t *testing.T) {
	d := newDevice(1, carries(1e6))
	d.shape = timed
	o := LatencyOptions{Common: quick(), Shares: []float64{0.1, 0.5, 1}, Duration: time.Second, Repeats: 3}
	r, err := Latency(t.Context(), d, o)
	bounds(t, r, err)
	if len(r.Latencies) != 3 {
		t.Fatalf("%d rates", len(r.Latencies))
	}
	for i, at := range r.Latencies {
		if want := r.Bounds[0].Throughput * o.Shares[i]; at.Rate != want || at.Share != o.Shares[i] || len(at.Means) != 3 || at.Lost != 0 {
			t.Errorf("%+v", at)
		}
		if at.Latency.Quantile(0.5).Round(100*time.Nanosecond) != 10*time.Microsecond || at.Latency.Quantile(1) < at.P99s[2] || at.Latency.Count() != int64(at.Sent) {
			t.Errorf("%v, %v of %d", at.Latency.Quantile(0.5), at.Latency.Quantile(1), at.Latency.Count())
		}
	}
	contains(t, r.Deviations, "repeats trials 3 times, where RFC 2544 section 26.2 has 20")
	contains(t, r.Deviations, "measures at 0.1 of the throughput too")
	contains(t, r.Deviations, "takes the latency of every frame")

	// A rate that is given is not searched for; one that cannot be offered is refused.
	o = LatencyOptions{Common: quick(), Rates: []float64{5e5}, Duration: time.Second, Repeats: 1}
	if r, err = Latency(t.Context(), d, o); err != nil || len(r.Trials) != 1 || r.Latencies[0].Rate != 5e5 {
		t.Errorf("%v, %+v", err, r)
	}
	o.Rates = []float64{6e6}
	if _, err = Latency(t.Context(), d, o); err == nil || !strings.Contains(err.Error(), "above the generator's ceiling of 5000000") {
		t.Errorf("above the ceiling: %v", err)
	}
	d.link = 1e9
	if _, err = Latency(t.Context(), d, o); err == nil || !strings.Contains(err.Error(), "above the link's 1488095") {
		t.Errorf("above the link's rate: %v", err)
	}
	// Trials without stamps are not made up.
	d.shape = nil
	o.Rates = []float64{5e5}
	if r, err = Latency(t.Context(), d, o); err != nil || len(r.Latencies) != 0 {
		t.Errorf("%v, %+v", err, r.Latencies)
	}
	contains(t, r.Refused, "no frame came back with a time stamp")
}

func TestLossCurve(t *testing.T) {
	const rate = 3.2e6
	d := newDevice(1, carries(rate))
	r, err := LossCurve(t.Context(), d, LossOptions{Common: quick()})
	if err != nil {
		t.Fatal(err)
	}
	// 5, 4.5, 4, 3.5 lose; 3 and 2.5 do not, and end it.
	if len(r.Losses) != 6 || r.Losses[3].Loss == 0 || r.Losses[4].Loss != 0 {
		t.Fatalf("%+v", r.Losses)
	}
	for i, at := range r.Losses {
		if want := max(0, 1-rate/at.Rate); math.Abs(at.Loss-want) > 1e-6 || math.Abs(at.Share-(1-0.1*float64(i))) > 1e-9 || r.Find(at.Trial).Trial.Rate != at.Rate {
			t.Errorf("%+v, want %v", at, want)
		}
	}
	contains(t, r.Deviations, "starts at the generator's ceiling, 5000000 frames a second, where RFC 2544 section 26.3 starts at the rate of the link (whose speed is not known)")
	// It goes down to the last step of a device that always loses.
	d.lost = func(*device, *trial.Trial) float64 { return 1 }
	d.link = 1e9
	if r, err = LossCurve(t.Context(), d, LossOptions{Common: quick(), Step: 0.05}); err != nil || len(r.Losses) != 20 {
		t.Errorf("%v, %d points", err, len(r.Losses))
	}
	if _, err = LossCurve(t.Context(), d, LossOptions{Common: quick(), Step: 0.2}); err == nil || !strings.Contains(err.Error(), "at most 0.1") {
		t.Errorf("large steps: %v", err)
	}
	// What the generator did not send is not the device's loss.
	d.sends = func(*device, *trial.Trial) float64 { return 0.9 }
	if r, err = LossCurve(t.Context(), d, LossOptions{Common: quick()}); err != nil || r.Losses[0].Refused == "" {
		t.Errorf("%v, %+v", err, r.Losses)
	}
}

// buffered has room for some frames besides those that it forwards while a burst lasts.
func buffered(rate, room float64) func(*device, *trial.Trial) float64 {
	return func(_ *device, t *trial.Trial) float64 {
		lost := t.Intended() - room - rate*t.Duration.Seconds()
		if lost <= 0 {
			return 0
		}
		return max(1, lost)
	}
}

// TestBackToBack finds the room of a device, in time, whatever its rate is: that is what the correction is for.
func TestBackToBack(t *testing.T) {
	for _, rate := range []float64{0.2e6, 0.7e6, 1.4e6} {
		const room, link = 3000, 1488095.238
		d := newDevice(1, buffered(rate, room))
		d.link = 1e9
		r, err := BackToBack(t.Context(), d, BackToBackOptions{Common: quick(), Throughputs: []float64{rate}, Tests: 5, Step: 2})
		if err != nil || len(r.Bursts) != 1 {
			t.Fatalf("%v, %+v", err, r)
		}
		b := r.Bursts[0]
		longest := room / (1 - rate/link)
		if b.Refused != "" || len(b.Lengths) != 5 || float64(b.Min) < longest-3 || float64(b.Max) > longest+1 {
			t.Errorf("rate %v: %+v, want %v", rate, b, longest)
		}
		if want := room / link * 1e9; math.Abs(float64(b.Corrected)/want-1) > 0.002 || b.Implied <= b.Corrected {
			t.Errorf("rate %v: %v of %v, want %v", rate, b.Corrected, b.Implied, time.Duration(want))
		}
	}
}

// TestBackToBackNoise has a device whose room is another for every burst, and that loses a frame for no reason now and then.
func TestBackToBackNoise(t *testing.T) {
	const room, rate = 3000, 0.7e6
	d := newDevice(7, func(d *device, t *trial.Trial) float64 {
		lost := buffered(rate, room+30*d.random.NormFloat64())(d, t)
		if d.random.IntN(50) == 0 {
			lost++
		}
		return lost
	})
	d.link = 1e9
	r, err := BackToBack(t.Context(), d, BackToBackOptions{Common: quick(), Throughputs: []float64{rate}, Tests: 20})
	if err != nil {
		t.Fatal(err)
	}
	b := r.Bursts[0]
	if want := room / (1 - rate/1488095.238); math.Abs(b.Mean/want-1) > 0.02 || b.Deviation == 0 {
		t.Errorf("%+v, want %v", b, want)
	}
	contains(t, r.Deviations, "makes 20 tests, where RFC 2544 section 26.4 has 50")
}

func TestBackToBackRefuses(t *testing.T) {
	d := newDevice(1, func(*device, *trial.Trial) float64 { return 0 })
	d.link = 1e9
	o := BackToBackOptions{Common: quick(), Throughputs: []float64{1488095}, Tests: 2}
	r, err := BackToBack(t.Context(), d, o)
	if err != nil || !strings.Contains(r.Bursts[0].Refused, "bursts of any length") || len(r.Trials) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
	o.Throughputs, o.Longest = []float64{1e6}, time.Second
	r, err = BackToBack(t.Context(), d, o)
	if err != nil || !strings.Contains(r.Bursts[0].Refused, "no loss in a burst of 1488095 frames") {
		t.Errorf("%v, %+v", err, r.Bursts)
	}
	d.shape = func(_ *device, _ *trial.Trial, o *trial.Outcome) { o.Duration = o.Duration * 11 / 10 }
	r, err = BackToBack(t.Context(), d, o)
	if err != nil || !strings.Contains(r.Bursts[0].Refused, "the generator sent a burst of 1024 frames at 1352815 of 1488095") {
		t.Errorf("%v, %+v", err, r.Bursts)
	}
}

func TestRecovery(t *testing.T) {
	const rate = 1e6
	d := newDevice(1, func(d *device, t *trial.Trial) float64 {
		return carries(rate)(d, &trial.Trial{Rate: t.Rate, Duration: t.Duration})
	})
	after := 150 * time.Millisecond
	d.shape = func(d *device, t *trial.Trial, o *trial.Outcome) {
		if o.Lost() > 0 {
			o.LastLost = t.Duration + after
		}
	}
	r, err := Recovery(t.Context(), d, RecoveryOptions{Common: quick(), Throughputs: []float64{rate}})
	if err != nil {
		t.Fatal(err)
	}
	want := RecoveryTime{Sizes: trial.Sizes{64}, Overload: 1.1 * rate, Then: 0.55 * rate, Times: slices.Repeat([]time.Duration{after}, 5), Mean: after}
	if diff := cmp.Diff([]RecoveryTime{want}, r.Recoveries); diff != "" {
		t.Error(diff)
	}
	if tr := r.Trials[0].Trial; tr.Duration != time.Minute || tr.Then[0] != (trial.Step{Rate: 0.55 * rate, Duration: time.Minute}) {
		t.Errorf("%+v", tr)
	}
	// Frames that were lost before the overload ended are no recovery.
	after = -time.Second
	if r, err = Recovery(t.Context(), d, RecoveryOptions{Common: quick(), Throughputs: []float64{rate}, Repeats: 1}); err != nil || r.Recoveries[0].Mean != 0 || r.Recoveries[0].Refused != "" {
		t.Errorf("%v, %+v", err, r.Recoveries)
	}
	after = time.Minute
	if r, err = Recovery(t.Context(), d, RecoveryOptions{Common: quick(), Throughputs: []float64{rate}}); err != nil || !strings.Contains(r.Recoveries[0].Refused, "still lost 1m0s after") {
		t.Errorf("%v, %+v", err, r.Recoveries)
	}
	if r, err = Recovery(t.Context(), d, RecoveryOptions{Common: quick(), Throughputs: []float64{rate / 2}}); err != nil || !strings.Contains(r.Recoveries[0].Refused, "no overload") {
		t.Errorf("%v, %+v", err, r.Recoveries)
	}
}

func TestReset(t *testing.T) {
	const rate, gap = 1e5, 700 * time.Millisecond
	resets := 0
	d := newDevice(1, func(_ *device, t *trial.Trial) float64 { return rate * gap.Seconds() })
	d.shape = func(_ *device, t *trial.Trial, o *trial.Outcome) {
		o.Silence = trial.Silence{From: t.During.At, To: t.During.At + gap}
		o.LastLost = o.Silence.To
	}
	o := ResetOptions{Common: Common{Drain: -1, Settle: -1}, Rates: []float64{rate}, Repeats: 2,
		Reset: Change{Name: "power", Do: func(context.Context) error { resets++; return nil }}}
	r, err := Reset(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	want := ResetTime{Sizes: trial.Sizes{64}, Rate: rate, Reset: "power", Gaps: []time.Duration{gap, gap}, Losses: []time.Duration{gap, gap}}
	if diff := cmp.Diff([]ResetTime{want}, r.Resets); diff != "" || resets != 2 {
		t.Errorf("%d resets, %s", resets, diff)
	}
	d.shape = func(_ *device, t *trial.Trial, o *trial.Outcome) { o.LastLost = t.Duration }
	if r, err = Reset(t.Context(), d, o); err != nil || !strings.Contains(r.Resets[0].Refused, "had not come back after 1m0s") {
		t.Errorf("%v, %+v", err, r.Resets)
	}
	o.Reset.Do = func(context.Context) error { return errors.New("no relay") }
	if _, err = Reset(t.Context(), d, o); err == nil || !strings.Contains(err.Error(), "power: no relay") {
		t.Errorf("a reset that fails: %v", err)
	}
	if _, err = Reset(t.Context(), d, ResetOptions{Rates: []float64{rate}}); err == nil {
		t.Error("without a reset")
	}
}

func TestReconfiguration(t *testing.T) {
	const rate = 1e5
	d := newDevice(1, func(d *device, _ *trial.Trial) float64 { return float64(100 * (d.trials - 1)) })
	d.shape = func(_ *device, t *trial.Trial, o *trial.Outcome) {
		o.Intervened = trial.Silence{From: t.During.At, To: t.During.At + 3*time.Millisecond}
	}
	changes := 0
	o := ReconfigurationOptions{Common: quick(), Rates: []float64{rate}, Repeats: 3,
		Change: Change{Name: "reload", Do: func(context.Context) error { changes++; return nil }}}
	r, err := Reconfiguration(t.Context(), d, o)
	if err != nil {
		t.Fatal(err)
	}
	took := 3 * time.Millisecond
	want := ReconfigurationTime{Sizes: trial.Sizes{64}, Rate: rate, Change: "reload", Lost: []uint64{0, 100, 200},
		Blocked: []time.Duration{0, time.Millisecond, 2 * time.Millisecond}, Took: []time.Duration{took, took, took}}
	if diff := cmp.Diff([]ReconfigurationTime{want}, r.Reconfigurations); diff != "" || changes != 3 {
		t.Errorf("%d changes, %s", changes, diff)
	}
	if r.Trials[0].Trial.During.At != 30*time.Second {
		t.Errorf("%+v", r.Trials[0].Trial)
	}
}

func TestSoak(t *testing.T) {
	d := newDevice(1, func(*device, *trial.Trial) float64 { return 18 })
	r, err := Soak(t.Context(), d, RunOptions{Common: quick(), Rates: []float64{1e5}})
	if err != nil || len(r.Runs) != 1 || math.Abs(r.Runs[0].Loss-1e-7) > 1e-12 || r.Trials[0].Trial.Duration != 30*time.Minute {
		t.Errorf("%v, %+v", err, r.Runs)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	d.ends, d.stop = 2, func() { cancel(errors.New("interrupted")) }
	r, err = Soak(ctx, d, RunOptions{Common: quick(), Rates: []float64{1e5}, Duration: time.Minute})
	if err != nil || r.Partial != "ended in trial 1: interrupted" || len(r.Runs) != 1 || r.Trials[0].Sent != 3e6 || math.Abs(r.Runs[0].Loss-6e-6) > 1e-12 {
		t.Errorf("%v, %+v", err, r)
	}
	contains(t, r.Deviations, "trials last 1m0s, where FD.io CSIT, soak tests has 30m0s")
	if _, err = Run(t.Context(), d, RunOptions{Common: quick()}); err == nil || !strings.Contains(err.Error(), "0 rates for 1 frame sizes") {
		t.Errorf("without a rate: %v", err)
	}
	for _, rate := range []float64{0, -1, math.NaN()} {
		if _, err = Run(t.Context(), d, RunOptions{Common: quick(), Rates: []float64{rate}}); err == nil || !strings.Contains(err.Error(), "must be more than 0") {
			t.Errorf("rate %v: %v", rate, err)
		}
	}
}

// TestResultJSON reads back what is written, of a result with everything that a trial can have.
func TestResultJSON(t *testing.T) {
	d := newDevice(1, carries(1e6))
	d.shape = func(d *device, tr *trial.Trial, o *trial.Outcome) {
		timed(d, tr, o)
		o.Series = []trial.Interval{{At: 0, Duration: time.Second, Sent: 5, Received: 4, P99: 3}}
		o.Foreign, o.Duplicated, o.Reordered = 1, 2, 3
	}
	r, err := Latency(t.Context(), d, LatencyOptions{Common: quick(), Repeats: 2, Duration: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var back Result
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Error(diff)
	}
}

// TestBadOptions has what no procedure can do.
func TestBadOptions(t *testing.T) {
	d := newDevice(1, carries(1e6))
	ctx, c, rates := t.Context(), quick(), []float64{1e5}
	nothing := Change{Name: "nothing", Do: func(context.Context) error { return nil }}
	for part, procedure := range map[string]func() (*Result, error){
		"trial of -1s: must be longer": func() (*Result, error) {
			return Run(ctx, d, RunOptions{Common: c, Rates: rates, Duration: -time.Second})
		},
		"lowest rate -1: must not be less": func() (*Result, error) { return Throughput(ctx, d, ThroughputOptions{Common: c, Lowest: -1}) },
		"lowest rate 9000000 of 64 bytes":  func() (*Result, error) { return Throughput(ctx, d, ThroughputOptions{Common: c, Lowest: 9e6}) },
		"width 2: must be more than 0":     func() (*Result, error) { return Throughput(ctx, d, ThroughputOptions{Common: c, Width: 2}) },
		"trial durations 2s to 1s": func() (*Result, error) {
			return Imix(ctx, d, ThroughputOptions{Common: c, Initial: 2 * time.Second, Final: time.Second})
		},
		"no goals": func() (*Result, error) { return MLRsearch(ctx, d, MLRsearchOptions{Common: c, Goals: []Goal{}}) },
		"share 1.5 of the throughput": func() (*Result, error) {
			return Latency(ctx, d, LatencyOptions{Common: c, Rates: rates, Shares: []float64{1.5}})
		},
		"latency: -1 repeats": func() (*Result, error) { return Latency(ctx, d, LatencyOptions{Common: c, Rates: rates, Repeats: -1}) },
		"-1 tests of bursts": func() (*Result, error) {
			return BackToBack(ctx, d, BackToBackOptions{Common: c, Throughputs: rates, Tests: -1})
		},
		"recovery: -1 repeats": func() (*Result, error) {
			return Recovery(ctx, d, RecoveryOptions{Common: c, Throughputs: rates, Repeats: -1})
		},
		"overload of -1s": func() (*Result, error) {
			return Recovery(ctx, d, RecoveryOptions{Common: c, Throughputs: rates, Overload: -time.Second})
		},
		"reset: -1 repeats": func() (*Result, error) {
			return Reset(ctx, d, ResetOptions{Common: c, Rates: rates, Reset: nothing, Repeats: -1})
		},
		"-1s before": func() (*Result, error) {
			return Reset(ctx, d, ResetOptions{Common: c, Rates: rates, Reset: nothing, Before: -time.Second})
		},
		"reconf: -1 repeats": func() (*Result, error) {
			return Reconfiguration(ctx, d, ReconfigurationOptions{Common: c, Rates: rates, Change: nothing, Repeats: -1})
		},
		"no change to make": func() (*Result, error) {
			return Reconfiguration(ctx, d, ReconfigurationOptions{Common: c, Rates: rates})
		},
		"2 throughputs for 1 frame sizes":      func() (*Result, error) { return Latency(ctx, d, LatencyOptions{Common: c, Rates: []float64{1, 2}}) },
		"run: rate 100000000 of 64 bytes is a": func() (*Result, error) { return Run(ctx, d, RunOptions{Common: c, Rates: []float64{1e8}}) },
	} {
		if r, err := procedure(); err == nil || !strings.Contains(err.Error(), part) || r == nil || len(r.Trials) > 0 {
			t.Errorf("%s: %v", part, err)
		}
	}
}
