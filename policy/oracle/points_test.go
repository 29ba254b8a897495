package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/perf/lab"
	"weir/policy"
	"weir/policy/packet"
)

// point is one packet under a small configuration: what Linux and weir do with it.
type point struct {
	name        string // that of the difference that it shows; another one if there is none
	defaults    bool
	rules       []policy.Rule // of table t, after those of reserve
	check       policy.ReversePath
	routes      []fib.Route // of table t
	probe       probe
	linux, weir string // see outcome
}

// Shorthands for points.
var (
	lookup = policy.Rule{Priority: 1, Table: tableBack + 1, SuppressPrefixLength: -1}
	way4   = fib.Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: []fib.NextHop{{Port: 1, Gateway: gateway(1, true)}}}
	way6   = fib.Route{Prefix: netip.MustParsePrefix("::/0"), Metric: 1, Hops: []fib.NextHop{{Port: 1, Gateway: gateway(1, false)}}}
	usual4 = probe{src: netip.MustParseAddr("60.7.7.7"), dst: netip.MustParseAddr("50.0.0.1"), proto: packet.ProtoUDP, sport: 1000, dport: 80, ttl: 64}
	usual6 = probe{src: netip.MustParseAddr("2001:db8:6000::1"), dst: netip.MustParseAddr("2001:db8::1"), proto: packet.ProtoUDP, sport: 1000, dport: 80, ttl: 64}
)

// with changes a copy.
func with[T any](v T, change func(*T)) T {
	change(&v)
	return v
}

func selecting(m policy.Selector) []policy.Rule {
	return []policy.Rule{with(lookup, func(r *policy.Rule) { r.Match = m })}
}

func port80() policy.PortMatch { return policy.PortMatch{Kind: policy.PortRange, Lo: 80, Hi: 80} }

