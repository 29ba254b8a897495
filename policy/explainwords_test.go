package policy

import (
	"testing"

	"weir/policy/packet"
)

// wordyLab asks for every field in every form, of rules and of statements, and goes on whatever the answer is.
func wordyLab(t testing.TB) *Snapshot {
	l := newLab(t)
	ranges := func(f Field, list ...Range) Condition { return Condition{Field: f, Numbers: list} }
	web := is(FieldDport, 80, 443)
	web.Set = "web"
	l.chain("main",
		l.when("mark 0x1/0x1", within(FieldFrom, "10.1.0.0/16"), notWithin(FieldTo, "10.0.0.0/8", "172.16.0.0/12")),
		l.when("mark 0x1/0x1", within(FieldFrom, "10.1.0.0/16", "2001:db8:1::/48"), within(FieldTo, "2001:db8::/32", "9.0.0.0/8")),
		l.when("mark 0x2/0x2", is(FieldIngress, 0), is(FieldGroup, 1)),
		l.when("mark 0x4/0x4", under(FieldMark, 0x2, 0xf)),
		l.when("dscp 8", is(FieldTOS, 0x10)),
		l.when("dscp 46, mark 0x8/0x8", ranges(FieldDSCP, Range{8, 15, AllBits})),
		l.when("mark 0x10/0x10", is(FieldProto, 132)),
		l.when("mark 0x10/0x10", is(FieldProto, 200)),
		l.when("mark 0x20/0x20", web),
		l.when("mark 0x20/0x20", isNot(FieldSport, 53)),
		l.when("mark 0x20/0x20", ranges(FieldSport, Range{2, 3, 0xff}), isNot(FieldDport, 1, 2)),
		l.when("mark 0x40/0x40", is(FieldICMPType, 3), is(FieldICMPCode, 1, 3)),
		l.when("mark 0x40/0x40", is(FieldICMPType, 8), is(FieldICMPCode, 0)),
		l.when("mark 0x40/0x40", is(FieldICMPType, 99)),
		l.when("mark 0x80/0x80", under(FieldTCPFlags, 2, 0x12), under(FieldTCPFlags, 0, 0x4)),
		l.when("mark 0x80/0x80", is(FieldTCPFlags, 0)),
		l.when("mark 0x100/0x100", ranges(FieldLength, Range{60, 100, AllBits}), is(FieldTTL, 64)),
		l.when("mark 0x100/0x100", is(FieldLength, 1, 3, 5, 7, 9, 11, 13, 15)),
		l.when("mark 0x200/0x200", is(FieldFragment, uint32(packet.FragmentNone))),
		l.when("mark 0x400/0x400", under(FieldFlowLabel, 0x12000, 0xff000)),
		l.when("jump end"),
	)
	l.chain("end")
	main := &l.Marks[l.chainIndex("main")]
	main.Statements[len(main.Statements)-1].Match.Family = packet.IPv6
	main.Statements = append(main.Statements,
		Statement{Name: "not4", Match: Match{Family: packet.IPv4, Not: true, Conditions: []Condition{is(FieldTTL, 1)}}},
		Statement{Name: "not0", Match: Match{Not: true}},
		Statement{Name: "accepted", Match: Match{Conditions: []Condition{is(FieldTTL, 64)}}, Then: []Then{{Action: MarkAccept}}})

	priority := uint32(0)
	nop := func(m Selector) *Rule {
		priority += 10
		return l.rule(priority, "nop", m)
	}
	nop(Selector{From: prefix("10.1.0.0/16"), To: prefix("9.0.0.0/8")})
	nop(Selector{HasIngress: true, Ingress: 0, HasGroup: true, Group: 1})
	nop(Selector{HasIngress: true, IngressLo: true})
	nop(Selector{HasGroup: true, Group: 77})
	nop(Selector{HasMark: true, Mark: 0x2, MarkMask: 0xf})
	nop(Selector{HasMark: true, Mark: 0x2, MarkMask: AllBits})
	nop(Selector{HasTOS: true, TOS: 0x10})
	nop(Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63, HasProto: true, Proto: 6})
	nop(Selector{HasDSCP: true, DSCP: 32, DSCPMask: 0x38})
	nop(Selector{Sport: PortMatch{Kind: PortRange, Lo: 1024, Hi: 65535}, Dport: PortMatch{Kind: PortMask, Value: 0x50, Mask: 0xf0}})
	nop(Selector{Dport: PortMatch{Kind: PortRange, Lo: 80, Hi: 80}, Beyond: []Condition{under(FieldTCPFlags, 2, 0x12)}})
	nop(Selector{Beyond: []Condition{is(FieldFragment, uint32(packet.FragmentLater))}})
	nop(Selector{HasFlow: true, FlowLabel: 0x12345, FlowMask: flowLabelMax})
	nop(Selector{HasFlow: true, FlowLabel: 0x12000, FlowMask: 0xff000})
	nop(Selector{}).Not = true
	l.table("throws", "9.0.0.0/8 throw", "10.4.0.0/16 lookup source", "10.1.0.0/16 unreachable", "10.2.0.0/16 prohibit")
	l.table("source", "10.9.0.0/16 throw").Key = BySource
	l.table("shut").OnMiss = MissProhibit
	l.table("hole").OnMiss = MissBlackhole
	l.table("broad", "0.0.0.0/0 via 198.51.100.7 em1", "8.0.0.0/8 via 192.0.2.9 em0", "2001:db8:2::/48 dev em1")
	l.rule(500, "lookup throws", Selector{})
	r := l.rule(510, "lookup broad", Selector{})
	r.SuppressPrefixLength, r.SuppressGroup, r.HasSuppressGroup = 0, 1, true
	l.rule(520, "lookup shut", Selector{To: prefix("7.1.0.0/16")})
	l.rule(521, "lookup hole", Selector{To: prefix("7.2.0.0/16")})
	l.rule(522, "unreachable", Selector{To: prefix("7.3.0.0/16")})
	l.rule(523, "blackhole", Selector{To: prefix("7.4.0.0/16")})
	return l.compile()
}

