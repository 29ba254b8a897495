package procedure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/perf/trial"
)

// RecoveryOptions are those of Recovery.
type RecoveryOptions struct {
	Common
	Search      ThroughputOptions // for the throughput; its Common is not looked at
	Throughputs []float64         // for each of the sizes; nil: searched for first
	Overload    time.Duration     // how long; 0: 60 s
	After       time.Duration     // how long to watch then; 0: 60 s
	Repeats     int               // 0: 5
}

// Recovery measures how long a device goes on losing frames after an overload of 110 % of its throughput, when it then gets
// half of that (RFC 2544 section 26.5).
func Recovery(ctx context.Context, tester trial.Tester, o RecoveryOptions) (*Result, error) {
	setDefault(&o.Overload, time.Minute)
	setDefault(&o.After, time.Minute)
	setDefault(&o.Repeats, 5)
	result := &Result{Procedure: "rfc2544 recovery", Standard: "RFC 2544 section 26.5"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if o.Repeats < 1 {
			return fmt.Errorf("%d repeats: must be at least 1", o.Repeats)
		}
		if o.Overload <= 0 || o.After <= 0 {
			return fmt.Errorf("overload of %v and %v after it: must be more than 0", o.Overload, o.After)
		}
		r.allSizes()
		r.shorter("overloads", o.Overload, time.Minute, "RFC 2544 section 26.5")
		r.parameter("trials", "%d of %v at 110 %% of the throughput, then %v at half of that", o.Repeats, o.Overload, o.After)
		for i, sizes := range r.common.Sizes {
			r.behind = time.Duration((len(r.common.Sizes)-i)*o.Repeats) * r.whole(o.Overload+o.After)
			throughput, refused, err := r.base(sizes, o.Throughputs, &o.Search)
			if err != nil {
				return err
			}
			if refused != "" {
				r.refuse(sizes, refused)
				continue
			}
			if err := r.recovery(sizes, throughput, &o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) recovery(sizes trial.Sizes, throughput float64, o *RecoveryOptions) error {
	const overload, relief = 1.1, 0.5
	c, err := r.calibration(sizes)
	if err != nil {
		return err
	}
	most, isCeiling := highest(c)
	rate := min(overload*throughput, most)
	r.deviateIf(isCeiling && rate == most, "%s bytes: overload is the generator's ceiling, %.3g of the throughput, where RFC 2544 section 26.5 has 1.1", sizes, rate/throughput)
	at := RecoveryTime{Sizes: sizes, Overload: rate, Then: relief * rate}
	t := trial.Trial{Rate: rate, Duration: o.Overload, Sizes: sizes, Then: []trial.Step{{Rate: at.Then, Duration: o.After}}}
	for n := 0; n < o.Repeats && at.Refused == ""; n++ {
		r.left = time.Duration(o.Repeats-n) * r.whole(t.Length())
		var record *trial.Record
		if record, err = r.trial(fmt.Sprintf("recovery, %d of %d", n+1, o.Repeats), t, all); err != nil {
			break
		}
		switch {
		case record.Short():
			at.Refused = r.refuse(sizes, fmt.Sprintf("recovery: the generator sent %d of %.0f frames", record.Sent, t.Intended()))
		case record.Lost() == 0:
			at.Refused = r.refuse(sizes, fmt.Sprintf("recovery: %.0f frames a second lost nothing, so there was no overload", rate))
		case stillLoses(record):
			at.Refused = r.refuse(sizes, fmt.Sprintf("recovery: frames are still lost %v after the overload", o.After))
		default:
			at.Times = append(at.Times, max(0, record.LastLost-o.Overload))
		}
	}
	at.Mean = mean(at.Times)
	r.result.Recoveries = append(r.result.Recoveries, at)
	return err
}

// stillLoses says that frames were lost in the last hundredth of a trial.
func stillLoses(r *trial.Record) bool {
	length := r.Trial.Length()
	return r.Lost() > 0 && r.LastLost >= length-length/100
}

func mean(times []time.Duration) time.Duration {
	if len(times) == 0 {
		return 0
	}
	var sum time.Duration
	for _, t := range times {
		sum += t
	}
	return sum / time.Duration(len(times))
}

// Change is something to be done to a device.
type Change struct {
	Name string
	Do   func(ctx context.Context) error
}

func (c *Change) check() error {
	if c.Do == nil {
		return errors.New("no change to make")
	}
	return nil
}

// ResetOptions are those of Reset.
type ResetOptions struct {
	Common                    // Sizes nil: the smallest, as RFC 2544 section 26.6 has it
	Search  ThroughputOptions // for the throughput; its Common is not looked at
	Rates   []float64         // the throughput for each of the sizes; nil: searched for first
	Reset   Change
	Before  time.Duration // how long frames are sent before; 0: 10 s
	After   time.Duration // and after; 0: 60 s
	Repeats int           // 0: 1
}

// Reset measures how long a device that is reset forwards nothing (RFC 2544 section 26.6; RFC 6201).
func Reset(ctx context.Context, tester trial.Tester, o ResetOptions) (*Result, error) {
	setDefault(&o.Before, 10*time.Second)
	setDefault(&o.After, time.Minute)
	setDefault(&o.Repeats, 1)
	if o.Sizes == nil {
		o.Sizes = []trial.Sizes{{trial.SizeMin}}
	}
	result := &Result{Procedure: "rfc2544 reset", Standard: "RFC 2544 section 26.6, as RFC 6201 has it"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if err := o.Reset.check(); err != nil {
			return err
		}
		if o.Repeats < 1 {
			return fmt.Errorf("%d repeats: must be at least 1", o.Repeats)
		}
		if o.Before <= 0 || o.After <= 0 {
			return fmt.Errorf("%v before and %v after the reset: must be more than 0", o.Before, o.After)
		}
		r.parameter("reset", "%s, %v after the first frame", o.Reset.Name, o.Before)
		for i, sizes := range r.common.Sizes {
			r.behind = time.Duration((len(r.common.Sizes)-i)*o.Repeats) * r.whole(o.Before+o.After)
			rate, refused, err := r.base(sizes, o.Rates, &o.Search)
			if err != nil {
				return err
			}
			if refused != "" {
				r.refuse(sizes, refused)
				continue
			}
			if err := r.reset(sizes, rate, &o); err != nil {
				return err
			}
		}
		return nil
	})
}

func (r *runner) reset(sizes trial.Sizes, rate float64, o *ResetOptions) (err error) {
	at := ResetTime{Sizes: sizes, Rate: rate, Reset: o.Reset.Name}
	t := trial.Trial{Rate: rate, Duration: o.Before + o.After, Sizes: sizes,
		During: &trial.Intervention{Name: o.Reset.Name, At: o.Before, Do: o.Reset.Do}}
	for n := 0; n < o.Repeats && at.Refused == ""; n++ {
		r.left = time.Duration(o.Repeats-n) * r.whole(t.Duration)
		var record *trial.Record
		if record, err = r.trial(fmt.Sprintf("reset, %d of %d", n+1, o.Repeats), t, all); err != nil {
			break
		}
		switch {
		case record.Short():
			at.Refused = r.refuse(sizes, fmt.Sprintf("reset: the generator sent %d of %.0f frames", record.Sent, t.Intended()))
		case record.Received == 0 || stillLoses(record):
			at.Refused = r.refuse(sizes, fmt.Sprintf("reset: the device had not come back after %v", o.After))
		default:
			at.Gaps = append(at.Gaps, record.Silence.Length())
			at.Losses = append(at.Losses, lostTime(record))
		}
	}
	r.result.Resets = append(r.result.Resets, at)
	return err
}

// lostTime is the time in which as many frames are offered as were lost.
func lostTime(r *trial.Record) time.Duration {
	return time.Duration(float64(r.Lost()) / r.Trial.Rate * float64(time.Second))
}
