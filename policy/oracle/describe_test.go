package oracle

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// description is a configuration. Everything that is configured by it (a snapshot, a kernel, a running weir) is
// configured from the same policy.
//
// Its tables begin with local, main and default. The routes that addresses bring come first in local and main, and the
// kernel makes those itself. Its rules are in the order in which they are made.
type description struct {
	policy.Policy
	connected int  // routes of main that addresses bring
	defaults  bool // the rules begin with the default ones

	down []uint16 // ports whose link is down
}

// Indexes of tables.
const (
	tableLocal = iota
	tableMain
	tableDefault
	tablesBuiltin
)

// defaultRules is the number of default rules.
const defaultRules = 3

// newDescription has ports and nothing else but what they bring, and the default rules if they are wanted.
func newDescription(defaults bool) *description {
	local, main := policy.ConnectedRoutes(ports)
	d := &description{connected: len(main), defaults: defaults, Policy: policy.Policy{Hostname: "oracle", Ports: slices.Clone(ports), Tables: []policy.Table{
		{Name: "local", ID: policy.TableLocal, Routes: local},
		{Name: "main", ID: policy.TableMain, Routes: main},
		{Name: "default", ID: policy.TableDefault},
	}}}
	if defaults {
		d.Rules = policy.DefaultRules(tableLocal, tableMain, tableDefault)
	}
	return d
}

// compile makes the snapshot.
func (d *description) compile(t testing.TB) *policy.Snapshot {
	t.Helper()
	s, err := policy.Compile(&d.Policy)
	if err != nil {
		t.Fatalf("compile: %v\n%s", err, d)
	}
	return s.WithAdjacencies(s.Adjacencies.WithDown(d.down...))
}

// routes are those of a table that somebody has to configure.
func (d *description) routes(table int) []fib.Route {
	switch table {
	case tableLocal:
		return nil
	case tableMain:
		return d.Tables[table].Routes[d.connected:]
	}
	return d.Tables[table].Routes
}

// ownRules are those that somebody has to configure, in the order of making.
func (d *description) ownRules() []policy.Rule {
	if d.defaults {
		return d.Rules[defaultRules:]
	}
	return d.Rules
}

// families of a rule; none if its selectors contradict each other.
func families(r *policy.Rule) []uint8 {
	m := &r.Match
	both := []uint8{packet.IPv4, packet.IPv6}
	keep := func(ok func(family uint8) bool) { both = slices.DeleteFunc(both, func(f uint8) bool { return !ok(f) }) }
	keep(func(f uint8) bool { return m.Family == 0 || m.Family == f })
	keep(func(f uint8) bool { return !m.HasFlow || f == packet.IPv6 })
	for _, p := range []netip.Prefix{m.From, m.To} {
		keep(func(f uint8) bool { return !p.IsValid() || p.Addr().Is4() == (f == packet.IPv4) })
	}
	return both
}

// String is the configuration as commands of ip(8), as far as iproute2 knows the words.
func (d *description) String() string {
	var b strings.Builder
	for i := range d.Ports {
		if p := &d.Ports[i]; p.ReversePath != policy.ReverseOff {
			for _, s := range reversePathSysctls(p) {
				fmt.Fprintf(&b, "sysctl %s=%s\n", s[0], s[1])
			}
		}
	}
	for _, port := range d.down {
		fmt.Fprintf(&b, "# %s: link down\n", d.Ports[port].Name)
	}
	if !d.defaults {
		b.WriteString("ip rule flush; ip -6 rule flush\n")
	}
	for i := range d.ownRules() {
		r := &d.ownRules()[i]
		for _, f := range families(r) {
			fmt.Fprintf(&b, "ip -%d rule add %s\n", f, d.ruleText(r))
		}
	}
	for i := range d.Tables {
		for j := range d.routes(i) {
			r := &d.routes(i)[j]
			family := 6
			if r.Prefix.Addr().Is4() {
				family = 4
			}
			fmt.Fprintf(&b, "ip -%d route add %s table %d\n", family, routeText(r), d.Tables[i].ID)
		}
	}
	return b.String()
}

func (d *description) ruleText(r *policy.Rule) string {
	var b strings.Builder
	add := func(format string, args ...any) { fmt.Fprintf(&b, " "+format, args...) }
	m := &r.Match
	fmt.Fprintf(&b, "pref %d", r.Priority)
	if r.Not {
		add("not")
	}
	from := "all"
	if m.From.IsValid() {
		from = m.From.String()
	}
	add("from %s", from)
	if m.To.IsValid() {
		add("to %v", m.To)
	}
	switch {
	case m.HasIngress && m.IngressLo:
		add("iif lo")
	case m.HasIngress:
		add("iif %s", d.Ports[m.Ingress].Name)
	}
	if m.HasMark {
		add("fwmark 0x%x/0x%x", m.Mark, m.MarkMask)
	}
	if m.HasTOS {
		add("tos 0x%02x", m.TOS)
	}
	if m.HasDSCP {
		add("dscp 0x%02x/0x%02x", m.DSCP, m.DSCPMask)
	}
	if m.HasProto {
		add("ipproto %d", m.Proto)
	}
	for _, l4 := range []struct {
		name string
		policy.PortMatch
	}{{"sport", m.Sport}, {"dport", m.Dport}} {
		switch l4.Kind {
		case policy.PortRange:
			add("%s %d-%d", l4.name, l4.Lo, l4.Hi)
		case policy.PortMask:
			add("%s 0x%x/0x%x", l4.name, l4.Value, l4.Mask)
		}
	}
	if m.HasFlow {
		add("flowlabel 0x%x/0x%x", m.FlowLabel, m.FlowMask)
	}
	switch r.Action {
	case policy.RuleLookup:
		add("lookup %d", d.Tables[r.Table].ID)
		if r.SuppressPrefixLength >= 0 {
			add("suppress_prefixlength %d", r.SuppressPrefixLength)
		}
		if r.HasSuppressGroup {
			add("suppress_ifgroup %d", r.SuppressGroup)
		}
	case policy.RuleGoto:
		add("goto %d", r.Goto)
	default:
		add("%s", r.Action)
	}
	return b.String()
}

func routeText(r *fib.Route) string {
	var b strings.Builder
	if r.Action != fib.Unicast {
		fmt.Fprintf(&b, "%s ", r.Action)
	}
	b.WriteString(r.Prefix.String())
	if r.TOS != 0 {
		fmt.Fprintf(&b, " tos 0x%02x", r.TOS)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.MTU != 0 {
		fmt.Fprintf(&b, " mtu lock %d", r.MTU)
	}
	for i := range r.Hops {
		h := &r.Hops[i]
		if len(r.Hops) > 1 {
			b.WriteString(" nexthop")
		}
		if !h.OnLink() {
			fmt.Fprintf(&b, " via %v", h.Gateway)
		}
		fmt.Fprintf(&b, " dev %s", ports[h.Port].Name)
		if len(r.Hops) > 1 {
			fmt.Fprintf(&b, " weight %d", h.Weight)
		}
		if !h.OnLink() {
			b.WriteString(" onlink")
		}
	}
	return b.String()
}
