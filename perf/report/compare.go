package report

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"weir/perf/procedure"
)

// Comparison is what two reports have in common.
type Comparison struct {
	A, B   *Report
	Ratios []Ratio
	Only   []string // figures that one of them has: "A: …"
	Differ []string // conditions that are not alike
}

// Ratio is a figure of B through that of A.
type Ratio struct {
	Name      string
	A, B      float64 // medians
	Ratio     float64
	Low, High float64 // what the ratio lies between; equal to it where nothing is known
	Method    Method
	More      bool // more is better
	text      func(float64) string
}

// Method is how the interval of a ratio was found.
type Method string

// Methods. Of a figure that was measured at least bootstrapMin times in both reports it is the first, of one measured several
// times the second. Of one that was searched for once it is the third: the truth lies between bounds.
const (
	Bootstrap Method = "95 % bootstrap"
	Range     Method = "min–max"
	BoundsOf  Method = "bounds"
	Once      Method = "measured once"

	bootstrapMin = 5
)

// figure is a number that reports can be compared by.
type figure struct {
	name      string
	values    []float64 // of every repeat
	low, high float64   // bounds of the truth, where a search gave them
	more      bool      // is better
	text      func(float64) string
}

func seconds(times []time.Duration) (values []float64) {
	for _, d := range times {
		values = append(values, d.Seconds())
	}
	return values
}

func secondsText(v float64) string { return timeText(time.Duration(v * float64(time.Second))) }

// figures are those of a report; equal ones of several results, which are rounds, come together.
func (r *Report) figures() (all []figure) {
	for i := range r.Results {
		for _, f := range figures(&r.Results[i]) {
			at := slices.IndexFunc(all, func(o figure) bool { return o.name == f.name })
			if at < 0 {
				all = append(all, f)
				continue
			}
			all[at].values = append(all[at].values, f.values...)
			all[at].low, all[at].high = min(all[at].low, f.low), max(all[at].high, f.high)
		}
	}
	return all
}

func figures(r *procedure.Result) (all []figure) {
	add := func(values []float64, more bool, text func(float64) string, format string, args ...any) {
		if len(values) > 0 {
			all = append(all, figure{name: r.Procedure + ": " + fmt.Sprintf(format, args...), values: values, more: more, text: text})
		}
	}
	for _, b := range r.Bounds {
		if b.Refused == "" && b.Throughput > 0 {
			add([]float64{b.Throughput}, true, rateText, "%s, %s bytes", b.Goal.Name, b.Sizes)
			f := &all[len(all)-1]
			f.low, f.high = b.Throughput, max(b.Throughput, b.Upper*(1-b.Goal.LossRatio))
		}
	}
	for _, at := range r.Latencies {
		share := percentText(at.Share)
		add(seconds(at.Medians), false, secondsText, "p50 at %s of the throughput, %s bytes", share, at.Sizes)
		add(seconds(at.P99s), false, secondsText, "p99 at %s of the throughput, %s bytes", share, at.Sizes)
	}
	for _, at := range r.Losses {
		if at.Refused == "" {
			add([]float64{at.Loss}, false, lossText, "loss at %s, %s bytes", percentText(at.Share), at.Sizes)
		}
	}
	for _, b := range r.Bursts {
		if b.Refused == "" {
			var lengths []float64
			for _, length := range b.Lengths {
				lengths = append(lengths, float64(length))
			}
			add(lengths, true, func(v float64) string { return fmt.Sprintf("%.0f", v) }, "frames, %s bytes", b.Sizes)
		}
	}
	for _, at := range r.Recoveries {
		add(seconds(at.Times), false, secondsText, "%s bytes", at.Sizes)
	}
	for _, at := range r.Resets {
		add(seconds(at.Gaps), false, secondsText, "%s, %s bytes", at.Reset, at.Sizes)
	}
	for _, at := range r.Reconfigurations {
		add(seconds(at.Blocked), false, secondsText, "%s, %s bytes", at.Change, at.Sizes)
	}
	for _, at := range r.Runs {
		add([]float64{at.Loss}, false, lossText, "loss at %s, %s bytes", rateText(at.Rate), at.Sizes)
	}
	return all
}

