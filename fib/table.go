package fib

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
	"sync/atomic"

	"github.com/gaissmai/bart"
)

// tosMask is the part of the IPv4 TOS byte that routing looks at: the four TOS bits of RFC 1349 without the
// lowest, which became part of ECN (linux/in_route.h IPTOS_RT_MASK, include/net/inet_dscp.h).
const tosMask = 0x1c

// Table is a set of routes of both families with longest-prefix-match lookup. Create it with NewTable; do not copy
// it. It has one writer, and no readers while it is written: see the package comment.
type Table struct {
	name   string
	length int
	routes bart.Fast[*leaf]
	arrays atomic.Pointer[arrays] // nil: lookups are the routes' own
	spare  []*leaf                // of routes that are gone
}

// leaf holds the routes of one prefix in the order in which a lookup tries them, as the kernel's fib_alias list:
// TOS descending, so that the TOS-less routes come last, and the lowest metric first among equals.
type leaf struct {
	routes []Route
	one    [1]Route // where routes begin
	answer uint32   // their number among the arrays' answers
}

// newLeaf is a leaf with one route. A leaf that was removed serves again, so that routes that flap leave no garbage.
func (t *Table) newLeaf(r Route) *leaf {
	var l *leaf
	if n := len(t.spare); n > 0 {
		l, t.spare = t.spare[n-1], t.spare[:n-1]
	} else {
		l = new(leaf)
	}
	*l = leaf{one: [1]Route{r}}
	l.routes = l.one[:]
	return l
}

const spareMax = 1024

// order is the order of routes within a leaf.
func order(r *Route, tos uint8, metric uint32) int {
	return cmp.Or(cmp.Compare(tos, r.TOS), cmp.Compare(r.Metric, metric))
}

// NewTable returns an empty table. The name is for people only.
func NewTable(name string) *Table { return &Table{name: name} }

// Name is the name given to NewTable.
func (t *Table) Name() string { return t.name }

// Len is the number of routes.
func (t *Table) Len() int { return t.length }

// Insert adds the route, or replaces the one of the same prefix, TOS and metric, and reports whether it replaced.
// Host bits of the prefix are cleared; an invalid prefix is a programmer's error and panics. The table keeps its own
// copy of the hops, each with an ID.
func (t *Table) Insert(r Route) (replaced bool) {
	if !r.Prefix.IsValid() {
		panic("fib: insert of an invalid prefix")
	}
	r.Prefix = r.Prefix.Masked()
	r.Hops = t.ready(r)

	l, ok := t.routes.Get(r.Prefix)
	if !ok {
		l = t.newLeaf(r)
		t.routes.Insert(r.Prefix, l)
		t.length++
		t.changed(r.Prefix, l, 0)
		return false
	}
	i, replaced := l.search(r.TOS, r.Metric)
	if replaced {
		l.routes[i] = r
	} else {
		l.routes = slices.Insert(l.routes, i, r)
		t.length++
	}
	t.changed(r.Prefix, l, l.answer)
	return replaced
}

// Get returns the route of exactly this prefix, TOS and metric.
func (t *Table) Get(prefix netip.Prefix, tos uint8, metric uint32) (*Route, bool) {
	l, ok := t.routes.Get(prefix.Masked())
	if !ok {
		return nil, false
	}
	i, ok := l.search(tos, metric)
	if !ok {
		return nil, false
	}
	return &l.routes[i], true
}

// Delete removes the route of this prefix, TOS and metric, and reports whether there was one.
func (t *Table) Delete(prefix netip.Prefix, tos uint8, metric uint32) bool {
	prefix = prefix.Masked()
	if !prefix.IsValid() {
		return false
	}
	l, ok := t.routes.Get(prefix)
	if !ok {
		return false
	}
	i, ok := l.search(tos, metric)
	if !ok {
		return false
	}
	if l.routes = slices.Delete(l.routes, i, i+1); len(l.routes) == 0 {
		t.routes.Delete(prefix)
	}
	t.length--
	t.changed(prefix, l, l.answer)
	if len(l.routes) == 0 && len(t.spare) < spareMax {
		t.spare = append(t.spare, l)
	}
	return true
}

// All yields every route: IPv4 before IPv6, then by prefix, a shorter one before those inside it, and within a prefix
// in the order in which a lookup tries them.
func (t *Table) All() iter.Seq[*Route] {
	return func(yield func(*Route) bool) {
		for _, l := range t.routes.AllSorted() {
			for i := range l.routes {
				if !yield(&l.routes[i]) {
					return
				}
			}
		}
	}
}

// Lookup returns the route of the longest prefix that contains addr and has one for tos, the TOS byte of the packet.
// Within a prefix a route with that TOS comes before one without, and then the lowest metric. A prefix whose
// routes all ask for another TOS is passed over for the next shorter one, as in Linux (fib_table_lookup). IPv6
// routes have no TOS.
func (t *Table) Lookup(addr netip.Addr, tos uint8) (*Route, bool) {
	if t.length == 0 {
		return nil, false
	}
	l, ok := t.routes.Lookup(addr)
	if !ok {
		return nil, false
	}
	if first := &l.routes[0]; first.TOS == 0 {
		return first, true
	}
	return t.choose(l, addr, tos)
}

// LookupShorter is Lookup among the prefixes shorter than bits.
func (t *Table) LookupShorter(addr netip.Addr, tos uint8, bits int) (*Route, bool) {
	if bits <= 0 {
		return nil, false
	}
	l, ok := t.routes.LookupPrefix(netip.PrefixFrom(addr, bits-1))
	if !ok {
		return nil, false
	}
	return t.choose(l, addr, tos)
}

// After is what Lookup, or LookupShorter, would have come to if r and all that come before it were not there: the next route
// of the prefix, or one of a shorter prefix. They must have returned r for the same addr and tos.
func (t *Table) After(r *Route, addr netip.Addr, tos uint8) (*Route, bool) {
	l, ok := t.routes.Get(r.Prefix)
	if !ok {
		return nil, false
	}
	i, _ := l.search(r.TOS, r.Metric)
	for i++; i < len(l.routes); i++ {
		if next := &l.routes[i]; next.TOS == 0 || next.TOS == tos&tosMask {
			return next, true
		}
	}
	return t.LookupShorter(addr, tos, r.Prefix.Bits())
}

// choose finds the leaf's route for the TOS byte, or that of the nearest shorter prefix which has one.
func (t *Table) choose(l *leaf, addr netip.Addr, tos uint8) (*Route, bool) {
	for {
		for i := range l.routes {
			if r := &l.routes[i]; r.TOS == 0 || r.TOS == tos&tosMask {
				return r, true
			}
		}
		bits := l.routes[0].Prefix.Bits()
		if bits == 0 {
			return nil, false
		}
		var ok bool
		if l, ok = t.routes.LookupPrefix(netip.PrefixFrom(addr, bits-1)); !ok {
			return nil, false
		}
	}
}

// search returns where the route of this TOS and metric is, or would be.
func (l *leaf) search(tos uint8, metric uint32) (int, bool) {
	i := 0
	for ; i < len(l.routes); i++ {
		switch c := order(&l.routes[i], tos, metric); {
		case c == 0:
			return i, true
		case c > 0:
			return i, false
		}
	}
	return i, false
}
