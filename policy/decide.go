package policy

import (
	"weir/fib"
	"weir/policy/packet"
)

// arrayRoutes is how many routes a table has when its array forms pay. A lookup in the tree of a table that fits the
// caches takes 30 to 60 ns, in the arrays 3 to 8; but for routes scattered over the Internet those take more than a
// kilobyte a route until there are some hundred thousand.
const arrayRoutes = 8192

// Rules and statements are found by matchers where there are more than these. A matcher takes 30 to 50 ns a packet, whatever
// the number, and a walk 3 to 6 ns a rule, and 15 ns a statement with a set of addresses (BenchmarkRules, BenchmarkStatements).
const (
	walkedRules      = 10
	walkedStatements = 2
)

// Promote makes what Decide works with: the array forms of large tables, which it then looks up a batch at a time, and the
// matchers of long lists of rules and statements. It is for snapshots that will run, before they do. What it could not make is
// in the errors, and stays as it was.
func (s *Snapshot) Promote() (errs []error) {
	s.match(walkedRules, walkedStatements)
	return s.promote(func(t *fib.Table) bool { return t.Len() >= arrayRoutes })
}

func (s *Snapshot) promote(pays func(*fib.Table) bool) (errs []error) {
	for i := range s.tables {
		t := s.tables[i].routes
		if !pays(t) {
			continue
		}
		if err := t.Build(); err != nil {
			errs = append(errs, err)
			continue
		}
		s.arrays = true
	}
	return errs
}

// match makes the matchers of lists with more rules, or statements, than are walked.
func (s *Snapshot) match(rules, statements int) {
	if len(s.rules) > rules {
		s.matchers.asks = asksOf(s.rules)
	}
	for family := range families {
		if len(s.rules) > rules {
			s.matchers.rules[family], s.matches = s.matchRules(family, matcherWordsMax), true
		}
		if len(s.marks.statements) > statements {
			s.matchers.statements[family], s.matches = s.matchStatements(family, matcherWordsMax), true
		}
	}
}

// Form says how Decide looks up table i.
func (s *Snapshot) Form(i uint16) string {
	if !s.arrays {
		return "tree"
	}
	return s.tables[i].routes.Form()
}

// Decide gives each key its verdict: verdicts[i] is the decision on keys[i]. Verdicts must be at least as long as
// keys. Key.Ingress must be set (see Ingress). The tally, if there is one, counts what matched. It allocates nothing.
//
// It is the specification, packet by packet, where there is neither an array form nor a matcher. Else the packets of a batch
// go from step to step together: they get their classes, field by field, and where a rule asks a table that has
// array forms, those that wait for one table are looked up together. So their cache misses overlap.
func (s *Snapshot) Decide(keys []packet.Key, verdicts []Verdict, tally *Tally) {
	verdicts = verdicts[:len(keys)]
	if !s.arrays && !s.matches {
		for i := range keys {
			s.evaluate(&keys[i], &verdicts[i], tally, nil)
		}
		return
	}
	if tally != nil {
		s.decideAll(&tally.room, keys, verdicts, tally)
		return
	}
	var room batch
	s.decideAll(&room, keys, verdicts, nil)
}

func (s *Snapshot) decideAll(b *batch, keys []packet.Key, verdicts []Verdict, tally *Tally) {
	for len(keys) > fib.BatchMax {
		s.decide(b, keys[:fib.BatchMax], verdicts[:fib.BatchMax], tally, StageConclude)
		keys, verdicts = keys[fib.BatchMax:], verdicts[fib.BatchMax:]
	}
	s.decide(b, keys, verdicts, tally, StageConclude)
}

// batch is packets on their way through the rules.
type batch struct {
	flows   [fib.BatchMax]flow
	classes [fib.BatchMax]classes
	lanes   [fib.BatchMax]lanes
	columns columns
	room    cursorRoom
	rules   [fib.BatchMax]uint16 // that a packet waits at: it asks a table with array forms
	open    [fib.BatchMax]uint8  // packets that wait, for a step or at a rule
	n       int                  // their number
	now     [fib.BatchMax]uint8  // those that are looked up, or classified, now

	four  [fib.BatchMax]uint32
	six   [4][fib.BatchMax]uint32
	found fib.Found
}

// decide is Decide for a batch, as far as a stage, see Stages. Nothing of what b had before matters.
func (s *Snapshot) decide(b *batch, keys []packet.Key, verdicts []Verdict, tally *Tally, last Stage) {
	b.n = 0
	for i := range keys {
		f := &b.flows[i]
		if s.begin(f, &keys[i], &verdicts[i], tally, nil) {
			f.matched = true
			b.open[b.n] = uint8(i)
			b.n++
		}
	}
	if last == StageBegin {
		return
	}
	if len(s.marks.chains) > 0 {
		s.markBatch(b, verdicts, last)
	}
	if last <= StageMarks {
		return
	}
	b.classify(&s.matchers.rules)
	if last == StageRuleClasses {
		return
	}
	begun := b.open
	n := b.n
	b.n = 0
	for _, i := range begun[:n] {
		s.advance(b, i, 0, &verdicts[i])
	}
	if last == StageTrees {
		return
	}
	for b.n > 0 {
		s.lookUp(b, verdicts, last)
	}
}

