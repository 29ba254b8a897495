package policy

import (
	"fmt"

	"weir/fib"
)

// ruleLint looks for rules that decide on no packet, in the order of the walk.
type ruleLint struct {
	report  *report
	s       *Snapshot
	order   []int // by rule of the walk: its index in the policy
	regions [][2]region
	answers [2][]bool // by family and table: every lookup has an answer
	gotos   [2][]int  // by family: rules that jump
	index   [2]*lintIndex
	idle    []bool // by rule: it has a remark
	work    lintWork
}

// Roles of rules in an index: what takes packets away from those behind it, and what has asked a table in vain.
const (
	roleTakes uint64 = iota
	roleAsks         // and the table's index
)

// lintRules returns which rules of the walk it has remarked on, and the regions of all by family; that of a family
// which the rule is not there for means nothing.
func lintRules(r *report, s *Snapshot, order []int) (idle []bool, of [][2]region) {
	l := &ruleLint{report: r, s: s, order: order, work: lintWork{lintWorkMax}}
	l.regions, l.idle = make([][2]region, len(s.rules)), make([]bool, len(s.rules))
	g := newRegions(s, true, &l.work)
	for f := range families {
		l.answers[f], l.index[f] = tablesThatAnswer(r.policy.Tables, f), newLintIndex()
	}
	targets := map[int]bool{}
	for i := range s.rules {
		for f := range families {
			if s.rules[i].thereFor(f) {
				l.regions[i][f] = g.ofRule(&s.rules[i], f)
				targets[int(s.rules[i].jump[f])] = true
			}
		}
	}
	for i := range s.rules {
		l.rule(i, targets[i])
		if l.work.done() {
			r.rule(order[i]).giveUp("from this rule on, rules that decide nothing were not looked for: too many overlap")
			break
		}
	}
	return l.idle, l.regions
}

// thereFor reports whether the rule is there for a family.
func (r *rule) thereFor(family int) bool { return r.family == 0 || r.family == families[family] }

// rule remarks on rule i of the walk, if in none of its families a packet can get to it, match it and be changed by it.
func (l *ruleLint) rule(i int, target bool) {
	r, at := &l.s.rules[i], l.report.rule(l.order[i])
	l.work.left--
	taken, asked, alive := [2]int{-1, -1}, [2]int{-1, -1}, false
	idle, everything := true, true // in the families before
	var dead *region
	for f := range families {
		a := &l.regions[i][f]
		switch {
		case !idle || !r.thereFor(f):
		case a.empty:
			dead = a
		default:
			alive = true
			if taken[f] = l.taker(i, f); taken[f] >= 0 {
				everything = everything && l.regions[taken[f]][f].everything()
			} else {
				asked[f] = l.asker(i, f)
				idle = asked[f] >= 0
			}
		}
	}
	if l.work.done() {
		return
	}
	for f := range families {
		if r.thereFor(f) && !l.regions[i][f].empty {
			l.enter(i, f)
		}
	}
	by, again := firstOf(taken), firstOf(asked)
	l.idle[i] = idle
	switch {
	case !alive:
		at.warnf("never matches: %s; remove it", dead.exclusion(ruleFieldName))
	case !idle:
	case again >= 0 && by >= 0:
		at.withBy(l.order[by]).warnf("changes nothing: the packets of one family are taken first by %s, and about the others table %[3]s "+
			"is asked in vain first by %[2]s%[4]s",
			culprits("rule", taken, l.name), culprits("rule", asked, l.name), l.s.tables[r.Table].name, advice(target))
	case again >= 0:
		at.withBy(l.order[again]).warnf("changes nothing: about all that it matches, table %[2]s is asked in vain first by %[1]s%[3]s",
			culprits("rule", asked, l.name), l.s.tables[r.Table].name, advice(target))
	case everything:
		at.withBy(l.order[by]).warnf("is never reached: every packet is taken first by %s, %s%s",
			culprits("rule", taken, l.name), ways(taken, l.how), advice(target))
	default:
		at.withBy(l.order[by]).warnf("is shadowed: all that it matches is taken first by %s, %s%s",
			culprits("rule", taken, l.name), ways(taken, l.how), advice(target))
	}
}

// advice is what to do with a rule that no packet needs.
func advice(target bool) string {
	if target {
		return "; move it up, or make it a nop for the goto that lands on it"
	}
	return "; move it up, or remove it"
}

