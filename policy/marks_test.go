package policy

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/policy/packet"
)

// is and isNot are conditions on one number or several.
func is(f Field, numbers ...uint32) Condition {
	c := Condition{Field: f}
	for _, x := range numbers {
		c.Numbers = append(c.Numbers, Range{x, x, AllBits})
	}
	return c
}

func isNot(f Field, numbers ...uint32) Condition {
	c := is(f, numbers...)
	c.Not = true
	return c
}

func under(f Field, value, mask uint32) Condition {
	return Condition{Field: f, Numbers: []Range{{value & mask, value & mask, mask}}}
}

func within(f Field, prefixes ...string) Condition {
	c := Condition{Field: f}
	for _, p := range prefixes {
		c.Prefixes = append(c.Prefixes, prefix(p))
	}
	return c
}

func notWithin(f Field, prefixes ...string) Condition {
	c := within(f, prefixes...)
	c.Not = true
	return c
}

// chain adds a chain, or statements to one that is there. They are named after their place.
func (l *lab) chain(name string, statements ...Statement) {
	i := l.chainIndex(name)
	c := &l.Marks[i]
	for _, st := range statements {
		st.Name = fmt.Sprintf("%s%d", name, len(c.Statements))
		c.Statements = append(c.Statements, st)
	}
}

func (l *lab) chainIndex(name string) uint16 {
	i := slices.IndexFunc(l.Marks, func(c Chain) bool { return c.Name == name })
	if i < 0 {
		i = len(l.Marks)
		l.Marks = append(l.Marks, Chain{Name: name})
	}
	return uint16(i)
}

// when is a statement: conditions, then actions such as "mark 0x1/0xf", "dscp 8", "jump a".
func (l *lab) when(actions string, conditions ...Condition) Statement {
	l.t.Helper()
	st := Statement{Match: Match{Conditions: conditions}}
	for action := range strings.SplitSeq(actions, ", ") {
		word, arg, _ := strings.Cut(action, " ")
		then := Then{Action: MarkAction(slices.Index(markActions[:], word))}
		switch then.Action {
		case MarkSet:
			if _, err := fmt.Sscanf(arg, "0x%x/0x%x", &then.Mark, &then.Mask); err != nil {
				l.t.Fatal(action, err)
			}
		case MarkDSCP:
			if _, err := fmt.Sscan(arg, &then.DSCP); err != nil {
				l.t.Fatal(action, err)
			}
		case MarkJump, MarkGoto:
			then.Chain = l.chainIndex(arg)
		}
		st.Then = append(st.Then, then)
	}
	return st
}

// marksLab has a program that does a bit of everything, and rules that read what it leaves.
func marksLab(t testing.TB) *lab {
	l := newLab(t)
	l.defaults()
	for i, name := range []string{"one", "two", "three"} {
		l.table(name, fmt.Sprintf("0.0.0.0/0 via 198.51.100.%d em1", 11+i), fmt.Sprintf("::/0 via 2001:db8:2::%d em1", 11+i))
		l.rule(uint32(100+i), "lookup "+name, Selector{HasMark: true, Mark: uint32(i + 1), MarkMask: 0xf})
	}
	l.table("fast", "0.0.0.0/0 via 192.0.2.99 em0")
	l.rule(90, "lookup fast", Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63})
	l.chain("main",
		l.when("mark 0x1/0xf", is(FieldProto, 6), is(FieldDport, 80, 443)),
		l.when("mark 0x20/0xf0, dscp 46", is(FieldProto, 17), Condition{Field: FieldDport, Numbers: []Range{{5000, 5099, AllBits}}}),
		l.when("drop", within(FieldFrom, "10.66.0.0/16", "2001:db8:66::/48")),
		l.when("reject", within(FieldFrom, "10.67.0.0/16", "2001:db8:67::/48")),
		l.when("jump guests", is(FieldGroup, 2)),
		l.when("goto last", is(FieldTTL, 9)),
		l.when("mark 0x2/0xf", under(FieldTCPFlags, 2, 0x12), is(FieldProto, 6), is(FieldDport, 22)),
		l.when("accept", is(FieldMark, 0)),
		l.when("mark 0x100/0x100"),
	)
	l.chain("guests",
		l.when("return", is(FieldLength, 100)),
		l.when("goto last", is(FieldLength, 200)),
		l.when("mark 0x3/0xf"),
	)
	l.chain("last", l.when("mark 0x2/0xf"), l.when("return", is(FieldProto, 1)), l.when("mark 0x1000/0x1000"))
	return l
}