// markBatch takes the open packets through the mark program, and closes those that it ends.
func (s *Snapshot) markBatch(b *batch, verdicts []Verdict, last Stage) {
	b.classify(&s.matchers.statements)
	if last == StageMarkClasses {
		return
	}
	left := 0
	for _, i := range b.open[:b.n] {
		f := &b.flows[i]
		if s.runsMarks(f.key) {
			var how ending
			var by uint16
			if m := s.matchers.statements[familyIndex(f.key.Family)]; m != nil {
				c := cursor{m: m, class: &b.classes[i], lanes: &b.lanes[i], room: &b.room}
				how, by = s.matchMarks(&c, f)
			} else {
				how, by = s.marks.run(s, f, nil)
			}
			if !f.marked(&verdicts[i], how, by) {
				continue
			}
		}
		b.open[left] = i
		left++
	}
	b.n = left
}

// classify gives the open packets their classes, facet by facet.
func (b *batch) classify(matchers *[2]*matcher) {
	for family, m := range matchers {
		if m == nil {
			continue
		}
		n := 0
		for _, i := range b.open[:b.n] {
			if familyIndex(b.flows[i].key.Family) == family {
				b.now[n] = i
				n++
			}
		}
		if n == 0 {
			continue
		}
		if m.homes != nil {
			m.homes.batch(b, b.now[:n])
			continue
		}
		for c := range m.facets {
			facet := &m.facets[c]
			for _, i := range b.now[:n] {
				b.classes[i][c&(facetsMax-1)] = facet.class(&b.flows[i])
			}
		}
	}
}

// advance takes a packet on through the rules from the given one, to its end or to where it waits.
func (s *Snapshot) advance(b *batch, i uint8, rule int, v *Verdict) {
	f := &b.flows[i]
	var r result
	var at int
	if m := s.matchers.rules[familyIndex(f.key.Family)]; m != nil {
		c := cursor{m: m, class: &b.classes[i], lanes: &b.lanes[i], room: &b.room}
		r, at = s.matchFrom(&c, f, rule, true)
	} else {
		r, at = s.walkFrom(f, rule, true, nil)
	}
	if at < 0 {
		s.conclude(f, v, r, nil)
		return
	}
	b.rules[i] = uint16(at)
	b.open[b.n] = i
	b.n++
}

// lookUp looks up the packets that wait for the same table as the first one, and takes them on.
func (s *Snapshot) lookUp(b *batch, verdicts []Verdict, last Stage) {
	first := b.open[0]
	index, family := s.rules[b.rules[first]].Table, b.flows[first].key.Family
	tab := &s.tables[index]
	n, left := 0, 0
	for _, i := range b.open[:b.n] {
		f := &b.flows[i]
		if s.rules[b.rules[i]].Table != index || f.key.Family != family {
			b.open[left] = i
			left++
			continue
		}
		addr := &f.key.Dst
		if tab.key == BySource {
			addr = &f.key.Src
		}
		if family == packet.IPv6 {
			for w := range b.six {
				b.six[w][n] = ipv4Word(addr[4*w : 4*w+4])
			}
		} else {
			b.four[n] = ipv4Word(addr[12:16])
		}
		b.now[n] = i
		n++
	}
	b.n = left

	array, ok := tab.routes.Array()
	var answers []*fib.Answer
	switch {
	case !ok: // a change has just taken them away
	case family == packet.IPv6:
		array.Lookup6(&b.six, n, &b.found)
		answers = array.Answers()
	default:
		array.Lookup4(&b.four, n, &b.found)
		answers = array.Answers()
	}
	if last == StageArrays {
		return
	}
	for j, i := range b.now[:n] {
		f, rule := &b.flows[i], b.rules[i]
		var r result
		if answers == nil {
			r = s.lookup(index, f, nil)
		} else {
			r = s.answered(index, f, answers[b.found[j]])
		}
		if s.passedOver(&s.rules[rule], r, f, nil) {
			s.advance(b, i, int(rule)+1, &verdicts[i])
			continue
		}
		r.rule = rule
		s.conclude(f, &verdicts[i], r, nil)
	}
}

// answered goes on from what array forms have found. Where that is not all, since another prefix may be asked for next, the
// tree is looked up from the start: what it has may be older or newer, but belongs together.
func (s *Snapshot) answered(index uint16, f *flow, answer *fib.Answer) result {
	route, final := answer.Route(f.tos)
	if !final || route != nil && (route.Resume || s.linksDown && route.Action == fib.Unicast && !s.Adjacencies.Stands(route)) {
		return s.lookup(index, f, nil)
	}
	addr := f.dst
	if s.tables[index].key == BySource {
		addr = f.src
	}
	return s.follow(index, f, nil, addr, route, route != nil, nil)
}
