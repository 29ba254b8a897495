package oracle

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// generator draws configurations and packets from spaces so small that they meet.
type generator struct {
	*rand.Rand
	sources []netip.Addr // of packets, before the odd ones; rules have prefixes of them

	// file: only what a configuration file can say. It refuses some things that Linux takes and ignores.
	file bool

	back bool // routes lead to sources too
}

// newGenerator draws packets to ask about.
func newGenerator(r *rand.Rand) *generator { return &generator{Rand: r, sources: sources} }

// newWireGenerator draws packets to send. Linux sends each IPv4 address six ICMP errors at most, and then one a second
// (ip_error in net/ipv4/route.c; it cannot be told otherwise in a namespace), so every configuration has sources of its
// own.
func newWireGenerator(r *rand.Rand, number int) *generator {
	g := &generator{Rand: r}
	for _, a := range sources {
		if a.Is6() {
			g.sources = append(g.sources, a)
		}
	}
	for _, half := range []int{0, 128} {
		for _, host := range []int{1, 2, 3, 62, 64, 65, 127, 128, 129, 191, 192, 200, 253} {
			g.sources = append(g.sources, netip.MustParseAddr(fmt.Sprintf("60.%d.%d.%d", half+number>>8&127, number&255, host)))
		}
	}
	return g
}

func pick[T any](g *generator, list ...T) T { return list[g.IntN(len(list))] }

// one in n.
func (g *generator) one(n int) bool { return g.IntN(n) == 0 }

// Destinations and sources, before the odd ones. Those of routes are in as many prefixes of all lengths as possible.
var (
	destinations = append(product("50.%d.%d.%d", []int{0, 1, 128}, []int{0, 1, 128}, []int{0, 1, 2, 255}),
		product("2001:db8:%x:%x::%x", []int{0, 1, 0x8000}, []int{0, 1, 0x8000}, []int{0, 1, 2})...)
	sources = append(append(product("60.%d.%d.%d", []int{0, 128}, []int{0, 1, 128}, []int{1, 2, 200}),
		product("2001:db8:%x:%x::%x", []int{0x6000, 0xe000}, []int{0, 1, 0x8000}, []int{1, 2, 0x8000})...),
		addrs("10.1.0.77", "10.2.0.77", "10.4.0.200", "fd00:1::77", "fd00:2::77", "fd00:4::77")...)
)

// Addresses that something is special about, without the groups.
var (
	oddDestinations = addrs("0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "240.0.0.1", "10.1.0.1", "10.2.4.1", "10.3.0.0",
		"10.1.0.255", "10.2.4.3", "10.1.0.0", "10.1.0.3", "10.2.0.2", "10.4.0.130", "10.9.9.9",
		"::1", "fd00:1::1", "fd00:3::", "fd00:1::", "fd00:1::3", "fd00:4::2", "::ffff:50.0.0.1", "::50.0.0.1", "3000::1")
	oddSources = addrs("0.0.0.0", "0.1.2.3", "127.0.0.1", "169.254.1.1", "240.0.0.1", "224.0.0.1", "255.255.255.255", "10.1.0.1", "10.3.0.0",
		"10.2.4.1", "10.1.0.255", "10.2.4.3", "10.4.0.255", "10.9.9.9",
		"::", "::1", "fe80::77", "ff02::1", "fd00:1::1", "fd00:1::", "::ffff:60.0.0.1", "::60.0.0.1", "3000::1")
)

func product(format string, a, b, c []int) (list []netip.Addr) {
	for _, x := range a {
		for _, y := range b {
			for _, z := range c {
				list = append(list, netip.MustParseAddr(fmt.Sprintf(format, x, y, z)))
			}
		}
	}
	return list
}

// address draws one of the family; one in odds is odd.
func (g *generator) address(usual, odd []netip.Addr, ipv4 bool, odds int) netip.Addr {
	list := usual
	if odds > 0 && g.one(odds) {
		list = odd
	}
	for {
		if a := pick(g, list...); a.Is4() == ipv4 {
			return a
		}
	}
}

// prefix draws one with an address of the list in it.
func (g *generator) prefix(usual, odd []netip.Addr, ipv4 bool) netip.Prefix {
	a := g.address(usual, odd, ipv4, 8)
	for g.file && a.Is4In6() { // a file says it as IPv4
		a = g.address(usual, odd, ipv4, 8)
	}
	n := a.BitLen()
	bits := pick(g, 0, 1, n/4, n/4+1, 9, 16, 17, 24, 32, 33, 47, 48, 49, 63, 64, n-2, n-1, n-1, n, n, n, g.IntN(n+1))
	for bits > n {
		bits = g.IntN(n + 1)
	}
	return netip.PrefixFrom(a, bits).Masked()
}