// TestMarks looks at whole decisions: marks and DSCP lead the rules, drop and reject end them.
func TestMarks(t *testing.T) {
	s := marksLab(t).compile()
	for _, c := range []struct {
		spec, want string
		mark       uint32
		tos        uint8
	}{
		{"dst=9.9.9.9", "unreachable 3/0 - - -", 0, 0},
		{"dst=9.9.9.9 proto=tcp dport=443", "forward em1 via 198.51.100.11 r3 one 0.0.0.0/0", 0x101, 0},
		{"dst=9.9.9.9 proto=tcp dport=443 mark=0xffffffff", "forward em1 via 198.51.100.11 r3 one 0.0.0.0/0", 0xfffffff1, 0},
		{"dst=9.9.9.9 proto=udp dport=443", "unreachable 3/0 - - -", 0, 0},
		{"dst=9.9.9.9 dport=5000 tos=3", "forward em0 via 192.0.2.99 r6 fast 0.0.0.0/0", 0x120, 46<<2 | 3},
		{"dst=9.9.9.9 dport=5099", "forward em0 via 192.0.2.99 r6 fast 0.0.0.0/0", 0x120, 46 << 2},
		{"dst=9.9.9.9 dport=5100", "unreachable 3/0 - - -", 0, 0},
		{"dst=9.9.9.9 proto=tcp dport=22 tcp-flags=syn", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 0x102, 0},
		{"dst=9.9.9.9 proto=tcp dport=22 tcp-flags=syn,ack", "unreachable 3/0 - - -", 0, 0},
		{"dst=9.9.9.9 proto=tcp dport=22 tcp-flags=syn,urg", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 0x102, 0},
		{"src=10.66.0.1 dst=9.9.9.9", "drop - - -", 0, 0},
		{"src=10.66.0.1 dst=9.9.9.9 proto=tcp dport=80", "drop - - -", 1, 0},
		{"src=10.67.0.1 dst=9.9.9.9", "reject 3/3 - - -", 0, 0},
		{"src=2001:db8:67::1 dst=2001:db8:9::9", "reject 1/4 - - -", 0, 0},
		{"src=10.67.0.1 dst=9.9.9.9 proto=tcp", "reject reset - - -", 0, 0},
		{"src=2001:db8:67::1 dst=2001:db8:9::9 proto=tcp", "reject reset - - -", 0, 0},
		{"src=10.67.0.1 dst=9.9.9.9 proto=tcp tcp-flags=rst", "reject - - -", 0, 0},
		{"src=10.67.0.1 dst=9.9.9.9 proto=tcp fragment=first", "reject - - -", 0, 0},
		{"src=10.67.0.1 dst=9.9.9.9 fragment=first", "reject 3/3 - - -", 0, 0},
		{"src=10.67.0.1 dst=9.9.9.9 fragment=later", "reject - - -", 0, 0},
		{"iif=em2 dst=9.9.9.9", "forward em1 via 198.51.100.13 r5 three 0.0.0.0/0", 0x103, 0},
		{"iif=em2 dst=9.9.9.9 length=100", "unreachable 3/0 - - -", 0, 0},
		// goto in guests: the end of last goes back to main, where guests was called from, not to guests.
		{"iif=em2 dst=9.9.9.9 length=200", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 0x1102, 0},
		{"iif=em2 dst=9.9.9.9 length=200 proto=icmp", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 0x102, 0},
		// goto in main: the end of last, and a return there, are the end of the program.
		{"dst=9.9.9.9 ttl=9", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 0x1002, 0},
		{"dst=9.9.9.9 ttl=9 proto=icmp", "forward em1 via 198.51.100.12 r4 two 0.0.0.0/0", 2, 0},
		// Martians are dropped before.
		{"src=127.0.0.1 dst=9.9.9.9 proto=tcp dport=80", "martian - - -", 0, 0},
	} {
		spec := c.spec
		if !strings.Contains(spec, "iif=") {
			spec += " iif=em0"
		}
		if !strings.Contains(spec, "src=") {
			spec += " src=10.1.1.1"
		}
		k := key(t, s, spec)
		v := s.Evaluate(&k, nil)
		if got := strings.Replace(decide(t, s, spec), "reject ", "reject "+map[bool]string{true: "reset "}[v.Action == Reset], 1); got != c.want || v.Mark != c.mark || v.TOS != c.tos {
			var b strings.Builder
			s.Explain(&k).WriteText(&b)
			t.Errorf("%s\ngot  %s mark 0x%x tos 0x%x\nwant %s mark 0x%x tos 0x%x\n%s", spec, got, v.Mark, v.TOS, c.want, c.mark, c.tos, &b)
		}
		if v.SetDSCP != (v.TOS != k.TOS) {
			t.Errorf("%s: SetDSCP %v, tos 0x%x to 0x%x", spec, v.SetDSCP, k.TOS, v.TOS)
		}
	}
}

