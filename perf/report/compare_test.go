package report

import (
	"math"
	"strings"
	"testing"
	"time"

	"weir/perf/procedure"
	"weir/perf/trial"
)

func TestCompare(t *testing.T) {
	a, b := sample(t, 1), sample(t, 1.2)
	b.Title, b.Environment.Machine.Kernel = "Another", "Linux 6.19.0 x86_64"
	b.Results = append(b.Results, procedure.Result{Procedure: "run", Runs: []procedure.RunAt{{Sizes: trial.Sizes{64}, Rate: 1e5}}})
	var text strings.Builder
	if err := Compare(a, b).WriteText(&text); err != nil {
		t.Fatal(err)
	}
	golden(t, "compare.txt", []byte(text.String()))
	text.Reset()
	if err := Compare(&Report{}, &Report{}).WriteText(&text); err != nil || !strings.Contains(text.String(), "no figure in common") {
		t.Errorf("%v, %s", err, text.String())
	}
}

// TestCompareItself has a report beside itself: nothing differs.
func TestCompareItself(t *testing.T) {
	r := sample(t, 1)
	c := Compare(r, r)
	if len(c.Ratios) < 15 || len(c.Only) > 0 {
		t.Errorf("%d ratios, %q", len(c.Ratios), c.Only)
	}
	for i := range c.Ratios {
		o := &c.Ratios[i]
		if v := o.Verdict(); v != "no difference shown" && v != "equal" && o.Method != Once {
			t.Errorf("%s: %s: %+v", o.Name, v, *o)
		}
	}
	if len(c.Differ) != 2 || !strings.Contains(c.Differ[0], "soak, of A, is partial") {
		t.Errorf("%q", c.Differ)
	}
}

func TestRatio(t *testing.T) {
	near := func(got, want float64) bool { return math.Abs(got-want) < 1e-9 || math.IsNaN(got) && math.IsNaN(want) }
	for name, c := range map[string]struct {
		a, b      figure
		ratio     float64
		low, high float64 // 0: not looked at
		method    Method
		verdict   string
	}{
		"several times":                 {figure{values: []float64{2, 4, 3}}, figure{values: []float64{9, 6, 12}}, 3, 1.5, 6, Range, "A is better"},
		"several times, more is better": {figure{values: []float64{2, 4, 3}, more: true}, figure{values: []float64{9, 6, 12}, more: true}, 3, 1.5, 6, Range, "B is better"},
		"ranges overlap":                {figure{values: []float64{2, 4}}, figure{values: []float64{3, 6}}, 1.5, 0.75, 3, Range, "no difference shown"},
		"ranges touch":                  {figure{values: []float64{1, 2}}, figure{values: []float64{2, 3}}, 2.5 / 1.5, 1, 3, Range, "no difference shown"},
		"bounds apart":                  {figure{values: []float64{10}, low: 10, high: 11, more: true}, figure{values: []float64{12}, low: 12, high: 13, more: true}, 1.2, 12.0 / 11, 1.3, BoundsOf, "B is better"},
		"bounds overlap":                {figure{values: []float64{10}, low: 10, high: 11, more: true}, figure{values: []float64{9.5}, low: 9.5, high: 10.5, more: true}, 0.95, 9.5 / 11, 1.05, BoundsOf, "no difference shown"},
		"once":                          {figure{values: []float64{10}}, figure{values: []float64{12}}, 1.2, 1.2, 1.2, Once, "not shown"},
		"once, alike":                   {figure{values: []float64{10}}, figure{values: []float64{10}}, 1, 1, 1, Once, "equal"},
		"nothing lost by both":          {figure{values: []float64{0, 0}}, figure{values: []float64{0, 0}}, math.NaN(), 0, 0, Range, "equal"},
		"nothing lost by A":             {figure{values: []float64{0, 0}}, figure{values: []float64{1, 2}}, math.Inf(1), 0, 0, Range, "A is better"},
		"nothing lost by B":             {figure{values: []float64{1, 2}}, figure{values: []float64{0, 0}}, 0, 0, 0, Range, "B is better"},
		"once against several":          {figure{values: []float64{10}}, figure{values: []float64{12, 13, 14}}, 1.3, 1.3, 1.3, Once, "not shown"},
	} {
		r := ratioOf(&c.a, &c.b)
		if !near(r.Ratio, c.ratio) && r.Ratio != c.ratio || r.Method != c.method || r.Verdict() != c.verdict ||
			c.low != 0 && (!near(r.Low, c.low) || !near(r.High, c.high)) {
			t.Errorf("%s: %+v, %s", name, r, r.Verdict())
		}
	}
}

// TestBootstrap holds intervals to what is known of them: they have the ratio in them, they are the same every time, they are
// narrow where values are, and of two samples of one distribution about one in twenty misses 1.
func TestBootstrap(t *testing.T) {
	d := &router{}
	values := func(n int, middle, spread float64) (list []float64) {
		for range n {
			d.trials++
			list = append(list, middle+spread*math.Sin(float64(d.trials*d.trials)*1.7))
		}
		return list
	}
	missed := 0
	for range 40 {
		a, b := values(9, 100, 5), values(9, 100, 5)
		low, high := bootstrap(a, b)
		if again, _ := bootstrap(a, b); again != low {
			t.Error("another interval of the same values")
		}
		if ratio := median(b) / median(a); low > ratio || high < ratio {
			t.Errorf("%v is not in %v to %v", ratio, low, high)
		}
		if low > 1 || high < 1 {
			missed++
		}
	}
	if missed > 6 {
		t.Errorf("%d of 40 intervals miss the truth", missed)
	}
	if low, high := bootstrap(values(9, 100, 1), values(9, 110, 1)); low < 1.07 || high > 1.13 {
		t.Errorf("1.1 is in %v to %v", low, high)
	}
}

// TestRounds has several results of one procedure, as of rounds: they are one figure.
func TestRounds(t *testing.T) {
	rounds := func(rates ...float64) *Report {
		r := New("rounds", Environment{Started: time.Unix(0, 0)})
		for _, rate := range rates {
			r.Add(&procedure.Result{Procedure: "mlrsearch", Bounds: []procedure.Bounds{{Goal: procedure.NDR(), Sizes: trial.Sizes{64}, Throughput: rate, Lower: rate, Upper: rate + 1}}})
		}
		return r
	}
	c := Compare(rounds(100, 101, 102), rounds(200, 201, 202))
	if len(c.Ratios) != 1 || c.Ratios[0].Method != Range || c.Ratios[0].A != 101 || c.Ratios[0].B != 201 || c.Ratios[0].Verdict() != "B is better" {
		t.Errorf("%+v", c.Ratios)
	}
	c = Compare(rounds(100, 101, 102, 103, 104), rounds(200, 201, 202, 203, 204))
	if c.Ratios[0].Method != Bootstrap {
		t.Errorf("%+v", c.Ratios)
	}
}
