package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy/packet"
)

// Each row breaks a policy in one way and has the exact error.
func TestCompileErrors(t *testing.T) {
	for _, c := range []struct {
		name   string
		broken func(l *lab)
		want   string
	}{
		{"port without name", func(l *lab) { l.Ports[1].Name = "" }, "port : no name"},
		{"port twice", func(l *lab) { l.Ports[1].Name = "em0" }, "port em0: a second port of this name"},
		{"device order", func(l *lab) { l.Ports[1].Device = 2 }, "port em1: device 2 of port 1: netdevs come first, in device order"},
		{"netdev after vlan", func(l *lab) { l.Ports = append(l.Ports, Port{Name: "em3", Device: 3}) },
			"port em3: a netdev after a VLAN: netdevs come first, in device order"},
		{"vlan range", func(l *lab) { l.Ports[3].VLAN = 4095 }, "port em0.100: vlan 4095, at most 4094"},
		{"vlan device", func(l *lab) { l.Ports[3].Device = 7 }, "port em0.100: device 7 of 3"},
		{"vlan twice", func(l *lab) { l.Ports = append(l.Ports, Port{Name: "again", VLAN: 100}) },
			"port again: vlan 100 of device 0 is another port's too"},
		{"port address", func(l *lab) { l.Ports[2].Addresses = make([]netip.Prefix, 1) }, "port em2: invalid address"},
		{"neighbour", func(l *lab) {
			l.Neighbors = []StaticNeighbor{{Neighbor: fib.Neighbor{Addr: netip.MustParseAddr("224.0.0.1"), Port: 9}}}
		}, "neighbor 224.0.0.1: not the address of a neighbour\nneighbor 224.0.0.1: port 9 of 4"},
		{"neighbour twice", func(l *lab) {
			n := StaticNeighbor{Neighbor: fib.Neighbor{Addr: netip.MustParseAddr("192.0.2.9")}}
			l.Neighbors = []StaticNeighbor{n, n}
		}, "neighbor 192.0.2.9: a second MAC address for this neighbour"},
		{"table without name", func(l *lab) { l.Tables = []Table{{ID: 1}} }, "table : no name"},
		{"table twice", func(l *lab) { l.Tables = []Table{{Name: "x", ID: 1}, {Name: "x", ID: 1}} },
			"table x: a second table of this name\ntable x: id 1 is another table's too"},
		{"table id", func(l *lab) { l.Tables = []Table{{Name: "x"}} }, "table x: id 0: ids are 1 to 4294967295"},
		{"table words", func(l *lab) { l.Tables = []Table{{Name: "x", ID: 1, Key: 2, OnMiss: 5}} },
			"table x: unknown key 2\ntable x: unknown on-miss 5"},
		{"on-miss target", func(l *lab) { l.table("x").OnMiss = MissLookup; l.table("x").MissTarget = 5 }, "table x: on-miss lookup of table 5 of 1"},
		{"prefix", func(l *lab) { l.table("x").Routes = make([]fib.Route, 1) }, "table x: route invalid Prefix: invalid prefix"},
		{"host bits", func(l *lab) { l.table("x", "10.1.0.0/8 local") }, "table x: route 10.1.0.0/8: host bits set: the prefix is 10.0.0.0/8"},
		{"route tos", func(l *lab) { l.table("x", "::/0 local tos 0x10") }, "table x: route ::/0: tos 0x10: IPv6 routes have no tos"},
		{"mtu", func(l *lab) { l.table("x", "10.0.0.0/8 dev em0 mtu 67", "::/0 dev em0 mtu 1279") },
			"table x: route 10.0.0.0/8: mtu 67, at least 68\ntable x: route ::/0: mtu 1279, at least 1280"},
		{"route action", func(l *lab) { l.table("x", "10.0.0.0/8 local").Routes[0].Action = 9 }, "table x: route 10.0.0.0/8: unknown action 9"},
		{"no hop", func(l *lab) { l.table("x", "10.0.0.0/8") }, "table x: route 10.0.0.0/8: no next hop"},
		{"hop too many", func(l *lab) { l.table("x", "10.0.0.0/8 dev em0 blackhole") }, "table x: route 10.0.0.0/8: next hops on a route of type blackhole"},
		{"hops", func(l *lab) { l.table("x", "10.0.0.0/8 "+strings.Repeat("dev em0 ", 257)) }, "table x: route 10.0.0.0/8: 257 next hops, at most 256"},
		{"hop port", func(l *lab) { l.table("x", "10.0.0.0/8 dev em0").Routes[0].Hops[0].Port = 4 }, "table x: route 10.0.0.0/8: next hop by port 4 of 4"},
		{"gateway", func(l *lab) {
			l.table("x", "::/0 via 192.0.2.9 em0", "10.0.0.0/8 via 0.0.0.0 em0", "11.0.0.0/8 via 192.0.2.1 em0")
		}, "table x: route ::/0: gateway 192.0.2.9 of an IPv6 route\n" +
			"table x: route 10.0.0.0/8: gateway 0.0.0.0 is not the address of a neighbour\n" +
			"table x: route 11.0.0.0/8: gateway 192.0.2.1 is the router itself"},
		{"target", func(l *lab) { l.table("x", "10.0.0.0/8 lookup x").Routes[0].Target = 4 }, "table x: route 10.0.0.0/8: lookup of table 4 of 1"},
		{"cycle", func(l *lab) { l.table("x", "10.0.0.0/8 lookup y"); l.table("y", "11.0.0.0/8 lookup x") }, "table x: lookup cycle: x → y → x"},
		{"cycle by on-miss", func(l *lab) {
			l.table("a", "10.0.0.0/8 lookup x")
			l.table("x", "10.0.0.0/8 lookup y")
			l.table("y").OnMiss, l.table("y").MissTarget = MissLookup, l.tableIndex("x")
		}, "table x: lookup cycle: x → y → x"},
		{"cycle of one", func(l *lab) { l.table("x", "10.0.0.0/8 lookup x") }, "table x: lookup cycle: x → x"},
		{"two cycles", func(l *lab) {
			l.table("x", "10.0.0.0/8 lookup x")
			l.table("y", "10.0.0.0/8 lookup y")
		}, "table x: lookup cycle: x → x\ntable y: lookup cycle: y → y"},
		{"depth", func(l *lab) {
			for _, c := range "abcdefghi" {
				l.table(string(c), "10.0.0.0/8 lookup "+string(c+1))
			}
		}, "table a: lookups 9 deep, at most 8: a → b → c → d → e → f → g → h → i → j"},
		{"rule table", func(l *lab) { l.rule(1, "lookup x", Selector{}).Table = 3 }, "rule r0: lookup of table 3 of 1"},
		{"goto", func(l *lab) { l.rule(5, "goto 5", Selector{}); l.rule(5, "goto 4", Selector{}) },
			"rule r0: goto 5 from priority 5: goto only goes forward\nrule r1: goto 4 from priority 5: goto only goes forward"},
		{"rule action", func(l *lab) { l.rule(1, "nop", Selector{}).Action = 6 }, "rule r0: unknown action 6"},
		{"suppress", func(l *lab) { l.rule(1, "lookup x", Selector{}).SuppressPrefixLength = 129 }, "rule r0: suppress-prefixlength 129 is not in 0 to 128"},
		{"families", func(l *lab) { l.rule(1, "nop", Selector{From: prefix("10.0.0.0/8"), To: prefix("::/0")}) },
			"rule r0: selectors of both families: no packet has both"},
		{"family and label", func(l *lab) { l.rule(1, "nop", Selector{Family: packet.IPv4, HasFlow: true}) },
			"rule r0: selectors of both families: no packet has both"},
		{"family", func(l *lab) { l.rule(1, "nop", Selector{Family: 5}) }, "rule r0: unknown family 5"},
		{"iif", func(l *lab) { l.rule(1, "nop", Selector{HasIngress: true, Ingress: 4}) }, "rule r0: iif: port 4 of 4"},
		{"tos", func(l *lab) { l.rule(1, "nop", Selector{HasTOS: true, TOS: 0xb8}) },
			"rule r0: tos 0xb8: IPv4 rules compare tos & 0x1c only, so it is 0x04 to 0x1c; use dscp"},
		{"tos IPv6", func(l *lab) { l.rule(1, "nop", Selector{Family: packet.IPv6, HasTOS: true, TOS: 0xb9}) },
			"rule r0: tos 0xb9: the lower two bits are ECN"},
		{"dscp", func(l *lab) { l.rule(1, "nop", Selector{HasDSCP: true, DSCP: 64, DSCPMask: 63}) }, "rule r0: dscp 64/0x3f: it has six bits"},
		{"flowlabel", func(l *lab) { l.rule(1, "nop", Selector{HasFlow: true, FlowLabel: 1 << 20, FlowMask: 1}) },
			"rule r0: flowlabel 0x100000/0x1: it has 20 bits"},
		{"l4 ports", func(l *lab) {
			l.rule(1, "nop", Selector{Sport: PortMatch{Kind: 3}, Dport: PortMatch{Kind: PortRange, Lo: 2, Hi: 1}})
		}, "rule r0: sport: unknown kind 3\nrule r0: dport: range 2-1 is empty"},
		{"chain name", func(l *lab) { l.chain("") }, "chain : no name"},
		{"statement name", func(l *lab) { l.chain("main", Statement{}); l.Marks[0].Statements[0].Name = "" }, "chain main: statement : no name"},
		{"statement family", func(l *lab) { l.chain("main", Statement{Match: Match{Family: 5}}) }, "chain main: statement main0: unknown family 5"},
		{"field", func(l *lab) { l.chain("main", Statement{Match: Match{Conditions: []Condition{{Field: fieldEnd}}}}) },
			fmt.Sprintf("chain main: statement main0: unknown field %d", fieldEnd)},
		{"condition prefix", func(l *lab) {
			c := within(FieldFrom, "10.0.0.0/8")
			c.Prefixes[0] = netip.PrefixFrom(c.Prefixes[0].Addr().Next(), 8)
			l.chain("main", Statement{Match: Match{Conditions: []Condition{c}}})
		}, "chain main: statement main0: from: 10.0.0.1/8 is not a prefix"},
		{"condition mask", func(l *lab) {
			l.chain("main", Statement{Match: Match{Conditions: []Condition{{Field: FieldMark, Numbers: []Range{{3, 3, 1}}}}}})
		}, "chain main: statement main0: mark: bits 0x2 of the value are outside of the mask"},
		{"statement action", func(l *lab) { l.chain("main", Statement{Then: []Then{{Action: markActionEnd}}}) },
			fmt.Sprintf("chain main: statement main0: unknown action %d", markActionEnd)},
		{"too many statements", func(l *lab) {
			l.Marks = []Chain{{Name: "main", Statements: make([]Statement, 65535)}}
			for i := range l.Marks[0].Statements {
				l.Marks[0].Statements[i].Name = fmt.Sprint(i)
			}
		}, "65535 statements of marks, at most 65534"},
		{"too many tables", func(l *lab) { l.Tables = make([]Table, 65535) }, "65535 tables, at most 65534"},
		{"too many rules", func(l *lab) { l.Rules = make([]Rule, 65535) }, "65535 rules, at most 65534"},
		{"too many ports", func(l *lab) { l.Ports = make([]Port, 65535) }, "65535 ports, at most 65534"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			c.broken(l)
			s, err := Compile(&l.Policy)
			if err == nil || err.Error() != c.want || s != nil {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestCompileErrorsSayWhere(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 local", "11.1.0.0/8 local")
	l.rule(5, "nop", Selector{})
	l.rule(4, "goto 1", Selector{})
	_, err := Compile(&l.Policy)
	var list CompileErrors
	if !errors.As(err, &list) || len(list) != 2 {
		t.Fatalf("%v is not a list of two", err)
	}
	if e := list[0]; e.Table != 0 || e.Route != 1 || e.Rule != -1 || e.Port != -1 || e.Neighbor != -1 {
		t.Errorf("route: %+v", e)
	}
	if e := list[1]; e.Table != -1 || e.Route != -1 || e.Rule != 1 {
		t.Errorf("rule: %+v", e)
	}
	var one *CompileError
	if !errors.As(err, &one) || one != list[0] {
		t.Error("the first of the list is not found")
	}
}

func TestEightDeepIsAllowed(t *testing.T) {
	l := newLab(t)
	for _, c := range "abcdefgh" {
		l.table(string(c), "10.0.0.0/8 lookup "+string(c+1))
	}
	l.table("i", "10.0.0.0/8 dev em1")
	l.rule(1, "lookup a", Selector{})
	expect(t, l.compile(), "iif=em0 src=9.0.0.1 dst=10.0.0.1 => forward em1 r0 i 10.0.0.0/8")
}

func TestWarnings(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 local tos 0xe0", "10.0.0.0/8 local", "10.0.0.0/8 local")
	l.rule(9, "prohibit", Selector{Family: packet.IPv4})
	l.rule(1, "goto 9", Selector{})
	l.rule(2, "goto 3", Selector{Family: packet.IPv4})
	l.rule(3000, "nop", Selector{HasTOS: true})
	var got []string
	for _, w := range l.compile().Warnings() {
		got = append(got, w.Error())
	}
	want := strings.Join([]string{
		"table x: route 10.0.0.0/8: tos 0xe0 never matches: routes compare tos & 0x1c",
		"rule r3: tos 0 is no condition, as in Linux: dscp 0 is",
		"table x: route 10.0.0.0/8: replaces an earlier route of the same prefix, tos and metric",
		"rule r1: goto 9 lands nowhere in IPv6: the rule is skipped",
		"rule r2: goto 3 lands nowhere in IPv4: the rule is skipped",
		"rule r2: is never reached: every packet is taken first by rule r1 (priority 1), to priority 9; move it up, or remove it",
		"table x: nothing leads to it: no rule looks it up, and no table that one does; remove it, or add a rule",
	}, "\n")
	if strings.Join(got, "\n") != want {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), want)
	}
}

func TestCompileDoesNotTouchThePolicy(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 via 198.51.100.7 em1 via 192.0.2.9 em0")
	l.rule(9, "lookup x", Selector{})
	l.rule(1, "nop", Selector{})
	s := l.compile()
	if l.Rules[0].Priority != 9 || l.Tables[0].Routes[0].Hops[1].Adjacency != 0 || l.Tables[0].Routes[0].Hops[0].ID != 0 {
		t.Error("the policy has changed")
	}
	if s.Rule(0).Priority != 1 || s.Rules() != 2 || s.Tables() != 1 || s.Routes(0).Len() != 1 || s.Table(0).Name != "x" {
		t.Error("the snapshot is not what the policy says")
	}
	if s.Adjacencies.Len() != 2 {
		t.Errorf("%d adjacencies, want one for each gateway", s.Adjacencies.Len())
	}
	if port, ok := s.Own(netip.MustParseAddr("2001:db8:2::1")); !ok || port != 1 {
		t.Errorf("own address: port %d %v", port, ok)
	}
	if _, ok := s.Own(netip.MustParseAddr("192.0.2.255")); ok {
		t.Error("a broadcast address is no own address")
	}
}

func TestAdjacencyOfAVLAN(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 via 203.0.113.9 em0.100")
	a := l.compile().Adjacencies.At(0)
	if a.Device != 0 || a.Tags != 1 || a.VLAN[0] != 100 || a.MTU != 1500 || a.State != fib.Incomplete || a.Neighbor.Port != 3 {
		t.Errorf("%+v", a)
	}
}