// Compare puts B beside A.
func Compare(a, b *Report) *Comparison {
	c := &Comparison{A: a, B: b, Differ: differences(a, b)}
	ofA, ofB := a.figures(), b.figures()
	for _, fa := range ofA {
		at := slices.IndexFunc(ofB, func(f figure) bool { return f.name == fa.name })
		if at < 0 {
			c.Only = append(c.Only, "A: "+fa.name)
			continue
		}
		c.Ratios = append(c.Ratios, ratioOf(&fa, &ofB[at]))
	}
	for _, fb := range ofB {
		if !slices.ContainsFunc(ofA, func(f figure) bool { return f.name == fb.name }) {
			c.Only = append(c.Only, "B: "+fb.name)
		}
	}
	return c
}

func ratioOf(a, b *figure) Ratio {
	r := Ratio{Name: a.name, A: median(a.values), B: median(b.values), More: a.more, text: a.text}
	r.Ratio = r.B / r.A
	switch repeats := min(len(a.values), len(b.values)); {
	case repeats >= bootstrapMin:
		r.Method = Bootstrap
		r.Low, r.High = bootstrap(a.values, b.values)
	case repeats > 1:
		r.Method = Range
		r.Low, r.High = slices.Min(b.values)/slices.Max(a.values), slices.Max(b.values)/slices.Min(a.values)
	case a.high > 0 && b.high > 0:
		r.Method = BoundsOf
		r.Low, r.High = b.low/a.high, b.high/a.low
	default:
		r.Method, r.Low, r.High = Once, r.Ratio, r.Ratio
	}
	return r
}

