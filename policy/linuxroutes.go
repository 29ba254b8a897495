package policy

import (
	"iter"
	"net/netip"
	"slices"

	"weir/fib"
)

// linuxTable is a table that the kernel is to have.
type linuxTable struct {
	id        uint32
	miss      fib.Action              // what a miss is there; Unicast: the next rule's
	connected map[netip.Prefix]uint16 // port by network, in table main: the kernel's own routes
	routes    *fib.Table
}

// linuxMiss is the route type that an on-miss is there.
var linuxMiss = [...]fib.Action{
	MissFallThrough: fib.Unicast,
	MissUnreachable: fib.Unreachable,
	MissProhibit:    fib.Prohibit,
	MissBlackhole:   fib.Blackhole,
	MissLookup:      fib.Unicast,
}

// newLinuxTable is table i without its routes, and warns of what it will lack; ok is false if the kernel does not get it.
func newLinuxTable(r *report, i int) (t linuxTable, ok bool) {
	of, at := &r.policy.Tables[i], r.table(i)
	t = linuxTable{id: of.ID, miss: linuxMiss[of.OnMiss]}
	switch {
	case of.ID == TableLocal:
		if of.OnMiss != MissFallThrough {
			at.warnf("kernel routes: the on-miss of table local is left out, with which the router itself would reach nobody: there a miss goes on with the next rule")
		}
		return t, false
	case of.Key == BySource:
		at.warnf("kernel routes: left out, since Linux has no tables keyed by source")
		return t, false
	}
	if of.OnMiss == MissLookup {
		at.warnf("kernel routes: on-miss %s is left out, since Linux has no such thing: there a miss goes on with the next rule", r.policy.Tables[of.MissTarget].Name)
	}
	if of.ID == TableMain {
		t.connected = map[netip.Prefix]uint16{}
		_, main := ConnectedRoutes(r.policy.Ports)
		for j := range main {
			t.connected[main[j].Prefix] = main[j].Hops[0].Port
		}
	}
	type remark struct{ first, count int }
	remarks := map[string]*remark{} // a table may have millions of routes: each remark is made once
	var order []string
	for j := range of.Routes {
		_, _, text := t.express(&of.Routes[j])
		if text == "" {
			continue
		}
		if remarks[text] == nil {
			remarks[text] = &remark{first: j}
			order = append(order, text)
		}
		remarks[text].count++
	}
	for _, text := range order {
		m := remarks[text]
		if at := r.route(i, m.first); m.count > 1 {
			at.warnf("kernel routes: %s (and %d more routes of this table)", text, m.count-1)
		} else {
			at.warnf("kernel routes: %s", text)
		}
	}
	return t, true
}

// express is a route in the form that Linux has; ok is false if it is left out. The remark, if any, says what differs.
func (t *linuxTable) express(r *fib.Route) (out LinuxRoute, ok bool, remark string) {
	out = LinuxRoute{Table: t.id, Route: *r}
	ipv6 := r.Prefix.Addr().Is6()
	if ipv6 {
		out.Metric += linuxMetric6
		if out.Metric < linuxMetric6 {
			return out, false, "left out, since IPv6 metrics are 1024 more there, and this one is too large: there a route of larger metric, a shorter prefix or a miss decides"
		}
	}
	if t.miss != fib.Unicast && r.Prefix.Bits() == 0 && r.TOS == 0 && out.Metric == linuxMetricMiss {
		return out, false, "left out, since the table's on-miss has its metric there: there the miss decides"
	}
	switch r.Action {
	case fib.Lookup:
		return out, false, "left out, since Linux has no routes to tables: there a shorter prefix or a miss decides"
	case fib.Local:
		return out, false, "left out, since routes of type local are the kernel's own"
	case fib.Throw:
		if t.miss != fib.Unicast {
			out.Action = t.miss
		}
	case fib.Unicast:
		if port, own := t.connected[r.Prefix]; own && r.Metric == 0 && r.TOS == 0 && len(r.Hops) == 1 && r.Hops[0].OnLink() && r.Hops[0].Port == port {
			return out, false, ""
		}
		for i := range r.Hops {
			switch h := &r.Hops[i]; {
			case h.OnLink() && ipv6 && len(r.Hops) > 1:
				return out, false, "left out, since Linux divides no IPv6 route over ports without gateways: there a shorter prefix or a miss decides"
			case !h.OnLink() && h.Gateway.Is6() != ipv6:
				return out, false, "left out, since its gateway is of the other family: there a shorter prefix or a miss decides"
			}
		}
		var exact bool
		if out.Hops, exact = linuxHops(r.Hops); !exact {
			remark = "weights are at most 256 there: the kernel divides packets in about these proportions"
		}
	}
	return out, true, remark
}

// linuxHops joins hops that are the same, and brings their weights below the kernel's limit; exact is false if that changes
// their proportions.
func linuxHops(hops []fib.NextHop) (list []fib.NextHop, exact bool) {
	if len(hops) == 1 {
		return hops, true // whose weight means nothing
	}
	var weights []int
	for _, h := range hops {
		h = fib.NextHop{Gateway: h.Gateway, Port: h.Port, Weight: max(h.Weight, 1)}
		same := func(o fib.NextHop) bool { return o.Gateway == h.Gateway && o.Port == h.Port }
		if i := slices.IndexFunc(list, same); i >= 0 {
			weights[i] += int(h.Weight)
			continue
		}
		list, weights = append(list, h), append(weights, int(h.Weight))
	}
	divisor := 0
	for _, w := range weights {
		divisor = gcd(w, divisor)
	}
	most := slices.Max(weights) / divisor
	exact = most <= linuxWeightMax
	for i, w := range weights {
		w /= divisor
		if !exact {
			w = max(1, (w*linuxWeightMax+most/2)/most)
		}
		list[i].Weight = uint16(w)
	}
	return list, exact
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// Routes yields all routes that the kernel is to be given, by table, and none twice: those of the configuration. It is for the
// tables' writer, or for whoever keeps that out meanwhile.
func (l *Linux) Routes() iter.Seq[LinuxRoute] {
	return func(yield func(LinuxRoute) bool) {
		for i := range l.tables {
			t := &l.tables[i]
			for r := range t.routes.All() {
				if r.RunTime {
					continue
				}
				if out, ok, _ := t.express(r); ok && !yield(out) {
					return
				}
			}
			if t.miss == fib.Unicast {
				continue
			}
			for _, all := range []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)} {
				if !yield(LinuxRoute{Table: t.id, Route: fib.Route{Prefix: all, Metric: linuxMetricMiss, Action: t.miss}}) {
					return
				}
			}
		}
	}
}
