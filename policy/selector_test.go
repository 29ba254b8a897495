package policy

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"weir/policy/packet"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// Each row is a selector, packets that it matches and packets that it does not.
var selectorRows = []struct {
	name    string
	match   Selector
	yes, no []string
}{
	{"none", Selector{}, []string{"src=10.0.0.1 dst=10.0.0.2", "src=2001:db8::1 dst=2001:db8::2"}, nil},
	{"from", Selector{From: prefix("10.0.0.0/8")},
		[]string{"src=10.255.0.1 dst=11.0.0.1"}, []string{"src=11.0.0.1 dst=10.0.0.1", "src=2001:db8::1 dst=2001:db8::2"}},
	{"from default", Selector{From: prefix("0.0.0.0/0")},
		[]string{"src=10.255.0.1 dst=11.0.0.1"}, []string{"src=::ffff:10.0.0.1 dst=2001:db8::2"}},
	{"to", Selector{To: prefix("2001:db8:5::/48")},
		[]string{"src=2001:db8::1 dst=2001:db8:5::1"}, []string{"src=2001:db8:5::1 dst=2001:db8:6::1"}},
	{"iif", Selector{HasIngress: true, Ingress: 0},
		[]string{"src=10.0.0.1 dst=10.0.0.2"}, []string{"iif=em1 src=10.0.0.1 dst=10.0.0.2", "iif=em0.100 src=10.0.0.1 dst=10.0.0.2"}},
	{"iif vlan", Selector{HasIngress: true, Ingress: 3},
		[]string{"iif=em0.100 src=10.0.0.1 dst=10.0.0.2"}, []string{"src=10.0.0.1 dst=10.0.0.2"}},
	{"iif lo", Selector{HasIngress: true, IngressLo: true}, nil, []string{"src=10.0.0.1 dst=10.0.0.2"}},
	{"iif-group", Selector{HasGroup: true, Group: 2},
		[]string{"iif=em2 src=10.0.0.1 dst=10.0.0.2", "iif=em0.100 src=10.0.0.1 dst=10.0.0.2"}, []string{"src=10.0.0.1 dst=10.0.0.2"}},
	{"iif-group none", Selector{HasGroup: true, Group: 0},
		[]string{"iif=em1 src=10.0.0.1 dst=10.0.0.2"}, []string{"iif=em0 src=10.0.0.1 dst=10.0.0.2"}},
	{"fwmark", Selector{HasMark: true, Mark: 0x10, MarkMask: 0xff},
		[]string{"src=10.0.0.1 dst=10.0.0.2 mark=0x10", "src=10.0.0.1 dst=10.0.0.2 mark=0xff10"},
		[]string{"src=10.0.0.1 dst=10.0.0.2", "src=10.0.0.1 dst=10.0.0.2 mark=0x11"}},
	{"fwmark 0", Selector{HasMark: true, Mark: 0, MarkMask: 0xffffffff},
		[]string{"src=10.0.0.1 dst=10.0.0.2"}, []string{"src=10.0.0.1 dst=10.0.0.2 mark=1"}},
	{"tos", Selector{Family: packet.IPv4, HasTOS: true, TOS: 0x10},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0x10", "src=10.0.0.1 dst=10.0.0.2 tos=0xf3"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0x18", "src=10.0.0.1 dst=10.0.0.2"}},
	{"tos of both families", Selector{HasTOS: true, TOS: 0x10},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0xf3", "src=2001:db8::1 dst=2001:db8::2 tos=0x13"},
		[]string{"src=2001:db8::1 dst=2001:db8::2 tos=0xf0"}},
	{"tos IPv6", Selector{Family: packet.IPv6, HasTOS: true, TOS: 0xb8},
		[]string{"src=2001:db8::1 dst=2001:db8::2 tos=0xbb"}, []string{"src=2001:db8::1 dst=2001:db8::2 tos=0x18"}},
	{"tos 0", Selector{HasTOS: true}, []string{"src=10.0.0.1 dst=10.0.0.2 tos=0x10"}, nil},
	{"dscp", Selector{HasDSCP: true, DSCP: 46, DSCPMask: 63},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0xb8", "src=10.0.0.1 dst=10.0.0.2 tos=0xbb", "src=2001:db8::1 dst=2001:db8::2 tos=0xb9"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0xb4"}},
	{"dscp 0", Selector{HasDSCP: true, DSCPMask: 63},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=3"}, []string{"src=10.0.0.1 dst=10.0.0.2 tos=4"}},
	{"dscp masked", Selector{HasDSCP: true, DSCP: 0x20, DSCPMask: 0x38},
		[]string{"src=10.0.0.1 dst=10.0.0.2 tos=0x9c"}, []string{"src=10.0.0.1 dst=10.0.0.2 tos=0xa0"}},
	{"proto", Selector{HasProto: true, Proto: packet.ProtoTCP},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp", "src=10.0.0.1 dst=10.0.0.2 proto=tcp fragment=later"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=udp"}},
	{"dport", Selector{Dport: PortMatch{Kind: PortRange, Lo: 80, Hi: 81}},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=80", "src=10.0.0.1 dst=10.0.0.2 proto=udp dport=81"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=79", "src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=82",
			"src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=80 fragment=first", "src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=80 fragment=later",
			"src=10.0.0.1 dst=10.0.0.2 proto=tcp sport=80", "src=10.0.0.1 dst=10.0.0.2 proto=icmp"}},
	{"dport with 0", Selector{Dport: PortMatch{Kind: PortRange, Lo: 0, Hi: 80}},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=icmp", "src=10.0.0.1 dst=10.0.0.2 proto=47",
			"src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=443 fragment=first", "src=10.0.0.1 dst=10.0.0.2 proto=tcp fragment=later"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp dport=443"}},
	{"sport masked", Selector{Sport: PortMatch{Kind: PortMask, Value: 0x1000, Mask: 0xf000}},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp sport=0x1fff"},
		[]string{"src=10.0.0.1 dst=10.0.0.2 proto=tcp sport=0x2000", "src=10.0.0.1 dst=10.0.0.2 proto=icmp"}},
	{"flowlabel", Selector{HasFlow: true, FlowLabel: 0x12300, FlowMask: 0xfff00},
		[]string{"src=2001:db8::1 dst=2001:db8::2 flowlabel=0x12345"},
		[]string{"src=2001:db8::1 dst=2001:db8::2 flowlabel=0x12445", "src=10.0.0.1 dst=10.0.0.2"}},
	{"flowlabel 0", Selector{HasFlow: true, FlowMask: 0xfffff},
		[]string{"src=2001:db8::1 dst=2001:db8::2"}, []string{"src=10.0.0.1 dst=10.0.0.2"}},
	{"family", Selector{Family: packet.IPv6},
		[]string{"src=2001:db8::1 dst=2001:db8::2"}, []string{"src=10.0.0.1 dst=10.0.0.2"}},
	{"conjunction", Selector{From: prefix("10.0.0.0/8"), To: prefix("11.0.0.0/8"), HasProto: true, Proto: 6},
		[]string{"src=10.0.0.1 dst=11.0.0.2 proto=tcp"},
		[]string{"src=10.0.0.1 dst=11.0.0.2 proto=udp", "src=10.0.0.1 dst=12.0.0.2 proto=tcp", "src=12.0.0.1 dst=11.0.0.2 proto=tcp"}},
}