// bootstrap is the interval that holds the middle 95 % of the ratios of medians, of values drawn again from those there are
// (percentile method). The draws are the same every time.
func bootstrap(a, b []float64) (low, high float64) {
	const draws = 10_000
	random := rand.New(rand.NewPCG(1, 2))
	again := func(values []float64) float64 {
		drawn := make([]float64, len(values))
		for i := range drawn {
			drawn[i] = values[random.IntN(len(values))]
		}
		return median(drawn)
	}
	ratios := make([]float64, 0, draws)
	for range draws {
		if ratio := again(b) / again(a); !math.IsNaN(ratio) {
			ratios = append(ratios, ratio)
		}
	}
	if len(ratios) == 0 {
		return math.NaN(), math.NaN()
	}
	slices.Sort(ratios)
	n := float64(len(ratios) - 1)
	return ratios[int(0.025*n)], ratios[int(math.Ceil(0.975*n))]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// Verdict is what the interval shows.
func (r *Ratio) Verdict() string {
	switch {
	case r.A == r.B && (r.Method == Once || r.A == 0):
		return "equal"
	case math.IsNaN(r.Low) || r.Method == Once:
		return "not shown"
	case r.Low > 1 == (r.High > 1) && r.Low < 1 == (r.High < 1) && r.Low != 1 && r.High != 1:
		if r.Ratio > 1 == r.More {
			return "B is better"
		}
		return "A is better"
	}
	return "no difference shown"
}

// differences are the conditions that a reader has to know of.
func differences(a, b *Report) (list []string) {
	differ := func(what, a, b string) {
		if a != b {
			list = append(list, fmt.Sprintf("%s: A %q, B %q", what, a, b))
		}
	}
	for _, row := range [][3]string{
		{"device", a.Environment.Device, b.Environment.Device},
		{"traffic", a.Environment.Traffic, b.Environment.Traffic},
		{"weir", a.Environment.Machine.Commit, b.Environment.Machine.Commit},
		{"CPU", a.Environment.Machine.CPU, b.Environment.Machine.CPU},
		{"kernel", a.Environment.Machine.Kernel, b.Environment.Machine.Kernel},
		{"ports", portsText(a), portsText(b)},
	} {
		differ(row[0], row[1], row[2])
	}
	// Of what was run several times, each run is put beside the other's of the same number.
	seen := make(map[string]int)
	for i := range a.Results {
		ra := &a.Results[i]
		rb := b.run(ra.Procedure, seen[ra.Procedure])
		seen[ra.Procedure]++
		if rb == nil {
			continue
		}
		differ(ra.Procedure+", parameters", parametersText(ra), parametersText(rb))
		only := func(of string, has, other []string) {
			for _, deviation := range has {
				if !slices.Contains(other, deviation) {
					list = append(list, fmt.Sprintf("%s, %s only: %s", ra.Procedure, of, deviation))
				}
			}
		}
		only("A", ra.Deviations, rb.Deviations)
		only("B", rb.Deviations, ra.Deviations)
	}
	for _, of := range []struct {
		name string
		r    *Report
	}{{"A", a}, {"B", b}} {
		for i := range of.r.Results {
			if r := &of.r.Results[i]; r.Partial != "" {
				list = append(list, fmt.Sprintf("%s, of %s, is partial: %s", r.Procedure, of.name, r.Partial))
			}
		}
	}
	return list
}

// run is the n-th result of a procedure.
func (r *Report) run(name string, n int) *procedure.Result {
	for i := range r.Results {
		if r.Results[i].Procedure == name {
			if n == 0 {
				return &r.Results[i]
			}
			n--
		}
	}
	return nil
}

func portsText(r *Report) string {
	var texts []string
	for _, p := range r.Environment.Ports {
		texts = append(texts, fmt.Sprintf("%s %s %s", p.Driver, speedText(float64(p.Speed)), p.Copy))
	}
	return strings.Join(texts, ", ")
}

func parametersText(r *procedure.Result) string {
	var texts []string
	for _, p := range r.Parameters {
		texts = append(texts, p.Name+": "+p.Value)
	}
	return strings.Join(texts, "; ")
}

// WriteText writes the ratios for a terminal.
func (c *Comparison) WriteText(to io.Writer) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "figure\tA\tB\tB/A\tinterval\tmethod\tverdict\n")
	for i := range c.Ratios {
		r := &c.Ratios[i]
		ratio, interval := none, none
		if !math.IsNaN(r.Ratio) && !math.IsInf(r.Ratio, 0) {
			ratio = fmt.Sprintf("%.3f", r.Ratio)
		}
		if r.Method != Once && !math.IsNaN(r.Low) {
			interval = fmt.Sprintf("%.3f–%.3f", r.Low, r.High)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Name, r.text(r.A), r.text(r.B), ratio, interval, r.Method, r.Verdict())
	}
	if err := w.Flush(); err != nil {
		return err
	}
	var b strings.Builder
	if len(c.Ratios) == 0 {
		b.WriteString("The reports have no figure in common.\n")
	}
	fmt.Fprintf(&b, "\nA: %s, %s\nB: %s, %s\n", c.A.Title, c.A.Environment.Started.UTC().Format(time.DateTime), c.B.Title, c.B.Environment.Started.UTC().Format(time.DateTime))
	fmt.Fprintf(&b, "Ratios are of medians. Intervals: of figures with %d repeats or more the middle 95 %% of 10,000 bootstrap draws; with fewer,\n"+
		"from the smallest of one through the largest of the other; of a throughput searched for once, from its bounds. The reports\n"+
		"were not made in turns: what a machine does to both is not in an interval.\n", bootstrapMin)
	for _, l := range []struct {
		title string
		items []string
	}{{"What differs", c.Differ}, {"In one of them only", c.Only}} {
		if len(l.items) > 0 {
			fmt.Fprintf(&b, "\n%s:\n  %s\n", l.title, strings.Join(l.items, "\n  "))
		}
	}
	_, err := io.WriteString(to, b.String())
	return err
}
