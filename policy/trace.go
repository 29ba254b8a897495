package policy

import (
	"fmt"
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// Trace records the steps of an evaluation. The zero value is ready; a nil *Trace records nothing, which is what
// the packet path passes. It serves one evaluation.
type Trace struct {
	Steps []Step
	depth int
}

// Step is one thing that an evaluation looked at, and what came of it.
type Step struct {
	Kind     string  `json:"step"`               // addresses, mark, rule, table, next-hop, source, ttl, scope, mtu, end
	Name     string  `json:"name,omitempty"`     // of the rule, table or statement
	Chain    string  `json:"chain,omitempty"`    // of the statement
	Priority *uint32 `json:"priority,omitempty"` // of the rule
	Depth    int     `json:"depth,omitempty"`    // of the table: how many lookups led to it; of the statement: how many jumps
	Prefix   string  `json:"prefix,omitempty"`   // of the route
	Result   string  `json:"result"`             // matched, no-match, skipped, found, miss, resumed, suppressed, ok, dropped …
	Detail   string  `json:"detail,omitempty"`   // why, for people
}

// Each method records one step; what it takes says what it is about. They are small enough to be inlined, so that
// the packet path pays one comparison with nil.

func (t *Trace) addresses(c addressClass) {
	if t != nil {
		t.addAddresses(c)
	}
}

func (t *Trace) skip(r *rule) {
	if t != nil {
		t.addSkip(r)
	}
}

func (t *Trace) rule(s *Snapshot, r *rule, f *flow, bad Field) {
	if t != nil {
		t.addRule(s, r, f, bad)
	}
}

func (t *Trace) found(s *Snapshot, tab *table, r *fib.Route) {
	if t != nil {
		t.addRoute(tab, r, "found", routeText(s, r))
	}
}

func (t *Trace) resume(tab *table, r *fib.Route) {
	if t != nil {
		t.addRoute(tab, r, "resumed", "tries the next shorter prefix")
	}
}

func (t *Trace) miss(s *Snapshot, tab *table, addr netip.Addr, r *fib.Route) {
	if t != nil {
		t.addMiss(s, tab, addr, r)
	}
}

func (t *Trace) enter() {
	if t != nil {
		t.depth++
	}
}

func (t *Trace) leave() {
	if t != nil {
		t.depth--
	}
}

func (t *Trace) suppressLength(r *rule, route *fib.Route) {
	if t != nil {
		t.add(Step{Kind: "rule", Name: r.Name, Priority: &r.Priority, Prefix: route.Prefix.String(), Result: "suppressed",
			Detail: fmt.Sprintf("prefix length %d is not above %d", route.Prefix.Bits(), r.SuppressPrefixLength)})
	}
}

func (t *Trace) suppressGroup(s *Snapshot, r *rule, route *fib.Route, port uint16) {
	if t != nil {
		group := "no group"
		if r.SuppressGroup != 0 {
			group = "group " + s.groupText(r.SuppressGroup)
		}
		t.add(Step{Kind: "rule", Name: r.Name, Priority: &r.Priority, Prefix: route.Prefix.String(), Result: "suppressed",
			Detail: fmt.Sprintf("egress %s is in %s", s.PortName(port), group)})
	}
}

func (t *Trace) exhausted() {
	if t != nil {
		t.add(Step{Kind: "end", Result: "no-route", Detail: "no rule had an answer"})
	}
}

func (t *Trace) ownSource(f *flow) {
	if t != nil {
		t.add(Step{Kind: "source", Result: "dropped", Detail: f.src.String() + " is the router's own"})
	}
}

func (t *Trace) hop(s *Snapshot, r *fib.Route, hop *fib.NextHop) {
	if t != nil {
		t.addHop(s, r, hop)
	}
}

func (t *Trace) ttl(k *packet.Key) {
	if t != nil {
		t.add(Step{Kind: "ttl", Result: "exceeded", Detail: fmt.Sprintf("%d would reach 0", k.TTL)})
	}
}

func (t *Trace) scope(f *flow) {
	if t != nil {
		t.add(Step{Kind: "scope", Result: "exceeded", Detail: f.src.String() + " is link-local, and the way out is another link"})
	}
}

func (t *Trace) mtu(k *packet.Key, mtu uint16) {
	if t != nil {
		t.addMTU(k, mtu)
	}
}

func (t *Trace) add(s Step) { t.Steps = append(t.Steps, s) }

func (t *Trace) addAddresses(c addressClass) {
	result := "ok"
	switch {
	case c >= srcUnspecified:
		result = "martian"
	case c != addressesFit:
		result = "local"
	}
	t.add(Step{Kind: "addresses", Result: result, Detail: addressClasses[c]})
}

func (t *Trace) addSkip(r *rule) {
	t.add(Step{Kind: "rule", Name: r.Name, Priority: &r.Priority, Result: "skipped", Detail: fmt.Sprintf("is for IPv%d", r.family)})
}

func (t *Trace) addRule(s *Snapshot, r *rule, f *flow, bad Field) {
	step := Step{Kind: "rule", Name: r.Name, Priority: &r.Priority}
	why := "all selectors are met"
	if bad != FieldNone {
		why = mismatchText(s, r, f, bad)
	}
	switch matches := (bad == FieldNone) != r.Not; {
	case !matches && r.Not:
		step.Result, step.Detail = "no-match", "not: "+why
	case !matches:
		step.Result, step.Detail = "no-match", why
	case r.Not:
		step.Result, step.Detail = "matched", actionText(s, r, f)+" (not: "+why+")"
	default:
		step.Result, step.Detail = "matched", actionText(s, r, f)
	}
	t.add(step)
}

func (t *Trace) addRoute(tab *table, r *fib.Route, result, detail string) {
	t.add(Step{Kind: "table", Name: tab.name, Depth: t.depth, Prefix: r.Prefix.String(), Result: result, Detail: detail})
}

func (t *Trace) addMiss(s *Snapshot, tab *table, addr netip.Addr, r *fib.Route) {
	step := Step{Kind: "table", Name: tab.name, Depth: t.depth, Result: "miss"}
	why := "no route to " + addr.String()
	switch {
	case r != nil && r.Action == fib.Throw:
		step.Prefix, why = r.Prefix.String(), "throw"
	case r != nil:
		step.Prefix, why = r.Prefix.String(), "nothing in "+s.TableName(r.Target)
	case tab.key == BySource:
		why = "no route from " + addr.String()
	}
	step.Detail = why + ", " + onMissText(s, tab)
	t.add(step)
}

func (t *Trace) addHop(s *Snapshot, r *fib.Route, hop *fib.NextHop) {
	detail := hopText(s, hop)
	if len(r.Hops) > 1 {
		total, at := 0, 0
		for i := range r.Hops {
			total += int(r.Hops[i].Weight)
			if &r.Hops[i] == hop {
				at = i + 1
			}
		}
		detail += fmt.Sprintf(", %d of %d by flow hash, weight %d in %d", at, len(r.Hops), hop.Weight, total)
	}
	t.add(Step{Kind: "next-hop", Result: "chosen", Detail: detail})
}

func (t *Trace) addMTU(k *packet.Key, mtu uint16) {
	step := Step{Kind: "mtu", Result: "exceeded", Detail: fmt.Sprintf("length %d, mtu %d", k.Length, mtu)}
	if k.Family == packet.IPv4 && !k.DontFragment {
		step.Result = "fragmented"
		step.Detail += ": " + fragmentsText(fragments(k, mtu), mtu)
	}
	t.add(step)
}
