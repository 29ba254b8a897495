package policy

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// u128 is a value of any field: an address, or a number.
type u128 struct{ hi, lo uint64 }

func number128(x uint32) u128 { return u128{lo: uint64(x)} }

func addr128(a netip.Addr) u128 {
	if a.Is4() {
		return number128(word(a))
	}
	b := a.As16()
	var x u128
	for i := range 8 {
		x.hi, x.lo = x.hi<<8|uint64(b[i]), x.lo<<8|uint64(b[i+8])
	}
	return x
}

func (x u128) compare(y u128) int { return cmp.Or(cmp.Compare(x.hi, y.hi), cmp.Compare(x.lo, y.lo)) }

func (x u128) next() u128 {
	lo, carry := bits.Add64(x.lo, 1, 0)
	return u128{x.hi + carry, lo}
}

func (x u128) previous() u128 {
	lo, borrow := bits.Sub64(x.lo, 1, 0)
	return u128{x.hi - borrow, lo}
}

// clear is x without its lowest n bits.
func (x u128) clear(n int) u128 {
	if n >= 64 {
		return u128{hi: x.hi >> (n - 64) << (n - 64)}
	}
	return u128{x.hi, x.lo >> n << n}
}

// span is the values from lo to hi.
type span struct{ lo, hi u128 }

// block reports that the span is a prefix, and how many bits that leaves free.
func (s span) block() (free int, ok bool) {
	varying := u128{s.lo.hi ^ s.hi.hi, s.lo.lo ^ s.hi.lo}
	free = bits.Len64(varying.lo)
	if varying.hi != 0 {
		free = 64 + bits.Len64(varying.hi)
	}
	first := s.lo.clear(free)
	last := first
	if free > 64 {
		last.hi, last.lo = last.hi|(1<<(free-64)-1), ^uint64(0)
	} else if free > 0 {
		last.lo |= ^uint64(0) >> (64 - free)
	}
	return free, s == span{first, last}
}

// spans is a set of values: sorted, disjoint, and joined where they touch, so that equal sets are equal lists.
type spans []span

func numbers(list ...uint32) spans {
	var s spans
	for _, x := range list {
		s = append(s, span{number128(x), number128(x)})
	}
	return s.join()
}

func interval(lo, hi uint32) spans { return spans{{number128(lo), number128(hi)}} }

// join makes a set of sorted spans.
func (s spans) join() spans {
	joined := s[:0]
	for _, x := range s {
		if n := len(joined); n > 0 && (x.lo.compare(joined[n-1].hi) <= 0 || x.lo == joined[n-1].hi.next()) {
			if x.hi.compare(joined[n-1].hi) > 0 {
				joined[n-1].hi = x.hi
			}
		} else {
			joined = append(joined, x)
		}
	}
	return joined
}

// prefixSpans is the set of a family's addresses in sorted prefixes.
func prefixSpans(list []netip.Prefix, ipv6 bool) spans {
	var s spans
	for _, p := range list {
		if p.Addr().Is4() == ipv6 {
			continue
		}
		lo := addr128(p.Addr())
		hi := lo
		switch free := p.Addr().BitLen() - p.Bits(); {
		case free > 64:
			hi.hi, hi.lo = hi.hi|(1<<(free-64)-1), ^uint64(0)
		case free > 0:
			hi.lo |= ^uint64(0) >> (64 - free)
		}
		s = append(s, span{lo, hi})
	}
	return s.join()
}

// complement is the part of all that is not in s.
func (s spans) complement(all spans) spans {
	var rest spans
	i := 0
	for _, a := range all {
		lo, done := a.lo, false
		for ; i < len(s) && s[i].lo.compare(a.hi) <= 0 && !done; i++ {
			if s[i].lo.compare(lo) > 0 {
				rest = append(rest, span{lo, s[i].lo.previous()})
			}
			if done = s[i].hi.compare(a.hi) >= 0; !done {
				lo = s[i].hi.next()
			}
		}
		if !done {
			rest = append(rest, span{lo, a.hi})
		}
	}
	return rest
}

func (s spans) intersect(o spans) spans {
	var both spans
	for i, j := 0, 0; i < len(s) && j < len(o); {
		lo, hi := s[i].lo, s[i].hi
		if o[j].lo.compare(lo) > 0 {
			lo = o[j].lo
		}
		if o[j].hi.compare(hi) < 0 {
			hi = o[j].hi
		}
		if lo.compare(hi) <= 0 {
			both = append(both, span{lo, hi})
		}
		if s[i].hi.compare(o[j].hi) < 0 {
			i++
		} else {
			j++
		}
	}
	return both
}

// subset reports whether every value of s is in o.
func (s spans) subset(o spans) bool {
	j := 0
	for _, x := range s {
		for j < len(o) && o[j].hi.compare(x.lo) < 0 {
			j++
		}
		if j == len(o) || o[j].lo.compare(x.lo) > 0 || o[j].hi.compare(x.hi) < 0 {
			return false
		}
	}
	return true
}

