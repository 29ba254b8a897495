package policy

import (
	"fmt"
	"strings"
	"testing"

	"weir/policy/packet"
)

// remarks are the warnings of a lab, one a line.
func (l *lab) remarks() string {
	l.t.Helper()
	var lines []string
	for _, w := range l.compile().Warnings() {
		lines = append(lines, w.Error())
	}
	return strings.Join(lines, "\n")
}

func from(p string) Selector { return Selector{From: prefix(p)} }

func proto(number uint8, m Selector) Selector {
	m.HasProto, m.Proto = true, number
	return m
}

func dport(lo, hi uint16, m Selector) Selector {
	m.Dport = PortMatch{Kind: PortRange, Lo: lo, Hi: hi}
	return m
}

// TestLintRules has what lint finds among rules, and what is all but that. Every lab has the tables open, which has no answer
// to some packets, and closed, which has one to all.
func TestLintRules(t *testing.T) {
	const up = "; move it up, or remove it"
	for _, c := range []struct {
		name string
		make func(l *lab)
		want string // after "rule "; empty: nothing
	}{
		{"prefix in prefix", func(l *lab) {
			l.rule(1, "blackhole", from("10.0.0.0/8"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), to blackhole" + up},
		{"prefix beside prefix", func(l *lab) {
			l.rule(1, "blackhole", from("10.0.0.0/16"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, ""},
		{"prefix around prefix", func(l *lab) {
			l.rule(1, "blackhole", from("10.1.0.0/16"))
			l.rule(2, "lookup open", from("10.0.0.0/8"))
		}, ""},
		{"earlier in the file, later in the walk", func(l *lab) {
			l.rule(2, "blackhole", from("10.0.0.0/8"))
			l.rule(1, "lookup open", from("10.1.0.0/16"))
		}, ""},
		{"port of ranges", func(l *lab) {
			l.rule(1, "prohibit", dport(80, 90, Selector{}))
			l.rule(2, "lookup open", dport(85, 86, proto(6, from("10.0.0.0/8"))))
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), to prohibit" + up},
		{"port beyond the range", func(l *lab) {
			l.rule(1, "prohibit", dport(80, 90, Selector{}))
			l.rule(2, "lookup open", dport(85, 91, Selector{}))
		}, ""},
		{"port of one protocol", func(l *lab) {
			l.rule(1, "prohibit", dport(80, 80, proto(6, Selector{})))
			l.rule(2, "lookup open", dport(80, 80, Selector{}))
		}, ""},
		{"port of a group", func(l *lab) {
			l.rule(1, "unreachable", Selector{HasGroup: true, Group: 2})
			l.rule(2, "lookup open", Selector{HasIngress: true, Ingress: l.port("em0.100")})
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), to unreachable" + up},
		{"port of another group", func(l *lab) {
			l.rule(1, "unreachable", Selector{HasGroup: true, Group: 2})
			l.rule(2, "lookup open", Selector{HasIngress: true, Ingress: l.port("em0")})
		}, ""},
		{"mark in mask", func(l *lab) {
			l.rule(1, "blackhole", Selector{HasMark: true, Mark: 0x10, MarkMask: 0xf0})
			l.rule(2, "lookup open", Selector{HasMark: true, Mark: 0x11, MarkMask: 0xff})
			l.chain("main", l.when("mark 0x11/0xff"))
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), to blackhole" + up},
		{"mark beside mask", func(l *lab) {
			l.rule(1, "blackhole", Selector{HasMark: true, Mark: 0x10, MarkMask: 0xff})
			l.rule(2, "lookup open", Selector{HasMark: true, Mark: 0x11, MarkMask: 0xff})
			l.chain("main", l.when("mark 0x11/0xff", is(FieldTTL, 9)), l.when("mark 0x10/0xff", is(FieldTTL, 8)))
		}, ""},
		{"not of a prefix outside", func(l *lab) {
			l.rule(1, "blackhole", from("10.0.0.0/8")).Not = true
			l.rule(2, "lookup open", from("11.0.0.0/8"))
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), to blackhole" + up},
		{"not of a prefix inside", func(l *lab) {
			l.rule(1, "blackhole", from("10.0.0.0/8")).Not = true
			l.rule(2, "lookup open", from("10.0.0.0/9"))
		}, ""},
		{"table with an answer to everything", func(l *lab) {
			l.rule(1, "lookup closed", from("10.0.0.0/8"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, "r1: is shadowed: all that it matches is taken first by rule r0 (priority 1), since table closed always has an answer" + up},
		{"table whose answer may be suppressed", func(l *lab) {
			l.rule(1, "lookup closed", from("10.0.0.0/8")).SuppressPrefixLength = 0
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, ""},
		{"table that throws", func(l *lab) {
			l.table("closed", "10.9.0.0/16 throw")
			l.rule(1, "lookup closed", from("10.0.0.0/8"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, ""},
		{"default for one TOS", func(l *lab) {
			l.table("low", "0.0.0.0/0 dev em1 tos 0x08")
			l.rule(1, "lookup low", from("10.0.0.0/8"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, ""},
		{"opaque table that throws", func(l *lab) {
			l.table("opaque", "10.0.0.0/8 throw").OnMiss = MissProhibit
			l.rule(1, "lookup opaque", Selector{})
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, "r1: is never reached: every packet is taken first by rule r0 (priority 1), since table opaque always has an answer" + up},
		{"default in one family", func(l *lab) {
			l.table("four", "0.0.0.0/0 dev em1")
			l.rule(1, "lookup four", Selector{})
			l.rule(2, "lookup open", proto(6, Selector{}))
		}, ""},
		{"each family by another", func(l *lab) {
			l.rule(1, "blackhole", Selector{Family: packet.IPv4})
			l.rule(2, "prohibit", Selector{Family: packet.IPv6})
			l.rule(3, "lookup open", Selector{})
		}, "r2: is never reached: every packet is taken first by rule r0 (priority 1) in IPv4 and rule r1 (priority 2) in IPv6, to blackhole in IPv4, to prohibit in IPv6" + up},
		{"jumped over", func(l *lab) {
			l.rule(1, "goto 9", Selector{})
			l.rule(2, "lookup open", Selector{})
			l.rule(9, "lookup closed", Selector{})
		}, "r1: is never reached: every packet is taken first by rule r0 (priority 1), to priority 9" + up},
		{"landed on", func(l *lab) {
			l.rule(1, "goto 9", from("10.0.0.0/8"))
			l.rule(2, "blackhole", Selector{})
			l.rule(9, "lookup open", Selector{})
		}, ""},
		{"landed on by others", func(l *lab) {
			l.rule(1, "goto 9", from("10.0.0.0/8"))
			l.rule(2, "blackhole", Selector{})
			l.rule(9, "lookup open", from("11.0.0.0/8"))
		}, "r2: is never reached: every packet is taken first by rule r1 (priority 2), to blackhole; move it up, or make it a nop for the goto that lands on it"},
		{"asked again", func(l *lab) {
			l.rule(1, "lookup open", from("10.0.0.0/8"))
			l.rule(2, "lookup open", from("10.1.0.0/16"))
		}, "r1: changes nothing: about all that it matches, table open is asked in vain first by rule r0 (priority 1)" + up},
		{"asked again about more", func(l *lab) {
			l.rule(1, "lookup open", from("10.1.0.0/16"))
			l.rule(2, "lookup open", from("10.0.0.0/8"))
		}, ""},
		{"asked again without suppression", func(l *lab) {
			l.rule(1, "lookup open", Selector{}).SuppressPrefixLength = 0
			l.rule(2, "lookup open", Selector{})
		}, ""},
		{"asked again with more suppression", func(l *lab) {
			l.rule(1, "lookup open", Selector{}).SuppressPrefixLength = 0
			l.rule(2, "lookup open", Selector{}).SuppressPrefixLength = 8
		}, "r1: changes nothing: about all that it matches, table open is asked in vain first by rule r0 (priority 1)" + up},
		{"port without ports", func(l *lab) { l.rule(1, "lookup open", dport(80, 80, proto(1, Selector{}))) },
			"r0: never matches: its proto and its dport exclude each other; remove it"},
		{"port 0 without ports", func(l *lab) { l.rule(1, "lookup open", dport(0, 80, proto(1, Selector{}))) }, ""},
		{"ICMP type of TCP", func(l *lab) {
			l.rule(1, "lookup open", proto(6, Selector{Beyond: []Condition{is(FieldICMPType, 8)}}))
		}, "r0: never matches: its proto and its icmp-type exclude each other; remove it"},
		{"port and group", func(l *lab) {
			l.rule(1, "lookup open", Selector{HasIngress: true, HasGroup: true, Group: 2})
		}, "r0: never matches: its iif and its iif-group exclude each other; remove it"},
		{"mark that nothing sets", func(l *lab) { l.rule(1, "lookup open", Selector{HasMark: true, Mark: 1, MarkMask: 0xff}) },
			"r0: never matches: nothing sets the fwmark that it asks for, 0x1/0xff; add a statement of marks that does, or remove it"},
		{"mark whose bits are never set together", func(l *lab) {
			l.rule(1, "lookup open", Selector{HasMark: true, Mark: 3, MarkMask: 0xff})
			l.chain("main", l.when("mark 0x1/0xff", is(FieldTTL, 9)), l.when("mark 0x2/0xff", is(FieldTTL, 8)))
		}, "r0: never matches: nothing sets the fwmark that it asks for, 0x3/0xff; add a statement of marks that does, or remove it"},
		{"mark whose bits are set one by one", func(l *lab) {
			l.rule(1, "lookup open", Selector{HasMark: true, Mark: 3, MarkMask: 0xff})
			l.chain("main", l.when("mark 0x1/0x1", is(FieldTTL, 9)), l.when("mark 0x2/0x2", is(FieldTTL, 8)))
		}, ""},
		{"no mark", func(l *lab) { l.rule(1, "lookup open", Selector{HasMark: true, MarkMask: AllBits}) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			l.table("open", "10.0.0.0/8 dev em1", "0.0.0.0/0 throw")
			l.table("closed", "0.0.0.0/0 dev em1", "::/0 dev em1")
			c.make(l)
			l.rule(100, "lookup open", Selector{HasTOS: true, TOS: 0x10, Family: packet.IPv4}) // both are in use, and in the end
			l.rule(101, "lookup closed", Selector{HasTOS: true, TOS: 0x18})
			var got []string
			for line := range strings.Lines(l.remarks()) {
				last := fmt.Sprintf("rule r%d:", len(l.Rules)-1)
				if !strings.HasPrefix(line, last) && !strings.HasPrefix(line, fmt.Sprintf("rule r%d:", len(l.Rules)-2)) {
					got = append(got, strings.TrimPrefix(strings.TrimSuffix(line, "\n"), "rule "))
				}
			}
			if strings.Join(got, "\n") != c.want {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), c.want)
			}
		})
	}
}

// TestLintMarks is the same for statements. A last rule reads the bits 0xff of the mark.
func TestLintMarks(t *testing.T) {
	const main = "chain main: statement "
	for _, c := range []struct {
		name string
		make func(l *lab)
		want string
	}{
		{"taken", func(l *lab) {
			l.chain("main", l.when("drop", within(FieldFrom, "10.0.0.0/8", "11.0.0.0/8")), l.when("mark 0x1/0xff", within(FieldFrom, "10.1.0.0/16"), is(FieldTTL, 9)))
		}, main + "main1: is shadowed: all that it matches is taken first by statement main0, to drop; move it up, or remove it"},
		{"everything taken", func(l *lab) { l.chain("main", l.when("accept"), l.when("mark 0x1/0xff")) },
			main + "main1: is never reached: every packet is taken first by statement main0, to accept; move it up, or remove it"},
		{"everything of one family taken", func(l *lab) {
			l.chain("main", l.when("accept", within(FieldFrom, "0.0.0.0/0")), l.when("mark 0x1/0xff"))
		}, ""},
		{"ports of packets that have some", func(l *lab) {
			l.chain("main", l.when("drop", isNot(FieldDport, 80)), l.when("mark 0x1/0xff", is(FieldProto, 17)))
		}, ""},
		{"ports behind not", func(l *lab) {
			l.chain("main", l.when("drop", isNot(FieldDport, 80)), l.when("mark 0x1/0xff", is(FieldDport, 53)))
		}, main + "main1: is shadowed: all that it matches is taken first by statement main0, to drop; move it up, or remove it"},
		{"mark that changes in between", func(l *lab) {
			l.chain("main", l.when("drop", is(FieldMark, 1)), l.when("mark 0x1/0xff", is(FieldTTL, 9)), l.when("dscp 8", is(FieldMark, 1)))
		}, ""},
		{"other bits that change in between", func(l *lab) {
			l.chain("main", l.when("mark 0x1/0xff", is(FieldTTL, 9)), l.when("drop", under(FieldMark, 1, 1)), l.when("mark 0x2/0x2", is(FieldTTL, 9)), l.when("dscp 8", under(FieldMark, 1, 1)))
		}, main + "main3: is shadowed: all that it matches is taken first by statement main1, to drop; move it up, or remove it"},
		{"mark that a jump changes in between", func(l *lab) {
			l.chain("main", l.when("drop", is(FieldMark, 1)), l.when("jump a", is(FieldTTL, 9)), l.when("dscp 8", is(FieldMark, 1)))
			l.chain("a", l.when("mark 0x1/0xff"))
		}, ""},
		{"mark that a jump of a jump changes in between", func(l *lab) {
			l.chain("main", l.when("drop", is(FieldMark, 1)), l.when("jump a", is(FieldTTL, 9)), l.when("dscp 8", is(FieldMark, 1)))
			l.chain("a", l.when("jump b", is(FieldProto, 17)))
			l.chain("b", l.when("mark 0x1/0xff"))
		}, ""},
		{"DSCP that leads to a chain and changes there", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldDSCP, 8)))
			l.chain("a", l.when("dscp 16"), l.when("drop", is(FieldDSCP, 16)))
		}, ""},
		{"mark that leads to a chain and changes there", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldMark, 0)))
			l.chain("a", l.when("mark 0x1/0xff"), l.when("drop", is(FieldMark, 1)))
		}, ""},
		{"jump that does not come back", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldProto, 17)), l.when("mark 0x1/0xff", is(FieldDport, 53), is(FieldProto, 17)))
			l.chain("a", l.when("mark 0x2/0xff", is(FieldTTL, 9)), l.when("accept"))
		}, main + "main1: is shadowed: all that it matches is taken first by statement main0, to jump; move it up, or remove it"},
		{"jump that may come back", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldProto, 17)), l.when("mark 0x1/0xff", is(FieldDport, 53), is(FieldProto, 17)))
			l.chain("a", l.when("return", is(FieldTTL, 9)), l.when("accept"))
		}, ""},
		{"set again", func(l *lab) {
			l.chain("main", l.when("mark 0x1/0xff, dscp 8", is(FieldProto, 17)), l.when("mark 0x1/0xf", is(FieldProto, 17), is(FieldTTL, 9)))
		}, main + "main1: changes nothing: for all that it matches, the same is set before by statement main0; remove it"},
		{"set again after another", func(l *lab) {
			l.chain("main", l.when("mark 0x1/0xff", is(FieldProto, 17)), l.when("mark 0x2/0xff", is(FieldTTL, 9)), l.when("mark 0x1/0xff", is(FieldProto, 17)))
		}, ""},
		{"set again, and more", func(l *lab) {
			l.chain("main", l.when("mark 0x1/0xff", is(FieldProto, 17)), l.when("mark 0x1/0xff, dscp 8", is(FieldProto, 17)))
		}, ""},
		{"never in its chain", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldGroup, 2)))
			l.chain("a", l.when("dscp 8", is(FieldIngress, uint32(l.port("em0")))))
		}, "chain a: statement a0: never matches: its iif and the iif-group of what leads to chain a exclude each other; remove it"},
		{"in a chain that others lead to", func(l *lab) {
			l.chain("main", l.when("jump a", is(FieldTTL, 9)), l.when("jump a", is(FieldGroup, 2)))
			l.chain("a", l.when("dscp 8", is(FieldIngress, uint32(l.port("em0")))))
		}, ""},
		{"ICMP type of TCP", func(l *lab) { l.chain("main", l.when("drop", is(FieldProto, 6), is(FieldICMPType, 8))) },
			main + "main0: never matches: its proto and its icmp-type exclude each other; remove it"},
		{"port of ICMP", func(l *lab) { l.chain("main", l.when("drop", is(FieldProto, 1), isNot(FieldDport, 8))) },
			main + "main0: never matches: its proto and its dport exclude each other; remove it"},
		{"iif lo", func(l *lab) { l.chain("main", l.when("drop", is(FieldIngress, uint32(LocalOutput)))) },
			main + "main0: never matches: no packet has its iif; remove it"},
		{"unread", func(l *lab) { l.chain("main", l.when("mark 0x100/0xf00")) },
			main + "main0: nothing reads the mark 0x100/0xf00 that it sets: no rule and no statement looks at these bits; add one that does, or remove it"},
		{"read in part", func(l *lab) { l.chain("main", l.when("mark 0x180/0xff0")) }, ""},
		{"read by a statement", func(l *lab) { l.chain("main", l.when("mark 0x100/0xf00"), l.when("drop", under(FieldMark, 0, 0x100))) }, ""},
		{"never set", func(l *lab) { l.chain("main", l.when("drop", is(FieldMark, 0x100, 0x200))) },
			main + "main0: never matches: nothing sets the mark that it asks for, [0x100, 0x200]; add a statement that does, or remove it"},
		{"unset at first", func(l *lab) { l.chain("main", l.when("mark 0x80/0xff", is(FieldMark, 0))) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.make(l)
			l.rule(1, "blackhole", Selector{HasMark: true, Mark: 0, MarkMask: 0xff})
			if got := l.remarks(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestLintTables(t *testing.T) {
	l := newLab(t)
	l.rule(1, "lookup a", Selector{HasTOS: true, TOS: 0x10})
	for _, name := range []string{"a", "b", "c", "lost", "found"} {
		l.tableIndex(name)
	}
	l.table("a", "10.0.0.0/8 lookup b", "11.0.0.0/8 dev em1 tos 0x10", "12.0.0.0/8 dev em1 tos 0x08")
	l.table("b", "10.0.0.0/8 dev em1 tos 0x10", "10.0.0.0/8 dev em1 tos 0x0c").OnMiss = MissLookup
	l.table("b").MissTarget = l.tableIndex("c")
	l.table("c", "10.0.0.0/8 dev em1")
	l.table("lost", "10.0.0.0/8 lookup found")
	l.table("found", "10.0.0.0/8 dev em1")
	want := "table a: route 12.0.0.0/8: tos 0x08 never matches: no rule that leads to the table matches packets with it; remove it\n" +
		"table b: route 10.0.0.0/8: tos 0x0c never matches: no rule that leads to the table matches packets with it; remove it\n" +
		"table lost: nothing leads to it: no rule looks it up, and no table that one does; remove it, or add a rule\n" +
		"table found: nothing leads to it: no rule looks it up, and no table that one does; remove it, or add a rule"
	if got := l.remarks(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestLintGivesUp has rules and statements that overlap in ways that nothing but comparing each with each would sort out.
func TestLintGivesUp(t *testing.T) {
	l := newLab(t)
	for i := range 20000 {
		m := dport(uint16(1+i), uint16(30000+i), Selector{})
		m.Sport = PortMatch{Kind: PortRange, Lo: uint16(1 + i), Hi: uint16(30000 + i)}
		l.rule(uint32(i), "blackhole", m)
		l.chain("main", l.when("drop", Condition{Field: FieldDport, Numbers: []Range{{uint32(1 + i), uint32(30000 + i), AllBits}}}))
	}
	got := l.remarks()
	if !strings.Contains(got, "from this rule on, rules that decide nothing were not looked for: too many overlap") ||
		!strings.Contains(got, "from this chain on, statements that do nothing were not looked for: too many overlap") || strings.Count(got, "\n") != 1 {
		t.Errorf("got\n%s", got)
	}
}