// TestMarksLocalOutput: what the router sends itself is neither marked nor dropped.
func TestMarksLocalOutput(t *testing.T) {
	s := marksLab(t).compile()
	k := key(t, s, "iif=em0 src=10.66.0.1 dst=198.51.100.9 proto=tcp dport=80")
	k.Ingress = LocalOutput
	if v := s.Evaluate(&k, nil); v.Action != Forward || v.Mark != 0 || v.Statement != None {
		t.Errorf("%+v", v)
	}
}

// TestConditions has each field, in packets that have it and in packets that do not, plain and negated.
func TestConditions(t *testing.T) {
	l := newLab(t)
	ports := l.compile()
	for _, c := range []struct {
		condition      Condition
		yes, no, never string // packets: that have the value, another one, or none at all; separated by ;
	}{
		{within(FieldFrom, "10.0.0.0/8", "10.1.0.0/16", "11.0.0.0/8"), "src=10.1.2.3;src=10.255.0.1;src=11.0.0.1", "src=12.0.0.1;src=9.255.255.255", "src=2001:db8::1"},
		{within(FieldTo, "2001:db8::/32", "10.0.0.0/8"), "dst=2001:db8::1;dst=10.9.9.9", "dst=2001:db9::1;dst=11.0.0.1", ""},
		{within(FieldTo, "2001:db8::/32"), "dst=2001:db8::1", "dst=2001:db9::1", "dst=10.0.0.1"},
		{is(FieldIngress, 2), "iif=em2", "iif=em0;iif=em0.100", ""},
		{is(FieldGroup, 2), "iif=em2;iif=em0.100", "iif=em0;iif=em1", ""},
		{under(FieldMark, 0x10, 0xf0), "mark=0x10;mark=0x1f", "mark=0;mark=0x30", ""},
		{is(FieldTOS, 0x10), "tos=0x10;tos=0x13;tos=0xf3;dst=2001:db8::1 tos=0x13", "tos=0;dst=2001:db8::1 tos=0xf3", ""},
		{is(FieldDSCP, 0, 46), "tos=0;tos=3;tos=0xb8;dst=2001:db8::1 tos=0xbb", "tos=4", ""},
		{is(FieldProto, 6, 17, 200), "proto=tcp;proto=udp;proto=200;proto=tcp fragment=later", "proto=icmp", ""},
		{Condition{Field: FieldSport, Numbers: []Range{{10, 20, AllBits}, {0x1000, 0x1000, 0xf000}}},
			"sport=10;sport=20;proto=tcp sport=15;sport=4096;sport=8191;sport=10 fragment=first", "sport=9;sport=21;sport=8192", "proto=icmp;proto=47;sport=10 fragment=later"},
		{is(FieldDport, 0, 65535), "dport=0;dport=65535", "dport=1", "proto=icmp;fragment=later"},
		{under(FieldFlowLabel, 0xf, 0xf), "dst=2001:db8::1 flowlabel=0xff", "dst=2001:db8::1 flowlabel=0xf0", "dst=10.0.0.1"},
		{is(FieldICMPType, 8, 128), "icmp-type=8;dst=2001:db8::1 icmp-type=128;icmp-type=8 fragment=first", "icmp-type=0;dst=2001:db8::1 icmp-type=1",
			"proto=tcp;icmp-type=8 fragment=later"},
		{is(FieldICMPCode, 3), "icmp-type=3 icmp-code=3", "icmp-type=3 icmp-code=1", "proto=udp"},
		{under(FieldTCPFlags, 0x02, 0x12), "tcp-flags=syn;tcp-flags=syn,ece;tcp-flags=syn fragment=first", "tcp-flags=syn,ack;tcp-flags=ack;proto=tcp", "proto=udp;tcp-flags=syn fragment=later"},
		{Condition{Field: FieldLength, Numbers: []Range{{100, 200, AllBits}}}, "length=100;length=200", "length=99;length=201", ""},
		{Condition{Field: FieldTTL, Numbers: []Range{{0, 1, AllBits}, {255, 255, AllBits}}}, "ttl=0;ttl=1;ttl=255", "ttl=2;ttl=254", ""},
		{is(FieldFragment, uint32(packet.FragmentFirst)), "fragment=first", "fragment=none;fragment=later", ""},
		{is(FieldFragment, uint32(packet.FragmentFirst), uint32(packet.FragmentLater)), "fragment=first;fragment=later", "fragment=none", ""},
	} {
		for not := range 2 {
			cond := c.condition
			cond.Not = not == 1
			l.Marks = []Chain{{Name: MainChain, Statements: []Statement{{Name: "s", Match: Match{Conditions: []Condition{cond}}, Then: []Then{{Mark: 0x800, Mask: 0x800}}}}}}
			s := l.compile()
			for list, met := range map[string]bool{c.yes: !cond.Not, c.no: cond.Not, c.never: false} {
				for spec := range strings.SplitSeq(list, ";") {
					if list == "" {
						continue
					}
					if !strings.Contains(spec, "dst=") {
						spec += " dst=10.0.0.1"
						if strings.Contains(spec, "src=2001") {
							spec = strings.Replace(spec, "dst=10.0.0.1", "dst=2001:db8::9", 1)
						}
					}
					if !strings.Contains(spec, "src=") {
						spec += " src=10.0.0.9"
						if strings.Contains(spec, "dst=2001") {
							spec = strings.Replace(spec, "src=10.0.0.9", "src=2001:db8::9", 1)
						}
					}
					if !strings.Contains(spec, "iif=") {
						spec += " iif=em0"
					}
					k := key(t, ports, spec)
					if v := s.Evaluate(&k, nil); (v.Mark&0x800 != 0) != met {
						var b strings.Builder
						s.Explain(&k).WriteText(&b)
						t.Errorf("%v not=%v: %s: met %v, want %v\n%s", cond.Field, cond.Not, spec, !met, met, &b)
					}
				}
			}
		}
	}
}