func (s spans) disjoint(o spans) bool {
	for i, j := 0, 0; i < len(s) && j < len(o); {
		switch {
		case s[i].hi.compare(o[j].lo) < 0:
			i++
		case o[j].hi.compare(s[i].lo) < 0:
			j++
		default:
			return false
		}
	}
	return true
}

func (s spans) equal(o spans) bool { return slices.Equal(s, o) }

// single is the one value of the set, if it has but one.
func (s spans) single() (u128, bool) {
	return s[0].lo, len(s) == 1 && s[0].lo == s[0].hi
}

// clause is a condition on a number by VALUE/MASK, which spans would be too many of: one of the ranges is met, or with
// not none of them. Masks have no bits beyond all, the bits of the field.
type clause struct {
	dim    dimension
	by     Field
	not    bool
	all    uint32
	ranges []Range
}

// bits are those that the clause looks at.
func (c *clause) bits() uint32 {
	var read uint32
	for _, r := range c.ranges {
		read |= r.Mask
	}
	return read
}

// everything reports that every number is in one of the ranges.
func (c *clause) everything() bool {
	return slices.ContainsFunc(c.ranges, func(r Range) bool {
		return r.Lo == 0 && (r.Mask == 0 || r.Mask == c.all && r.Hi >= c.all)
	})
}

// positive turns a negated condition on one bit into a plain one on the opposite.
func (c *clause) positive() {
	if r := c.ranges[0]; c.not && len(c.ranges) == 1 && r.Lo == r.Hi && bits.OnesCount32(r.Mask) == 1 {
		c.not, c.ranges = false, []Range{{r.Lo ^ r.Mask, r.Lo ^ r.Mask, r.Mask}}
	}
}

// masked is the VALUE/MASK of a clause that is no more than that.
func (c *clause) masked() (r Range, ok bool) {
	r = c.ranges[0]
	return r, !c.not && len(c.ranges) == 1 && r.Lo == r.Hi
}

// subset reports whether what meets c meets o. It may miss that, and is never wrong.
func (c *clause) subset(o *clause) bool {
	switch {
	case c.not && o.not:
		return rangesSubset(o.ranges, c.ranges, c.all)
	case !c.not && !o.not:
		return rangesSubset(c.ranges, o.ranges, c.all)
	case !c.not:
		return rangesDisjoint(c.ranges, o.ranges, c.all)
	}
	return false
}

// disjoint reports whether nothing meets both. It may miss that, and is never wrong.
func (c *clause) disjoint(o *clause) bool {
	switch {
	case !c.not && !o.not:
		return rangesDisjoint(c.ranges, o.ranges, c.all)
	case !c.not:
		return rangesSubset(c.ranges, o.ranges, c.all)
	case !o.not:
		return rangesSubset(o.ranges, c.ranges, c.all)
	}
	return false
}

func rangesSubset(a, b []Range, all uint32) bool {
	for _, r := range a {
		if !slices.ContainsFunc(b, func(o Range) bool { return rangeSubset(r, o, all) }) {
			return false
		}
	}
	return true
}

func rangesDisjoint(a, b []Range, all uint32) bool {
	for _, r := range a {
		if slices.ContainsFunc(b, func(o Range) bool { return !rangeDisjoint(r, o, all) }) {
			return false
		}
	}
	return true
}

// fixed is the VALUE/MASK that all numbers of a range have in common; ok is false for ranges of masked numbers, which
// nobody writes.
func fixed(r Range, all uint32) (value, mask uint32, ok bool) {
	switch {
	case r.Lo == r.Hi:
		return r.Lo, r.Mask, true
	case r.Mask != all:
		return 0, 0, false
	}
	mask = all &^ uint32(1<<bits.Len32(r.Lo^r.Hi)-1)
	return r.Lo & mask, mask, true
}

// bounds are the least and the largest number of a range for which fixed is ok.
func bounds(r Range, all uint32) (lo, hi uint32) {
	if r.Lo == r.Hi {
		return r.Lo, r.Lo | all&^r.Mask
	}
	return r.Lo, r.Hi
}

func rangeSubset(a, b Range, all uint32) bool {
	if a == b {
		return true
	}
	av, am, aok := fixed(a, all)
	bv, bm, bok := fixed(b, all)
	if !aok || !bok {
		return false
	}
	if b.Lo == b.Hi { // VALUE/MASK
		return bm&^am == 0 && av&bm == bv
	}
	alo, ahi := bounds(a, all)
	return b.Lo <= alo && ahi <= b.Hi
}

func rangeDisjoint(a, b Range, all uint32) bool {
	av, am, aok := fixed(a, all)
	bv, bm, bok := fixed(b, all)
	if !aok || !bok {
		return false
	}
	alo, ahi := bounds(a, all)
	blo, bhi := bounds(b, all)
	return (av^bv)&am&bm != 0 || ahi < blo || bhi < alo
}
