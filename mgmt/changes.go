package mgmt

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"weir/fib"
	"weir/policy"
)

// Differences lists what one configuration has that another one has not, by kind, with counts and the first names. What an
// item refers to by index is compared by name, since indexes shift.
func Differences(from, to *Config) []string {
	d := &differing{from: from, to: to}
	d.system()
	d.ports()
	d.neighbors()
	d.marks()
	d.rules()
	d.tables()
	return d.lines
}

type differing struct {
	from, to *Config
	lines    []string
}

// namesMax is how many names a line has of each kind of difference.
const namesMax = 4

// items collects what was added, removed and changed of one kind.
type items struct{ added, removed, changed someNames }

// someNames counts names, and keeps the first.
type someNames struct {
	count int
	first []string
}

func (n *someNames) add(name func() string) {
	if n.count++; n.count <= namesMax {
		n.first = append(n.first, name())
	}
}

func (n *someNames) String() string {
	s := strings.Join(n.first, ", ")
	if n.count > len(n.first) {
		s += ", …"
	}
	return s
}

// tell makes a line of the differences, if there are any.
func (d *differing) tell(kind string, x *items) {
	var parts []string
	for _, p := range []struct {
		what string
		*someNames
	}{{"added", &x.added}, {"removed", &x.removed}, {"changed", &x.changed}} {
		if p.count > 0 {
			parts = append(parts, fmt.Sprintf("%d %s (%v)", p.count, p.what, p.someNames))
		}
	}
	if len(parts) > 0 {
		d.lines = append(d.lines, kind+": "+strings.Join(parts, ", "))
	}
}

// named compares items by their names; their text is what they are. It reports whether what is in both comes in another order.
func (d *differing) named(from, to [][2]string) (x items, moved bool) {
	was, is := make(map[string]string, len(from)), make(map[string]bool, len(to))
	for _, f := range from {
		was[f[0]] = f[1]
	}
	var kept []string
	for _, t := range to {
		is[t[0]] = true
		text, ok := was[t[0]]
		name := func() string { return t[0] }
		switch {
		case !ok:
			x.added.add(name)
			continue
		case text != t[1]:
			x.changed.add(name)
		}
		kept = append(kept, t[0])
	}
	i := 0
	for _, f := range from {
		if !is[f[0]] {
			x.removed.add(func() string { return f[0] })
			continue
		}
		moved = moved || i >= len(kept) || kept[i] != f[0]
		i++
	}
	return x, moved
}

func (d *differing) system() {
	var names []string
	a, b := d.from.Policy, d.to.Policy
	for _, s := range []struct {
		name string
		same bool
	}{
		{"hostname", d.from.System.Hostname == d.to.System.Hostname},
		{"workers", slices.Equal(d.from.System.Workers, d.to.System.Workers)},
		{"kernel-routes", a.KernelRoutes == b.KernelRoutes},
		{"multipath-hash", a.MultipathHash == b.MultipathHash},
		{"icmp", reflect.DeepEqual(a.ICMP, b.ICMP)},
		{"ssh", reflect.DeepEqual(d.from.System.SSH, d.to.System.SSH)},
		{"metrics", d.from.System.Metrics == d.to.System.Metrics},
		{"fragments", a.ConsistentFragments == b.ConsistentFragments},
	} {
		if !s.same {
			names = append(names, s.name)
		}
	}
	if len(names) > 0 {
		d.lines = append(d.lines, "system: "+strings.Join(names, ", ")+" changed")
	}
}

func (d *differing) ports() {
	describe := func(p *policy.Policy) (list [][2]string) {
		for _, port := range p.Ports {
			device := p.Ports[port.Device].Name
			port.Device = 0
			list = append(list, [2]string{port.Name, fmt.Sprintf("%s %+v", device, port)})
		}
		return list
	}
	x, _ := d.named(describe(d.from.Policy), describe(d.to.Policy))
	d.tell("ports", &x)
}

func (d *differing) neighbors() {
	describe := func(p *policy.Policy) (list [][2]string) {
		for _, n := range p.Neighbors {
			port := p.Ports[n.Neighbor.Port].Name
			list = append(list, [2]string{fmt.Sprintf("%v at %s", n.Neighbor.Addr, port), fmt.Sprint(n.MAC)})
		}
		return list
	}
	x, _ := d.named(describe(d.from.Policy), describe(d.to.Policy))
	d.tell("neighbors", &x)
}

func (d *differing) rules() {
	describe := func(c *Config) (list [][2]string) {
		for i := range c.Policy.Rules {
			r := &c.Policy.Rules[i]
			list = append(list, [2]string{r.Name, fmt.Sprint(r.Priority, " ", c.Snapshot.RuleText(uint16(i)))})
		}
		return list
	}
	x, moved := d.named(describe(d.from), describe(d.to))
	d.tell("rules", &x)
	if moved && x.changed.count == 0 {
		d.lines = append(d.lines, "rules: in another order")
	}
}

