package procedure

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"weir/perf/trial"
)

// search is the controller of RFC 9971 for one mix: it chooses loads and durations until all goals have bounds that are no
// further apart than their widths.
//
// Each goal is reached in stages (Goal.stages). In every one the search first brackets, with steps that double, and then
// halves; a load is tried until the stage has classified it. All trials count for all goals. A goal's bounds may move when
// another tries their loads again, so goals take turns until none moves.
type search struct {
	r        *runner
	sizes    trial.Sizes
	goals    []Goal
	min, max float64
	loads    map[float64][]trial.Record
}

// newSearch has the loads between those with which a trial shows something, and the highest that can be offered.
func (r *runner) newSearch(sizes trial.Sizes, goals []Goal, lowest float64) (*search, error) {
	if !(lowest >= 0) {
		return nil, fmt.Errorf("lowest rate %v: must not be less than 0", lowest)
	}
	c, err := r.calibration(sizes)
	if err != nil {
		return nil, err
	}
	s := &search{r: r, sizes: sizes, goals: goals, loads: make(map[float64][]trial.Record)}
	most, _ := highest(c)
	s.max = math.Floor(most)
	s.min = lowest
	if s.min == 0 {
		const frames = 10 // in the shortest trial
		shortest := slices.MinFunc(goals, func(a, b Goal) int { return int(a.Initial - b.Initial) }).Initial
		s.min = math.Ceil(frames / shortest.Seconds())
	}
	if s.min > s.max {
		return nil, fmt.Errorf("lowest rate %.0f of %s bytes: must be at most the highest, %.0f", s.min, sizes, s.max)
	}
	return s, nil
}

// run searches, and adds what it found to the result, also where it ended early.
func (s *search) run() error {
	err := s.reach()
	for i := range s.goals {
		b := s.bounds(&s.goals[i])
		if err != nil && !b.Regular {
			b.Refused = "the search did not end"
		}
		if b.Refused != "" {
			s.r.refuse(s.sizes, s.goals[i].Name+": "+b.Refused)
		}
		s.r.result.Bounds = append(s.r.result.Bounds, b)
	}
	return err
}

func (s *search) reach() error {
	for first, moved := true, true; moved; first = false {
		moved = false
		for i := range s.goals {
			stages := s.goals[i].stages()
			if !first {
				stages = stages[len(stages)-1:]
			}
			var hints []float64
			for j := range stages {
				found, tried, err := s.stage(&stages[j], hints)
				if err != nil {
					return err
				}
				hints = found
				moved = moved || tried
			}
		}
	}
	return nil
}

// stage brackets and halves for one goal. hints are loads to look at first; what it returns are such for the next stage.
func (s *search) stage(g *Goal, hints []float64) (bounds []float64, tried bool, err error) {
	for steps := 0; ; steps++ {
		load, ok := s.next(g, hints, steps)
		if !ok {
			break
		}
		tried = true
		if err := s.try(g, load); err != nil {
			return nil, tried, err
		}
	}
	lower, upper := s.relevant(g)
	return slices.DeleteFunc([]float64{lower, upper}, func(load float64) bool { return load == 0 }), tried, nil
}

// relevant are the goal's bounds: the smallest upper bound, and the largest lower bound below it. Without any upper bound it is
// the largest lower bound at all. 0 is none.
func (s *search) relevant(g *Goal) (lower, upper float64) {
	for _, load := range slices.Sorted(maps.Keys(s.loads)) {
		switch g.Classify(s.loads[load]) {
		case LowerBound:
			lower = load
		case UpperBound:
			return lower, load
		}
	}
	return lower, 0
}