var (
	tosBytes   = []uint8{0, 0, 0x04, 0x08, 0x10, 0x18, 0x1c, 0x20, 0x28, 0xb8, 0xa0, 0xfc, 0x13, 0xbb, 0xff}
	tosValues  = []uint8{0x04, 0x08, 0x10, 0x18, 0x1c}
	markValues = []uint32{0, 1, 2, 3, 0x10, 0x80000001, 0xffffffff}
	portValues = []uint16{0, 1, 22, 53, 80, 81, 443, 1024, 65534, 65535} // neither end is for rules
	flowValues = []uint32{0, 1, 2, 0x12345, 0xfffff}
)

// markPool is the marks that packets have.
var markPool = []uint32{0, 1, 2, 3, 0x11, 0x80000000, 0xffffffff}

// description draws a configuration; reserved are rules and a table of the test's own, if any, which come first.
func (g *generator) description(reserved func(*description)) *description {
	d := newDescription(!g.one(4))
	if reserved != nil {
		reserved(d)
	}
	if g.back = g.one(2); g.back {
		g.checkSources(d)
	}
	first := len(d.Tables)
	for i := range 1 + g.IntN(5) {
		d.Tables = append(d.Tables, policy.Table{Name: fmt.Sprintf("t%d", i), ID: pick(g, uint32(100+i), uint32(100+i), 1<<31+uint32(i), ^uint32(i))})
	}
	for i := tableMain; i < len(d.Tables); i++ {
		if i < tablesBuiltin || i >= first {
			g.routes(&d.Tables[i], g.IntN(14))
		}
	}
	tables := []uint16{tableLocal, tableMain, tableDefault}
	for i := first; i < len(d.Tables); i++ {
		tables = append(tables, uint16(i), uint16(i), uint16(i))
	}
	rules := 1 + g.IntN(14)
	if g.one(3) {
		rules += 20 // more than are tried one by one
	}
	for range rules {
		d.Rules = append(d.Rules, g.rule(fmt.Sprintf("r%d", len(d.Rules)), tables))
	}
	if !d.defaults && !g.one(3) {
		at := uint32(g.IntN(12))
		d.Rules = append(d.Rules, policy.Rule{Name: "own", Priority: at, Table: tableLocal, SuppressPrefixLength: -1})
	}
	return d
}

func (g *generator) routes(t *policy.Table, n int) {
	type identity struct {
		prefix netip.Prefix
		tos    uint8
		metric uint32
	}
	seen := map[identity]bool{}
	for _, r := range t.Routes {
		seen[identity{prefix: r.Prefix}] = true
	}
	for range n {
		r := g.route(g.one(2))
		if len(t.Routes) > 0 && g.one(4) { // beside or around one that is there
			other := pick(g, t.Routes...).Prefix
			if bits := other.Bits(); bits > 0 && g.one(2) {
				other = netip.PrefixFrom(other.Addr(), bits-1).Masked()
			}
			if other.Addr().Is4() == r.Prefix.Addr().Is4() {
				r.Prefix = other
			}
		}
		id := identity{r.Prefix, r.TOS, r.Metric}
		connected := r.Prefix.Addr().Is6() && seen[identity{prefix: r.Prefix}] // whose metric is 256 in Linux, and 0 in weir
		if seen[id] || connected || t.ID == policy.TableMain && hidesGateway(r.Prefix) {
			continue
		}
		seen[id] = true
		t.Routes = append(t.Routes, r)
	}
}

// hidesGateway reports whether Linux, which asks table main whether an IPv6 gateway is on its port, would be told
// otherwise by a route to this prefix.
func hidesGateway(p netip.Prefix) bool {
	for _, list := range gateways {
		for _, a := range list {
			if a.Is6() && p.Contains(a) && p.Bits() >= 64 {
				return true
			}
		}
	}
	return false
}