// TestStatementNot: not negates the conjunction, and only where the statement is there for the packet's family.
func TestStatementNot(t *testing.T) {
	l := newLab(t)
	st := l.when("mark 0x1/0x1", within(FieldFrom, "10.0.0.0/8"), is(FieldDport, 53))
	st.Match.Not = true
	l.chain("main", st)
	s := l.compile()
	for spec, want := range map[string]uint32{
		"src=10.0.0.1 dst=9.9.9.9 dport=53":        0,
		"src=10.0.0.1 dst=9.9.9.9 dport=54":        1,
		"src=11.0.0.1 dst=9.9.9.9 dport=53":        1,
		"src=10.0.0.1 dst=9.9.9.9 proto=icmp":      1,
		"src=2001:db8::1 dst=2001:db8::2 dport=54": 0,
	} {
		k := key(t, s, "iif=em0 "+spec)
		if v := s.Evaluate(&k, nil); v.Mark != want {
			t.Errorf("%s: mark %d, want %d", spec, v.Mark, want)
		}
	}
}

// TestRuleBeyond: conditions that only weir has are part of a rule's conjunction, and of what its not negates.
func TestRuleBeyond(t *testing.T) {
	l := newLab(t)
	l.table("a", "0.0.0.0/0 via 198.51.100.9 em1")
	l.rule(1, "prohibit", Selector{Beyond: []Condition{is(FieldICMPType, 8), is(FieldTTL, 7)}})
	l.rule(2, "blackhole", Selector{HasProto: true, Proto: 6, Beyond: []Condition{under(FieldTCPFlags, 2, 0x12)}}).Not = true
	l.rule(3, "lookup a", Selector{Beyond: []Condition{is(FieldLength, 100)}})
	expect(t, l.compile(), `
		iif=em0 src=9.0.0.1 dst=10.1.1.1 icmp-type=8 ttl=7                           => prohibit 3/13 r0 - -
		iif=em0 src=9.0.0.1 dst=10.1.1.1 icmp-type=8 ttl=8                           => blackhole r1 - -
		iif=em0 src=9.0.0.1 dst=10.1.1.1 tcp-flags=syn,ack length=100                => blackhole r1 - -
		iif=em0 src=9.0.0.1 dst=10.1.1.1 tcp-flags=syn length=100                    => forward em1 via 198.51.100.9 r2 a 0.0.0.0/0
		iif=em0 src=9.0.0.1 dst=10.1.1.1 tcp-flags=syn length=101                    => unreachable 3/0 - - -
	`)
}

