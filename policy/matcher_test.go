package policy

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// genLong makes lists of rules and statements long, so that they fill words and segments: of copies that ask for a bit more,
// and mostly only count.
func genLong(t *rapid.T, p *Policy, ports int) {
	rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
	length := func(label string) int {
		return rapid.SampledFrom([]int{0, 0, 60, 64, 70, 300, 1100}).Draw(t, label)
	}
	some := func(one int) bool { return rng.IntN(one) == 0 }
	address := func() netip.Addr {
		b := func() byte { return []byte{0, 1, 2, 0x80}[rng.IntN(4)] }
		return netip.AddrFrom4([4]byte{10, b(), b(), b()})
	}
	pool := p.Rules
	for n := length("rules"); len(pool) > 0 && len(p.Rules) < n; {
		r := pool[rng.IntN(len(pool))]
		r.Priority = rng.Uint32N(uint32(n))
		if r.Action != RuleGoto && !some(100) {
			r.Action = RuleNop
		}
		if r.Action != RuleLookup {
			r.SuppressPrefixLength, r.HasSuppressGroup, r.SuppressGroup = -1, false, 0
		}
		r.Goto = r.Priority + 1 + rng.Uint32N(50)
		if m := &r.Match; m.Family != packet.IPv6 && !m.To.IsValid() && !m.HasFlow && !m.From.IsValid() && some(2) {
			m.From = netip.PrefixFrom(address(), 8+rng.IntN(25)).Masked()
		}
		if some(5) {
			r.Match.HasMark, r.Match.Mark, r.Match.MarkMask = true, rng.Uint32N(4), 1<<rng.IntN(32)|rng.Uint32N(4)
		}
		if some(5) {
			r.Match.Dport = PortMatch{Lo: uint16(rng.IntN(3)), Hi: 3, Kind: PortRange}
		}
		p.Rules = append(p.Rules, r)
	}
	for i := range p.Marks {
		c := &p.Marks[i]
		pool := c.Statements
		for n := length("statements"); len(pool) > 0 && len(c.Statements) < n; {
			st := pool[rng.IntN(len(pool))]
			st.Name = fmt.Sprint("copy", len(c.Statements))
			st.Match.Conditions = append([]Condition{is(FieldTTL, rng.Uint32N(3))}, st.Match.Conditions...)
			if some(2) {
				st.Match.Conditions = append([]Condition{under(FieldMark, rng.Uint32N(8), 1<<rng.IntN(3))}, st.Match.Conditions...)
			}
			if st.Match.Family != packet.IPv6 && some(4) && st.Match.families() == bothFamilies {
				st.Match.Conditions = append(st.Match.Conditions, Condition{Field: FieldTo, Not: some(2), Prefixes: []netip.Prefix{netip.PrefixFrom(address(), 8+rng.IntN(25)).Masked()}})
			}
			st.Then = []Then{{Action: MarkSet, Mark: rng.Uint32N(8), Mask: rng.Uint32N(8)}}
			if some(9) {
				st.Then = append(st.Then, Then{Action: MarkDSCP, DSCP: uint8(rng.IntN(64))})
			}
			if some(200) {
				st.Then = append(st.Then, Then{Action: MarkReturn})
			}
			c.Statements = append(c.Statements, st)
		}
	}
}

// TestMatchersDecideAlike holds decisions by matchers to the specification: the same verdicts, and the same hits, with array
// forms and without, while links are down, for the router's own packets, and on the way back.
func TestMatchersDecideAlike(t *testing.T) {
	for _, width := range widths() {
		t.Run(width, func(t *testing.T) {
			setVectors(t, width)
			matchersDecideAlike(t)
		})
	}
}

