package procedure

import (
	"context"
	"fmt"
	"time"

	"weir/perf/trial"
)

// ReconfigurationOptions are those of Reconfiguration.
type ReconfigurationOptions struct {
	Common
	Search   ThroughputOptions // for the throughput; its Common is not looked at
	Rates    []float64         // to measure at, for each of the sizes; nil: the throughput, searched for first
	Change   Change
	Duration time.Duration // of a trial, in the middle of which the change is made; 0: 60 s
	Repeats  int           // 0: 5
}

// Reconfiguration measures for how long a change of the running device blocks it: the frames that are lost through the rate
// at which they are offered (FD.io CSIT, Reconfiguration Tests).
func Reconfiguration(ctx context.Context, tester trial.Tester, o ReconfigurationOptions) (*Result, error) {
	setDefault(&o.Duration, time.Minute)
	setDefault(&o.Repeats, 5)
	result := &Result{Procedure: "reconf", Standard: "FD.io CSIT, reconfiguration tests"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if err := o.Change.check(); err != nil {
			return err
		}
		if o.Repeats < 1 {
			return fmt.Errorf("%d repeats: must be at least 1", o.Repeats)
		}
		r.parameter("change", "%s, in the middle of trials of %v", o.Change.Name, o.Duration)
		for i, sizes := range r.common.Sizes {
			r.behind = time.Duration((len(r.common.Sizes)-i)*o.Repeats) * r.whole(o.Duration)
			rate, refused, err := r.base(sizes, o.Rates, &o.Search)
			if err != nil {
				return err
			}
			if refused != "" {
				r.refuse(sizes, refused)
				continue
			}
			if err := r.reconfiguration(sizes, rate, &o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) reconfiguration(sizes trial.Sizes, rate float64, o *ReconfigurationOptions) (err error) {
	at := ReconfigurationTime{Sizes: sizes, Rate: rate, Change: o.Change.Name}
	t := trial.Trial{Rate: rate, Duration: o.Duration, Sizes: sizes,
		During: &trial.Intervention{Name: o.Change.Name, At: o.Duration / 2, Do: o.Change.Do}}
	for n := range o.Repeats {
		r.left = time.Duration(o.Repeats-n) * r.whole(o.Duration)
		var record *trial.Record
		if record, err = r.trial(fmt.Sprintf("reconfiguration, %d of %d", n+1, o.Repeats), t, all); err != nil {
			break
		}
		if record.Short() {
			r.refuse(sizes, fmt.Sprintf("reconfiguration: the generator sent %d of %.0f frames in trial %d, which is left out", record.Sent, t.Intended(), record.Number))
			continue
		}
		at.Lost = append(at.Lost, record.Lost())
		at.Blocked = append(at.Blocked, lostTime(record))
		at.Took = append(at.Took, record.Intervened.Length())
	}
	r.result.Reconfigurations = append(r.result.Reconfigurations, at)
	return err
}