// points show the differences, and settle what else is worth knowing.
func points() []point {
	always := []policy.Rule{lookup}
	prohibit := []policy.Rule{{Priority: 1, Action: policy.RuleProhibit}}
	notByGroup := []policy.Rule{ // the group of p1
		{Priority: 1, Table: tableLocal, SuppressPrefixLength: -1, HasSuppressGroup: true, SuppressGroup: 1},
		with(lookup, func(r *policy.Rule) { r.Priority = 2 })}
	addr := netip.MustParseAddr
	from := func(p probe, a string) probe { p.src = addr(a); return p }
	to := func(p probe, a string) probe { p.dst = addr(a); return p }
	return []point{
		{name: "usual 4", rules: always, routes: []fib.Route{way4}, probe: usual4, linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "usual 6", rules: always, routes: []fib.Route{way6}, probe: usual6, linux: "forwarded by p1", weir: "forwarded by p1"},

		{name: "unspecified IPv6 destination", rules: always, routes: []fib.Route{way6}, probe: to(usual6, "::"), linux: "forwarded by p1", weir: "silent"},
		{name: "unspecified IPv6 source", rules: always, routes: []fib.Route{way6}, probe: with(from(usual6, "::"), func(p *probe) { p.ingress = 1 }),
			linux: "forwarded by p1", weir: "silent"},
		{name: "unspecified IPv6 source, to another port", rules: always, routes: []fib.Route{way6}, probe: from(usual6, "::"), linux: "silent", weir: "silent"},
		{name: "IPv4-mapped source", rules: always, routes: []fib.Route{way6}, probe: from(usual6, "::ffff:60.0.0.1"), linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "both addresses unspecified", rules: always, routes: []fib.Route{way4}, probe: to(from(usual4, "0.0.0.0"), "0.0.0.0"), linux: "silent", weir: "local"},

		{name: "connected broadcast source", defaults: true, rules: prohibit, probe: from(usual4, "10.1.0.255"), linux: "error 3/13 by p0", weir: "silent"},
		{name: "connected broadcast source, a route", defaults: true, rules: always, routes: []fib.Route{way4}, probe: from(usual4, "10.1.0.255"),
			linux: "silent", weir: "silent"},
		{name: "own source without rule local", rules: always, routes: []fib.Route{way4}, probe: from(usual4, "10.1.0.1"), linux: "forwarded by p1", weir: "silent"},
		{name: "own source with rule local", defaults: true, rules: always, routes: []fib.Route{way4}, probe: from(usual4, "10.1.0.1"), linux: "silent", weir: "silent"},
		{name: "own destination without rule local", rules: always, routes: []fib.Route{way4}, probe: to(usual4, "10.2.4.1"),
			linux: "forwarded by p1", weir: "forwarded by p1"}, // but steer does not give it to weir

		{name: "errors about later IPv6 fragments", rules: prohibit, probe: with(usual6, func(p *probe) { p.fragment = packet.FragmentLater }),
			linux: "error 1/1 by p0", weir: "silent"},
		{name: "errors about later IPv4 fragments", rules: prohibit, probe: with(usual4, func(p *probe) { p.fragment = packet.FragmentLater }),
			linux: "silent", weir: "silent"},
		{name: "errors to network 0", rules: prohibit, probe: from(usual4, "0.1.2.3"), linux: "error 3/13 by p2", weir: "silent"},
		{name: "errors to link-local senders", rules: prohibit, probe: with(from(usual6, "fe80::77"), func(p *probe) { p.ingress = 3 }),
			linux: "error 1/1 by p3", weir: "silent"},
		{name: "link-local sender that nobody knows", rules: prohibit, probe: from(usual6, "fe80::77"), linux: "silent", weir: "silent"},
		{name: "cut into fragments", rules: always, routes: []fib.Route{with(way4, func(r *fib.Route) { r.MTU = 1300 })},
			probe: with(usual4, func(p *probe) { p.padding = 1300 }), linux: "forwarded by p1", weir: "forwarded by p1"},

		{name: "ports of other protocols", rules: selecting(policy.Selector{Dport: port80()}), routes: []fib.Route{way4},
			probe: with(usual4, func(p *probe) { p.proto = 132 }), linux: "forwarded by p1", weir: "error 3/0 by p0"},
		{name: "ports of ICMP", rules: selecting(policy.Selector{Dport: port80()}), routes: []fib.Route{way4},
			probe: with(usual4, func(p *probe) { p.proto, p.icmpType = 1, 8 }), linux: "error 3/0 by p0", weir: "error 3/0 by p0"},
		{name: "authentication header", rules: selecting(policy.Selector{Dport: port80()}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.extensions = []uint8{extAuth} }), linux: "error 1/0 by p0", weir: "forwarded by p1"},
		{name: "authentication header, its SPI", rules: selecting(policy.Selector{Sport: policy.PortMatch{Kind: policy.PortRange, Lo: authSPI >> 16, Hi: authSPI >> 16}}),
			routes: []fib.Route{way6}, probe: with(usual6, func(p *probe) { p.extensions = []uint8{extAuth} }), linux: "forwarded by p1", weir: "error 1/0 by p0"},
		{name: "authentication header, its protocol", rules: selecting(policy.Selector{HasProto: true, Proto: extAuth}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.extensions = []uint8{extAuth} }), linux: "forwarded by p1", weir: "error 1/0 by p0"},
		{name: "atomic fragment", rules: selecting(policy.Selector{Dport: port80()}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.extensions = []uint8{extFragment} }), linux: "error 1/0 by p0", weir: "forwarded by p1"},
		{name: "atomic fragment, its protocol", rules: selecting(policy.Selector{HasProto: true, Proto: packet.ProtoUDP}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.extensions = []uint8{extFragment} }), linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "headers behind a fragment header", rules: selecting(policy.Selector{HasProto: true, Proto: packet.ProtoUDP}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.fragment, p.behind = packet.FragmentFirst, []uint8{extDestination} }),
			linux: "error 1/0 by p0", weir: "forwarded by p1"},
		{name: "headers in front of the protocol", rules: selecting(policy.Selector{Dport: port80()}), routes: []fib.Route{way6},
			probe: with(usual6, func(p *probe) { p.extensions = []uint8{extHopByHop, extRouting, extDestination} }),
			linux: "forwarded by p1", weir: "forwarded by p1"},

		{name: "reverse path in IPv6", rules: always, routes: []fib.Route{way6}, check: policy.ReverseStrict, probe: usual6,
			linux: "forwarded by p1", weir: "silent"},
		{name: "strict, and the way back is another", rules: always, routes: []fib.Route{way4}, check: policy.ReverseStrict, probe: usual4,
			linux: "silent", weir: "silent"},
		{name: "loose, and the way back is another", rules: always, routes: []fib.Route{way4}, check: policy.ReverseLoose, probe: usual4,
			linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "strict, and one of the ways back fits", rules: always, routes: []fib.Route{way4, {Prefix: netip.MustParsePrefix("60.0.0.0/8"),
			Hops: []fib.NextHop{{Port: 1, Gateway: gateway(1, true), Weight: 1}, {Port: 0, Gateway: gateway(0, true), Weight: 1}}}},
			check: policy.ReverseStrict, probe: usual4, linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "loose, and the way back is a black hole", rules: always, check: policy.ReverseLoose, probe: usual4,
			routes: []fib.Route{way4, {Prefix: netip.MustParsePrefix("60.0.0.0/8"), Action: fib.Blackhole}}, linux: "silent", weir: "silent"},
		{name: "the way back comes in where the packet leaves", check: policy.ReverseLoose, probe: usual4, routes: []fib.Route{way4},
			rules: selecting(policy.Selector{HasIngress: true, Ingress: 0}), linux: "silent", weir: "silent"},
		{name: "the way back has swapped ports", check: policy.ReverseLoose, probe: with(usual4, func(p *probe) { p.sport = 80 }), routes: []fib.Route{way4},
			rules: selecting(policy.Selector{Dport: port80(), Sport: port80()}), linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "the way back has no port of the way there", check: policy.ReverseLoose, probe: usual4, routes: []fib.Route{way4},
			rules: selecting(policy.Selector{Dport: port80()}), linux: "silent", weir: "silent"},
		{name: "a routing error comes before the reverse path", rules: prohibit, check: policy.ReverseStrict, probe: usual4,
			linux: "error 3/13 by p0", weir: "error 3/13 by p0"},
		{name: "the reverse path comes before the TTL", rules: always, routes: []fib.Route{way4}, check: policy.ReverseStrict,
			probe: with(usual4, func(p *probe) { p.ttl = 1 }), linux: "silent", weir: "silent"},

		{name: "tos 0 is no condition", rules: selecting(policy.Selector{HasTOS: true}), routes: []fib.Route{way4},
			probe: with(usual4, func(p *probe) { p.tos = 0x10 }), linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "not is about packets of the family", rules: []policy.Rule{with(lookup, func(r *policy.Rule) {
			r.Not, r.Match.From = true, netip.MustParsePrefix("10.0.0.0/8")
		})}, routes: []fib.Route{way6}, probe: usual6, linux: "error 1/0 by p0", weir: "error 1/0 by p0"},
		{name: "suppressed local route", rules: []policy.Rule{
			{Priority: 1, Table: tableLocal, SuppressPrefixLength: 32}, with(lookup, func(r *policy.Rule) { r.Priority = 2 })},
			routes: []fib.Route{way4}, probe: to(usual4, "10.2.4.1"), linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "suppressed own address, by group", rules: notByGroup, routes: []fib.Route{way4}, probe: to(usual4, "10.2.4.1"),
			linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "suppressed own address, by another group", rules: notByGroup, routes: []fib.Route{way4}, probe: to(usual4, "10.1.0.1"),
			linux: "silent", weir: "local"},
		{name: "suppressed broadcast address, by group", rules: notByGroup, routes: []fib.Route{way4}, probe: to(usual4, "10.2.4.3"),
			linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "suppressed own IPv6 address, by group", rules: notByGroup, routes: []fib.Route{way6}, probe: to(usual6, "fd00:2::1"),
			linux: "forwarded by p1", weir: "forwarded by p1"},
		{name: "suppressed anycast address, by group", rules: notByGroup, routes: []fib.Route{way6}, probe: to(usual6, "fd00:2::"),
			linux: "forwarded by p1", weir: "forwarded by p1"},
	}
}