// next is the load to try for a goal; there is none when the goal is reached, or cannot be.
func (s *search) next(g *Goal, hints []float64, steps int) (load float64, ok bool) {
	lower, upper := s.relevant(g)
	between := func(load float64) bool { return load > lower && (upper == 0 || load < upper) }
	if upper != 0 && lower != 0 && narrow(g, lower, upper) || lower == s.max || upper == s.min {
		return 0, false
	}
	for _, load := range hints {
		if between(load) {
			return load, true
		}
	}
	// Steps are so that halving ends at the width.
	step := math.Ldexp(g.Width, min(steps, 62))
	switch {
	case upper == 0 && lower == 0:
		return s.max, true
	case upper == 0:
		return min(s.max, lower*(1+step)), true
	case lower == 0:
		// What came through at the upper bound is a good guess, but often just above what is carried.
		return max(s.min, min(upper/(1+step), s.forwarded(upper))), true
	}
	return (lower + upper) / 2, true
}

// narrow says that bounds are no further apart than the goal's width.
func narrow(g *Goal, lower, upper float64) bool { return (upper-lower)/upper <= g.Width }

// forwarded is the least rate that came through at a load.
func (s *search) forwarded(load float64) float64 {
	least := load
	for i := range s.loads[load] {
		least = min(least, s.loads[load][i].ForwardingRate())
	}
	return least
}

// try makes trials at a load until the goal has classified it. Those in which the generator fell short count only where
// making them again does not help.
func (s *search) try(g *Goal, load float64) error {
	for g.Classify(s.loads[load]) == Undecided {
		s.r.left = s.estimate(g)
		record, err := s.r.offered("search "+g.Name, trial.Trial{Rate: load, Duration: g.Final, Sizes: s.sizes}, counts)
		if err != nil {
			return err
		}
		s.loads[load] = append(s.loads[load], *record)
	}
	return nil
}

// halvingsGuess is how many a search has that knows nothing yet.
const halvingsGuess = 10

// estimate is how long it may still take: for every goal the halvings that are left of the interval known, and what is behind.
func (s *search) estimate(now *Goal) time.Duration {
	left := s.r.behind
	for i := range s.goals {
		g := &s.goals[i]
		halvings := float64(halvingsGuess)
		if lower, upper := s.relevant(g); lower == s.max || upper == s.min {
			halvings = 0
		} else if lower != 0 && upper != 0 {
			halvings = max(0, math.Ceil(math.Log2((upper-lower)/upper/g.Width)))
		}
		if g.Name == now.Name {
			halvings = max(1, halvings)
		}
		left += s.r.loads(g, halvings)
	}
	return left
}

// loads is how long it takes to try some, with as many trials each as classify one without loss.
func (r *runner) loads(g *Goal, n float64) time.Duration {
	trials := math.Ceil((1 - g.ExceedRatio) * float64(g.Sum) / float64(g.Final))
	return time.Duration(n * trials * float64(r.whole(g.Final)))
}

// bounds are what the trials say of a goal.
func (s *search) bounds(g *Goal) Bounds {
	c, _ := s.r.calibration(s.sizes) // has been measured
	b := Bounds{Goal: *g, Sizes: s.sizes, Line: s.sizes.LineRate(c.LinkSpeed)}
	b.Lower, b.Upper = s.relevant(g)
	if b.Lower != 0 {
		b.Throughput = g.ConditionalThroughput(b.Lower, s.loads[b.Lower])
	}
	b.Regular = b.Lower != 0 && b.Upper != 0 && narrow(g, b.Lower, b.Upper)
	offered := slices.DeleteFunc(slices.Clone(s.loads[b.Upper]), func(r trial.Record) bool { return r.Short() })
	short := len(offered) < len(s.loads[b.Upper]) && g.Classify(offered) != UpperBound
	_, isCeiling := highest(c)
	switch {
	case b.Upper == 0 && b.Lower == s.max && isCeiling:
		b.Refused = fmt.Sprintf("the generator's ceiling, %.0f frames a second, is carried; the device does more", s.max)
	case b.Upper == 0 && b.Lower == s.max:
		b.Note = "the link's rate is carried"
	case short:
		b.Refused = fmt.Sprintf("the generator fell short at the upper bound, %.0f frames a second: its ceiling, not the device's", b.Upper)
	case b.Lower == 0 && b.Upper == s.min:
		b.Note = "the lowest load is not carried"
	case !b.Regular:
		b.Note = "bounds are further apart than the width"
	}
	return b
}
