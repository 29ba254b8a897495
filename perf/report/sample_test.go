package report

import (
	"context"
	"math"
	"testing"
	"time"

	"weir/perf/environment"
	"weir/perf/procedure"
	"weir/perf/trial"
)

// router is a simulated device on a link: it forwards so many frames a second, or bits, and has a buffer. It takes time for
// frames that grows with its load, and is away for a while when something is done to it.
type router struct {
	frames, bits float64
	buffer       float64 // frames
	blocked      time.Duration
	link         uint64
	trials       int
}

func (r *router) Calibrate(_ context.Context, sizes trial.Sizes) (trial.Calibration, error) {
	bias := trial.NewLatency()
	bias.Record(1500*time.Nanosecond, 990)
	bias.Record(4*time.Microsecond, 10)
	return trial.Calibration{Ceiling: 2e6, LinkSpeed: r.link, Bias: bias}, nil
}

func (r *router) Trial(ctx context.Context, t trial.Trial) (trial.Outcome, error) {
	r.trials++
	carried := min(r.frames, r.bits/8/t.Sizes.Mean())
	o := trial.Outcome{Sent: uint64(math.Round(t.Intended())), Duration: t.Length(), Latency: trial.NewLatency()}
	lost, at := 0.0, time.Duration(0)
	for _, step := range append([]trial.Step{{Rate: t.Rate, Duration: t.Duration}}, t.Then...) {
		over := max(0, (step.Rate-carried)*step.Duration.Seconds()-r.buffer)
		const parts = 12
		for n := range parts {
			part := trial.Interval{At: at + time.Duration(n)*step.Duration/parts, Duration: step.Duration / parts}
			part.Sent = uint64(step.Rate * part.Duration.Seconds())
			part.Received = part.Sent - min(part.Sent, uint64(over/parts))
			if t.During != nil && part.At <= t.During.At && t.During.At < part.At+part.Duration {
				part.Received -= min(part.Received, uint64(step.Rate*r.blocked.Seconds()))
			}
			o.Series = append(o.Series, part)
		}
		lost += over
		at += step.Duration
		if over > 0 {
			o.LastLost = at + 80*time.Millisecond
		}
	}
	if t.During != nil {
		lost += t.Rate * r.blocked.Seconds()
		o.Silence = trial.Silence{From: t.During.At, To: t.During.At + r.blocked}
		o.LastLost, o.Intervened = o.Silence.To, trial.Silence{From: t.During.At, To: t.During.At + 21*time.Millisecond}
	}
	o.Received = o.Sent - min(o.Sent, uint64(math.Ceil(lost)))
	base := 8e3 + 30e3*math.Pow(min(1, t.Rate/carried), 6)
	for n, left := 0, int64(o.Received); left > 0; n++ {
		half := (left + 1) / 2
		o.Latency.Record(time.Duration(base*(1+0.15*float64(n*n))), half)
		left -= half
	}
	return o, ctx.Err()
}

func sizes(list ...int) (all []trial.Sizes) {
	for _, size := range list {
		all = append(all, trial.Sizes{size})
	}
	return all
}

func testEnvironment(device string) Environment {
	return Environment{
		Machine:     environment.Machine{CPU: "Example 9000", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18.0 x86_64", Go: "go1.26.0", Commit: "abcdef"},
		Ports:       []environment.Port{{Name: "em0", Role: "generator", Driver: "ixgbe", Speed: 1e9, Queues: 4, MTU: 1500, Copy: "zero-copy"}, {Name: "em1", Role: "receiver", Driver: "veth", Queues: 1, MTU: 1500, Copy: "copy"}},
		Device:      device,
		Traffic:     "1024 destinations × 16 ports, UDP over IPv4 | <uniform>",
		CommandLine: "weir perf rfc2544 --device 'a & b'",
		Started:     time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 99 * time.Second, LoadBefore: 0.1, LoadAfter: 1.9,
	}
}

// sample has every procedure once, of a device that lets itself be told apart from another by its speed.
func sample(t *testing.T, speed float64) *Report {
	t.Helper()
	device := &router{frames: 0.9e6 * speed, bits: 0.8e9 * speed, buffer: 400, blocked: time.Duration(speed * float64(3*time.Millisecond)), link: 1e9}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	common := procedure.Common{Sizes: sizes(64, 512, 1518), Drain: -1, Settle: -1}
	one := procedure.Common{Sizes: sizes(64), Drain: -1, Settle: -1}
	nothing := func(context.Context) error { return nil }
	r := New("Sample of everything", testEnvironment("a simulated router"))
	add := func(result *procedure.Result, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		r.Add(result)
	}
	add(procedure.Throughput(ctx, device, procedure.ThroughputOptions{Common: common, Width: 0.05}))
	add(procedure.Latency(ctx, device, procedure.LatencyOptions{Common: one, Rates: []float64{0.9e6 * speed}, Shares: []float64{0.1, 0.5, 1}, Repeats: 2}))
	add(procedure.LossCurve(ctx, device, procedure.LossOptions{Common: common}))
	add(procedure.BackToBack(ctx, device, procedure.BackToBackOptions{Common: one, Throughputs: []float64{0.9e6 * speed}, Tests: 5, Step: 256}))
	add(procedure.Recovery(ctx, device, procedure.RecoveryOptions{Common: one, Throughputs: []float64{0.9e6 * speed}}))
	add(procedure.Reset(ctx, device, procedure.ResetOptions{Common: one, Rates: []float64{0.5e6}, Reset: procedure.Change{Name: "power cycle", Do: nothing}}))
	add(procedure.Reconfiguration(ctx, device, procedure.ReconfigurationOptions{Common: one, Rates: []float64{0.5e6}, Change: procedure.Change{Name: "reload", Do: nothing}}))
	mlr := procedure.MLRsearchOptions{Common: one, Goals: []procedure.Goal{procedure.NDR(), procedure.PDR()}}
	for i := range mlr.Goals {
		mlr.Goals[i].Sum, mlr.Goals[i].Width = 3*time.Second, 0.05
	}
	add(procedure.MLRsearch(ctx, device, mlr))
	device.link = 10e9
	fast := *device
	fast.frames, fast.bits = 1e9, 1e12
	add(procedure.Throughput(ctx, &fast, procedure.ThroughputOptions{Common: one}))
	cancel()
	add(procedure.Soak(ctx, device, procedure.RunOptions{Common: one, Rates: []float64{1e5}}))
	return r
}
