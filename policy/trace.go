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
	Steps   []Step
	depth   int
	reverse bool // the way back is being walked
}

// Step is one thing that an evaluation looked at, and what came of it.
type Step struct {
	Kind     string  `json:"step"`               // addresses, mark, rule, table, next-hop, source, reverse-path, ttl, scope, mtu, end
	Name     string  `json:"name,omitempty"`     // of the rule, table or statement
	Chain    string  `json:"chain,omitempty"`    // of the statement
	Priority *uint32 `json:"priority,omitempty"` // of the rule
	Depth    int     `json:"depth,omitempty"`    // of the table: how many lookups led to it; of the statement: how many jumps
	Prefix   string  `json:"prefix,omitempty"`   // of the route
	Reverse  bool    `json:"reverse,omitempty"`  // it is one of the way back, between two of kind reverse-path
	Result   string  `json:"result"`             // matched, no-match, skipped, found, passed, miss, resumed, suppressed, ok, dropped …
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

func (t *Trace) fallen(s *Snapshot, tab *table, r *fib.Route) {
	if t != nil {
		t.addRoute(tab, r, "passed", routeText(s, r)+", link down")
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

func (t *Trace) turn(s *Snapshot, back *flow, mode ReversePath) {
	if t != nil {
		t.addTurn(s, back, mode)
	}
}

func (t *Trace) returned(s *Snapshot, r result, in uint16, ok bool) {
	if t != nil {
		t.addReturned(s, r, in, ok)
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

func (t *Trace) add(s Step) {
	s.Reverse = t.reverse
	t.Steps = append(t.Steps, s)
}

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
	why := ""
	if bad != FieldNone {
		why = mismatchText(s, r, f, bad)
	} else {
		why = metText(s, r, f)
	}
	step.Result, step.Detail = matchText(bad == FieldNone, r.Not, why, func() string { return actionText(s, r, f) })
	t.add(step)
}

// matchText is the result of a rule or statement, and why: what its selectors met, or what the first did that was not.
func matchText(met, not bool, why string, action func() string) (result, detail string) {
	if not {
		if why == "" {
			why = "every packet"
		}
		why = "not: " + why
	}
	switch {
	case met == not:
		return "no-match", why
	case why == "":
		return "matched", action()
	}
	return "matched", action() + " (" + why + ")"
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

// addTurn begins the way back.
func (t *Trace) addTurn(s *Snapshot, back *flow, mode ReversePath) {
	t.add(Step{Kind: "reverse-path", Result: mode.String(),
		Detail: fmt.Sprintf("the way back, %v -> %v in %s, mark 0x%x", back.src, back.dst, s.ingressText(back.key), back.mark)})
	t.reverse = true
}

// addReturned ends it.
func (t *Trace) addReturned(s *Snapshot, r result, in uint16, ok bool) {
	t.reverse = false
	step := Step{Kind: "reverse-path", Result: "ok"}
	if r.route != nil {
		step.Prefix, step.Detail = r.route.Prefix.String(), routeText(s, r.route)
	}
	if !ok {
		step.Result = "dropped"
		switch {
		case r.route == nil:
			step.Detail = "no way back"
		case r.route.Action == fib.Unicast:
			step.Detail += ", not by " + s.PortName(in)
		default:
			step.Detail = "no way back: " + step.Detail
		}
	}
	t.add(step)
}

func (t *Trace) addMTU(k *packet.Key, mtu uint16) {
	step := Step{Kind: "mtu", Result: "exceeded", Detail: fmt.Sprintf("length %d, mtu %d", k.Length, mtu)}
	if k.Family == packet.IPv4 && !k.DontFragment {
		step.Result = "fragmented"
		step.Detail += ": " + fragmentsText(fragments(k, mtu), mtu)
	}
	t.add(step)
}