func (l *ruleLint) name(i int) string {
	return fmt.Sprintf("%s (priority %d)", l.s.rules[i].Name, l.s.rules[i].Priority)
}

// how says how a rule takes a packet away.
func (l *ruleLint) how(i int) string {
	switch r := &l.s.rules[i]; r.Action {
	case RuleLookup:
		return "since table " + l.s.tables[r.Table].name + " always has an answer"
	case RuleGoto:
		return fmt.Sprintf("to priority %d", r.Goto)
	default:
		return "to " + r.Action.String()
	}
}

// enter makes rule i known to those behind it.
func (l *ruleLint) enter(i, f int) {
	r, a := &l.s.rules[i], &l.regions[i][f]
	switch r.Action {
	case RuleBlackhole, RuleUnreachable, RuleProhibit:
		l.index[f].add(i, roleTakes, a)
	case RuleGoto:
		if r.jump[f] != None {
			l.gotos[f] = append(l.gotos[f], i)
			l.index[f].add(i, roleTakes, a)
		}
	case RuleLookup:
		if l.answers[f][r.Table] && r.SuppressPrefixLength < 0 && !r.HasSuppressGroup {
			l.index[f].add(i, roleTakes, a)
		} else {
			l.index[f].add(i, roleAsks+uint64(r.Table), a)
		}
	}
}

// taker is an earlier rule that lets no packet of rule i through to it, or -1.
func (l *ruleLint) taker(i, f int) int {
	a := &l.regions[i][f]
	return l.index[f].find(a, roleTakes, &l.work, func(e int) bool {
		if r := &l.s.rules[e]; r.Action == RuleGoto && int(r.jump[f]) <= i {
			return false
		}
		return l.passes(a, i, e, f)
	})
}

// asker is an earlier rule that has looked up the same table for every packet of rule i, and did not take the answer,
// so that rule i will not either; or -1.
func (l *ruleLint) asker(i, f int) int {
	r, a := &l.s.rules[i], &l.regions[i][f]
	if r.Action != RuleLookup {
		return -1
	}
	return l.index[f].find(a, roleAsks+uint64(r.Table), &l.work, func(e int) bool {
		o := &l.s.rules[e]
		if o.Table != r.Table || o.SuppressPrefixLength > r.SuppressPrefixLength ||
			o.HasSuppressGroup && (!r.HasSuppressGroup || o.SuppressGroup != r.SuppressGroup) {
			return false
		}
		return l.passes(a, i, e, f)
	})
}

// passes reports that every packet which gets to rule i and matches it has met rule e and matched it.
func (l *ruleLint) passes(a *region, i, e, f int) bool {
	b := &l.regions[e][f]
	if !l.work.spend(a, b) || !a.subset(b) {
		return false
	}
	for _, g := range l.gotos[f] {
		if g >= e {
			break
		}
		if to := int(l.s.rules[g].jump[f]); e < to && to <= i && (!l.work.spend(a, &l.regions[g][f]) || !a.disjoint(&l.regions[g][f])) {
			return false
		}
		l.work.left--
	}
	return true
}

// ruleFieldName is the name of a field among the selectors of a rule.
func ruleFieldName(f Field) string {
	if f == FieldMark {
		return "fwmark"
	}
	return f.String()
}

// tablesThatAnswer finds the tables in which no lookup of a packet of the family misses: opaque ones, and those with a
// default route for any TOS where no route sends packets back.
func tablesThatAnswer(tables []Table, family int) []bool {
	answers, known := make([]bool, len(tables)), make([]bool, len(tables))
	var visit func(i uint16) bool
	visit = func(i uint16) bool {
		if known[i] {
			return answers[i]
		}
		known[i] = true // there are no cycles
		t := &tables[i]
		switch t.OnMiss {
		case MissUnreachable, MissProhibit, MissBlackhole:
			answers[i] = true
			return true
		case MissLookup:
			if visit(t.MissTarget) {
				answers[i] = true
				return true
			}
		}
		fallback := false
		for j := range t.Routes {
			rt := &t.Routes[j]
			if rt.Prefix.Addr().Is4() == (family == 1) {
				continue
			}
			if rt.Action == fib.Throw || rt.Action == fib.Lookup && !visit(rt.Target) {
				return false
			}
			fallback = fallback || rt.Prefix.Bits() == 0 && rt.TOS == 0
		}
		answers[i] = fallback
		return fallback
	}
	for i := range tables {
		visit(uint16(i))
	}
	return answers
}
