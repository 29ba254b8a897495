package policy

import "weir/fib"

// allTOS has a bit for each value of tos & 0x1c.
const allTOS = 0xff

// lintTables remarks on tables that no rule leads to, and on routes for a TOS that no packet has which gets to their
// table.
func lintTables(r *report, s *Snapshot, rules [][2]region) {
	tables := r.policy.Tables
	used, tos := make([]bool, len(tables)), make([]uint8, len(tables)) // tos: of IPv4 packets, one bit each
	for i := range s.rules {
		if s.rules[i].Action == RuleLookup {
			used[s.rules[i].Table] = true
			if s.rules[i].thereFor(0) {
				tos[s.rules[i].Table] |= rules[i][0].tos()
			}
		}
	}
	next := make([][]uint16, len(tables))
	for i := range tables {
		t := &tables[i]
		targets := map[uint16]bool{}
		if t.OnMiss == MissLookup {
			targets[t.MissTarget] = true
		}
		for j := range t.Routes {
			if t.Routes[j].Action == fib.Lookup {
				targets[t.Routes[j].Target] = true
			}
		}
		for to := range targets {
			next[i] = append(next[i], to)
		}
	}
	for range maxDepth { // lookups lead no further
		for i := range tables {
			for _, to := range next[i] {
				used[to] = used[to] || used[i]
				tos[to] |= tos[i]
			}
		}
	}
	for i := range tables {
		if !used[i] {
			r.table(i).warnf("nothing leads to it: no rule looks it up, and no table that one does; remove it, or add a rule")
			continue
		}
		if tos[i] == allTOS {
			continue
		}
		for j := range tables[i].Routes {
			if rt := &tables[i].Routes[j]; rt.TOS != 0 && rt.TOS&^tosMask == 0 && tos[i]&(1<<(rt.TOS>>2)) == 0 {
				r.route(i, j).warnf("tos 0x%02x never matches: no rule that leads to the table matches packets with it; remove it", rt.TOS)
			}
		}
	}
}

// tos is which values of tos & 0x1c an IPv4 packet of the region may have.
func (a *region) tos() uint8 {
	if a.empty {
		return 0
	}
	l := a.at(dimDSCP)
	if a.not || l == nil {
		return allTOS
	}
	set := uint8(0)
	for _, x := range l.spans {
		for dscp := x.lo.lo; dscp <= x.hi.lo; dscp++ {
			set |= 1 << (dscp & 7)
		}
	}
	return set
}
