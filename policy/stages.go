package policy

import (
	"slices"

	"weir/fib"
	"weir/policy/packet"
)

// Stage is a step of Decide, for those who want to know what each takes: see Stages.
type Stage uint8

// Stages, in their order. Without array forms and matchers there are no classes, and the trees are the last that takes time.
const (
	StageBegin       Stage = iota // addresses are checked
	StageMarkClasses              // classes for the matcher of statements
	StageMarks                    // the mark program
	StageRuleClasses              // classes for the matcher of rules
	StageMatch                    // rules, and tables without array forms, as if these were empty
	StageTrees                    // the same with what those tables have, and all that is left for packets that one of them has a route for
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

// Stages is a snapshot whose decisions can stop behind a stage.
type Stages struct {
	whole *Snapshot
	blind *Snapshot // the tables that it has as trees are empty
}

// NewStages is for a snapshot that has been promoted.
func NewStages(s *Snapshot) *Stages {
	blind := *s
	blind.tables = slices.Clone(s.tables)
	for i := range blind.tables {
		if t := &blind.tables[i]; !t.routes.HasArrays() {
			t.routes, t.onMiss = fib.NewTable(t.name), MissFallThrough
		}
	}
	return &Stages{s, &blind}
}

// DecideUpTo is Decide as far as a stage, by the same code; at StageConclude it is Decide. Verdicts have then what the stages wrote.
// Keys are a batch: at most 64. Differences between stages, over many batches, are what each takes. A batch pays for it
// with a few comparisons.
func (t *Stages) DecideUpTo(last Stage, keys []packet.Key, verdicts []Verdict, tally *Tally) {
	s := t.whole
	if last == StageMatch {
		s, last = t.blind, StageTrees
	}
	switch {
	case last >= StageConclude:
		s.Decide(keys, verdicts, tally)
	case s.arrays || s.matches:
		var room batch
		b := &room
		if tally != nil {
			b = &tally.room
		}
		s.decide(b, keys, verdicts[:len(keys)], tally, last)
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
	if s.begin(&f, k, v, tally, nil) && last >= StageMarks && s.runsMarks(k) {
		how, by := s.marks.run(s, &f, nil)
		f.marked(v, how, by)
	}
}
