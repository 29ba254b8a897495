package fib

import (
	"encoding/binary"
	"math"
	"slices"
)

// Hop returns the hop of a unicast route for a flow, given a hash of the flow. A route without hops has none: nil.
//
// The choice is by weighted rendezvous (Thaler and Ravishankar 1998; with weights as by Schindelhauer and Schomaker,
// 2005): every usable hop draws a number, from the hash and what the hop is, that is exponentially distributed with its
// weight for a rate, and the least number wins. So each hop has flows in proportion to its weight, and a flow moves only if
// it must: when a hop goes, its own flows go to the others, in proportion to their weights; when it comes back, they come
// back; a new hop takes its share from all others alike. There is no state that this would depend on.
//
// Hops by ports that are down, and those whose neighbour is lost, are left out. If nothing else is left, a lost neighbour has
// to do: it may have come back, and the sender is told if it has not.
func (r *Route) Hop(hash uint32, a *Adjacencies) *NextHop {
	var best *NextHop
	var least uint64
	condition := unusable
	for i := range r.Hops {
		h := &r.Hops[i]
		c, draw := a.condition(h), exponential(mix(hash, h.ID))
		// draw/h.Weight is exponentially distributed with the rate h.Weight.
		if best == nil || c > condition || c == condition && draw*uint64(best.Weight) < least*uint64(h.Weight) {
			best, least, condition = h, draw, c
		}
	}
	return best
}

// exponential makes an exponentially distributed number, in units of 2^-32, of an evenly distributed one: -log(1 - x),
// taken for straight between the quantiles. It almost is where x is small, and small numbers are those that win.
func exponential(x uint64) uint64 {
	i, rest := x>>56, x>>32&(1<<24-1)
	return quantiles[i] + (quantiles[i+1]-quantiles[i])*rest>>24
}

// quantiles[i] is -log(1 - i/256), in units of 2^-32. The last one is not infinite, but such that the mean of what lies
// beyond the one before it is right: 1 above that.
var quantiles = func() (q [257]uint64) {
	for i := range 256 {
		q[i] = uint64(math.Round(-math.Log1p(-float64(i)/256) * (1 << 32)))
	}
	q[256] = q[255] + 2<<32
	return q
}()

// mix makes one word of two, in which every bit depends on every bit of both: the finalizer of SplitMix64 (Steele, Lea and
// Flood 2014).
func mix(hash, id uint32) uint64 {
	x := uint64(hash)<<32 | uint64(id)
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// ready returns the route's hops such that they can be looked up, the table's own: those of the answer that the route comes
// to, if there is one already, so that it leaves no garbage.
func (t *Table) ready(r Route) []NextHop {
	a := t.arrays.Load()
	if a == nil || len(r.Hops) == 0 {
		return ready(nil, r.Hops)
	}
	a.hops = ready(a.hops[:0], r.Hops)
	r.Hops = a.hops
	if x := a.answers.same(&r); x != nil {
		return x.route.Hops
	}
	return slices.Clone(a.hops)
}

// ready appends the hops such that they can be looked up: a weight of 0 is 1, and each hop has an ID that no other has.
func ready(to, hops []NextHop) []NextHop {
	hops = append(to, hops...)
	for i := range hops {
		h := &hops[i]
		h.Weight = max(h.Weight, 1)
		if h.ID == 0 {
			h.ID = h.identity()
		}
		for slices.ContainsFunc(hops[:i], func(o NextHop) bool { return o.ID == h.ID }) {
			h.ID++
		}
	}
	return hops
}

// identity is an ID made of port and gateway.
func (h *NextHop) identity() uint32 {
	b := h.Gateway.As16()
	x := mix(uint32(h.Port)+1, 0)
	for i := 0; i < len(b); i += 4 {
		x = mix(uint32(x>>32), uint32(x)^binary.BigEndian.Uint32(b[i:]))
	}
	return uint32(x)
}
