package policy

import (
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// Limits of a policy.
const (
	MaxPorts  = int(None) - 1 // 65,534: indexes are 16 bits, and None is taken
	MaxTables = int(None) - 1
	MaxRules  = int(None) - 1
	MaxHops   = 256 // of one route
)

// Smallest MTUs that IP allows (RFC 791 section 3.2, RFC 8200 section 5).
const (
	minMTU4 = 68
	minMTU6 = 1280
)

// check reports what is wrong with the policy. Each part assumes of the others only what it tests.
func check(r *report) {
	p := r.policy
	n := len(r.errors)
	for _, l := range []struct {
		what       string
		count, max int
	}{{"ports", len(p.Ports), MaxPorts}, {"tables", len(p.Tables), MaxTables}, {"rules", len(p.Rules), MaxRules},
		{"chains of marks", len(p.Marks), MaxChains}} {
		if l.count > l.max {
			r.nowhere().errorf("%d %s, at most %d", l.count, l.what, l.max)
		}
	}
	if len(r.errors) > n {
		return // indexes mean nothing beyond this
	}
	checkPorts(r)
	checkNeighbors(r)
	targets := checkTables(r)
	if targets {
		checkGraph(r)
	}
	checkMarks(r)
	checkRules(r)
}

func checkPorts(r *report) {
	type wire struct{ device, vlan, inner uint16 }
	names, wires := map[string]bool{}, map[wire]bool{}
	devices := 0
	for devices < len(r.policy.Ports) && r.policy.Ports[devices].VLAN == 0 {
		devices++
	}
	for i := range r.policy.Ports {
		p, at := &r.policy.Ports[i], r.port(i)
		if p.Name == "" {
			at.errorf("no name")
		} else if names[p.Name] {
			at.errorf("a second port of this name")
		}
		names[p.Name] = true
		switch w := (wire{p.Device, p.VLAN, p.Inner}); {
		case p.VLAN == 0 && p.Inner != 0:
			at.errorf("vlan %d within none", p.Inner)
		case i < devices && int(p.Device) != i:
			at.errorf("device %d of port %d: netdevs come first, in device order", p.Device, i)
		case i >= devices && p.VLAN == 0:
			at.errorf("a netdev after a VLAN: netdevs come first, in device order")
		case p.VLAN > 4094 || p.Inner > 4094:
			at.errorf("vlan %d, at most 4094", max(p.VLAN, p.Inner))
		case int(p.Device) >= devices:
			at.errorf("device %d of %d", p.Device, devices)
		case wires[w] && p.Inner != 0:
			at.errorf("vlan %d within %d of device %d is another port's too", p.Inner, p.VLAN, p.Device)
		case wires[w]:
			at.errorf("vlan %d of device %d is another port's too", p.VLAN, p.Device)
		default:
			wires[w] = true
		}
		for _, a := range p.Addresses {
			if !a.IsValid() {
				at.errorf("invalid address")
			}
		}
	}
}

func checkNeighbors(r *report) {
	seen := map[fib.Neighbor]bool{}
	for i := range r.policy.Neighbors {
		n, at := r.policy.Neighbors[i].Neighbor, r.neighbor(i)
		if !n.Addr.IsValid() || n.Addr.IsUnspecified() || n.Addr.IsMulticast() {
			at.errorf("not the address of a neighbour")
		}
		if int(n.Port) >= len(r.policy.Ports) {
			at.errorf("port %d of %d", n.Port, len(r.policy.Ports))
		}
		if seen[n] {
			at.errorf("a second MAC address for this neighbour")
		}
		seen[n] = true
	}
}

// checkTables returns whether all targets are in range.
func checkTables(r *report) (targets bool) {
	targets = true
	names, ids := map[string]bool{}, map[uint32]bool{}
	own := ownAddresses(r.policy.Ports)
	for i := range r.policy.Tables {
		t, at := &r.policy.Tables[i], r.table(i)
		if t.Name == "" {
			at.errorf("no name")
		} else if names[t.Name] {
			at.errorf("a second table of this name")
		}
		if t.ID == 0 {
			at.errorf("id 0: ids are 1 to 4294967295")
		} else if ids[t.ID] {
			at.errorf("id %d is another table's too", t.ID)
		}
		names[t.Name], ids[t.ID] = true, true
		if t.Key > BySource {
			at.errorf("unknown key %d", t.Key)
		}
		if t.OnMiss > MissLookup {
			at.errorf("unknown on-miss %d", t.OnMiss)
		}
		if t.OnMiss == MissLookup && int(t.MissTarget) >= len(r.policy.Tables) {
			at.errorf("on-miss lookup of table %d of %d", t.MissTarget, len(r.policy.Tables))
			targets = false
		}
		for j := range t.Routes {
			if !checkRoute(r, i, j, own) {
				targets = false
			}
		}
	}
	return targets
}

// checkRoute returns whether the route's target, if it has one, is in range.
func checkRoute(r *report, table, route int, own map[netip.Addr]uint16) (target bool) {
	rt, at := &r.policy.Tables[table].Routes[route], r.route(table, route)
	if !rt.Prefix.IsValid() {
		at.errorf("invalid prefix")
		return true
	}
	ipv6 := !rt.Prefix.Addr().Is4()
	switch {
	case rt.Prefix != rt.Prefix.Masked():
		at.errorf("host bits set: the prefix is %v", rt.Prefix.Masked())
	case rt.TOS != 0 && ipv6:
		at.errorf("tos 0x%02x: IPv6 routes have no tos", rt.TOS)
	case rt.TOS&^tosMask != 0:
		at.warnf("tos 0x%02x never matches: routes compare tos & 0x1c", rt.TOS)
	}
	least := uint16(minMTU4)
	if ipv6 {
		least = minMTU6
	}
	if rt.MTU != 0 && rt.MTU < least {
		at.errorf("mtu %d, at least %d", rt.MTU, least)
	}
	switch {
	case rt.Action > fib.Lookup:
		at.errorf("unknown action %d", rt.Action)
	case rt.Action == fib.Unicast && len(rt.Hops) == 0:
		at.errorf("no next hop")
	case rt.Action != fib.Unicast && len(rt.Hops) > 0:
		at.errorf("next hops on a route of type %v", rt.Action)
	case len(rt.Hops) > MaxHops:
		at.errorf("%d next hops, at most %d", len(rt.Hops), MaxHops)
	}
	for i := range rt.Hops {
		h := &rt.Hops[i]
		if int(h.Port) >= len(r.policy.Ports) {
			at.errorf("next hop by port %d of %d", h.Port, len(r.policy.Ports))
		}
		if h.OnLink() {
			continue
		}
		_, mine := own[h.Gateway]
		switch {
		case ipv6 && h.Gateway.Is4():
			at.errorf("gateway %v of an IPv6 route", h.Gateway)
		case h.Gateway.IsUnspecified() || h.Gateway.IsMulticast() || h.Gateway.IsLoopback():
			at.errorf("gateway %v is not the address of a neighbour", h.Gateway)
		case mine:
			at.errorf("gateway %v is the router itself", h.Gateway)
		}
	}
	if rt.Action == fib.Lookup && int(rt.Target) >= len(r.policy.Tables) {
		at.errorf("lookup of table %d of %d", rt.Target, len(r.policy.Tables))
		return false
	}
	return true
}

func checkRules(r *report) {
	for i := range r.policy.Rules {
		rule, at := &r.policy.Rules[i], r.rule(i)
		switch rule.Action {
		case RuleLookup:
			if int(rule.Table) >= len(r.policy.Tables) {
				at.errorf("lookup of table %d of %d", rule.Table, len(r.policy.Tables))
			}
			if rule.SuppressPrefixLength < -1 || rule.SuppressPrefixLength > 128 {
				at.errorf("suppress-prefixlength %d is not in 0 to 128", rule.SuppressPrefixLength)
			}
		case RuleGoto:
			if rule.Goto <= rule.Priority {
				at.errorf("goto %d from priority %d: goto only goes forward", rule.Goto, rule.Priority)
			}
		case RuleNop, RuleBlackhole, RuleUnreachable, RuleProhibit:
		default:
			at.errorf("unknown action %d", rule.Action)
		}
		checkSelector(at, r.policy, &rule.Match)
	}
}

func checkSelector(at at, p *Policy, m *Selector) {
	family, ok := m.family()
	if !ok {
		at.errorf("selectors of both families: no packet has both")
	}
	if m.Family != 0 && m.Family != packet.IPv4 && m.Family != packet.IPv6 {
		at.errorf("unknown family %d", m.Family)
	}
	if m.HasIngress && !m.IngressLo && int(m.Ingress) >= len(p.Ports) {
		at.errorf("iif: port %d of %d", m.Ingress, len(p.Ports))
	}
	if m.HasTOS {
		switch {
		case m.TOS == 0:
			at.warnf("tos 0 is no condition, as in Linux: dscp 0 is")
		case family == packet.IPv6 && m.TOS&^dscpMask != 0:
			at.errorf("tos 0x%02x: the lower two bits are ECN", m.TOS)
		case family != packet.IPv6 && m.TOS&^tosMask != 0:
			at.errorf("tos 0x%02x: IPv4 rules compare tos & 0x1c only, so it is 0x04 to 0x1c; use dscp", m.TOS)
		}
	}
	if m.HasDSCP && (m.DSCP > 63 || m.DSCPMask > 63) {
		at.errorf("dscp %d/0x%02x: it has six bits", m.DSCP, m.DSCPMask)
	}
	if m.HasFlow && (m.FlowLabel > flowLabelMax || m.FlowMask > flowLabelMax) {
		at.errorf("flowlabel 0x%x/0x%x: it has 20 bits", m.FlowLabel, m.FlowMask)
	}
	checkConditions(at, m.Beyond)
	for i := range m.Beyond {
		if f := m.Beyond[i].Field; f <= FieldFlowLabel {
			at.errorf("%v: a selector of its own, not one beyond Linux's", f)
		}
	}
	for _, l4 := range []struct {
		name string
		PortMatch
	}{{"sport", m.Sport}, {"dport", m.Dport}} {
		switch {
		case l4.Kind > PortMask:
			at.errorf("%s: unknown kind %d", l4.name, l4.Kind)
		case l4.Kind == PortRange && l4.Lo > l4.Hi:
			at.errorf("%s: range %d-%d is empty", l4.name, l4.Lo, l4.Hi)
		}
	}
}

// flowLabelMax is the largest flow label (RFC 8200 section 3: 20 bits).
const flowLabelMax = 0xfffff
