package policy

// matchers are the compiled forms of rules and statements, by familyIndex; nil where a walk is faster.
type matchers struct{ rules, statements [2]*matcher }

// matchRules makes the matcher of the rules for a family, of about so many words at most.
func (s *Snapshot) matchRules(family, words int) *matcher {
	k := newMatcherMaker(len(s.rules), true, family, words)
	g := newRegions(s, true, &lintWork{})
	for i := range s.rules {
		r := &s.rules[i]
		if r.family != 0 && r.family != families[family] {
			continue
		}
		if !k.fits(r.beyond) {
			k.unlimited(i)
			continue
		}
		a := g.ofRule(r, family)
		k.add(i, &a)
	}
	return k.make()
}

// matchStatements makes the matcher of the mark program's statements for a family, of about so many words at most.
func (s *Snapshot) matchStatements(family, words int) *matcher {
	statements := s.marks.statements
	k := newMatcherMaker(len(statements), false, family, words)
	g := newRegions(s, false, &lintWork{})
	for i := range statements {
		m := &statements[i].match
		if !m.families.has(families[family]) {
			continue
		}
		if !k.fits(m.conditions) {
			k.unlimited(i)
			continue
		}
		a := g.ofStatement(m, family)
		k.add(i, &a)
	}
	return k.make()
}

// fits reports whether there is room for the values of the conditions.
func (k *matcherMaker) fits(conditions []condition) bool {
	n := k.spans
	for i := range conditions {
		n += len(conditions[i].Prefixes) + len(conditions[i].Numbers)
	}
	return n <= matcherSpansMax
}

// matches is what a walk finds out about the rule, which is there for the packet's family.
func (r *rule) matches(f *flow) bool { return (r.mismatch(f) == FieldNone) != r.Not }

// matches is what a walk finds out about the statement, which is there for the packet's family.
func (st *statement) matches(f *flow) bool {
	return (mismatch(st.match.conditions, f) == nil) != st.match.not
}

// matchFrom is walkFrom by a matcher and the packet's classes.
func (s *Snapshot) matchFrom(m *matcher, class *classes, f *flow, from int, wait bool) (answer result, at int) {
	c := cursor{m: m, class: class}
	c.seek(from, len(s.rules))
	for {
		i := c.next()
		if i < 0 {
			return result{rule: None, table: None, outcome: noRoute}, -1
		}
		if m.checked(i) && !s.rules[i].matches(f) {
			continue
		}
		answer, next := s.act(i, f, wait, nil)
		switch next {
		case decided:
			return answer, -1
		case waits:
			return answer, i
		case i + 1:
		default:
			c.seek(next, len(s.rules))
		}
	}
}

// matchMarks is program.run by a matcher and the packet's classes, which it changes with the mark and the DSCP.
func (s *Snapshot) matchMarks(m *matcher, class *classes, f *flow) (how ending, by uint16) {
	p := &s.marks
	w := place{next: p.chains[0].first}
	c := cursor{m: m, class: class}
	c.seek(int(w.next), int(p.chains[w.at].end))
	for {
		i := c.next()
		if i < 0 {
			if !w.back() {
				return accepted, None
			}
			c.seek(int(w.next), int(p.chains[w.at].end))
			continue
		}
		st := &p.statements[i]
		if m.checked(i) && !st.matches(f) {
			continue
		}
		f.tally.hit(s.cells.statements+uint32(i), f)
		w.next = uint16(i) + 1
		mark, tos := f.mark, f.tos
		how, ended := w.act(p, st, f)
		if ended {
			return how, uint16(i)
		}
		changed := (mark != f.mark || tos != f.tos) && m.reclassify(f, class)
		if changed || w.at != st.chain || int(w.next) != i+1 {
			c.seek(int(w.next), int(p.chains[w.at].end))
		}
	}
}