// unshown are the differences that no single packet shows.
var unshown = []string{
	"IPv6 martians",                         // only RTM_GETROUTE
	"neighbour with an IPv4-mapped address", // only weir's file
	"group of an IPv6 multipath route",      // depends on hashes

	"broadcast address behind a link that is down", // only RTM_GETROUTE
	"reverse path of the router's own packets",     // only RTM_GETROUTE
	"reverse path by ingress of a multipath route", // depends on hashes
}

// TestPoints shows every difference, and settles points of doubt.
func TestPoints(t *testing.T) {
	k := newLinux(t, lab.ForTest(t), "linux")
	list := points()
	for _, x := range differences {
		if !slices.Contains(unshown, x.name) && !slices.ContainsFunc(list, func(p point) bool { return p.name == x.name }) {
			t.Errorf("no point shows %s", x.name)
		}
	}
	for _, p := range list {
		t.Run(strings.ReplaceAll(p.name, " ", "-"), func(t *testing.T) {
			d := newDescription(p.defaults)
			reserve(d)
			d.Ports[p.probe.ingress].ReversePath = p.check
			d.Tables = append(d.Tables, policy.Table{Name: "t", ID: 100, Routes: p.routes})
			for i, r := range p.rules {
				r.Name = fmt.Sprint("r", i)
				d.Rules = append(d.Rules, r)
			}
			k.configure(t, d)
			c := decide(d, d.compile(t), &p.probe, p.probe.key(t))
			k.next++
			x := &trial{c, k.next, p.probe.frame(k.next)}
			if k.marks {
				copy(x.frame[6:], markMAC(0))
			}
			seen := k.exchange(t, []*trial{x})[0]
			if got := outcome(seen); got != p.linux {
				t.Errorf("Linux: %s, want %s\n%v", got, p.linux, seen)
			}
			e := c.expect(x.frame)
			weir := "silent"
			if len(e.frames) > 0 {
				weir = outcome(e.frames[0])
			}
			if e.local {
				weir = "local"
			}
			if weir != p.weir {
				t.Errorf("weir: %s, want %s\n%s", weir, p.weir, c)
			}
			i := slices.IndexFunc(differences, func(x difference) bool { return x.name == p.name })
			if i >= 0 && !differences[i].applies(c) {
				t.Error("the difference does not apply to the packet that shows it")
			}
		})
	}
}