func TestMarksCompileErrors(t *testing.T) {
	deep := func(l *lab, jumps int) {
		l.chain("main", l.when("jump c0"))
		for i := range jumps {
			l.chain(fmt.Sprintf("c%d", i), l.when(fmt.Sprintf("jump c%d", i+1)), l.when("accept"))
		}
		l.chain(fmt.Sprintf("c%d", jumps), l.when("drop"))
	}
	for name, c := range map[string]struct {
		make func(l *lab)
		want string
	}{
		"cycle": {func(l *lab) {
			l.chain("main", l.when("jump a"))
			l.chain("a", l.when("goto b"))
			l.chain("b", l.when("jump a"))
		}, "chain a: chains go in a circle: a → b → a"},
		"itself": {func(l *lab) { l.chain("main", l.when("goto main")) }, "chain main: chains go in a circle: main → main"},
		"cycle out of reach": {func(l *lab) {
			l.chain("main")
			l.chain("x", l.when("jump x"))
		}, "chain x: chains go in a circle: x → x"},
		"deep enough": {func(l *lab) { deep(l, MaxJumps-1) }, ""},
		"too deep":    {func(l *lab) { deep(l, MaxJumps) }, "chain main: jumps 17 deep, at most 16"},
		"gotos are not deep": {func(l *lab) {
			l.chain("main", l.when("goto c0"))
			for i := range 20 {
				l.chain(fmt.Sprintf("c%d", i), l.when(fmt.Sprintf("goto c%d", i+1)))
			}
			l.chain("c20")
		}, ""},
		"too much": {func(l *lab) {
			l.chain("main", slices.Repeat([]Statement{l.when("jump c0")}, 4)...)
			for i := range 8 {
				l.chain(fmt.Sprintf("c%d", i), slices.Repeat([]Statement{l.when(fmt.Sprintf("jump c%d", i+1))}, 4)...)
			}
			l.chain("c8")
		}, "chain main: a packet may have to try more than 65536 statements: jumps lead to the same chains again and again"},
		"unknown chain": {func(l *lab) { l.chain("main", Statement{Then: []Then{{Action: MarkJump, Chain: 7}}}) }, "chain main: statement main0: jump to chain 7 of 1"},
		"families": {func(l *lab) {
			l.chain("main", l.when("drop", within(FieldFrom, "10.0.0.0/8"), within(FieldTo, "2001:db8::/32")))
		}, "chain main: statement main0: conditions of both families: no packet has both"},
		"flow label":    {func(l *lab) { l.chain("main", l.when("drop", within(FieldFrom, "10.0.0.0/8"), is(FieldFlowLabel, 1))) }, "chain main: statement main0: conditions of both families: no packet has both"},
		"behind an end": {func(l *lab) { l.chain("main", l.when("drop, mark 0x1/0x1")) }, "chain main: statement main0: nothing follows drop in a statement"},
		"dscp":          {func(l *lab) { l.chain("main", l.when("dscp 64")) }, "chain main: statement main0: dscp 64: it has six bits"},
		"tos":           {func(l *lab) { l.chain("main", l.when("drop", is(FieldTOS, 0xb8))) }, "chain main: statement main0: tos 0xb8: in IPv4 it is tos & 0x1c that is compared; use dscp, or family: ipv6"},
		"empty range": {func(l *lab) {
			l.chain("main", l.when("drop", Condition{Field: FieldTTL, Numbers: []Range{{3, 2, AllBits}}}))
		}, "chain main: statement main0: ttl: range 3-2 is empty"},
		"limit":            {func(l *lab) { l.chain("main", l.when("drop", is(FieldTTL, 256))) }, "chain main: statement main0: ttl: 256 is above 255"},
		"no values":        {func(l *lab) { l.chain("main", l.when("drop", is(FieldTTL))) }, "chain main: statement main0: ttl: a condition has prefixes for addresses, numbers for everything else, and at least one"},
		"same chain":       {func(l *lab) { l.Marks = []Chain{{Name: "a"}, {Name: "a"}} }, "chain a: a second chain of this name"},
		"same statement":   {func(l *lab) { l.Marks = []Chain{{Name: "a", Statements: []Statement{{Name: "s"}, {Name: "s"}}}} }, "chain a: statement s: a second statement of this name"},
		"rule's selectors": {func(l *lab) { l.rule(1, "nop", Selector{Beyond: []Condition{is(FieldProto, 6)}}) }, "rule r0: proto: a selector of its own, not one beyond Linux's"},
	} {
		l := newLab(t)
		c.make(l)
		_, err := Compile(&l.Policy)
		if got := fmt.Sprint(err); got != c.want && (err != nil || c.want != "") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}

func TestMarksWarnings(t *testing.T) {
	l := newLab(t)
	l.chain("b", l.when("drop"))
	l.chain("a", l.when("jump b"))
	for _, main := range []bool{false, true} {
		want := "chain b: never runs: there is no chain main chain a: never runs: there is no chain main"
		if main {
			l.chain("main", l.when("goto b"))
			want = "chain a: never runs: nothing leads to it from main"
		}
		s := l.compile()
		var got []string
		for _, w := range s.Warnings() {
			got = append(got, w.Error())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q, want %q", got, want)
		}
		k := key(t, s, "iif=em0 src=10.0.0.1 dst=10.0.0.2")
		if v := s.Evaluate(&k, nil); (v.Reason == packet.MarkDrop) != main {
			t.Errorf("%s: %+v", want, v)
		}
	}
}

// twinOutcome of a chain: the packet went through it, or the program ended in it.
type twinOutcome string

const twinThrough twinOutcome = ""

// twinMarks is the mark program as its description says it, by recursion.
type twinMarks struct {
	*Policy
	k     *packet.Key
	group uint32
	mark  uint32
	tos   uint8
}

func (w *twinMarks) chain(i uint16) twinOutcome {
	for _, st := range w.Marks[i].Statements {
		if !w.statementMatches(&st.Match) {
			continue
		}
		for _, then := range st.Then {
			switch then.Action {
			case MarkSet:
				w.mark = (w.mark & ^then.Mask) | (then.Mark & then.Mask)
			case MarkDSCP:
				w.tos = w.tos%4 + then.DSCP*4
			case MarkAccept, MarkDrop, MarkReject:
				return twinOutcome(then.Action.String())
			case MarkJump:
				if o := w.chain(then.Chain); o != twinThrough {
					return o
				}
			case MarkGoto:
				return w.chain(then.Chain)
			case MarkReturn:
				return twinThrough
			}
		}
	}
	return twinThrough
}

func (w *twinMarks) statementMatches(m *Match) bool {
	if m.Family != 0 && m.Family != w.k.Family {
		return false
	}
	for _, c := range m.Conditions {
		if !w.thereFor(&c) {
			return false
		}
	}
	all := true
	for _, c := range m.Conditions {
		all = all && w.meets(&c)
	}
	return all != m.Not
}

// thereFor: a statement with addresses of one family alone is not there for the other.
func (w *twinMarks) thereFor(c *Condition) bool {
	switch c.Field {
	case FieldFrom, FieldTo:
		return slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return p.Addr().Is4() == (w.k.Family == 4) })
	case FieldFlowLabel:
		return w.k.Family == 6
	}
	return true
}

