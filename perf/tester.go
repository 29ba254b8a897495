package perf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"weir/perf/environment"
	"weir/perf/traffic"
	"weir/perf/trial"
)

// TesterOptions say what Tester does. The zero value is what the page of results has.
type TesterOptions struct {
	Engines     []Engine      // nil: Live and XSK
	Rates       []float64     // packets a second to be paced at; nil: 10,000, 100,000 and a million
	Pacing      time.Duration // how long each; 0: 5 s
	Long        time.Duration // how long longShare of the ceiling; 0: 60 s
	CommandLine string
	Version     string
	Progress    io.Writer // a line for every step; nil: none
}

// longShare of the ceiling is what must come back without loss for as long as a trial of RFC 2544 lasts.
const longShare = 0.8

// TesterResult is what a generator wired straight to a receiver does.
type TesterResult struct {
	Machine               environment.Machine
	Started               time.Time
	LoadBefore, LoadAfter float64
	CommandLine           string
	Engines               []TesterEngine
}

// TesterEngine is one engine's part.
type TesterEngine struct {
	Engine  Engine
	Busy    string // why nothing was measured
	Ceiling float64
	Bias    *trial.Latency
	Pacing  []Pacing
	Long    Pacing
}

// Pacing is how well a rate was kept.
type Pacing struct {
	Rate           float64
	Above          bool // more than the ceiling: not tried
	Sent, Received uint64
	Time           time.Duration // from the first packet to the last
	Skipped        time.Duration // that was not caught up with
	Late           traffic.Lateness
	Latency        *trial.Latency
}

