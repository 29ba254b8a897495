package policy

import (
	"testing"

	"weir/policy/packet"
)

// TestDescribe pins how rules, statements and routes are written down.
func TestDescribe(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 via 198.51.100.7 em1 metric 5", "11.0.0.0/8 via 198.51.100.7 em1 weight 3 via 192.0.2.9 em0", "12.0.0.0/8 lookup y", "13.0.0.0/8 prohibit")
	rules := []struct {
		action string
		match  Selector
		not    bool
		text   string
	}{
		{"lookup x", Selector{}, false, "from all lookup x"},
		{"goto 900", Selector{}, true, "not from all goto 900"},
		{"prohibit", Selector{From: prefix("10.0.0.0/8"), To: prefix("11.0.0.0/8"), HasIngress: true, Ingress: 0, HasGroup: true, Group: 2}, false,
			"from 10.0.0.0/8 to 11.0.0.0/8 iif em0 iif-group guests prohibit"},
		{"blackhole", Selector{HasIngress: true, IngressLo: true, HasMark: true, Mark: 0x10, MarkMask: 0xff, HasTOS: true, TOS: 0x10}, true,
			"not iif lo fwmark 0x10/0xff tos 0x10 blackhole"},
		{"unreachable", Selector{HasMark: true, Mark: 7, MarkMask: AllBits, HasDSCP: true, DSCP: 46, DSCPMask: 63, HasProto: true, Proto: 6,
			Sport: PortMatch{Kind: PortRange, Lo: 80, Hi: 80}, Dport: PortMatch{Kind: PortMask, Value: 0x10, Mask: 0xfff0}}, false,
			"fwmark 0x7 dscp ef (46) proto tcp sport 80 dport 0x10/0xfff0 unreachable"},
		{"nop", Selector{Family: packet.IPv6, HasDSCP: true, DSCP: 1, DSCPMask: 3, Dport: PortMatch{Kind: PortRange, Lo: 1, Hi: 9}}, false,
			"family ipv6 dscp 1/0x03 dport 1-9 nop"},
		{"nop", Selector{HasFlow: true, FlowLabel: 5, FlowMask: 0xff, Beyond: []Condition{is(FieldTTL, 3), under(FieldTCPFlags, 2, 0x12)}}, false,
			"flowlabel 0x5/0xff ttl 3 tcp-flags syn,!ack nop"},
	}
	for i, r := range rules {
		l.rule(uint32(i), r.action, r.match).Not = r.not
	}
	r := l.rule(99, "lookup x", Selector{})
	r.SuppressPrefixLength, r.HasSuppressGroup, r.SuppressGroup = 0, true, 2
	not := l.when("drop", isNot(FieldProto, 6, 17), is(FieldICMPType, 8))
	not.Match.Not, not.Match.Family = true, packet.IPv4
	other := l.when("accept", within(FieldFrom, "10.0.0.0/8", "2001:db8::/32"))
	l.chain(MainChain, l.when("mark 0x10/0xff, dscp 46, jump other", within(FieldTo, "10.0.0.0/8"), is(FieldDport, 80)), not, l.when("return"))
	l.chain("other", other)
	s := l.compile()
	for i, r := range rules {
		if got := s.RuleText(uint16(i)); got != r.text {
			t.Errorf("rule %d: %q, want %q", i, got, r.text)
		}
	}
	if got, want := s.RuleText(uint16(len(rules))), "from all lookup x suppress-prefixlength 0 suppress-ifgroup guests"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	for i, want := range []string{
		"to 10.0.0.0/8 dport 80 mark 0x10/0xff dscp ef (46) jump other", "not family ipv4 proto not [tcp, udp] icmp-type echo-request (8) drop", "return",
		"from [10.0.0.0/8, 2001:db8::/32] accept",
	} {
		if got := s.StatementText(uint16(i)); got != want {
			t.Errorf("statement %d: %q, want %q", i, got, want)
		}
	}
	i := 0
	for r := range s.Routes(0).All() {
		want := []string{"via 198.51.100.7 at em1 metric 5", "via 198.51.100.7 at em1 weight 3 via 192.0.2.9 at em0 weight 1", "lookup y", "prohibit"}[i]
		if got := s.RouteText(r); got != want {
			t.Errorf("route %v: %q, want %q", r.Prefix, got, want)
		}
		i++
	}
}
