package policy

import "weir/policy/packet"

// Stage is a step of Decide, for those who want to know what each takes: see DecideUpTo.
type Stage uint8

// Stages, in their order. Without array forms and matchers there are no classes, and the trees are the last that takes time.
const (
	StageBegin       Stage = iota // addresses are checked
	StageMarkClasses              // classes for the matcher of statements
	StageMarks                    // the mark program
	StageRuleClasses              // classes for the matcher of rules
	StageMatch                    // rules, as if tables without array forms had no route
	StageTrees                    // those tables, and all that is left for packets that one of them has a route for
	StageArrays                   // array forms
	StageConclude                 // all: next hop, reverse path, MTU, verdict
	StageEnd
)

var stageNames = [StageEnd]string{"begin", "mark classes", "marks", "rule classes", "match", "trees", "arrays", "conclude"}

// String is a word or two for the stage.
func (t Stage) String() string {
	if t < StageEnd {
		return stageNames[t]
	}
	return "unknown"
}

// DecideUpTo is Decide as far as a stage, by the same code; at StageConclude it is Decide. Verdicts have then what the stages wrote.
// Keys are a batch: at most 64. Differences between stages, over many batches, are what each takes. A batch pays for it with a few comparisons.
func (s *Snapshot) DecideUpTo(last Stage, keys []packet.Key, verdicts []Verdict, tally *Tally) {
	switch {
	case last >= StageConclude:
		s.Decide(keys, verdicts, tally)
	case s.arrays || s.matches:
		s.decide(keys, verdicts[:len(keys)], tally, last)
	default:
		for i := range keys {
			s.evaluateUpTo(last, &keys[i], &verdicts[i], tally)
		}
	}
}

// evaluateUpTo is evaluate as far as a stage.
func (s *Snapshot) evaluateUpTo(last Stage, k *packet.Key, v *Verdict, tally *Tally) {
	if last >= StageTrees {
		s.evaluate(k, v, tally, nil)
		return
	}
	var f flow
	if !s.begin(&f, k, v, tally, nil) || last < StageMarks {
		return
	}
	if s.runsMarks(k) {
		how, by := s.marks.run(s, &f, nil)
		if !f.marked(v, how, by) {
			return
		}
	}
	if last == StageMatch {
		s.walkOnly(&f)
	}
}

// matchOnly is what advance does for open packets, without what trees have.
func (s *Snapshot) matchOnly(b *batch) {
	for _, i := range b.open[:b.n] {
		f := &b.flows[i]
		m := s.matchers.rules[familyIndex(f.key.Family)]
		if m == nil {
			s.walkOnly(f)
			continue
		}
		c := cursor{m: m, class: &b.classes[i]}
		c.seek(0, len(s.rules))
		for at := c.next(); at >= 0; at = c.next() {
			if m.checked(at) && !s.rules[at].matches(f) {
				continue
			}
			next := s.actOnly(at, f)
			if next < 0 {
				break
			}
			if next != at+1 {
				c.seek(next, len(s.rules))
			}
		}
	}
}

// walkOnly is walkFrom, without what trees have.
func (s *Snapshot) walkOnly(f *flow) {
	for i := 0; i >= 0 && i < len(s.rules); {
		r := &s.rules[i]
		if r.family != 0 && r.family != f.key.Family || !r.matches(f) {
			i++
			continue
		}
		i = s.actOnly(i, f)
	}
}

// actOnly is act, without what trees have.
func (s *Snapshot) actOnly(i int, f *flow) (next int) {
	if r := &s.rules[i]; r.Action == RuleLookup && !s.tables[r.Table].routes.HasArrays() {
		f.tally.hit(uint32(i), f)
		return i + 1
	}
	_, next = s.act(i, f, true, nil)
	return next
}
