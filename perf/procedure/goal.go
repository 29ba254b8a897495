package procedure

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"weir/perf/trial"
)

// Goal is a search goal of RFC 9971 (section Search Goal).
type Goal struct {
	Name        string        `json:"name"`
	LossRatio   float64       `json:"lossRatio"`   // above which a trial is one of high loss
	ExceedRatio float64       `json:"exceedRatio"` // share of the time in which trials may be of high loss
	Initial     time.Duration `json:"initialTrialDuration"`
	Final       time.Duration `json:"finalTrialDuration"`
	Sum         time.Duration `json:"durationSum"`
	Width       float64       `json:"width"` // (upper − lower) / upper, at which the search ends
}

// NDR is the rate without loss as FD.io CSIT searches for it.
func NDR() Goal {
	return Goal{Name: "NDR", ExceedRatio: 0.5, Initial: time.Second, Final: time.Second, Sum: 21 * time.Second, Width: 0.005}
}

// PDR is the rate with at most half a percent of loss as FD.io CSIT searches for it.
func PDR() Goal {
	g := NDR()
	g.Name, g.LossRatio = "PDR", 0.005
	return g
}

// RFC2544 is the goal whose result is RFC 2544's throughput (RFC 9971 section MLRsearch Compliant with RFC 2544).
func RFC2544() Goal {
	return Goal{Name: "RFC 2544", Initial: time.Second, Final: time.Minute, Sum: time.Minute, Width: 0.005}
}

// TST009 is the goal whose result is that of a binary search with loss verification, where a trial with loss is repeated
// once (RFC 9971 section MLRsearch Compliant with TST009).
func TST009() Goal {
	return Goal{Name: "TST 009", ExceedRatio: 0.5, Initial: time.Second, Final: time.Minute, Sum: 2 * time.Minute, Width: 0.005}
}

// check looks for what RFC 9971 does not allow, or no search can do.
func (g *Goal) check() error {
	var errs []error
	refuse := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("goal %s: "+format, append([]any{g.Name}, args...)...))
	}
	if g.Name == "" {
		errs = append(errs, errors.New("goal without a name"))
	}
	if !(g.LossRatio >= 0 && g.LossRatio < 1) {
		refuse("loss ratio %v: must be 0 or more and less than 1", g.LossRatio)
	}
	if !(g.ExceedRatio >= 0 && g.ExceedRatio < 1) {
		refuse("exceed ratio %v: must be 0 or more and less than 1", g.ExceedRatio)
	}
	if g.Initial <= 0 || g.Final < g.Initial {
		refuse("trial durations %v to %v: must be more than 0, and the final one not shorter than the initial one", g.Initial, g.Final)
	}
	if g.Sum < g.Final {
		refuse("duration sum %v: must be at least the final trial duration, %v", g.Sum, g.Final)
	}
	if !(g.Width > 0 && g.Width < 1) {
		refuse("width %v: must be more than 0 and less than 1", g.Width)
	}
	return errors.Join(errs...)
}

// Class is what a load is to a goal (RFC 9971 section Load Classification).
type Class int

// The classes. A load without trials is undecided.
const (
	Undecided Class = iota
	LowerBound
	UpperBound
)

// String is the RFC's word.
func (c Class) String() string { return [...]string{"undecided", "lower bound", "upper bound"}[c] }

// high says that a trial is one of high loss.
func (g *Goal) high(r *trial.Record) bool { return r.LossRatio() > g.LossRatio }

// Classify says what a load is, by all trials that were made at it (RFC 9971 appendix Load Classification Code).
//
// Short trials cannot show that a load is carried, since loss may come late; but more high loss among them than low loss
// can make up for counts as if it had been seen in a full-length trial.
func (g *Goal) Classify(trials []trial.Record) Class {
	var fullLow, fullHigh, shortLow, shortHigh float64
	for i := range trials {
		r := &trials[i]
		sum := &fullLow
		switch full, high := r.Trial.Duration >= g.Final, g.high(r); {
		case full && high:
			sum = &fullHigh
		case high:
			sum = &shortHigh
		case !full:
			sum = &shortLow
		}
		*sum += r.Trial.Duration.Seconds()
	}
	// What short trials of high loss there are beyond those that the exceed ratio allows beside the short ones of low loss.
	excess := max(0, shortHigh-shortLow*g.ExceedRatio/(1-g.ExceedRatio))
	high := fullHigh + excess
	whole := max(fullLow+high, g.Sum.Seconds())
	allowed := whole * g.ExceedRatio
	switch {
	case whole-fullLow <= allowed: // even if all the time that is left had high loss
		return LowerBound
	case high > allowed: // even if none of it had
		return UpperBound
	}
	return Undecided
}

// ConditionalThroughput is the forwarding rate that may be expected at a lower bound: that of the trial whose loss is at the
// exceed ratio, time not spent counting as lost whole (RFC 9971 appendix Conditional Throughput Code).
func (g *Goal) ConditionalThroughput(load float64, trials []trial.Record) float64 {
	var full []*trial.Record
	seconds := 0.0
	for i := range trials {
		if r := &trials[i]; r.Trial.Duration >= g.Final {
			full = append(full, r)
			seconds += r.Trial.Duration.Seconds()
		}
	}
	slices.SortFunc(full, func(a, b *trial.Record) int { return cmp.Compare(a.LossRatio(), b.LossRatio()) })
	remaining := max(g.Sum.Seconds(), seconds) * (1 - g.ExceedRatio)
	loss := 1.0
	for i, r := range full {
		if i > 0 && remaining <= 0 {
			return load * (1 - loss)
		}
		loss = r.LossRatio()
		remaining -= r.Trial.Duration.Seconds()
	}
	if remaining > 0 {
		loss = 1
	}
	return load * (1 - loss)
}

// stages are the goals that a search reaches one after another, the last being g itself: each with trials that are up to
// eight times as long and bounds that are half as far apart as the one before.
func (g *Goal) stages() []Goal {
	const factor = 8
	stages := []Goal{*g}
	for s := *g; s.Final > g.Initial; {
		s.Final = max(g.Initial, s.Final/factor)
		s.Sum = max(s.Final, time.Duration(float64(g.Sum)*float64(s.Final)/float64(g.Final)))
		s.Width = min(2*s.Width, 0.5)
		stages = append([]Goal{s}, stages...)
	}
	return stages
}