func (g *generator) route(ipv4 bool) fib.Route {
	to, odd := destinations, oddDestinations
	if g.back && g.one(2) {
		to, odd = g.sources, oddSources
	}
	r := fib.Route{Prefix: g.prefix(to, odd, ipv4),
		Action: pick(g, fib.Unicast, fib.Unicast, fib.Unicast, fib.Unicast, fib.Throw, fib.Blackhole, fib.Unreachable, fib.Prohibit)}
	r.Metric = uint32(g.IntN(3))
	if !ipv4 {
		r.Metric++ // 0 would be 1024
	} else if g.one(3) {
		r.TOS = pick(g, tosValues...)
		if !g.file && g.one(6) {
			r.TOS = pick[uint8](g, 0x20, 0xb8) // which never match
		}
	}
	if r.Action != fib.Unicast {
		return r
	}
	for range pick(g, 1, 1, 1, 2, 3) {
		h := fib.NextHop{Port: uint16(g.IntN(len(ports))), Weight: uint16(1 + g.IntN(3))}
		if len(r.Hops) > 0 || g.one(2) {
			h.Gateway = g.gateway(int(h.Port), ipv4)
		}
		same := func(o fib.NextHop) bool { return o.Gateway == h.Gateway && o.Port == h.Port }
		if slices.ContainsFunc(r.Hops, same) {
			continue
		}
		r.Hops = append(r.Hops, h)
	}
	if len(r.Hops) > 1 && !ipv4 && r.Hops[0].OnLink() { // Linux makes one route only of hops with gateways
		r.Hops[0].Gateway = g.gateway(int(r.Hops[0].Port), ipv4)
		if slices.ContainsFunc(r.Hops[1:], func(o fib.NextHop) bool { return o.Gateway == r.Hops[0].Gateway && o.Port == r.Hops[0].Port }) {
			r.Hops = r.Hops[1:]
		}
	}
	if g.one(5) {
		r.MTU = pick[uint16](g, 1280, 1300, 1350)
	}
	return r
}

func (g *generator) gateway(port int, ipv4 bool) netip.Addr {
	for {
		if a := pick(g, gateways[port]...); a.Is4() == ipv4 {
			return a
		}
	}
}

func (g *generator) rule(name string, tables []uint16) policy.Rule {
	r := policy.Rule{Name: name, Priority: uint32(g.IntN(12)), Not: g.one(6), Match: g.selector(), SuppressPrefixLength: -1}
	if g.one(8) {
		r.Priority = pick[uint32](g, 32765, 32766, 32767, 40000)
	}
	switch r.Action = pick(g, policy.RuleLookup, policy.RuleLookup, policy.RuleLookup, policy.RuleLookup, policy.RuleLookup, policy.RuleLookup,
		policy.RuleGoto, policy.RuleGoto, policy.RuleNop, policy.RuleBlackhole, policy.RuleUnreachable, policy.RuleProhibit); r.Action {
	case policy.RuleGoto:
		r.Goto = r.Priority + 1 + uint32(g.IntN(5))
		if g.one(6) {
			r.Goto = 32766 + uint32(g.IntN(2))
			r.Priority = min(r.Priority, 32765)
		}
	case policy.RuleLookup:
		r.Table = pick(g, tables...)
		if g.one(4) {
			r.SuppressPrefixLength = pick(g, 0, 0, 1, 8, 16, 24, 32)
		}
		if g.one(6) {
			r.HasSuppressGroup, r.SuppressGroup = true, uint32(g.IntN(4))
			if g.file { // which has names for groups, and none for 0
				r.SuppressGroup = uint32(1 + g.IntN(2))
			}
		}
	}
	if r.Action != policy.RuleLookup && r.Action != policy.RuleNop && r.Action != policy.RuleGoto && reflect.ValueOf(r.Match).IsZero() {
		r.Match.From = g.prefix(g.sources, oddSources, g.one(2)) // else nothing would come after it
	}
	return r
}

// selector draws one that Linux takes. Where a value has a mask, it has no bits outside of it, which Linux insists on in
// all but fwmark.
func (g *generator) selector() policy.Selector {
	m := policy.Selector{}
	ipv4 := g.one(2)
	if g.one(4) {
		m.From = g.prefix(g.sources, oddSources, ipv4)
	}
	if g.one(3) {
		m.To = g.prefix(destinations, oddDestinations, ipv4)
	}
	if g.one(4) {
		m.Family = packet.IPv6
		if ipv4 {
			m.Family = packet.IPv4
		}
	}
	if m.HasIngress = g.one(4); m.HasIngress {
		m.Ingress, m.IngressLo = uint16(g.IntN(len(ports))), g.one(6)
	}
	if m.HasMark = g.one(5); m.HasMark {
		m.Mark, m.MarkMask = pick(g, markValues...), pick[uint32](g, 0xffffffff, 0xffffffff, 3, 1, 0x80000000, 0)
	}
	switch g.IntN(8) {
	case 0:
		m.HasTOS, m.TOS = true, pick(g, tosValues...)
		if onlyIPv6 := m.Family == packet.IPv6 || m.From.Addr().Is6() || m.To.Addr().Is6(); onlyIPv6 && g.one(2) {
			m.TOS = pick[uint8](g, 0x20, 0x28, 0xb8, 0xfc)
		}
		if !g.file && g.one(8) {
			m.TOS = 0
		}
	case 1, 2:
		m.HasDSCP, m.DSCPMask = true, pick[uint8](g, 63, 63, 63, 7, 0x38, 1, 32)
		m.DSCP = pick(g, tosBytes...) >> 2 & m.DSCPMask
	}
	if m.HasProto = g.one(5); m.HasProto {
		m.Proto = pick[uint8](g, 1, 6, 17, 58, 47)
	}
	if g.one(6) {
		m.Sport = g.portMatch()
	}
	if g.one(5) {
		m.Dport = g.portMatch()
	}
	if !ipv4 && g.one(5) {
		m.HasFlow, m.FlowMask = true, pick[uint32](g, 0xfffff, 0xfffff, 3, 0xf0000)
		m.FlowLabel = pick(g, flowValues...) & m.FlowMask
		if m.Family == packet.IPv4 {
			m.Family = 0
		}
	}
	return m
}

