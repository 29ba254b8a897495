package fib

import "slices"

// Hop returns the hop of a unicast route for a flow, given a well-mixed hash of the flow, of which the upper 31 bits
// count. A route without hops has none: nil.
//
// The choice is by hash-threshold (RFC 2992), with the same 31-bit bounds as Linux (fib_rebalance in
// net/ipv4/fib_semantics.c): each hop owns a contiguous share of the hash space in proportion to its weight, so that a
// flow stays with its hop, and few flows move when a hop goes.
func (r *Route) Hop(hash uint32) *NextHop {
	n := len(r.Hops)
	if n == 0 {
		return nil
	}
	last := n - 1
	for i := range last {
		if hash>>1 <= r.Hops[i].Bound {
			return &r.Hops[i]
		}
	}
	return &r.Hops[last]
}

// withBounds returns a copy of the hops with each Bound set: the highest hash that the hop takes, so that its share is
// Weight in the total of all weights. A weight of 0 counts as 1.
func withBounds(hops []NextHop) []NextHop {
	hops = slices.Clone(hops)
	var total uint64
	for i := range hops {
		hops[i].Weight = max(hops[i].Weight, 1)
		total += uint64(hops[i].Weight)
	}
	var sum uint64
	for i := range hops {
		sum += uint64(hops[i].Weight)
		hops[i].Bound = uint32((sum<<31+total/2)/total - 1)
	}
	return hops
}
