package procedure

import (
	"context"
	"errors"
	"fmt"
	"time"

	"weir/perf/trial"
)

// MLRsearchOptions are those of MLRsearch.
type MLRsearchOptions struct {
	Common
	Goals  []Goal  // nil: NDR and PDR
	Lowest float64 // frames per second; 0: those with which the shortest trial has ten frames
}

// MLRsearch searches for several goals at once, for each of the sizes (RFC 9971).
func MLRsearch(ctx context.Context, tester trial.Tester, o MLRsearchOptions) (*Result, error) {
	if o.Goals == nil {
		o.Goals = []Goal{NDR(), PDR()}
	}
	result := &Result{Procedure: "mlrsearch", Standard: "RFC 9971"}
	return run(ctx, tester, o.Common, result, func(r *runner) error {
		if err := checkGoals(o.Goals); err != nil {
			return err
		}
		for i := range o.Goals {
			g := &o.Goals[i]
			r.parameter("goal "+g.Name, "loss ratio %g, exceed ratio %g, trials of %v to %v, duration sum %v, width %g relative to the upper bound",
				g.LossRatio, g.ExceedRatio, g.Initial, g.Final, g.Sum, g.Width)
			r.deviateIf(g.Width < g.LossRatio, "goal %s: width %g is less than the loss ratio, which RFC 9971 section Goal Width does not recommend", g.Name, g.Width)
			r.deviateIf(g.Final != o.Goals[0].Final, "goal %s: final trials of %v, of %v for %s; RFC 9971 recommends one duration for all", g.Name, g.Final, o.Goals[0].Final, o.Goals[0].Name)
		}
		return r.searchAll(o.Goals, o.Lowest)
	})
}

func checkGoals(goals []Goal) error {
	var errs []error
	names := make(map[string]bool)
	for i := range goals {
		errs = append(errs, goals[i].check())
		if names[goals[i].Name] {
			errs = append(errs, fmt.Errorf("goal %s: is there twice", goals[i].Name))
		}
		names[goals[i].Name] = true
	}
	if len(goals) == 0 {
		errs = append(errs, errors.New("no goals to search for"))
	}
	return errors.Join(errs...)
}

// searchAll searches for the goals with each of the sizes.
func (r *runner) searchAll(goals []Goal, lowest float64) error {
	for i, sizes := range r.common.Sizes {
		r.behind = 0
		for j := range goals {
			r.behind += time.Duration(len(r.common.Sizes)-i-1) * r.loads(&goals[j], halvingsGuess)
		}
		s, err := r.newSearch(sizes, goals, lowest)
		if err != nil {
			return err
		}
		if err := s.run(); err != nil {
			return err
		}
	}
	return nil
}