// portMatch draws one without ports 0 and 65535, which Linux does not take (fib_rule_port_range_valid in
// include/net/fib_rules.h): no rule there can ask for packets without ports.
func (g *generator) portMatch() policy.PortMatch {
	if g.one(3) {
		mask := pick[uint16](g, 0xffff, 0xfff0, 0xff, 1, 0x8000)
		for range 10 {
			if v := pick(g, portValues...) & mask; v != 0 && v != 65535 {
				return policy.PortMatch{Kind: policy.PortMask, Value: v, Mask: mask}
			}
		}
	}
	list := portValues[1 : len(portValues)-1]
	a, b := pick(g, list...), pick(g, list...)
	if g.one(2) {
		b = a
	}
	return policy.PortMatch{Kind: policy.PortRange, Lo: min(a, b), Hi: max(a, b)}
}

// probe draws a packet that RTM_GETROUTE can ask about.
func (g *generator) probe() probe {
	ipv4 := g.one(2)
	p := probe{
		ingress: g.IntN(len(ports)),
		src:     g.address(g.sources, oddSources, ipv4, 25),
		dst:     g.address(destinations, oddDestinations, ipv4, 25),
		proto:   pick(g, packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP),
		sport:   pick(g, portValues...), dport: pick(g, portValues...),
		tos: pick(g, tosBytes...), ttl: 64, df: true,
		mark: pick(g, markPool...),
	}
	if !ipv4 {
		p.flow = pick(g, flowValues...)
	}
	if p.proto == packet.ProtoICMP {
		p.icmpType = 8
		if !ipv4 {
			p.proto, p.icmpType = packet.ProtoICMPv6, 128
		}
	}
	return p
}

// variable are sources for which any address beside them does as well.
var variable = addrs("0.1.2.3", "169.254.1.1", "240.0.0.1", "10.9.9.9")

// wireProbe draws any packet.
func (g *generator) wireProbe() probe {
	p := g.probe()
	switch {
	case p.src.Is4() && g.one(30): // next to the router
		p.src = netip.MustParseAddr(fmt.Sprintf(pick(g, "10.1.0.%d", "10.2.0.%d", "10.4.0.%d"), 140+g.IntN(100)))
	case slices.Contains(variable, p.src):
		a := p.src.As4()
		a[3] = uint8(1 + g.IntN(254))
		p.src = netip.AddrFrom4(a)
	}
	if g.one(4) {
		p.proto = pick[uint8](g, 47, 50, 132, 136, 253, 17)
	}
	p.ttl = pick[uint8](g, 64, 64, 64, 64, 64, 64, 255, 2, 1, 0)
	p.fragment = pick(g, packet.FragmentNone, packet.FragmentNone, packet.FragmentNone, packet.FragmentFirst, packet.FragmentLater)
	p.df = g.one(2)
	if g.one(8) {
		p.padding = pick(g, 1200, 1250, 1300, 1350, 1380)
		p.df = !g.one(8)
	}
	p.df = p.df && p.fragment == packet.FragmentNone
	if !p.src.Is4() {
		g.extend(&p)
	}
	// Longer ones do not reach the port.
	p.padding = max(0, p.padding-max(0, len(p.frame(0))-packet.EthernetHeaderLen-int(ports[p.ingress].MTU)))
	return p
}

// extend gives a packet IPv6 extension headers.
func (g *generator) extend(p *probe) {
	for range pick(g, 0, 0, 0, 1, 1, 2) {
		p.extensions = append(p.extensions, pick[uint8](g, extDestination, extDestination, extDestination, extRouting, extRouting, extAuth, extFragment))
	}
	if g.one(8) { // which may only come first
		p.extensions = append([]uint8{extHopByHop}, p.extensions...)
	}
	if g.one(8) {
		p.behind = []uint8{extDestination}
	}
}