func (w *twinMarks) meets(c *Condition) bool {
	k := w.k
	whole := w.ConsistentFragments || k.Fragment != packet.FragmentLater
	ports := whole && (k.Proto == 6 || k.Proto == 17)
	icmp := whole && (k.Family == 4 && k.Proto == 1 || k.Family == 6 && k.Proto == 58)
	tosMask := map[uint8]uint8{4: 0x1c, 6: 0xfc}[k.Family]
	var x uint64
	has := true
	switch c.Field {
	case FieldFrom:
		return slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return p.Contains(k.SrcAddr()) }) != c.Not
	case FieldTo:
		return slices.ContainsFunc(c.Prefixes, func(p netip.Prefix) bool { return p.Contains(k.DstAddr()) }) != c.Not
	case FieldIngress:
		x = uint64(k.Ingress)
	case FieldGroup:
		x = uint64(w.group)
	case FieldMark:
		x = uint64(w.mark)
	case FieldTOS:
		x = uint64(w.tos & tosMask)
	case FieldDSCP:
		x = uint64(w.tos / 4)
	case FieldProto:
		x = uint64(k.Proto)
	case FieldSport:
		x, has = uint64(k.SrcPort), ports
	case FieldDport:
		x, has = uint64(k.DstPort), ports
	case FieldFlowLabel:
		x = uint64(k.FlowLabel)
	case FieldICMPType:
		x, has = uint64(k.ICMPType), icmp
	case FieldICMPCode:
		x, has = uint64(k.ICMPCode), icmp
	case FieldTCPFlags:
		x, has = uint64(k.TCPFlags), whole && k.Proto == 6
	case FieldLength:
		x = uint64(k.Length)
	case FieldTTL:
		x = uint64(k.TTL)
	case FieldFragment:
		x = uint64(k.Fragment)
	}
	one := slices.ContainsFunc(c.Numbers, func(r Range) bool {
		y := x & uint64(r.Mask)
		return uint64(r.Lo) <= y && y <= uint64(r.Hi)
	})
	return has && one != c.Not
}

