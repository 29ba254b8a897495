package procedure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/perf/trial"
)

// Waits around a trial (RFC 2544 section 23).
const (
	drainStandard  = 2 * time.Second
	settleStandard = 5 * time.Second
)

// Common are the options that all procedures have.
type Common struct {
	Sizes   []trial.Sizes // nil: those of RFC 2544 section 9.1
	Traffic string        // for the tester
	Drain   time.Duration // how long to wait for frames after a trial; 0: 2 s; negative: none
	Settle  time.Duration // how long to leave the device alone then; 0: 5 s; negative: none

	Progress func(Progress) // is called when a trial begins and when it has ended; nil: nobody wants to know
}

// Progress is how far a procedure is.
type Progress struct {
	Procedure string
	Step      string
	Trial     trial.Trial
	Number    int           // of the trial, from 1
	Done      bool          // the trial is over, and Loss known
	Loss      float64       // ratio
	Left      time.Duration // to the procedure's end, as far as it can tell
}

// errEnded says that the context ended. It does not leave the package.
var errEnded = errors.New("ended")

// runner makes the trials of one procedure.
type runner struct {
	ctx    context.Context
	tester trial.Tester
	common Common
	result *Result
	left   time.Duration // that what is still to be done will take, as far as is known
	behind time.Duration // the part of it that comes when the search that is running has ended
}

// run does what all procedures have around them.
func run(ctx context.Context, tester trial.Tester, common Common, result *Result, procedure func(r *runner) error) (*Result, error) {
	if common.Sizes == nil {
		common.Sizes = trial.StandardSizes()
	}
	r := &runner{ctx: ctx, tester: tester, common: common, result: result}
	r.deviateIf(r.drain() < drainStandard, "waits %v for frames after a trial, where RFC 2544 section 23 has %v", r.drain(), drainStandard)
	r.deviateIf(r.settle() < settleStandard, "leaves the device alone for %v between trials, where RFC 2544 section 23 has %v", r.settle(), settleStandard)
	err := procedure(r)
	switch {
	case errors.Is(err, errEnded):
		where := "before the first trial"
		if n := len(result.Trials); n > 0 && result.Trials[n-1].Cut {
			where = fmt.Sprintf("in trial %d", n)
		} else if n > 0 {
			where = fmt.Sprintf("after trial %d", n)
		}
		result.Partial = fmt.Sprintf("ended %s: %v", where, context.Cause(ctx))
		return result, nil
	case err != nil:
		result.Partial = fmt.Sprintf("failed in trial %d: %v", len(result.Trials)+1, err)
		return result, fmt.Errorf("%s: %w", result.Procedure, err)
	}
	return result, nil
}

func (r *runner) drain() time.Duration  { return wait(r.common.Drain, drainStandard) }
func (r *runner) settle() time.Duration { return wait(r.common.Settle, settleStandard) }

func wait(asked, standard time.Duration) time.Duration {
	if asked == 0 {
		return standard
	}
	return max(asked, 0)
}

// deviateIf notes a deviation from the standard, once.
func (r *runner) deviateIf(deviates bool, format string, args ...any) {
	if text := fmt.Sprintf(format, args...); deviates && !slices.Contains(r.result.Deviations, text) {
		r.result.Deviations = append(r.result.Deviations, text)
	}
}

// shorter notes that trials are shorter than the standard has them.
func (r *runner) shorter(what string, is, standard time.Duration, section string) {
	r.deviateIf(is < standard, "%s last %v, where %s has %v", what, is, section, standard)
}

// refuse notes what cannot be stated.
func (r *runner) refuse(of trial.Sizes, why string) string {
	r.result.Refused = append(r.result.Refused, fmt.Sprintf("%s bytes: %s", of, why))
	return why
}

func (r *runner) parameter(name, format string, args ...any) {
	r.result.Parameters = append(r.result.Parameters, Parameter{name, fmt.Sprintf(format, args...)})
}

// whole is how long a trial takes with its waits.
func (r *runner) whole(d time.Duration) time.Duration { return d + r.drain() + r.settle() }

