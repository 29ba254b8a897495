package procedure

import (
	"context"
	"fmt"
	"time"

	"weir/perf/trial"
)

// RunOptions are those of Run and Soak.
type RunOptions struct {
	Common
	Rates    []float64     // for each of the sizes
	Duration time.Duration // 0: of Run 60 s, of Soak 30 min
}

// Run makes one trial with each of the sizes.
func Run(ctx context.Context, tester trial.Tester, o RunOptions) (*Result, error) {
	setDefault(&o.Duration, time.Minute)
	return runs(ctx, tester, &o, &Result{Procedure: "run", Standard: "RFC 2544 section 23: one trial"})
}

// Soak makes one long trial with each of the sizes (FD.io CSIT, Soak Tests).
func Soak(ctx context.Context, tester trial.Tester, o RunOptions) (*Result, error) {
	setDefault(&o.Duration, soakStandard)
	return runs(ctx, tester, &o, &Result{Procedure: "soak", Standard: "FD.io CSIT, soak tests"})
}

const soakStandard = 30 * time.Minute

func runs(ctx context.Context, tester trial.Tester, o *RunOptions, result *Result) (*Result, error) {
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if len(o.Rates) != len(r.common.Sizes) {
			return fmt.Errorf("%d rates for %d frame sizes: must be as many", len(o.Rates), len(r.common.Sizes))
		}
		if result.Procedure == "soak" {
			r.shorter("trials", o.Duration, soakStandard, result.Standard)
		}
		for i, sizes := range r.common.Sizes {
			if err := r.check(sizes, o.Rates[i]); err != nil {
				return err
			}
			r.left = time.Duration(len(o.Rates)-i) * r.whole(o.Duration)
			if err := r.runAt(sizes, o.Rates[i], o.Duration); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) runAt(sizes trial.Sizes, rate float64, duration time.Duration) error {
	record, err := r.trial(r.result.Procedure, trial.Trial{Rate: rate, Duration: duration, Sizes: sizes}, all)
	if err == errEnded && len(r.result.Trials) > 0 && r.result.Trials[len(r.result.Trials)-1].Cut {
		record = &r.result.Trials[len(r.result.Trials)-1] // is worth a line: it had a rate, only not for long
	}
	if record == nil {
		return err
	}
	if record.Short() {
		r.refuse(sizes, fmt.Sprintf("loss at %.0f frames a second: the generator sent %.0f", rate, record.Rate()))
	}
	r.result.Runs = append(r.result.Runs, RunAt{Sizes: sizes, Rate: rate, Trial: record.Number, Loss: record.LossRatio()})
	return err
}
