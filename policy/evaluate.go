package policy

import (
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// Evaluate decides on one packet. It is the specification of what a configuration means: the package comment has
// the order of its steps. With a trace it records each of them, and the verdict is the same; without, it allocates
// nothing.
func (s *Snapshot) Evaluate(k *packet.Key, t *Trace) Verdict {
	var v Verdict
	s.evaluate(k, &v, nil, t)
	return v
}

// evaluate is Evaluate, with the verdict written where it belongs.
func (s *Snapshot) evaluate(k *packet.Key, v *Verdict, tally *Tally, t *Trace) {
	var f flow
	if !s.begin(&f, k, v, tally, t) {
		return
	}
	if s.runsMarks(k) {
		how, by := s.marks.run(s, &f, t)
		t.marked(&f, how)
		if !f.marked(v, how, by) {
			return
		}
	}
	s.conclude(&f, v, s.walk(&f, t), t)
}

// begin does what comes before the mark program and the rules, and reports whether they are asked.
func (s *Snapshot) begin(f *flow, k *packet.Key, v *Verdict, tally *Tally, t *Trace) bool {
	*v = Verdict{Adjacency: Unresolved, Mark: k.Mark, TOS: k.TOS, Port: None, Rule: None, Table: None, Statement: None, Prefix: NoPrefix}
	source := s.sourceKind(k)
	class := classify(k, source)
	t.addresses(class)
	switch {
	case class == dstMulticast || class == dstBroadcast:
		v.Action = Punt
		return false
	case class != addressesFit:
		v.Action, v.Reason = Drop, packet.Martian
		return false
	}
	f.fill(s, k)
	f.tally, f.ownSource = tally, source == ownAddress
	return true
}

// runsMarks reports whether the packet runs through a mark program.
func (s *Snapshot) runsMarks(k *packet.Key) bool {
	return len(s.marks.chains) > 0 && k.Ingress != LocalOutput
}

// conclude does what comes after the rules, of which r is the answer.
func (s *Snapshot) conclude(f *flow, v *Verdict, r result, t *Trace) {
	k := f.key
	v.Rule, v.Table = r.rule, r.table
	if r.route != nil {
		v.Prefix = uint8(r.route.Prefix.Bits())
	}
	if r.outcome != found {
		v.refuse(r.outcome, k.Family)
		return
	}

	if f.ownSource {
		t.ownSource(f)
		v.Action, v.Reason = Drop, packet.OwnSource
		return
	}
	if r.route.Action == fib.Local {
		v.Action = Punt
		return
	}

	hop := s.hop(r.route, k)
	t.hop(s, r.route, hop)
	if s.checksSource && k.Ingress != LocalOutput && !s.reversePath(f, hop.Port, t) {
		v.Action, v.Reason = Drop, packet.ReversePath
		return
	}

	if k.TTL <= 1 {
		t.ttl(k)
		v.refuse(ttlExceeded, k.Family)
		return
	}
	v.Port = hop.Port
	// As ip6_forward: not where the packet leaves by the port it came in on, nor for the router's own packets.
	if k.Family == packet.IPv6 && linkLocal6(&k.Src) && hop.Port != k.Ingress && k.Ingress != LocalOutput {
		t.scope(f)
		v.refuse(beyondScope, k.Family)
		return
	}
	if mtu := s.mtu(r.route, hop); k.Length > mtu {
		t.mtu(k, mtu)
		v.MTU = mtu
		if k.Family == packet.IPv6 || k.DontFragment {
			v.refuse(tooBig, k.Family)
			return
		}
	}

	v.Action = Forward
	if hop.OnLink() {
		v.OnLink = true
		if i, ok := s.Adjacencies.Find(fib.Neighbor{Addr: f.dst, Port: hop.Port}); ok {
			v.Adjacency = i
		}
	} else {
		v.Adjacency = hop.Adjacency
	}
}

// result is what a walk over rules or through tables came to.
type result struct {
	route   *fib.Route // that decided; nil where a rule or an on-miss did
	rule    uint16     // that decided, or None
	table   uint16     // that decided, or None
	outcome outcome
}

// walk tries the rules in order until one has an answer (fib_rules_lookup in net/core/fib_rules.c).
func (s *Snapshot) walk(f *flow, t *Trace) result {
	r, _ := s.walkFrom(f, 0, false, t)
	return r
}

// walkFrom is walk from a rule on. Where it may wait, it stops at a rule that asks a table with array forms, and returns
// which that is, else -1.
func (s *Snapshot) walkFrom(f *flow, from int, wait bool, t *Trace) (answer result, at int) {
	for i := from; i < len(s.rules); {
		r := &s.rules[i]
		if r.family != 0 && r.family != f.key.Family {
			t.skip(r)
			i++
			continue
		}
		bad := r.mismatch(f)
		t.rule(s, r, f, bad)
		if matches := (bad == FieldNone) != r.Not; !matches {
			i++
			continue
		}
		answer, next := s.act(i, f, wait, t)
		switch next {
		case decided:
			return answer, -1
		case waits:
			return answer, i
		}
		i = next
	}
	t.exhausted()
	return result{rule: None, table: None, outcome: noRoute}, -1
}

// What act returns where no other rule is to be tried.
const (
	decided = -1
	waits   = -2 // for what the rule's table has
)

// act does what rule i says, which the packet matches: it has an answer, or the walk goes on at the rule next.
func (s *Snapshot) act(i int, f *flow, wait bool, t *Trace) (answer result, next int) {
	r := &s.rules[i]
	f.tally.hit(uint32(i), f)
	switch r.Action {
	case RuleNop:
		return result{}, i + 1
	case RuleGoto:
		if target := r.jump[familyIndex(f.key.Family)]; target != None {
			return result{}, int(target)
		}
		return result{}, i + 1
	case RuleBlackhole:
		return result{rule: uint16(i), table: None, outcome: blackholed}, decided
	case RuleProhibit:
		return result{rule: uint16(i), table: None, outcome: prohibited}, decided
	case RuleUnreachable:
		return result{rule: uint16(i), table: None, outcome: netUnreachable}, decided
	}
	if wait && s.tables[r.Table].routes.HasArrays() {
		return result{}, waits
	}
	answer = s.lookup(r.Table, f, t)
	if s.passedOver(r, answer, f, t) {
		return result{}, i + 1
	}
	answer.rule = uint16(i)
	return answer, decided
}

// passedOver reports whether the walk goes on behind a rule whose table has come to an answer.
func (s *Snapshot) passedOver(r *rule, answer result, f *flow, t *Trace) bool {
	return answer.outcome == miss || answer.outcome == found && s.suppressed(r, answer.route, f, t)
}

// mismatch returns the first selector that the packet does not meet, or FieldNone if it meets them all.
func (r *rule) mismatch(f *flow) Field {
	bad := r.Match.mismatch(f)
	if bad == FieldNone && len(r.beyond) > 0 {
		if c := mismatch(r.beyond, f); c != nil {
			return c.Field
		}
	}
	return bad
}

// lookup asks one table, and those that it leads to. Compile has made sure that they end.
func (s *Snapshot) lookup(index uint16, f *flow, t *Trace) result {
	tab := &s.tables[index]
	addr := f.dst
	if tab.key == BySource {
		addr = f.src
	}
	tree := tab.routes.Tree()
	route, ok := tree.Lookup(addr, f.tos)
	if s.linksDown {
		route, ok = s.standing(tab, tree, route, ok, addr, f.tos, t)
	}
	return s.follow(index, f, tree, addr, route, ok, t)
}

// follow goes on from what a table has found for the address: to what that comes to, or leads to. The tree is the one that
// has the route, for those that resume.
func (s *Snapshot) follow(index uint16, f *flow, tree *fib.Tree, addr netip.Addr, route *fib.Route, ok bool, t *Trace) result {
	tab := &s.tables[index]
	for ok && route.Action != fib.Throw {
		t.found(s, tab, route)
		f.tally.hitRoute(s, route, f)
		if o := routeOutcome[route.Action]; o != miss {
			f.tally.hit(s.cells.answers+uint32(index), f)
			return result{route: route, rule: None, table: index, outcome: o}
		}
		t.enter()
		res := s.lookup(route.Target, f, t)
		t.leave()
		if res.outcome != miss {
			return res
		}
		if !route.Resume {
			break
		}
		t.resume(tab, route)
		route, ok = tree.LookupShorter(addr, f.tos, route.Prefix.Bits())
		if s.linksDown {
			route, ok = s.standing(tab, tree, route, ok, addr, f.tos, t)
		}
	}
	t.miss(s, tab, addr, route)
	f.tally.hit(s.cells.misses+uint32(index), f)
	switch tab.onMiss {
	case MissUnreachable:
		return result{rule: None, table: index, outcome: netUnreachable}
	case MissProhibit:
		return result{rule: None, table: index, outcome: prohibited}
	case MissBlackhole:
		return result{rule: None, table: index, outcome: blackholed}
	case MissLookup:
		t.enter()
		res := s.lookup(tab.target, f, t)
		t.leave()
		return res
	}
	return result{rule: None, table: None, outcome: miss}
}

// routeOutcome is what a route of each action comes to in itself.
var routeOutcome = [...]outcome{
	fib.Unicast:     found,
	fib.Local:       found,
	fib.Throw:       miss,
	fib.Blackhole:   blackholed,
	fib.Unreachable: hostUnreachable,
	fib.Prohibit:    prohibited,
	fib.Lookup:      miss,
}

// suppressed reports whether the rule does not accept the route that its lookup found (fib4_rule_suppress,
// fib6_rule_suppress). Error routes never come here. As in Linux, the group of an IPv4 multipath route is that of its
// first hop, and in IPv6 that of the chosen one; a local route's is that of the port that has the address.
func (s *Snapshot) suppressed(r *rule, route *fib.Route, f *flow, t *Trace) bool {
	if route.Prefix.Bits() <= r.SuppressPrefixLength {
		t.suppressLength(r, route)
		return true
	}
	if !r.HasSuppressGroup {
		return false
	}
	port := None
	switch {
	case route.Action == fib.Local:
		port = s.localPort(f.dst)
	case f.key.Family == packet.IPv6:
		port = s.hop(route, f.key).Port
	default:
		port = route.Hops[0].Port
	}
	if port == None || s.Ports[port].Group != r.SuppressGroup {
		return false
	}
	t.suppressGroup(s, r, route, port)
	return true
}

// hop is the one of a unicast route's that the packet takes.
func (s *Snapshot) hop(route *fib.Route, k *packet.Key) *fib.NextHop {
	if len(route.Hops) == 1 {
		return &route.Hops[0]
	}
	return route.Hop(s.flowHash(k), s.Adjacencies)
}

// mtu is the largest IP packet, in bytes, that may take the route by the hop.
func (s *Snapshot) mtu(route *fib.Route, hop *fib.NextHop) uint16 {
	const unlimited = 65535
	mtu := uint16(unlimited)
	if m := s.Ports[hop.Port].MTU; m != 0 {
		mtu = m
	}
	if route.MTU != 0 {
		mtu = min(mtu, route.MTU)
	}
	return mtu
}

// sourceKind is what an IPv4 source address is to the router, which may itself use its own. Linux does no such check in
// IPv6.
func (s *Snapshot) sourceKind(k *packet.Key) ownKind {
	if k.Family != packet.IPv4 || k.Ingress == LocalOutput {
		return foreign
	}
	return s.own.kind(ipv4Word(k.Src[12:16]))
}

func ipv4Word(b []byte) uint32 {
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// families are those that rule.jump has a target for, in its order.
var families = [2]uint8{packet.IPv4, packet.IPv6}

// familyIndex is the index of a family in families.
func familyIndex(family uint8) int {
	if family == packet.IPv6 {
		return 1
	}
	return 0
}
