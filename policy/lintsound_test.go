package policy

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// genOverlaps makes rules and statements resemble earlier ones, so that some do contain others, and marks and lookups meet.
func genOverlaps(t *rapid.T, p *Policy) {
	some := func(label string) bool { return rapid.IntRange(0, 2).Draw(t, label) == 0 }
	for i := range p.Rules {
		if i == 0 || !some("like an earlier rule") {
			continue
		}
		from := &p.Rules[rapid.IntRange(0, i-1).Draw(t, "earlier rule")]
		p.Rules[i].Match, p.Rules[i].Not = from.Match, from.Not
		if m := &p.Rules[i].Match; some("narrower") && !m.HasProto {
			m.HasProto, m.Proto = true, 17
		}
		if !some("other table") && from.Action == RuleLookup && p.Rules[i].Action == RuleLookup {
			p.Rules[i].Table = from.Table
		}
	}
	for c := range p.Marks {
		list := p.Marks[c].Statements
		for i := range list {
			if i == 0 || !some("like an earlier statement") {
				continue
			}
			from := &list[rapid.IntRange(0, i-1).Draw(t, "earlier statement")]
			list[i].Match = from.Match
			list[i].Match.Conditions = slices.Clone(from.Match.Conditions)
			if some("narrower") && !list[i].Match.Not {
				list[i].Match.Conditions = append(list[i].Match.Conditions, is(FieldTTL, 64))
			}
			if !some("other actions") {
				if some("that set") {
					from.Then = []Then{{Action: MarkSet, Mark: 1, Mask: 1}}
				}
				list[i].Then = slices.Clone(from.Then)
			}
		}
	}
	for i := range p.Rules { // more bits than are set, and not all of them
		if some("other mark") {
			p.Rules[i].Match.Mark, p.Rules[i].Match.MarkMask = rapid.Uint32Range(0, 7).Draw(t, "mark"), rapid.SampledFrom([]uint32{1, 4, 5, 7}).Draw(t, "mask")
		}
	}
	if some("few bits read") {
		for i := range p.Rules {
			p.Rules[i].Match.MarkMask &= 1
		}
	}
	if some("tos at every rule") {
		for i := range p.Rules {
			if m := &p.Rules[i].Match; !m.HasDSCP {
				m.HasTOS, m.TOS = true, 0x18
			}
		}
	}
}

func genLintPolicy(t *rapid.T, ports []Port) Policy {
	p := genPolicy(t, ports)
	p.Marks = genMarks(t, len(ports))
	genOverlaps(t, &p)
	return p
}

func compileFor(t *rapid.T, p *Policy) *Snapshot {
	s, err := Compile(p)
	if err != nil {
		t.Fatalf("compile: %v", err)
	}
	return s
}

// remarkKind is which of its claims lint makes: the beginning of a message.
func remarkKind(w *CompileError) string {
	for _, kind := range []string{"is shadowed", "is never reached", "changes nothing", "never matches", "nothing reads the mark", "nothing leads to it"} {
		if strings.HasPrefix(w.Msg, kind) {
			return kind
		}
	}
	if w.Route >= 0 && strings.Contains(w.Msg, "never matches") {
		return "tos"
	}
	return ""
}

// without is the policy without what the remarks are on. Tables stay, with other contents, and rules that a goto may land
// on become a nop.
func without(p *Policy, remarks []*CompileError) *Policy {
	q := *p
	q.Rules, q.Tables, q.Marks = slices.Clone(p.Rules), slices.Clone(p.Tables), slices.Clone(p.Marks)
	rules, statements, routes := map[int]bool{}, map[[2]int]bool{}, map[[2]int]bool{}
	for i := range q.Marks {
		q.Marks[i].Statements = slices.Clone(q.Marks[i].Statements)
	}
	for _, w := range remarks {
		switch {
		case remarkKind(w) == "nothing reads the mark":
			st := &q.Marks[w.Chain].Statements[w.Statement]
			st.Then = slices.DeleteFunc(slices.Clone(st.Then), func(then Then) bool {
				return then.Action == MarkSet && strings.Contains(w.Msg, "mark "+hex(then.Mark&then.Mask, then.Mask)+" that")
			})
		case w.Rule >= 0:
			rules[w.Rule] = true
		case w.Statement >= 0:
			statements[[2]int{w.Chain, w.Statement}] = true
		case w.Route >= 0:
			routes[[2]int{w.Table, w.Route}] = true
		case w.Table >= 0:
			q.Tables[w.Table].OnMiss, q.Tables[w.Table].Routes = MissBlackhole, nil
		}
	}
	q.Rules = nil
	for i, r := range p.Rules {
		landing := slices.ContainsFunc(p.Rules, func(o Rule) bool { return o.Action == RuleGoto && o.Goto == r.Priority })
		switch {
		case rules[i] && landing:
			r.Action = RuleNop
			q.Rules = append(q.Rules, r)
		case !rules[i]:
			q.Rules = append(q.Rules, r)
		}
	}
	for c := range q.Marks {
		var left []Statement
		for i, st := range q.Marks[c].Statements {
			if !statements[[2]int{c, i}] {
				left = append(left, st)
			}
		}
		q.Marks[c].Statements = left
	}
	for i := range q.Tables {
		var left []fib.Route
		for j, r := range q.Tables[i].Routes {
			if !routes[[2]int{i, j}] {
				left = append(left, r)
			}
		}
		q.Tables[i].Routes = left
	}
	return &q
}

