package procedure

import (
	"context"
	"fmt"
	"slices"
	"time"

	"weir/perf/trial"
)

// ThroughputOptions are those of Throughput, of Imix, and of what begins with a throughput.
type ThroughputOptions struct {
	Common
	Initial time.Duration // of the first trials; 0: 1 s
	Final   time.Duration // of the trials that count; 0: 60 s
	Width   float64       // to which the search is exact, relative to the upper bound; 0: 0.005
	Lowest  float64       // frames per second; 0: those with which the shortest trial has ten frames
}

func (o *ThroughputOptions) goal() Goal {
	g := RFC2544()
	if o.Final != 0 {
		g.Final, g.Sum = o.Final, o.Final
	}
	g.Initial = min(g.Initial, g.Final)
	if o.Initial != 0 {
		g.Initial = o.Initial
	}
	if o.Width != 0 {
		g.Width = o.Width
	}
	return g
}

// Throughput searches for the highest rate without loss (RFC 2544 section 26.1).
func Throughput(ctx context.Context, tester trial.Tester, o ThroughputOptions) (*Result, error) {
	result := &Result{Procedure: "rfc2544 throughput", Standard: "RFC 2544 section 26.1, searched for by RFC 9971"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		r.allSizes()
		return r.throughput(&o)
	})
}

// Imix is Throughput for mixes of sizes (RFC 6985). Without sizes it is FD.io CSIT's.
func Imix(ctx context.Context, tester trial.Tester, o ThroughputOptions) (*Result, error) {
	if o.Sizes == nil {
		mix, err := trial.ParseSizes(trial.SizeImix)
		if err != nil {
			return nil, fmt.Errorf("imix: %w", err)
		}
		o.Sizes = []trial.Sizes{mix}
	}
	result := &Result{Procedure: "imix", Standard: "RFC 6985, with the throughput of RFC 2544 section 26.1"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		for _, sizes := range r.common.Sizes {
			r.parameter("mix", "%s: %.1f bytes on average", sizes, sizes.Mean())
		}
		return r.throughput(&o)
	})
}

func (r *runner) throughput(o *ThroughputOptions) error {
	g := o.goal()
	if err := g.check(); err != nil {
		return err
	}
	r.parameter("search", "trials of %v to %v, without loss, until bounds are %g apart, relative to the upper one", g.Initial, g.Final, g.Width)
	r.shorter("final trials", g.Final, time.Minute, "RFC 2544 section 24")
	return r.searchAll([]Goal{g}, o.Lowest)
}

// allSizes notes which of the standard's sizes are missing.
func (r *runner) allSizes() {
	var missing []string
	for _, standard := range trial.StandardSizes() {
		if !slices.ContainsFunc(r.common.Sizes, func(s trial.Sizes) bool { return slices.Equal(s, standard) }) {
			missing = append(missing, standard.String())
		}
	}
	r.deviateIf(len(missing) > 0, "leaves out frame sizes %v of RFC 2544 section 9.1", missing)
}

// base is the throughput that a procedure is based on: the rate given for the sizes, or searched for now. There is none
// where it is refused.
func (r *runner) base(sizes trial.Sizes, given []float64, o *ThroughputOptions) (rate float64, refused string, err error) {
	if given != nil {
		if len(given) != len(r.common.Sizes) {
			return 0, "", fmt.Errorf("%d throughputs for %d frame sizes: must be as many", len(given), len(r.common.Sizes))
		}
		at := slices.IndexFunc(r.common.Sizes, func(s trial.Sizes) bool { return slices.Equal(s, sizes) })
		return given[at], "", r.check(sizes, given[at])
	}
	g := o.goal()
	if err := g.check(); err != nil {
		return 0, "", err
	}
	r.shorter("final trials of the search for the throughput", g.Final, time.Minute, "RFC 2544 section 24")
	s, err := r.newSearch(sizes, []Goal{g}, o.Lowest)
	if err != nil {
		return 0, "", err
	}
	if err := s.run(); err != nil {
		return 0, "", err
	}
	b := s.bounds(&g)
	if b.Refused != "" || b.Throughput == 0 {
		return 0, "no throughput to measure at", nil
	}
	return b.Throughput, "", nil
}