func (d *differing) marks() {
	chain := func(c *Config, name string) int {
		return slices.IndexFunc(c.Policy.Marks, func(x policy.Chain) bool { return x.Name == name })
	}
	was, is := statements(d.from.Snapshot), statements(d.to.Snapshot)
	var chains items
	for _, to := range d.to.Policy.Marks {
		if chain(d.from, to.Name) < 0 {
			chains.added.add(func() string { return to.Name })
		}
		x, moved := d.named(was[to.Name], is[to.Name])
		d.tell("statements of "+to.Name, &x)
		if moved {
			d.lines = append(d.lines, "statements of "+to.Name+": in another order")
		}
	}
	for _, from := range d.from.Policy.Marks {
		if chain(d.to, from.Name) < 0 {
			chains.removed.add(func() string { return from.Name })
		}
	}
	d.tell("chains", &chains)
}

// statements are those that can run, by chain.
func statements(s *policy.Snapshot) map[string][][2]string {
	list := map[string][][2]string{}
	for i := range uint16(s.Statements()) {
		chain, name := s.StatementName(i)
		list[chain] = append(list[chain], [2]string{name, s.StatementText(i)})
	}
	return list
}

// tables compares tables, and the routes of those that both have. The own addresses are the ports', so table local is left out.
func (d *differing) tables() {
	describe := func(p *policy.Policy) (list [][2]string) {
		for _, t := range p.Tables {
			text := fmt.Sprint(t.ID, " ", t.Key, " ", t.OnMiss, " ", t.Counters)
			if t.OnMiss == policy.MissLookup {
				text += " " + p.Tables[t.MissTarget].Name
			}
			list = append(list, [2]string{t.Name, text})
		}
		return list
	}
	x, _ := d.named(describe(d.from.Policy), describe(d.to.Policy))
	d.tell("tables", &x)
	r := newRouteDiffering(d.from.Policy, d.to.Policy)
	for i := range d.to.Policy.Tables {
		to := &d.to.Policy.Tables[i]
		from := &policy.Table{}
		if k := slices.IndexFunc(d.from.Policy.Tables, func(t policy.Table) bool { return t.Name == to.Name }); k >= 0 {
			from = &d.from.Policy.Tables[k]
		}
		if to.Name == "local" {
			continue
		}
		x := r.compare(from.Routes, to.Routes)
		d.tell("routes of "+to.Name, &x)
	}
}

// routeDiffering compares routes of two policies.
type routeDiffering struct{ ports, tables []int32 } // indexes of the later policy by those of the earlier one; -1: none

func newRouteDiffering(from, to *policy.Policy) *routeDiffering {
	r := &routeDiffering{}
	for i := range from.Ports {
		r.ports = append(r.ports, int32(slices.IndexFunc(to.Ports, func(p policy.Port) bool { return p.Name == from.Ports[i].Name })))
	}
	for i := range from.Tables {
		r.tables = append(r.tables, int32(slices.IndexFunc(to.Tables, func(t policy.Table) bool { return t.Name == from.Tables[i].Name })))
	}
	return r
}

// compare goes along both lists from the beginning and from the end as long as they have the same prefixes there, so that
// only what is between them needs a map.
func (d *routeDiffering) compare(from, to []fib.Route) (x items) {
	pair := func(a, b *fib.Route) {
		if !d.same(a, b) {
			x.changed.add(func() string { return describeRoute(b) })
		}
	}
	for len(from) > 0 && len(to) > 0 && keyOf(&from[0]) == keyOf(&to[0]) {
		pair(&from[0], &to[0])
		from, to = from[1:], to[1:]
	}
	for m, n := len(from), len(to); m > 0 && n > 0 && keyOf(&from[m-1]) == keyOf(&to[n-1]); m, n = m-1, n-1 {
		pair(&from[m-1], &to[n-1])
		from, to = from[:m-1], to[:n-1]
	}
	was := make(map[routeKey]int32, len(from))
	for i := range from {
		was[keyOf(&from[i])] = int32(i)
	}
	for i := range to {
		t := &to[i]
		k, ok := was[keyOf(t)]
		switch {
		case !ok:
			x.added.add(func() string { return describeRoute(t) })
			continue
		case !d.same(&from[k], t):
			x.changed.add(func() string { return describeRoute(t) })
		}
		delete(was, keyOf(t))
	}
	for i := range from {
		if k, ok := was[keyOf(&from[i])]; ok && int(k) == i {
			x.removed.add(func() string { return describeRoute(&from[i]) })
		}
	}
	return x
}

func (d *routeDiffering) same(a, b *fib.Route) bool {
	if keyOf(a) != keyOf(b) || a.MTU != b.MTU || a.Action != b.Action || a.Resume != b.Resume || len(a.Hops) != len(b.Hops) ||
		a.Action == fib.Lookup && d.tables[a.Target] != int32(b.Target) {
		return false
	}
	for i := range a.Hops {
		p, q := &a.Hops[i], &b.Hops[i]
		if p.Gateway != q.Gateway || d.ports[p.Port] != int32(q.Port) || max(p.Weight, 1) != max(q.Weight, 1) {
			return false
		}
	}
	return true
}
