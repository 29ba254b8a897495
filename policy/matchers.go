package policy

// matchers are the compiled forms of rules and statements, by familyIndex; nil where a walk is faster.
type matchers struct {
	rules, statements [2]*matcher
	asks              []asks // by rule, if rules have matchers
}

// asks is what act needs of a rule that asks a table and takes whatever answer that has, in a small part of a cache line.
type asks struct {
	table   uint16
	plainly bool
}

func asksOf(rules []rule) []asks {
	list := make([]asks, len(rules))
	for i := range rules {
		r := &rules[i]
		list[i] = asks{r.Table, r.Action == RuleLookup && r.SuppressPrefixLength < 0 && !r.HasSuppressGroup}
	}
	return list
}

// matchRules makes the matcher of the rules for a family, of about so many words at most.
func (s *Snapshot) matchRules(family, words int) *matcher {
	return makeMatcher(len(s.rules), true, family, words, s.ruleRegions)
}

// matchStatements makes the matcher of the mark program's statements for a family, of about so many words at most.
func (s *Snapshot) matchStatements(family, words int) *matcher {
	return makeMatcher(len(s.marks.statements), false, family, words, s.statementRegions)
}

// makeMatcher makes a matcher of n items: of homes if that can be, or else of vectors.
func makeMatcher(n int, rules bool, family, words int, regions func(int, func(int, *region))) *matcher {
	h := homesMaker{rules: rules, ipv6: family == 1, check: make([]uint64, (n+63)/64)}
	regions(family, h.add)
	if homes := h.make(words); homes != nil {
		return &matcher{homes: homes}
	}
	return makeVectors(n, rules, family, words, regions)
}

func makeVectors(n int, rules bool, family, words int, regions func(int, func(int, *region))) *matcher {
	k := newMatcherMaker(n, rules, family, words)
	regions(family, k.add)
	return k.make()
}

// ruleRegions calls add for each rule that packets of the family may match: with its region, or nil where that would be too long.
func (s *Snapshot) ruleRegions(family int, add func(item int, a *region)) {
	g := newRegions(s, true, &lintWork{})
	left := matcherSpansMax
	for i := range s.rules {
		r := &s.rules[i]
		switch {
		case r.family != 0 && r.family != families[family]:
		case !fits(r.beyond, &left):
			add(i, nil)
		default:
			if a := g.ofRule(r, family); !a.empty {
				add(i, &a)
			}
		}
	}
}

// statementRegions is ruleRegions for the statements of the mark program.
func (s *Snapshot) statementRegions(family int, add func(item int, a *region)) {
	g := newRegions(s, false, &lintWork{})
	left := matcherSpansMax
	for i := range s.marks.statements {
		m := &s.marks.statements[i].match
		switch {
		case !m.families.has(families[family]):
		case !fits(m.conditions, &left):
			add(i, nil)
		default:
			if a := g.ofStatement(m, family); !a.empty {
				add(i, &a)
			}
		}
	}
}

// fits reports whether there is room for the values of the conditions, and takes it.
func fits(conditions []condition, left *int) bool {
	n := 0
	for i := range conditions {
		n += len(conditions[i].Prefixes) + len(conditions[i].Numbers)
	}
	if n > *left {
		return false
	}
	*left -= n
	return true
}

// matches is what a walk finds out about the rule, which is there for the packet's family.
func (r *rule) matches(f *flow) bool { return (r.mismatch(f) == FieldNone) != r.Not }

// matches is what a walk finds out about the statement, which is there for the packet's family.
func (st *statement) matches(f *flow) bool {
	return (mismatch(st.match.conditions, f) == nil) != st.match.not
}

// matchFrom is walkFrom by a matcher's cursor on the packet.
func (s *Snapshot) matchFrom(c *cursor, f *flow, from int, wait bool) (answer result, at int) {
	m := c.m
	c.seek(from, len(s.rules))
	for {
		var i int
		if m.homes != nil { // as next has it, which is too large to be inlined
			i = c.nextHome()
		} else {
			i = c.nextBit()
		}
		if i < 0 {
			return result{rule: None, table: None, outcome: noRoute}, -1
		}
		if m.checked(i) && !s.rules[i].matches(f) {
			continue
		}
		if a := s.matchers.asks[i]; a.plainly {
			f.tally.hit(uint32(i), f)
			if wait && s.tables[a.table].routes.HasArrays() {
				return result{}, i
			}
			if answer = s.lookup(a.table, f, nil); answer.outcome != miss {
				answer.rule = uint16(i)
				return answer, -1
			}
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

// matchMarks is program.run by a matcher's cursor on the packet, whose classes change with the mark and the DSCP.
func (s *Snapshot) matchMarks(c *cursor, f *flow) (how ending, by uint16) {
	p, m := &s.marks, c.m
	w := place{next: p.chains[0].first}
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
		changed := (mark != f.mark || tos != f.tos) && m.reclassify(f, c.class, c.lanes)
		if changed || w.at != st.chain || int(w.next) != i+1 {
			c.seek(int(w.next), int(p.chains[w.at].end))
		}
	}
}
