package procedure

import (
	"context"
	"fmt"
	"time"

	"weir/perf/trial"
)

// LatencyOptions are those of Latency.
type LatencyOptions struct {
	Common
	Search   ThroughputOptions // for the throughput; its Common is not looked at
	Rates    []float64         // the throughput for each of the sizes; nil: searched for first
	Shares   []float64         // of the throughput to measure at; nil: all of it
	Duration time.Duration     // of a trial; 0: 120 s
	Repeats  int               // 0: 20
}

// Latency measures how long frames take at the throughput rate, or at shares of it (RFC 2544 section 26.2).
func Latency(ctx context.Context, tester trial.Tester, o LatencyOptions) (*Result, error) {
	setDefault(&o.Duration, 2*time.Minute)
	setDefault(&o.Repeats, 20)
	if o.Shares == nil {
		o.Shares = []float64{1}
	}
	result := &Result{Procedure: "rfc2544 latency", Standard: "RFC 2544 section 26.2"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		for _, share := range o.Shares {
			if !(share > 0 && share <= 1) {
				return fmt.Errorf("share %v of the throughput: must be more than 0 and at most 1", share)
			}
			r.deviateIf(share != 1, "measures at %g of the throughput too", share)
		}
		if o.Repeats < 1 {
			return fmt.Errorf("%d repeats: must be at least 1", o.Repeats)
		}
		r.allSizes()
		r.shorter("trials", o.Duration, 2*time.Minute, "RFC 2544 section 26.2")
		r.deviateIf(o.Repeats < 20, "repeats trials %d times, where RFC 2544 section 26.2 has 20", o.Repeats)
		r.deviateIf(true, "takes the latency of every frame, where RFC 2544 section 26.2 takes that of one frame in each trial")
		r.parameter("trials", "%d of %v at each rate", o.Repeats, o.Duration)
		for i, sizes := range r.common.Sizes {
			r.behind = time.Duration((len(r.common.Sizes)-i)*len(o.Shares)*o.Repeats) * r.whole(o.Duration)
			rate, refused, err := r.base(sizes, o.Rates, &o.Search)
			if err != nil {
				return err
			}
			if refused != "" {
				r.refuse(sizes, refused)
				continue
			}
			for j, share := range o.Shares {
				trials := ((len(r.common.Sizes)-i)*len(o.Shares) - j) * o.Repeats
				r.left = time.Duration(trials) * r.whole(o.Duration)
				if err := r.latency(sizes, rate*share, share, &o); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (r *runner) latency(sizes trial.Sizes, rate, share float64, o *LatencyOptions) (err error) {
	at := LatencyAt{Sizes: sizes, Rate: rate, Share: share, Latency: trial.NewLatency()}
	defer func() {
		if len(at.Means) > 0 {
			r.result.Latencies = append(r.result.Latencies, at)
		}
	}()
	for n := range o.Repeats {
		record, err := r.offered(fmt.Sprintf("latency, %d of %d", n+1, o.Repeats), trial.Trial{Rate: rate, Duration: o.Duration, Sizes: sizes}, latencies)
		if err != nil {
			return err
		}
		if record.Short() {
			r.refuse(sizes, fmt.Sprintf("latency: the generator sent %.0f of %.0f frames a second in trial %d, which is left out", record.Rate(), rate, record.Number))
			continue
		}
		at.Lost += record.Lost()
		at.Sent += record.Sent
		if record.Latency == nil || record.Latency.Count() == 0 {
			r.refuse(sizes, fmt.Sprintf("latency: no frame came back with a time stamp in trial %d", record.Number))
			continue
		}
		at.Latency.Merge(record.Latency)
		at.Means = append(at.Means, record.Latency.Mean())
		at.Medians = append(at.Medians, record.Latency.Quantile(0.5))
		at.P99s = append(at.P99s, record.Latency.Quantile(0.99))
	}
	return nil
}

func setDefault[T comparable](v *T, value T) {
	if *v == *new(T) {
		*v = value
	}
}