// TestExplainWordsGolden pins the words for what a packet has, and for what becomes of it.
func TestExplainWordsGolden(t *testing.T) {
	s := wordyLab(t)
	for _, c := range []struct{ name, spec string }{
		{"words-tcp", "iif=em0 src=10.1.2.3 dst=9.1.2.3 proto=tcp sport=4000 dport=80 tcp-flags=syn tos=0x10 length=60"},
		{"words-sctp", "iif=em2 src=10.9.2.3 dst=10.4.2.3 proto=sctp dscp=af11"},
		{"words-unreachable", "iif=em1 src=9.1.1.1 dst=10.1.0.1 icmp-code=port-unreachable"},
		{"words-echo", "iif=em1 src=9.1.1.1 dst=10.2.0.1 icmp-type=echo-request"},
		{"words-icmp", "iif=em1 src=9.1.1.1 dst=7.3.0.1 icmp-type=99"},
		{"words-later", "iif=em1 src=9.1.1.1 dst=7.1.0.1 fragment=later"},
		{"words-source", "iif=em1 src=0.1.1.1 dst=7.1.0.1"},
		{"words-hole", "iif=em1 src=9.1.1.1 dst=7.2.0.1 proto=200"},
		{"words-gone", "iif=em1 src=9.1.1.1 dst=7.4.0.1 sport=53 fragment=first"},
		{"words-group", "iif=em1 src=9.1.1.1 dst=8.1.1.1"},
		{"words-flow", "iif=em0 src=2001:db8:1::9 dst=2001:db8:2::9 flowlabel=0x12345 tos=0x10 ttl=9"},
		{"words-ping6", "iif=em0 src=2001:db8:1::9 dst=2001:db8:9::9 icmp-type=nd-redirect"},
		{"words-scope", "iif=em0 src=fe80::9 dst=2001:db8:2::9"},
		{"words-hop-limit", "iif=em0 src=2001:db8:1::9 dst=2001:db8:2::9 ttl=1"},
		{"words-too-big", "iif=em0 src=2001:db8:1::9 dst=2001:db8:2::9 length=1401"},
		{"words-multicast", "iif=em0 src=10.1.2.3 dst=224.0.0.5"},
	} {
		explainGolden(t, s, c.name, c.spec)
	}
	own := key(t, s, "iif=em0 src=9.1.1.1 dst=8.1.1.1")
	own.Ingress = LocalOutput
	explainKeyGolden(t, s, "words-own", own)
}
