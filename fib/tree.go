package fib

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/gaissmai/bart"
)

// tosMask is the part of the IPv4 TOS byte that routing looks at: the four TOS bits of RFC 1349 without the
// lowest, which became part of ECN (linux/in_route.h IPTOS_RT_MASK, include/net/inet_dscp.h).
const tosMask = 0x1c

// Tree is the routing information base of a table as a reader has it. It does not change before the reader has said that it
// has left it (see the package comment), so that what it takes one step after another belongs together.
type Tree struct {
	routes bart.Fast[*leaf]
	near   filter
}

func (t *Tree) fast() *bart.Fast[*leaf] { return &t.routes }

// filter tells most addresses that no prefix is near, which a look into the tree takes 10 to 15 ns to find out: of a table such as
// local, which every packet asks and hardly one is for, the addresses that hosts send to are elsewhere. A bit stands for
// the prefixes whose first 16 bits (of IPv6 32) have its hash. A shorter prefix sets all. Bits are never cleared: they cost a look.
type filter [64]uint64

func (f *filter) of(a netip.Addr) (word, bit uint32) {
	var x uint32
	if a.Is4() {
		b := a.As4()
		x = uint32(b[0])<<8 | uint32(b[1])
	} else {
		b := a.As16()
		x = uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	}
	h := x * 0x9e3779b1 >> 20
	return h / 64, h % 64
}

func (f *filter) add(p netip.Prefix) {
	if bits := p.Bits(); bits < 16 || p.Addr().Is6() && bits < 32 {
		for i := range f {
			f[i] = ^uint64(0)
		}
		return
	}
	word, bit := f.of(p.Addr())
	f[word] |= 1 << bit
}

// has reports whether a prefix may contain the address.
func (f *filter) has(a netip.Addr) bool {
	word, bit := f.of(a)
	return f[word&63]>>(bit&63)&1 != 0
}

// clone returns a copy with leaves of its own.
func (t *Tree) clone() *Tree { return &Tree{*t.routes.Clone(), t.near} }

// leaf holds the routes of one prefix in the order in which a lookup tries them, as the kernel's fib_alias list:
// TOS descending, so that the TOS-less routes come last, and the lowest metric first among equals.
type leaf struct {
	routes []Route
	one    [1]Route // where routes begin
	answer uint32   // their number among the arrays' answers
}

// Clone returns a copy for another tree: bart calls it.
func (l *leaf) Clone() *leaf {
	c := &leaf{answer: l.answer}
	c.routes = append(c.one[:0], l.routes...)
	return c
}

// order is the order of routes within a leaf.
func order(r *Route, tos uint8, metric uint32) int {
	return cmp.Or(cmp.Compare(tos, r.TOS), cmp.Compare(r.Metric, metric))
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

// insert enters a route into its leaf, or replaces the one that is the same.
func (t *Tree) insert(r Route, spare *spareLeaves) (l *leaf, replaced bool) {
	l, ok := t.fast().Get(r.Prefix)
	if !ok {
		l = spare.take()
		l.one[0] = r
		l.routes = l.one[:]
		t.fast().Insert(r.Prefix, l)
		t.near.add(r.Prefix)
		return l, false
	}
	i, replaced := l.search(r.TOS, r.Metric)
	if replaced {
		l.routes[i] = r
	} else {
		l.routes = slices.Insert(l.routes, i, r)
	}
	return l, replaced
}

// remove takes a route out of its leaf, which is gone from the tree when it was the last.
func (t *Tree) remove(prefix netip.Prefix, tos uint8, metric uint32) (l *leaf, ok bool) {
	if l, ok = t.fast().Get(prefix); !ok {
		return nil, false
	}
	i, ok := l.search(tos, metric)
	if !ok {
		return nil, false
	}
	if l.routes = slices.Delete(l.routes, i, i+1); len(l.routes) == 0 {
		t.fast().Delete(prefix)
	}
	return l, true
}

// Lookup returns the route of the longest prefix that contains addr and has one for tos, the TOS byte of the packet.
// Within a prefix a route with that TOS comes before one without, and then the lowest metric. A prefix whose
// routes all ask for another TOS is passed over for the next shorter one, as in Linux (fib_table_lookup). IPv6
// routes have no TOS.
func (t *Tree) Lookup(addr netip.Addr, tos uint8) (*Route, bool) {
	if !t.near.has(addr) {
		return nil, false
	}
	l, ok := t.fast().Lookup(addr)
	if !ok {
		return nil, false
	}
	if first := &l.routes[0]; first.TOS == 0 {
		return first, true
	}
	return t.choose(l, addr, tos)
}

// LookupShorter is Lookup among the prefixes shorter than bits.
func (t *Tree) LookupShorter(addr netip.Addr, tos uint8, bits int) (*Route, bool) {
	if bits <= 0 {
		return nil, false
	}
	l, ok := t.fast().LookupPrefix(netip.PrefixFrom(addr, bits-1))
	if !ok {
		return nil, false
	}
	return t.choose(l, addr, tos)
}

// After is what Lookup, or LookupShorter, would have come to if r and all that come before it were not there: the next route
// of the prefix, or one of a shorter prefix. They must have returned r for the same addr and tos.
func (t *Tree) After(r *Route, addr netip.Addr, tos uint8) (*Route, bool) {
	l, ok := t.fast().Get(r.Prefix)
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
func (t *Tree) choose(l *leaf, addr netip.Addr, tos uint8) (*Route, bool) {
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
		if l, ok = t.fast().LookupPrefix(netip.PrefixFrom(addr, bits-1)); !ok {
			return nil, false
		}
	}
}

// spareLeaves are those of routes that are gone, for others, so that routes that flap leave no garbage.
type spareLeaves []*leaf

const spareMax = 1024

func (s *spareLeaves) take() *leaf {
	n := len(*s)
	if n == 0 {
		return &leaf{}
	}
	l := (*s)[n-1]
	*s = (*s)[:n-1]
	return l
}

func (s *spareLeaves) give(l *leaf) {
	if len(*s) < spareMax {
		*l = leaf{}
		*s = append(*s, l)
	}
}
