package procedure

import (
	"context"
	"fmt"
	"math"
	"time"

	"weir/perf/trial"
)

// LossOptions are those of LossCurve.
type LossOptions struct {
	Common
	Step     float64       // between rates, as a share of the highest; 0: 0.1
	Duration time.Duration // of a trial; 0: 60 s
}

// LossCurve measures the loss at the link's rate and, step by step, at less, until two rates in a row had none (RFC 2544
// section 26.3).
func LossCurve(ctx context.Context, tester trial.Tester, o LossOptions) (*Result, error) {
	setDefault(&o.Step, 0.1)
	setDefault(&o.Duration, time.Minute)
	result := &Result{Procedure: "rfc2544 loss", Standard: "RFC 2544 section 26.3"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if !(o.Step > 0 && o.Step <= 0.1) {
			return fmt.Errorf("step %v: must be more than 0 and at most 0.1, as RFC 2544 section 26.3 says", o.Step)
		}
		r.allSizes()
		r.shorter("trials", o.Duration, time.Minute, "RFC 2544 section 24")
		r.parameter("rates", "from the highest down, %g of it a step, trials of %v", o.Step, o.Duration)
		for i, sizes := range r.common.Sizes {
			if err := r.lossCurve(sizes, &o, len(r.common.Sizes)-i-1); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) lossCurve(sizes trial.Sizes, o *LossOptions, sizesLeft int) error {
	c, err := r.calibration(sizes)
	if err != nil {
		return err
	}
	most, isCeiling := highest(c)
	if isCeiling {
		line := "whose speed is not known"
		if rate := sizes.LineRate(c.LinkSpeed); rate > 0 {
			line = fmt.Sprintf("%.0f", rate)
		}
		r.deviateIf(true, "%s bytes: starts at the generator's ceiling, %.0f frames a second, where RFC 2544 section 26.3 starts at the rate of the link (%s)", sizes, most, line)
	}
	steps := int(math.Ceil(1/o.Step - 1e-9))
	clean := 0
	for n := range steps {
		share := 1 - float64(n)*o.Step
		r.left = time.Duration(steps-n+sizesLeft*steps) * r.whole(o.Duration)
		record, err := r.offered(fmt.Sprintf("loss at %.4g %%", 100*share), trial.Trial{Rate: share * most, Duration: o.Duration, Sizes: sizes}, latencies)
		if err != nil {
			return err
		}
		at := LossAt{Sizes: sizes, Share: share, Rate: record.Trial.Rate, Loss: record.LossRatio(), Trial: record.Number}
		if record.Short() {
			at.Refused = r.refuse(sizes, fmt.Sprintf("loss at %.0f frames a second: the generator sent %.0f", at.Rate, record.Rate()))
		}
		r.result.Losses = append(r.result.Losses, at)
		if clean++; at.Loss > 0 {
			clean = 0
		}
		if clean == 2 {
			break
		}
	}
	return nil
}