// verdictText is a verdict with names for indexes. The mark is left out, which no wire shows.
func verdictText(s *Snapshot, v Verdict) string {
	chain, statement := s.StatementName(v.Statement)
	rule, table := s.RuleName(v.Rule), s.TableName(v.Table)
	v.Rule, v.Statement, v.Mark, v.Adjacency = 0, 0, 0, 0
	return fmt.Sprintf("%+v rule %s table %s statement %s %s", v, rule, table, chain, statement)
}

// TestLintIsSound takes what lint remarks on away, each alone and all together, and compares the verdicts.
func TestLintIsSound(t *testing.T) {
	ports := newLab(t).Ports
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := genLintPolicy(t, ports)
		s := compileFor(t, &p)
		var remarks []*CompileError
		var others []*Snapshot
		for _, w := range s.Warnings() {
			if kind := remarkKind(w); kind != "" {
				seen[fmt.Sprintf("%s rule=%v", kind, w.Rule >= 0)]++
				remarks = append(remarks, w)
				others = append(others, compileFor(t, without(&p, []*CompileError{w})))
			}
		}
		others = append(others, compileFor(t, without(&p, remarks)))
		for range 30 {
			k := genMarkKey(t, len(ports))
			k.Mark = 0
			want := verdictText(s, s.Evaluate(&k, nil))
			for i, o := range others {
				if got := verdictText(o, o.Evaluate(&k, nil)); got != want {
					claim := "all of these\n" + CompileErrors(remarks).Error()
					if i < len(remarks) {
						claim = remarks[i].Error()
					}
					var b strings.Builder
					s.Explain(&k).WriteText(&b)
					t.Fatalf("%s\nwithout it %s\nwith it    %s\npacket %+v\nrules %+v\n%s", claim, got, want, k, p.Rules, &b)
				}
			}
		}
	})
	for _, kind := range []string{"is shadowed rule=true", "is shadowed rule=false", "is never reached rule=true", "is never reached rule=false",
		"changes nothing rule=true", "changes nothing rule=false", "never matches rule=true", "never matches rule=false",
		"nothing reads the mark rule=false", "nothing leads to it rule=false", "tos rule=false"} {
		if seen[kind] == 0 {
			t.Errorf("no remark %q in any random policy", kind)
		}
	}
}

// contains is whether a packet is in a region, dimension by dimension.
func (a *region) contains(f *flow, own bool) bool {
	if a.empty {
		return false
	}
	value := func(d dimension) u128 {
		k := f.key
		sport, dport := k.SrcPort, k.DstPort
		if own { // a rule's ports
			sport, dport = f.sport, f.dport
		}
		switch d {
		case dimFrom:
			return addr128(f.src)
		case dimTo:
			return addr128(f.dst)
		}
		return number128(map[dimension]uint32{dimIngress: uint32(k.Ingress), dimDSCP: uint32(f.tos >> 2), dimProto: uint32(k.Proto),
			dimFragment: uint32(k.Fragment), dimSport: uint32(sport), dimDport: uint32(dport), dimICMPType: uint32(k.ICMPType), dimICMPCode: uint32(k.ICMPCode),
			dimTCPFlags: uint32(k.TCPFlags), dimLength: uint32(k.Length), dimTTL: uint32(k.TTL), dimFlow: k.FlowLabel, dimMark: f.mark}[d])
	}
	in := true
	for _, l := range a.limits {
		x := value(l.dim)
		in = in && spans{{x, x}}.subset(l.spans)
	}
	for _, c := range a.clauses {
		x := uint32(value(c.dim).lo)
		met := slices.ContainsFunc(c.ranges, func(r Range) bool { return r.Lo <= x&r.Mask && x&r.Mask <= r.Hi })
		in = in && met != c.not
	}
	return in != a.not
}