// Tester measures what the instrument itself does, on a veth pair with nothing between generator and receiver.
func Tester(ctx context.Context, o TesterOptions) (*TesterResult, error) {
	if o.Engines == nil {
		o.Engines = []Engine{Live, XSK}
	}
	if o.Rates == nil {
		o.Rates = []float64{10e3, 100e3, 1e6}
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	setDefault(&o.Pacing, 5*time.Second)
	setDefault(&o.Long, time.Minute)
	r := &TesterResult{Machine: environment.ThisMachine(), Started: time.Now(), LoadBefore: environment.LoadAverage(), CommandLine: o.CommandLine}
	if o.Version != "" && o.Version != "unknown" {
		r.Machine.Commit = o.Version
	}
	for _, e := range o.Engines {
		one, err := testEngine(ctx, e, &o)
		if err != nil {
			return nil, fmt.Errorf("measure the tester: %s: %w", e, err)
		}
		r.Engines = append(r.Engines, *one)
	}
	r.LoadAfter = environment.LoadAverage()
	return r, nil
}

func testEngine(ctx context.Context, e Engine, o *TesterOptions) (r *TesterEngine, err error) {
	b, err := NewBench(ctx, BenchOptions{Device: Wire, Engine: e})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	r = &TesterEngine{Engine: e}
	c, err := b.Calibrate(ctx, b.smallest())
	if errors.Is(err, errBusy) {
		r.Busy = err.Error()
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	r.Ceiling, r.Bias = c.Ceiling, c.Bias
	i, err := b.get(b.smallest())
	if err != nil {
		return nil, err
	}
	for _, rate := range o.Rates {
		p := Pacing{Rate: rate, Above: rate > c.Ceiling}
		if !p.Above {
			if p, err = i.pace(ctx, rate, o.Pacing); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(o.Progress, "%s: %s\n", e, p.text())
		r.Pacing = append(r.Pacing, p)
	}
	if r.Long, err = i.pace(ctx, longShare*c.Ceiling, o.Long); err == nil {
		fmt.Fprintf(o.Progress, "%s: %s\n", e, r.Long.text())
	}
	return r, err
}

// pace sends at a rate for a while.
func (i *instrument) pace(ctx context.Context, rate float64, d time.Duration) (p Pacing, err error) {
	r, err := i.receiver.Measure(ctx, i.sender, traffic.Run{Phases: []traffic.Phase{{Rate: rate, Duration: d}}}, drainMin, false)
	return Pacing{Rate: rate, Sent: r.Packets, Received: r.Received, Time: r.Time, Skipped: r.Skipped, Late: r.Late, Latency: r.Latency}, err
}

func (p *Pacing) lost() uint64 { return p.Sent - min(p.Received, p.Sent) }

func (p *Pacing) text() string {
	if p.Above {
		return fmt.Sprintf("%.0f packets a second are above the ceiling", p.Rate)
	}
	return fmt.Sprintf("%.0f packets a second: %d sent, %d lost, late by less than %v in the median, %v at p99, %v at most, %v skipped", p.Rate, p.Sent, p.lost(),
		p.Late.Quantile(0.5), p.Late.Quantile(0.99), p.Late.Quantile(1), p.Skipped)
}

// WriteMarkdown writes the page of results.
func (r *TesterResult) WriteMarkdown(w io.Writer) error {
	ceilings := [][]string{{"engine", "ceiling, packets/s", "latency of the wire at 10 kpps: p50", "p99", "p99.9", "max"}}
	pacing := [][]string{{"engine", "packets/s", "for", "sent", "lost", "late by less than: p50", "p90", "p99", "p99.9", "max", "not caught up with", "latency of the wire: p50", "p99", "p99.9"}}
	var head []string
	for i := range r.Engines {
		e := &r.Engines[i]
		if e.Busy != "" {
			head = append(head, fmt.Sprintf("%s: not measured (%s)", e.Engine, e.Busy))
			continue
		}
		head = append(head, fmt.Sprintf("%s: %.2f Mpps without loss; of %d packets at %.0f %% of that, in %v, %d were lost", e.Engine, e.Ceiling/1e6,
			e.Long.Sent, 100*longShare, e.Long.Time.Round(time.Second), e.Long.lost()))
		ceilings = append(ceilings, append([]string{string(e.Engine), fmt.Sprintf("%.0f", e.Ceiling)}, latencies(e.Bias, 0.5, 0.99, 0.999, 1)...))
		for _, p := range append(slices.Clone(e.Pacing), e.Long) {
			pacing = append(pacing, append([]string{string(e.Engine)}, p.row()...))
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "# The tester itself\n\nGenerator wired straight to receiver: %s.\n\n## Ceiling\n\n", strings.Join(head, ". "))
	markdownTable(&b, ceilings)
	fmt.Fprintf(&b, "## Pacing\n\n")
	markdownTable(&b, pacing)
	fmt.Fprintf(&b, "%s\n\n## Conditions\n\n", testerLegend)
	markdownTable(&b, [][]string{
		{"what", "value"},
		{"command", "`make bench-tester`, which is `" + r.CommandLine + "`"},
		{"weir", r.Machine.Commit + ", " + r.Machine.Go},
		{"CPU", fmt.Sprintf("%s, %d cores", r.Machine.CPU, r.Machine.Cores)},
		{"kernel", r.Machine.Kernel},
		{"wire", "veth, one queue, 1,024 flows of UDP, 64 bytes with FCS"},
		{"started", r.Started.UTC().Format(time.DateTime) + " UTC"},
		{"load average", fmt.Sprintf("%.1f before, %.1f after", r.LoadBefore, r.LoadAfter)},
	})
	_, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n")
	return err
}

const testerLegend = "A packet is late by what lies between the time at which it was due and the one that it is stamped with; figures are rounded up to powers of two. " +
	"A sender that was kept from its packets sends 16 at once and the rest a sixteenth faster than the rate; what is more than 10 ms behind, or behind at the end, is left out, " +
	"so that a busy machine shows in the number sent. Live frames leave in batches of up to 10 µs " +
	"of the rate: the latency of the wire has that, and what the kernel takes to hand frames over. It is never subtracted from a latency that is reported."

func (p *Pacing) row() []string {
	row := []string{fmt.Sprintf("%.0f", p.Rate)}
	if p.Above {
		return append(row, "–", "above the ceiling", "–", "–", "–", "–", "–", "–", "–", "–", "–", "–")
	}
	row = append(row, p.Time.Round(time.Millisecond).String(), fmt.Sprint(p.Sent), fmt.Sprint(p.lost()))
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
		row = append(row, p.Late.Quantile(q).String())
	}
	return append(append(row, p.Skipped.Round(time.Microsecond).String()), latencies(p.Latency, 0.5, 0.99, 0.999)...)
}

func latencies(l *trial.Latency, shares ...float64) (texts []string) {
	for _, q := range shares {
		texts = append(texts, l.Quantile(q).Round(10*time.Nanosecond).String())
	}
	return texts
}