func TestSelectors(t *testing.T) {
	for _, row := range selectorRows {
		for _, not := range []bool{false, true} {
			l := newLab(t)
			l.rule(1, "prohibit", row.match).Not = not
			s := l.compile()
			check := func(spec string, matches bool) {
				if len(spec) < 3 || spec[:3] != "iif" {
					spec = "iif=em0 " + spec
				}
				k := key(t, s, spec)
				family, _ := row.match.family()
				// A rule is there for its family only, negated or not.
				want := (family == 0 || family == k.Family) && matches != not
				if got := s.Evaluate(&k, nil).Reason == packet.Prohibit; got != want {
					t.Errorf("%s, not %v: %s matches %v, want %v", row.name, not, spec, got, want)
				}
			}
			for _, spec := range row.yes {
				check(spec, true)
			}
			for _, spec := range row.no {
				check(spec, false)
			}
		}
	}
}

// twinMatches says the same as Selector.mismatch, condition by condition and bit by bit, in another way.
func twinMatches(m *Selector, k *packet.Key, group uint32) bool {
	inside := func(p netip.Prefix, a [16]byte) bool {
		if !p.IsValid() {
			return true
		}
		offset := 0
		if p.Addr().Is4() {
			offset = 96
		}
		want := p.Addr().As16()
		for i := range offset + p.Bits() {
			if (want[i/8]^a[i/8])>>(7-i%8)&1 != 0 {
				return false
			}
		}
		return p.Addr().Is4() == (k.Family == packet.IPv4)
	}
	port := func(p PortMatch, of uint16) bool {
		if k.Fragment != packet.FragmentNone || k.Proto != 6 && k.Proto != 17 {
			of = 0
		}
		return [...]bool{true, of >= p.Lo && of <= p.Hi, of&p.Mask == p.Value&p.Mask}[p.Kind]
	}
	tos := [...]uint8{4: k.TOS & 0x1c, 6: k.TOS &^ 3}[k.Family]
	all := []bool{
		inside(m.From, k.Src), inside(m.To, k.Dst),
		!m.HasIngress || !m.IngressLo && m.Ingress == k.Ingress,
		!m.HasGroup || m.Group == group,
		!m.HasMark || k.Mark&m.MarkMask == m.Mark&m.MarkMask,
		!m.HasTOS || m.TOS == 0 || m.TOS == tos,
		!m.HasDSCP || k.TOS/4&m.DSCPMask == m.DSCP&m.DSCPMask,
		!m.HasProto || m.Proto == k.Proto,
		port(m.Sport, k.SrcPort), port(m.Dport, k.DstPort),
		!m.HasFlow || k.FlowLabel&m.FlowMask == m.FlowLabel&m.FlowMask,
	}
	for _, ok := range all {
		if !ok {
			return false
		}
	}
	return true
}

func TestSelectorIsTheTwin(t *testing.T) {
	s := newLab(t).compile()
	matched := 0
	rapid.Check(t, func(t *rapid.T) {
		m, k := genSelector(t, len(s.Ports)), genKey(t, len(s.Ports))
		var f flow
		f.fill(s, &k)
		bad := m.mismatch(&f)
		if want := twinMatches(&m, &k, s.Ports[k.Ingress].Group); (bad == FieldNone) != want {
			t.Fatalf("%+v on %+v: field %d, want match %v", m, k, bad, want)
		}
		if bad == FieldNone {
			matched++
		}
	})
	if matched == 0 {
		t.Error("no random selector matched")
	}
}