// TestRegions holds regions to the packets that a rule or a statement matches, and their comparisons to the same.
func TestRegions(t *testing.T) {
	ports := newLab(t).Ports
	found := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		p := genLintPolicy(t, ports)
		for i := range p.Rules {
			for range rapid.IntRange(0, 1).Draw(t, "beyond") {
				if c := genCondition(t, len(ports)); c.Field > FieldFlowLabel {
					p.Rules[i].Match.Beyond = append(p.Rules[i].Match.Beyond, c)
				}
			}
		}
		s := compileFor(t, &p)
		type labelled struct {
			region
			family int
			own    bool
			match  func(f *flow) bool
		}
		var list []labelled
		rules, statements := newRegions(s, true, &lintWork{}), newRegions(s, false, &lintWork{})
		for family := range families {
			for i := range s.rules {
				if r := &s.rules[i]; r.thereFor(family) {
					list = append(list, labelled{rules.ofRule(r, family), family, true, func(f *flow) bool { return (r.mismatch(f) == FieldNone) != r.Not }})
				}
			}
			for i := range s.marks.statements {
				if m := &s.marks.statements[i].match; m.families.has(families[family]) {
					list = append(list, labelled{statements.ofStatement(m, family), family, false, func(f *flow) bool { return (mismatch(m.conditions, f) == nil) != m.not }})
				}
			}
		}
		for range 20 {
			k := genMarkKey(t, len(ports))
			var f flow
			f.fill(s, &k)
			var in []bool
			for i := range list {
				a := &list[i]
				in = append(in, a.family == familyIndex(k.Family) && a.match(&f))
				if a.family == familyIndex(k.Family) && a.contains(&f, a.own) != in[i] {
					t.Fatalf("region %+v has the packet: %v, and it matches: %v\n%+v", a.region, !in[i], in[i], k)
				}
			}
			for i := range list {
				for j := range list {
					a, b := &list[i], &list[j]
					if a.family != familyIndex(k.Family) || b.family != a.family || a.own != b.own {
						continue
					}
					subset, disjoint := a.subset(&b.region), a.disjoint(&b.region)
					if subset && in[i] && !in[j] || disjoint && in[i] && in[j] {
						t.Fatalf("subset %v, disjoint %v, in %v %v\n%+v\n%+v\n%+v", subset, disjoint, in[i], in[j], a.region, b.region, k)
					}
					if subset && i != j && !a.empty && !b.everything() {
						found["subset"]++
						index := newLintIndex()
						index.add(7, roleTakes, &b.region)
						if index.find(&a.region, roleTakes, &lintWork{1000}, func(int) bool { return true }) != 7 {
							found["missed"]++
						}
					}
					if disjoint && !a.empty && !b.empty {
						found["disjoint"]++
					}
				}
			}
		}
	})
	if found["subset"] == 0 || found["disjoint"] == 0 || found["missed"] > found["subset"]/20 {
		t.Errorf("%v", found)
	}
}

// TestSpans compares sets of numbers with sets of the numbers themselves.
func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gen := func() (spans, map[uint32]bool) {
			has := rapid.SliceOfN(rapid.Bool(), 16, 16).Draw(t, "members")
			in := map[uint32]bool{}
			for i, yes := range has {
				in[uint32(i)] = yes
			}
			return filter(15, func(x uint32) bool { return in[x] }), in
		}
		a, ina := gen()
		b, inb := gen()
		subset, disjoint := true, true
		for x := range uint32(16) {
			one := numbers(x)
			if one.subset(a) != ina[x] || one.subset(a.complement(interval(0, 15))) == ina[x] || one.subset(a.intersect(b)) != (ina[x] && inb[x]) {
				t.Fatal(a, b, x)
			}
			subset, disjoint = subset && (!ina[x] || inb[x]), disjoint && !(ina[x] && inb[x])
		}
		if a.subset(b) != subset || a.disjoint(b) != disjoint {
			t.Fatal(a, b, subset, disjoint)
		}
	})
}

// TestAddressSpans: prefixes are blocks of their own size, in both families.
func TestAddressSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		family := genFamily(t)
		p := genPrefix(t, family)
		a := genAddr(t, family)
		set := prefixSpans(disjointPrefixes(within(FieldFrom, p.String()).Prefixes), family == packet.IPv6)
		if free, ok := set[0].block(); !ok || free != p.Addr().BitLen()-p.Bits() {
			t.Fatalf("%v is %v, a block of %d bits %v", p, set, free, ok)
		}
		x := addr128(a)
		if (spans{{x, x}}).subset(set) != p.Contains(a) {
			t.Fatalf("%v in %v: %v", a, p, set)
		}
		if free, _ := set[0].block(); (addr128(a).clear(free) == set[0].lo) != p.Contains(a) {
			t.Fatalf("%v under %d bits is %v", a, free, addr128(a).clear(free))
		}
	})
}