func matchersDecideAlike(t *testing.T) {
	ports := newLab(t).Ports
	var matched, marked, back, own, homes, vectors int
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, append([]Port(nil), ports...))
		for i := range p.Tables {
			p.Tables[i].Counters = true
		}
		for i := range p.Ports {
			p.Ports[i].ReversePath = ReversePath(rapid.SampledFrom([]int{0, 0, 1, 2}).Draw(t, "reverse path"))
			p.Ports[i].SourceMark = rapid.Bool().Draw(t, "source mark")
		}
		if rapid.Bool().Draw(t, "marks") {
			p.Marks = genMarks(t, len(ports))
		}
		for i := range p.Rules {
			if c := genCondition(t, len(ports)); c.Field > FieldFlowLabel {
				p.Rules[i].Match.Beyond = append(p.Rules[i].Match.Beyond, c)
			}
		}
		if rapid.IntRange(0, 3).Draw(t, "long") == 0 {
			genLong(t, &p, len(ports))
		}
		for i := range p.Rules {
			p.Rules[i].Name = fmt.Sprint(i)
		}
		s, with := compileFor(t, &p), compileFor(t, &p)
		if rapid.Bool().Draw(t, "arrays") {
			if errs := with.promote(func(*fib.Table) bool { return true }); errs != nil {
				t.Fatal(errs)
			}
		}
		with.match(0, 0)
		if rapid.IntRange(0, 2).Draw(t, "bit vectors") == 0 {
			for family := range families {
				with.matchers.rules[family] = makeVectors(len(with.rules), true, family, matcherWordsMax, with.ruleRegions)
				if n := len(with.marks.statements); n > 0 {
					with.matchers.statements[family] = makeVectors(n, false, family, matcherWordsMax, with.statementRegions)
				}
			}
		}
		for _, m := range slices.Concat(with.matchers.rules[:], with.matchers.statements[:]) {
			switch {
			case m == nil:
			case m.homes != nil:
				homes++
			default:
				vectors++
			}
		}
		if rapid.Bool().Draw(t, "link down") {
			down := uint16(rapid.IntRange(0, len(ports)-1).Draw(t, "port"))
			s = s.WithAdjacencies(s.Adjacencies.WithDown(down))
			with = with.WithAdjacencies(with.Adjacencies.WithDown(down))
		}
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) packet.Key {
			k := genMarkKey(t, len(ports))
			if rapid.IntRange(0, 9).Draw(t, "own") == 0 {
				k.Ingress = LocalOutput
			}
			return k
		}), 40, 150).Draw(t, "keys")
		want, got := make([]Verdict, len(keys)), make([]Verdict, len(keys))
		counted, counts := s.NewTally(), with.NewTally()
		counted.Now, counts.Now = 5, 5
		s.Decide(keys, want, counted)
		with.Decide(keys, got, counts)
		for i := range keys {
			if got[i] != want[i] {
				t.Fatalf("%+v: %+v, the specification has %+v", keys[i], got[i], want[i])
			}
			if plain := with.Evaluate(&keys[i], nil); plain != want[i] {
				t.Fatalf("%+v: evaluate %+v, before Promote %+v", keys[i], plain, want[i])
			}
			v, k := &got[i], &keys[i]
			switch {
			case v.Rule != None && k.Ingress == LocalOutput:
				own++
			case v.Rule != None:
				matched++
				if p.Ports[k.Ingress].ReversePath != ReverseOff && (v.Action == Forward || v.Reason == packet.ReversePath) {
					back++
				}
			case v.Statement != None:
				marked++
			}
		}
		for i := range counted.hits {
			if counted.hits[i] != counts.hits[i] {
				t.Fatalf("cell %d of %+v: %+v, the specification has %+v", i, s.cells, counts.hits[i], counted.hits[i])
			}
		}
	})
	if matched == 0 || marked == 0 || back == 0 || own == 0 || homes == 0 || vectors == 0 {
		t.Error("something did not happen")
	}
	t.Logf("rules decided %d times, and %d for own packets, statements %d times, and %d ways back were looked for; %d matchers were of homes and %d of bit vectors",
		matched, own, marked, back, homes, vectors)
}

