package oracle

import (
	"fmt"
	"net"
	"strings"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// file is the description as weir's configuration file.
func (d *description) file() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("version: 1")
	line("system: {hostname: %s, kernel-routes: %v, icmp: {rate: 0, per-destination: {rate: 0}}}", d.Hostname, d.KernelRoutes)
	line("default-rules: %v", d.defaults)
	line("groups: {g1: 1, g2: 2}")
	line("ports:")
	for i := range d.Ports {
		p := &d.Ports[i]
		var list []string
		for _, a := range p.Addresses {
			list = append(list, fmt.Sprintf("%q", a))
		}
		group := ""
		if p.GroupName != "" {
			group = ", group: " + p.GroupName
		}
		line("  %s: {mtu: %d, redirects: false, addresses: [%s], reverse-path: %q, src-valid-mark: %v%s}", p.Name, p.MTU, strings.Join(list, ", "), p.ReversePath, p.SourceMark, group)
	}
	line("neighbors:")
	for i := range d.Neighbors {
		n := &d.Neighbors[i]
		if !n.Neighbor.Addr.Is4In6() { // which a file cannot have
			line("  - {address: %q, port: %s, mac: %q}", n.Neighbor.Addr, d.Ports[n.Neighbor.Port].Name, net.HardwareAddr(n.MAC[:]))
		}
	}
	line("tables:")
	for i := tableMain; i < len(d.Tables); i++ {
		line("  %s:", d.Tables[i].Name)
		line("    id: %d", d.Tables[i].ID)
		if miss := d.Tables[i].OnMiss; miss != policy.MissFallThrough {
			line("    on-miss: %s", onMissWords[miss])
		}
		line("    routes: [")
		for j := range d.routes(i) {
			line("      {%s},", d.routeFields(&d.routes(i)[j]))
		}
		line("    ]")
	}
	line("rules: [")
	for i := range d.ownRules() {
		line("  {%s},", d.ruleFields(&d.ownRules()[i]))
	}
	line("]")
	return b.String()
}

var onMissWords = [...]string{policy.MissUnreachable: "unreachable", policy.MissProhibit: "prohibit", policy.MissBlackhole: "blackhole"}

func (d *description) routeFields(r *fib.Route) string {
	fields := []string{fmt.Sprintf("to: %q", r.Prefix)}
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	if r.Action != fib.Unicast {
		add("type: %s", r.Action)
	}
	if r.TOS != 0 {
		add("tos: %d", r.TOS)
	}
	if r.Metric != 0 {
		add("metric: %d", r.Metric)
	}
	if r.MTU != 0 {
		add("mtu: %d", r.MTU)
	}
	var hops []string
	for i := range r.Hops {
		h := &r.Hops[i]
		hop := fmt.Sprintf("port: %s, weight: %d", d.Ports[h.Port].Name, max(h.Weight, 1))
		if !h.OnLink() {
			hop += fmt.Sprintf(", gateway: %q", h.Gateway)
		}
		hops = append(hops, "{"+hop+"}")
	}
	if len(hops) > 0 {
		add("via: [%s]", strings.Join(hops, ", "))
	}
	return strings.Join(fields, ", ")
}

func (d *description) ruleFields(r *policy.Rule) string {
	var fields []string
	add := func(format string, args ...any) { fields = append(fields, fmt.Sprintf(format, args...)) }
	m := &r.Match
	add("name: %s", r.Name)
	add("priority: %d", r.Priority)
	if r.Not {
		add("not: true")
	}
	if m.From.IsValid() {
		add("from: %q", m.From)
	}
	if m.To.IsValid() {
		add("to: %q", m.To)
	}
	switch m.Family {
	case packet.IPv4:
		add("family: ipv4")
	case packet.IPv6:
		add("family: ipv6")
	}
	switch {
	case m.HasIngress && m.IngressLo:
		add("iif: lo")
	case m.HasIngress:
		add("iif: %s", d.Ports[m.Ingress].Name)
	}
	if m.HasGroup {
		add("iif-group: g%d", m.Group)
	}
	if m.HasMark {
		add("fwmark: %d/0x%x", m.Mark, m.MarkMask)
	}
	if m.HasTOS {
		add("tos: %d", m.TOS)
	}
	if m.HasDSCP {
		add("dscp: %d/0x%x", m.DSCP, m.DSCPMask)
	}
	if m.HasProto {
		add("proto: %d", m.Proto)
	}
	for _, l4 := range []struct {
		name string
		policy.PortMatch
	}{{"sport", m.Sport}, {"dport", m.Dport}} {
		switch l4.Kind {
		case policy.PortRange:
			add("%s: %d-%d", l4.name, l4.Lo, l4.Hi)
		case policy.PortMask:
			add("%s: %d/0x%x", l4.name, l4.Value, l4.Mask)
		}
	}
	if m.HasFlow {
		add("flowlabel: %d/0x%x", m.FlowLabel, m.FlowMask)
	}
	switch r.Action {
	case policy.RuleLookup:
		add("lookup: %s", d.Tables[r.Table].Name)
		if r.SuppressPrefixLength >= 0 {
			add("suppress-prefixlength: %d", r.SuppressPrefixLength)
		}
		if r.HasSuppressGroup {
			add("suppress-ifgroup: g%d", r.SuppressGroup)
		}
	case policy.RuleGoto:
		add("goto: %d", r.Goto)
	default:
		add("action: %s", r.Action)
	}
	return strings.Join(fields, ", ")
}
