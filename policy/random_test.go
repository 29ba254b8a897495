package policy

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// Generators of random policies and packets, from spaces so small that they meet.

func genAddr(t *rapid.T, family uint8) netip.Addr {
	b := func() byte { return rapid.SampledFrom([]byte{0, 1, 2, 0x80}).Draw(t, "byte") }
	if family == packet.IPv4 {
		if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
			return netip.MustParseAddr(rapid.SampledFrom([]string{"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255",
				"192.0.2.1", "192.0.2.255", "0.1.2.3", "169.254.0.1", "240.0.0.1"}).Draw(t, "address"))
		}
		return netip.AddrFrom4([4]byte{10, b(), b(), b()})
	}
	if rapid.IntRange(0, 19).Draw(t, "odd") == 0 {
		return netip.MustParseAddr(rapid.SampledFrom([]string{"::", "::1", "ff02::1", "fe80::1", "2001:db8:1::1",
			"::ffff:10.0.0.1"}).Draw(t, "address"))
	}
	return netip.AddrFrom16([16]byte{0x20, 1, b(), b(), 15: b()})
}

func genFamily(t *rapid.T) uint8 { return rapid.SampledFrom([]uint8{4, 4, 6}).Draw(t, "family") }

func genPrefix(t *rapid.T, family uint8) netip.Prefix {
	a := genAddr(t, family)
	return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits")).Masked()
}

func genKey(t *rapid.T, ports int) packet.Key {
	family := genFamily(t)
	k := packet.Key{
		Family: family, Src: genAddr(t, family).As16(), Dst: genAddr(t, family).As16(),
		Mark:         rapid.Uint32Range(0, 3).Draw(t, "mark"),
		Length:       rapid.SampledFrom([]uint16{84, 1400, 1401, 1500, 1501}).Draw(t, "length"),
		Ingress:      uint16(rapid.IntRange(0, ports-1).Draw(t, "iif")),
		Proto:        rapid.SampledFrom([]uint8{1, 6, 17, 58, 47}).Draw(t, "proto"),
		TOS:          rapid.SampledFrom([]uint8{0, 0x10, 0x13, 0xb8, 0xff}).Draw(t, "tos"),
		TTL:          rapid.SampledFrom([]uint8{0, 1, 2, 64}).Draw(t, "ttl"),
		Fragment:     packet.Fragment(rapid.IntRange(0, 2).Draw(t, "fragment")),
		SrcPort:      rapid.Uint16Range(0, 3).Draw(t, "sport"),
		DstPort:      rapid.Uint16Range(0, 3).Draw(t, "dport"),
		DontFragment: rapid.Bool().Draw(t, "df"),
	}
	if family == packet.IPv6 {
		k.FlowLabel = rapid.Uint32Range(0, 3).Draw(t, "flow label")
		k.DontFragment = true
	}
	return k
}

func genPort(t *rapid.T) PortMatch {
	lo, hi := rapid.Uint16Range(0, 3).Draw(t, "lo"), rapid.Uint16Range(0, 3).Draw(t, "hi")
	return PortMatch{Lo: min(lo, hi), Hi: max(lo, hi), Value: lo, Mask: hi, Kind: PortKind(rapid.IntRange(0, 2).Draw(t, "kind"))}
}

// genSelector draws a valid selector, most of whose conditions are absent.
func genSelector(t *rapid.T, ports int) Selector {
	some := func(label string) bool { return rapid.IntRange(0, 4).Draw(t, label) == 0 }
	m := Selector{}
	family := genFamily(t)
	if some("from") {
		m.From = genPrefix(t, family)
	}
	if some("to") {
		m.To = genPrefix(t, family)
	}
	if some("family only") {
		m.Family = family
	}
	if m.HasIngress = some("iif"); m.HasIngress {
		m.Ingress, m.IngressLo = uint16(rapid.IntRange(0, ports-1).Draw(t, "iif")), some("lo")
	}
	m.HasGroup, m.Group = some("group"), rapid.Uint32Range(0, 2).Draw(t, "group number")
	m.HasMark, m.Mark, m.MarkMask = some("mark"), rapid.Uint32Range(0, 3).Draw(t, "mark value"), rapid.Uint32Range(0, 3).Draw(t, "mark mask")
	m.HasTOS, m.TOS = some("tos"), rapid.SampledFrom([]uint8{0, 0x10, 0x18}).Draw(t, "tos value")
	m.HasDSCP, m.DSCP, m.DSCPMask = some("dscp"), rapid.SampledFrom([]uint8{0, 4, 46}).Draw(t, "dscp value"), rapid.SampledFrom([]uint8{63, 7, 0}).Draw(t, "dscp mask")
	m.HasProto, m.Proto = some("proto"), rapid.SampledFrom([]uint8{1, 6, 17, 47}).Draw(t, "proto value")
	if some("sport") {
		m.Sport = genPort(t)
	}
	if some("dport") {
		m.Dport = genPort(t)
	}
	if _, ok := m.family(); family == packet.IPv6 && ok && some("flow") {
		m.HasFlow, m.FlowLabel, m.FlowMask = true, rapid.Uint32Range(0, 3).Draw(t, "flow"), rapid.Uint32Range(0, 3).Draw(t, "flow mask")
	}
	return m
}