// outcome of a packet in words, by the first frame.
func outcome(seen []sighting) string {
	if len(seen) == 0 {
		return "silent"
	}
	s := seen[0]
	if !isError(s.frame) {
		return "forwarded by " + ports[s.port].Name
	}
	var k packet.Key
	packet.Parse(s.frame, &k)
	return fmt.Sprintf("error %d/%d by %s", k.ICMPType, k.ICMPCode, ports[s.port].Name)
}

// TestRefused shows rules that Linux does not take, so that no configuration here has them.
func TestRefused(t *testing.T) {
	k := newKernel(t, newRouter(t, lab.ForTest(t), "linux"))
	d := newDescription(true)
	ports := func(kind policy.PortKind, a, b uint16) policy.PortMatch {
		return policy.PortMatch{Kind: kind, Lo: a, Hi: b, Value: a, Mask: b}
	}
	for name, c := range map[string]struct {
		family uint8
		rule   policy.Rule
	}{
		"ports from 0":             {packet.IPv4, policy.Rule{Match: policy.Selector{Dport: ports(policy.PortRange, 0, 100)}}},
		"ports to 65535":           {packet.IPv4, policy.Rule{Match: policy.Selector{Dport: ports(policy.PortRange, 1, 65535)}}},
		"port 0 of a mask":         {packet.IPv6, policy.Rule{Match: policy.Selector{Sport: ports(policy.PortMask, 0, 1)}}},
		"port beyond its mask":     {packet.IPv6, policy.Rule{Match: policy.Selector{Sport: ports(policy.PortMask, 3, 1)}}},
		"tos of high bits in IPv4": {packet.IPv4, policy.Rule{Match: policy.Selector{HasTOS: true, TOS: 0x20}}},
		"tos and dscp":             {packet.IPv6, policy.Rule{Match: policy.Selector{HasTOS: true, TOS: 4, HasDSCP: true, DSCP: 1, DSCPMask: 63}}},
		"dscp beyond its mask":     {packet.IPv4, policy.Rule{Match: policy.Selector{HasDSCP: true, DSCP: 3, DSCPMask: 1}}},
		"flow label in IPv4":       {packet.IPv4, policy.Rule{Match: policy.Selector{HasFlow: true, FlowLabel: 1, FlowMask: 1}}},
		"goto backward":            {packet.IPv4, policy.Rule{Priority: 5, Action: policy.RuleGoto, Goto: 5}},
	} {
		c.rule.SuppressPrefixLength = -1
		replies, err := k.do([]message{k.rule(d, &c.rule, c.family)})
		check(t, err)
		if replies[0].errno != unix.EINVAL {
			t.Errorf("%s: %v, want EINVAL", name, replies[0].errno)
		}
	}
}

// TestBroadcastSource shows that Linux lets a packet from the broadcast address of a connected network pass, as long as
// nobody has touched its rules.
func TestBroadcastSource(t *testing.T) {
	k := newKernel(t, newRouter(t, lab.ForTest(t), "linux"))
	p := usual4
	p.src = netip.MustParseAddr("10.1.0.255")
	for _, c := range []struct {
		change message
		want   unix.Errno
	}{
		{k.route(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_ACK, policy.TableMain, &way4), 0},
		{k.rule(newDescription(true), &policy.Rule{Priority: 1, Action: policy.RuleNop}, packet.IPv4), unix.EINVAL},
	} {
		replies, err := k.do([]message{c.change, k.getRoute(&p)})
		check(t, err)
		if replies[0].errno != 0 || replies[1].errno != c.want {
			t.Errorf("change: %v; route: %v, want %v", replies[0].errno, replies[1].errno, c.want)
		}
	}
}