// genCondition draws a condition whose values the packets of genMarkKey often have.
func genCondition(t *rapid.T, ports int) Condition {
	c := Condition{Field: Field(rapid.IntRange(1, int(fieldEnd)-1).Draw(t, "field")), Not: rapid.IntRange(0, 3).Draw(t, "not one") == 0}
	n := rapid.SampledFrom([]int{1, 1, 2, 9}).Draw(t, "values")
	for range n {
		if c.Field == FieldFrom || c.Field == FieldTo {
			c.Prefixes = append(c.Prefixes, genPrefix(t, genFamily(t)))
			continue
		}
		limit := fields[c.Field].limit
		values := []uint32{0, 1, 2, 3}
		switch c.Field {
		case FieldTOS:
			values = []uint32{0, 4, 0x10, 0x1c}
		case FieldDSCP:
			values = []uint32{0, 4, 0x10, 46}
		case FieldProto:
			values = []uint32{1, 6, 17, 47, 58}
		case FieldLength:
			values = []uint32{84, 1400, 1401, 1500, 1501}
		case FieldTTL:
			values = []uint32{0, 1, 2, 64, 255}
		}
		a, b := min(rapid.SampledFrom(values).Draw(t, "value"), limit), min(rapid.SampledFrom(values).Draw(t, "value"), limit)
		switch rapid.IntRange(0, 2).Draw(t, "form") {
		case 0:
			c.Numbers = append(c.Numbers, Range{a, a, AllBits})
		case 1:
			c.Numbers = append(c.Numbers, Range{min(a, b), max(a, b), AllBits})
		case 2:
			c.Numbers = append(c.Numbers, Range{a & b, a & b, b})
		}
	}
	return c
}

// genMarks draws a program that compiles: jumps and gotos lead to chains of higher index only.
func genMarks(t *rapid.T, ports int) []Chain {
	n := rapid.IntRange(1, 6).Draw(t, "chains")
	chains := make([]Chain, n)
	for i := range chains {
		chains[i].Name = fmt.Sprintf("c%d", i)
		if i == 0 {
			chains[i].Name = MainChain
		}
		for j := range rapid.IntRange(0, 5).Draw(t, "statements") {
			st := Statement{Name: fmt.Sprintf("s%d", j)}
			st.Match.Not = rapid.IntRange(0, 7).Draw(t, "not") == 0
			if rapid.IntRange(0, 7).Draw(t, "family only") == 0 {
				st.Match.Family = genFamily(t)
			}
			for range rapid.SampledFrom([]int{0, 1, 1, 2, 3}).Draw(t, "conditions") {
				st.Match.Conditions = append(st.Match.Conditions, genCondition(t, ports))
			}
			if st.Match.families() == 0 {
				st.Match = Match{}
			}
			for range rapid.IntRange(0, 2).Draw(t, "changes") {
				st.Then = append(st.Then, Then{Action: MarkAction(rapid.IntRange(0, 1).Draw(t, "change")),
					Mark: rapid.Uint32Range(0, 3).Draw(t, "set"), Mask: rapid.Uint32Range(0, 3).Draw(t, "mask"), DSCP: rapid.SampledFrom([]uint8{0, 4, 46}).Draw(t, "dscp")})
			}
			switch end := rapid.SampledFrom([]MarkAction{MarkSet, MarkSet, MarkAccept, MarkDrop, MarkReject, MarkJump, MarkJump, MarkJump, MarkGoto, MarkGoto, MarkReturn}).Draw(t, "end"); {
			case end == MarkSet:
			case end != MarkJump && end != MarkGoto:
				st.Then = append(st.Then, Then{Action: end})
			case i < n-1:
				st.Then = append(st.Then, Then{Action: end, Chain: uint16(rapid.IntRange(i+1, n-1).Draw(t, "target"))})
			}
			chains[i].Statements = append(chains[i].Statements, st)
		}
	}
	return chains
}

// genMarkKey is genKey with the fields that only the mark program looks at.
func genMarkKey(t *rapid.T, ports int) packet.Key {
	k := genKey(t, ports)
	k.ICMPType, k.ICMPCode, k.TCPFlags = rapid.Uint8Range(0, 3).Draw(t, "type"), rapid.Uint8Range(0, 3).Draw(t, "code"), rapid.Uint8Range(0, 7).Draw(t, "flags")
	return k
}