// TestMatchersDoNotAllocate runs batches by matchers of several segments, with chains, marks that change, and the way back.
func TestMatchersDoNotAllocate(t *testing.T) {
	l, keys := benchRules(t, 3000)
	l.Ports[0].ReversePath = ReverseStrict
	for i := range 3000 {
		l.chain([]string{MainChain, "a", "b"}[i%3], l.when("mark 0x1/0x1, dscp 8", is(FieldDport, uint32(i))), l.when("mark 0x0/0x1", under(FieldMark, 1, 1), within(FieldTo, "10.0.0.0/8")))
	}
	l.chain(MainChain, l.when("jump a"), l.when("goto b"))
	s := l.compile()
	if errs := s.Promote(); errs != nil {
		t.Fatal(errs)
	}
	if s.matchers.rules[0] == nil || s.matchers.statements[0] == nil {
		t.Fatal("no matchers")
	}
	keys = keys[:256]
	for i := range 20 {
		keys = append(keys, key(t, s, fmt.Sprintf("iif=em0 src=2001:db8:9::9 dst=2001:db8:5::%d", i)))
	}
	verdicts, tally := make([]Verdict, len(keys)), s.NewTally()
	if n := testing.AllocsPerRun(20, func() { s.Decide(keys, verdicts, tally) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestMatcherIsBounded has a matcher without room for its facets check all items.
func TestMatcherIsBounded(t *testing.T) {
	l, keys := benchRules(t, 2000)
	s, tight := l.compile(), l.compile()
	vectors := func(words int) *matcher { return makeVectors(len(s.rules), true, 0, words, s.ruleRegions) }
	whole := vectors(matcherWordsMax)
	for _, words := range []int{0, 1000, 20_000, 100_000} {
		m := vectors(words)
		if size := m.size(); size > words || len(m.facets) >= len(whole.facets) {
			t.Errorf("%d words and %d facets of %d in %d words", size, len(m.facets), len(whole.facets), words)
		}
		tight.matchers.rules[0], tight.matchers.asks, tight.matches = m, asksOf(tight.rules), true
		verdicts := make([]Verdict, 64)
		tight.Decide(keys[:64], verdicts, nil)
		for i := range verdicts {
			if want := s.Evaluate(&keys[i], nil); verdicts[i] != want {
				t.Errorf("%+v: %+v, the specification has %+v", keys[i], verdicts[i], want)
			}
		}
	}
}

// TestFacetsFindClasses holds the look-up of a facet's classes to a search from the front.
func TestFacetsFindClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		form := facetForm(rapid.IntRange(0, 2).Draw(t, "form"))
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		near := u128{rng.Uint64(), rng.Uint64()}
		limited := func(x u128) u128 {
			switch form {
			case byPage:
				return u128{lo: x.lo & 0xffff}
			case byNarrow:
				return u128{lo: x.lo & 0xffffffff}
			}
			return x
		}
		value := func() u128 {
			switch rng.IntN(4) {
			case 0:
				return limited(u128{rng.Uint64(), rng.Uint64()})
			case 1:
				return limited(u128{near.hi, near.lo + uint64(rng.IntN(500))})
			case 2:
				return limited(u128{near.hi + uint64(rng.IntN(500)), uint64(rng.IntN(2))})
			}
			return limited(u128{math.MaxUint64, math.MaxUint64})
		}
		bounds := []u128{{}}
		for range rapid.SampledFrom([]int{0, 1, 2, 10, 1000}).Draw(t, "bounds") {
			bounds = append(bounds, value())
		}
		slices.SortFunc(bounds, u128.compare)
		bounds = slices.Compact(bounds)
		classOf := make([]uint32, len(bounds))
		for i := range classOf {
			classOf[i] = rng.Uint32()
		}
		c := facet{form: form, dim: dimLength, mask: AllBits}
		c.lay(bounds, classOf)
		for range 200 {
			x := value()
			switch b := bounds[rng.IntN(len(bounds))]; rng.IntN(4) {
			case 0:
				x = b
			case 1:
				x = limited(b.previous())
			}
			want := uint32(0)
			for i := range bounds {
				if bounds[i].compare(x) <= 0 {
					want = classOf[i]
				}
			}
			var got uint32
			switch form {
			case byPage:
				got = c.class(&flow{key: &packet.Key{Length: uint16(x.lo)}})
			case byNarrow:
				got = c.among(uint32(x.lo))
			case byWide:
				got = c.amongWide(x)
			}
			if got != want {
				t.Fatalf("%x: class %d, want %d of %x", x, got, want, bounds)
			}
		}
	})
}
