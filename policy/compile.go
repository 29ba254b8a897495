package policy

import (
	"cmp"
	"net/netip"
	"slices"

	"weir/fib"
)

// Compile checks a policy and builds the snapshot that means it. It is pure: equal policies give equal snapshots, and
// the policy is neither kept nor changed (but must not change while Compile runs). Generation is 0.
//
// The error, if any, is CompileErrors with everything that is wrong; there is no snapshot then. Rules are sorted by
// priority, those of equal priority stay in order. A goto whose target is missing is skipped by packets, as in
// Linux, and is among the Warnings. There is one adjacency for each static neighbour, Resolved, and for each distinct
// gateway, Incomplete; the source MAC addresses are for the appliance to fill in. If the policy wants KernelRoutes, what
// Linux cannot express is among the Warnings.
func Compile(p *Policy) (*Snapshot, error) {
	r := &report{policy: p}
	check(r)
	if len(r.errors) > 0 {
		return nil, r.errors
	}
	s := &Snapshot{
		Ports:     slices.Clone(p.Ports),
		ICMP:      p.ICMP,
		ingress:   compileIngress(p.Ports),
		addresses: ownAddresses(p.Ports),
		own:       newOwnSet(ownKinds(p.Ports)),
		portIndex: make(map[string]uint16, len(p.Ports)),
		seed:      hashSeed(p.Hostname),

		hashPolicy: p.MultipathHash,
	}
	for i := range s.Ports {
		s.Ports[i].Addresses = slices.Clone(s.Ports[i].Addresses)
		s.portIndex[s.Ports[i].Name] = uint16(i)
		s.checksSource = s.checksSource || s.Ports[i].ReversePath != ReverseOff
	}
	s.consistent = p.ConsistentFragments
	s.Adjacencies = compileAdjacencies(p)
	var counted int
	s.tables, counted = compileTables(r, s.Adjacencies)
	s.tableIndex = make(map[string]uint16, len(s.tables))
	for i := range s.tables {
		s.tableIndex[s.tables[i].name] = uint16(i)
	}
	s.marks = compileMarks(p.Marks, mainChain(p.Marks))
	order := walkOrder(p.Rules)
	s.rules = compileRules(r, order)
	s.layOutCells(counted)
	s.names = quoteNames(s)
	if p.KernelRoutes {
		s.linux = compileLinux(r, s.tables)
	}
	lint(r, s, order)
	s.warnings = r.warnings
	return s, nil
}

func compileIngress(ports []Port) []ingress {
	var list []ingress
	for i := range ports {
		p := &ports[i]
		if p.VLAN == 0 {
			list = append(list, ingress{untagged: uint16(i)}) // checked: Device is i
			continue
		}
		in := &list[p.Device]
		if p.Inner != 0 {
			if in.stacked == nil {
				in.stacked = map[uint32]uint16{}
			}
			in.stacked[stack(p.VLAN, p.Inner)] = uint16(i)
			continue
		}
		if in.vlans == nil {
			in.vlans = new([4096]uint16)
			for v := range in.vlans {
				in.vlans[v] = None
			}
		}
		in.vlans[p.VLAN] = uint16(i)
	}
	return list
}

func ownAddresses(ports []Port) map[netip.Addr]uint16 {
	own := map[netip.Addr]uint16{}
	for i := range ports {
		for _, a := range ports[i].Addresses {
			own[a.Addr()] = uint16(i)
		}
	}
	return own
}

func ownKinds(ports []Port) map[uint32]ownKind {
	kinds := map[uint32]ownKind{}
	for i := range ports {
		for _, a := range ports[i].Addresses {
			if b, ok := broadcast(a); ok {
				kinds[word(b)] = connectedBroadcast
			}
		}
	}
	for i := range ports { // after the broadcast addresses: an own address is that first
		for _, a := range ports[i].Addresses {
			if a.Addr().Is4() {
				kinds[word(a.Addr())] = ownAddress
			}
		}
	}
	return kinds
}