// TestMarksAreTheTwin compares the program with its twin on random chains and packets, and the rest of the decision
// with that of a packet that brings mark and DSCP along.
func TestMarksAreTheTwin(t *testing.T) {
	ports := newLab(t).Ports
	seen := map[twinOutcome]int{}
	checkUntil(t, seen, []twinOutcome{twinThrough, "accept", "drop", "reject"}, func(t *rapid.T) {
		p := genPolicy(t, ports)
		bare, err := Compile(&p)
		if err != nil {
			t.Fatal(err)
		}
		p.Marks = genMarks(t, len(ports))
		s, err := Compile(&p)
		if err != nil {
			t.Fatalf("compile: %v", err)
		}
		for range 10 {
			k := genMarkKey(t, len(ports))
			var trace Trace
			v := s.Evaluate(&k, nil)
			if traced := s.Evaluate(&k, &trace); traced != v {
				t.Fatalf("%+v, traced %+v", v, traced)
			}
			if trace.Steps[0].Result != "ok" {
				continue // not to be forwarded whatever the program says
			}
			w := twinMarks{Policy: &p, k: &k, group: ports[k.Ingress].Group, mark: k.Mark, tos: k.TOS}
			outcome := w.chain(0)
			seen[outcome]++
			got := map[packet.Reason]twinOutcome{packet.MarkDrop: "drop", packet.MarkReject: "reject"}[v.Reason]
			want := outcome
			if outcome == "accept" {
				want = twinThrough
			}
			if got != want || v.Mark != w.mark || v.TOS != w.tos || v.SetDSCP != (w.tos != k.TOS) || (v.Statement == None) != (want == twinThrough) {
				var b strings.Builder
				s.Explain(&k).WriteText(&b)
				t.Fatalf("packet %+v: %q mark %d tos %d, want %q mark %d tos %d\n%s", k, got, v.Mark, v.TOS, want, w.mark, w.tos, &b)
			}
			if want != twinThrough {
				continue
			}
			k.Mark, k.TOS = w.mark, w.tos
			rest := bare.Evaluate(&k, nil)
			rest.SetDSCP = v.SetDSCP
			if rest != v {
				t.Fatalf("packet %+v: %+v after the program, %+v with its mark and tos", k, v, rest)
			}
		}
	})
}

// TestMarksDoNotAllocate covers long lists, jumps and every ending.
func TestMarksDoNotAllocate(t *testing.T) {
	l := marksLab(t)
	var long []string
	for i := range 1000 {
		long = append(long, fmt.Sprintf("172.%d.%d.0/24", 16+i/250, i%250))
	}
	l.chain("last", l.when("mark 0x4000/0x4000", notWithin(FieldTo, long...), isNot(FieldDport, 1, 5, 9)))
	s := l.compile()
	var keys []packet.Key
	seen := map[Action]bool{}
	for _, spec := range []string{"src=10.1.1.1", "src=10.66.0.1", "src=10.67.0.1", "src=10.67.0.1 proto=tcp", "src=10.1.1.1 iif=em2 length=200", "src=10.1.1.1 proto=tcp dport=80"} {
		if !strings.Contains(spec, "iif=") {
			spec += " iif=em0"
		}
		keys = append(keys, key(t, s, spec+" dst=9.9.9.9"))
		seen[s.Evaluate(&keys[len(keys)-1], nil).Action] = true
	}
	if !seen[Drop] || !seen[Reject] || !seen[Reset] || !seen[Forward] {
		t.Errorf("verdicts %v", seen)
	}
	verdicts, tally := make([]Verdict, len(keys)), s.NewTally()
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() {
		s.Decide(keys, verdicts, tally)
		for i := range keys {
			buf = s.AppendJSON(buf[:0], &keys[i], verdicts[i])
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestExplainMarksGolden pins what an explanation says of the mark program.
func TestExplainMarksGolden(t *testing.T) {
	s := marksLab(t).compile()
	for _, c := range []struct{ name, spec string }{
		{"marks-goto", "iif=em2 src=10.1.1.1 dst=9.9.9.9 length=200 tos=0x20"},
		{"marks-drop", "iif=em0 src=10.66.0.1 dst=9.9.9.9 proto=tcp dport=80"},
		{"marks-reset", "iif=em0 src=10.67.0.1 dst=9.9.9.9 proto=tcp dport=22 tcp-flags=syn"},
		{"marks-reject", "iif=em0 src=2001:db8:67::1 dst=2001:db8:9::9 dport=5001"},
	} {
		explainGolden(t, s, c.name, c.spec)
	}
}

// TestAppendJSONMarks holds the fast encoder to encoding/json where marks decide.
func TestAppendJSONMarks(t *testing.T) {
	l := marksLab(t)
	l.Marks[l.chainIndex("main")].Statements[2].Name = `a "drop"`
	s := l.compile()
	for _, spec := range []string{"src=10.66.0.1 dst=9.9.9.9", "src=10.67.0.1 dst=9.9.9.9", "src=10.67.0.1 dst=9.9.9.9 proto=tcp", "src=10.1.1.1 dst=9.9.9.9 dport=5000"} {
		k := key(t, s, "iif=em0 "+spec)
		v := s.Evaluate(&k, nil)
		if got, want := s.AppendJSON(nil, &k, v), mustJSON(t, s.explanation(&k, v)); !bytes.Equal(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}