// genPolicy draws a policy that compiles: lookups lead to tables of higher index only, at most maxDepth of them.
func genPolicy(t *rapid.T, ports []Port) Policy {
	p := Policy{Hostname: "random", Ports: ports, ConsistentFragments: rapid.Bool().Draw(t, "consistent fragments")}
	tables := rapid.IntRange(1, maxDepth+1).Draw(t, "tables")
	for i := range tables {
		tab := Table{Name: fmt.Sprintf("t%d", i), ID: uint32(i + 1), Key: TableKey(rapid.IntRange(0, 1).Draw(t, "key")),
			OnMiss: rapid.SampledFrom([]OnMiss{0, 0, 0, 1, 2, 3, 4}).Draw(t, "on-miss")}
		target := func() uint16 { return uint16(rapid.IntRange(i+1, tables-1).Draw(t, "target")) }
		if tab.OnMiss == MissLookup && i == tables-1 {
			tab.OnMiss = MissFallThrough
		} else if tab.OnMiss == MissLookup {
			tab.MissTarget = target()
		}
		for range rapid.IntRange(0, 8).Draw(t, "routes") {
			r := fib.Route{Prefix: genPrefix(t, genFamily(t)), Metric: rapid.Uint32Range(0, 1).Draw(t, "metric"),
				Action: rapid.SampledFrom([]fib.Action{0, 0, 0, 1, 2, 3, 4, 5, 6, 6}).Draw(t, "action")}
			if r.Action == fib.Lookup && i == tables-1 {
				r.Action = fib.Throw
			}
			if r.Prefix.Addr().Is4() {
				r.TOS = rapid.SampledFrom([]uint8{0, 0, 0x10}).Draw(t, "route tos")
			}
			switch r.Action {
			case fib.Lookup:
				r.Target, r.Resume = target(), rapid.Bool().Draw(t, "resume")
			case fib.Unicast:
				for range rapid.IntRange(1, 3).Draw(t, "hops") {
					h := fib.NextHop{Port: uint16(rapid.IntRange(0, len(ports)-1).Draw(t, "port")), Weight: 1}
					if rapid.Bool().Draw(t, "gateway") {
						h.Gateway = netip.MustParseAddr("2001:db8:9::9")
						if r.Prefix.Addr().Is4() {
							h.Gateway = netip.MustParseAddr("192.0.2.9")
						}
					}
					r.Hops = append(r.Hops, h)
				}
				r.MTU = rapid.SampledFrom([]uint16{0, 0, 1300}).Draw(t, "mtu")
			}
			tab.Routes = append(tab.Routes, r)
		}
		p.Tables = append(p.Tables, tab)
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "rules") {
		r := Rule{Name: fmt.Sprintf("r%d", i), Priority: rapid.Uint32Range(0, 9).Draw(t, "priority"), Not: rapid.IntRange(0, 5).Draw(t, "not") == 0,
			Match: genSelector(t, len(ports)), Action: rapid.SampledFrom([]RuleAction{0, 0, 0, 0, 0, 1, 2, 3, 4, 5}).Draw(t, "rule action"),
			Table: uint16(rapid.IntRange(0, tables-1).Draw(t, "table")), SuppressPrefixLength: -1}
		switch r.Action {
		case RuleGoto:
			r.Goto = r.Priority + rapid.Uint32Range(1, 4).Draw(t, "goto")
		case RuleLookup:
			r.SuppressPrefixLength = rapid.SampledFrom([]int{-1, -1, 0, 8}).Draw(t, "suppress")
			r.HasSuppressGroup, r.SuppressGroup = rapid.IntRange(0, 5).Draw(t, "suppress group") == 0, rapid.Uint32Range(0, 2).Draw(t, "group")
		}
		if _, ok := r.Match.family(); !ok {
			r.Match.Family = 0
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

// checkUntil makes a random check until packets have come to each of these ends. Luck decides how soon they do: a hundred cases miss one
// now and then, a thousand do not.
func checkUntil[E ~string](t *testing.T, seen map[E]int, ends []E, property func(*rapid.T)) {
	t.Helper()
	missing := ends
	for range 10 {
		rapid.Check(t, property)
		missing = slices.DeleteFunc(slices.Clone(ends), func(e E) bool { return seen[e] > 0 })
		if t.Failed() || len(missing) == 0 {
			return
		}
	}
	t.Errorf("no random packet came to %q", missing)
}