func word(a netip.Addr) uint32 {
	b := a.As4()
	return ipv4Word(b[:])
}

// broadcast is the directed broadcast address of a connected IPv4 network, which one of 31 or 32 bits does not have
// (RFC 3021).
func broadcast(p netip.Prefix) (netip.Addr, bool) {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}, false
	}
	b := p.Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b), true
}

func compileAdjacencies(p *Policy) *fib.Adjacencies {
	var list []fib.Adjacency
	seen := map[fib.Neighbor]bool{}
	add := func(a fib.Adjacency) {
		if seen[a.Neighbor] {
			return
		}
		seen[a.Neighbor] = true
		p.Ports[a.Neighbor.Port].Wire(&a)
		list = append(list, a)
	}
	for _, n := range p.Neighbors {
		add(fib.Adjacency{Neighbor: n.Neighbor, DstMAC: n.MAC, State: fib.Resolved, Static: true})
	}
	for i := range p.Tables {
		for j := range p.Tables[i].Routes {
			for _, h := range p.Tables[i].Routes[j].Hops {
				if !h.OnLink() {
					add(fib.Adjacency{Neighbor: fib.Neighbor{Addr: h.Gateway, Port: h.Port}})
				}
			}
		}
	}
	var none *fib.Adjacencies
	return none.With(list...)
}

// compileTables also returns how many routes have hits of their own.
func compileTables(r *report, adjacencies *fib.Adjacencies) (tables []table, counted int) {
	tables = make([]table, len(r.policy.Tables))
	for i := range r.policy.Tables {
		t := &r.policy.Tables[i]
		tables[i] = table{name: t.Name, id: t.ID, key: t.Key, onMiss: t.OnMiss, target: t.MissTarget, routes: fib.NewTable(t.Name), counters: t.Counters}
		for j := range t.Routes {
			route := t.Routes[j]
			route.Hops = slices.Clone(route.Hops)
			for h := range route.Hops {
				hop := &route.Hops[h]
				hop.ID = hopID(r.policy.Ports[hop.Port].Name, hop)
				if !hop.OnLink() {
					hop.Adjacency, _ = adjacencies.Find(fib.Neighbor{Addr: hop.Gateway, Port: hop.Port})
				}
			}
			route.Counter = 0
			if t.Counters {
				counted++
				route.Counter = uint32(counted)
			}
			if tables[i].routes.Insert(route) {
				r.route(i, j).warnf("replaces an earlier route of the same prefix, tos and metric")
			}
		}
	}
	return tables, counted
}

// walkOrder is the indexes of the rules in the order of the walk.
func walkOrder(rules []Rule) []int {
	order := make([]int, len(rules))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(rules[a].Priority, rules[b].Priority) })
	return order
}

// compileRules lines up the rules and resolves gotos, for each family to the first rule of that priority which is there
// for it.
func compileRules(r *report, order []int) []rule {
	rules := make([]rule, len(order))
	for i, o := range order {
		rules[i] = rule{Rule: r.policy.Rules[o], jump: [2]uint16{None, None}, beyond: compileConditions(r.policy.Rules[o].Match.Beyond)}
		rules[i].family, _ = rules[i].Match.family()
	}
	for i := range rules {
		from := &rules[i]
		if from.Action != RuleGoto {
			continue
		}
		first, _ := slices.BinarySearchFunc(rules, from.Goto, func(r rule, p uint32) int { return cmp.Compare(r.Priority, p) })
		for j := first; j < len(rules) && rules[j].Priority == from.Goto; j++ {
			for f, family := range families {
				if from.jump[f] == None && (rules[j].family == 0 || rules[j].family == family) {
					from.jump[f] = uint16(j)
				}
			}
		}
		for f, family := range families {
			if from.jump[f] == None && (from.family == 0 || from.family == family) {
				r.rule(order[i]).warnf("goto %d lands nowhere in IPv%d: the rule is skipped", from.Goto, family)
			}
		}
	}
	return rules
}
