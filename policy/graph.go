package policy

import (
	"slices"
	"strings"

	"weir/fib"
)

// maxDepth is how many lookups, by routes and on-miss, may lead from a table to the last one.
const maxDepth = 8

// graph is the tables and the lookups that lead from one to another.
type graph struct {
	report *report
	next   [][]uint16 // by table, without repetition
	depth  []int      // by table: longest way out, in lookups; -1 while on the path, -2 if not visited
	deep   []uint16   // by table: next on the longest way
	path   []uint16
	cyclic bool
}

// checkGraph reports every cycle that a depth-first search meets, and where there is none, ways that are too long.
// The targets must be in range.
func checkGraph(r *report) {
	tables := r.policy.Tables
	g := graph{report: r, next: make([][]uint16, len(tables)), depth: make([]int, len(tables)), deep: make([]uint16, len(tables))}
	for i := range tables {
		g.depth[i] = -2
		t := &tables[i]
		if t.OnMiss == MissLookup {
			g.next[i] = append(g.next[i], t.MissTarget)
		}
		for j := range t.Routes {
			if rt := &t.Routes[j]; rt.Action == fib.Lookup {
				g.next[i] = append(g.next[i], rt.Target)
			}
		}
		slices.Sort(g.next[i])
		g.next[i] = slices.Compact(g.next[i])
	}
	for i := range tables {
		g.visit(uint16(i))
	}
	if g.cyclic {
		return
	}
	for i := range tables {
		if g.depth[i] == maxDepth+1 { // deeper ones contain this one
			way := []uint16{uint16(i)}
			for g.deep[way[len(way)-1]] != None {
				way = append(way, g.deep[way[len(way)-1]])
			}
			r.table(i).errorf("lookups %d deep, at most %d: %s", maxDepth+1, maxDepth, g.arrows(way))
		}
	}
}

func (g *graph) visit(t uint16) int {
	switch {
	case g.depth[t] >= 0:
		return g.depth[t]
	case g.depth[t] == -1:
		g.cyclic = true
		from := slices.Index(g.path, t)
		g.report.table(int(t)).errorf("lookup cycle: %s", g.arrows(append(slices.Clone(g.path[from:]), t)))
		return 0
	}
	g.depth[t], g.deep[t] = -1, None
	g.path = append(g.path, t)
	longest := 0
	for _, n := range g.next[t] {
		if d := g.visit(n) + 1; d > longest {
			longest, g.deep[t] = d, n
		}
	}
	g.path = g.path[:len(g.path)-1]
	g.depth[t] = longest
	return longest
}

func (g *graph) arrows(tables []uint16) string {
	names := make([]string, len(tables))
	for i, t := range tables {
		names[i] = g.report.policy.Tables[t].Name
	}
	return strings.Join(names, " → ")
}

// CheckLookups is the part of Compile that looks for cycles of lookups, and for ways that are too long. It is for a
// policy that has other errors and will not be compiled: whoever mends those wants to know of all.
func CheckLookups(p *Policy) CompileErrors {
	for i := range p.Tables {
		t := &p.Tables[i]
		if t.OnMiss == MissLookup && int(t.MissTarget) >= len(p.Tables) {
			return nil
		}
		for j := range t.Routes {
			if rt := &t.Routes[j]; rt.Action == fib.Lookup && int(rt.Target) >= len(p.Tables) {
				return nil
			}
		}
	}
	r := &report{policy: p}
	checkGraph(r)
	return r.errors
}