// calibration measures the tester once for each mix.
func (r *runner) calibration(sizes trial.Sizes) (*trial.Calibration, error) {
	for i := range r.result.Calibrations {
		if c := &r.result.Calibrations[i]; slices.Equal(c.Sizes, sizes) {
			return c, nil
		}
	}
	c, err := r.tester.Calibrate(r.ctx, sizes)
	if r.ctx.Err() != nil {
		return nil, errEnded
	}
	if err != nil {
		return nil, fmt.Errorf("calibrate the tester for %s bytes: %w", sizes, err)
	}
	if !(c.Ceiling > 0) {
		return nil, fmt.Errorf("calibrate the tester for %s bytes: it sends nothing", sizes)
	}
	c.Sizes = sizes
	r.result.Calibrations = append(r.result.Calibrations, c)
	return &r.result.Calibrations[len(r.result.Calibrations)-1], nil
}

// highest is the rate that a device can be offered: the link's where it is known, but no more than the generator's
// ceiling, which it then is.
func highest(c *trial.Calibration) (rate float64, isCeiling bool) {
	line := c.Sizes.LineRate(c.LinkSpeed)
	if line > 0 && line <= c.Ceiling {
		return line, false
	}
	return c.Ceiling, true
}

// check refuses a rate that cannot be offered.
func (r *runner) check(sizes trial.Sizes, rate float64) error {
	if !(rate > 0) {
		return fmt.Errorf("rate %v: must be more than 0", rate)
	}
	c, err := r.calibration(sizes)
	if err != nil {
		return err
	}
	switch most, isCeiling := highest(c); {
	case rate <= most:
		return nil
	case isCeiling:
		return fmt.Errorf("rate %.0f of %s bytes is above the generator's ceiling of %.0f frames a second", rate, sizes, most)
	default:
		return fmt.Errorf("rate %.0f of %s bytes is above the link's %.0f frames a second", rate, sizes, most)
	}
}

// kept is how much of an outcome a result keeps.
type kept int

const (
	counts    kept = iota // neither latencies nor series, which take much room
	latencies             // no series
	all
)

// trial makes one, and keeps what is wanted of it.
func (r *runner) trial(step string, t trial.Trial, keep kept) (*trial.Record, error) {
	if r.ctx.Err() != nil {
		return nil, errEnded
	}
	if t.Length() <= 0 {
		return nil, fmt.Errorf("trial of %v: must be longer", t.Length())
	}
	t.Traffic, t.Drain, t.Settle = r.common.Traffic, r.drain(), r.settle()
	number := len(r.result.Trials) + 1
	p := Progress{Procedure: r.result.Procedure, Step: step, Trial: t, Number: number, Left: max(r.left, t.Whole())}
	r.report(p)
	outcome, err := r.tester.Trial(r.ctx, t)
	ended := r.ctx.Err() != nil
	if err != nil && !ended {
		return nil, err
	}
	outcome.Cut = ended && err != nil
	if keep < all {
		outcome.Series = nil
	}
	if keep < latencies {
		outcome.Latency = nil
	}
	r.result.Trials = append(r.result.Trials, trial.Record{Number: number, Step: step, Trial: t, Outcome: outcome})
	record := &r.result.Trials[number-1]
	if outcome.Cut {
		return nil, errEnded
	}
	r.left = max(0, r.left-t.Whole())
	p.Done, p.Loss, p.Left = true, record.LossRatio(), r.left
	r.report(p)
	return record, nil
}

// offered is trial, made again where the generator fell short, and not more often than voidMax.
func (r *runner) offered(step string, t trial.Trial, keep kept) (*trial.Record, error) {
	for void := 0; ; void++ {
		record, err := r.trial(step, t, keep)
		if err != nil || !record.Short() || void == voidMax {
			return record, err
		}
		record.Void = fmt.Sprintf("the generator sent %.0f of %.0f frames a second", record.Rate(), t.Rate)
	}
}

// voidMax is how many trials of a kind are made again because of the generator.
const voidMax = 2

func (r *runner) report(p Progress) {
	if r.common.Progress != nil {
		r.common.Progress(p)
	}
}
