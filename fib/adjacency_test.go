package fib

import (
	"net/netip"
	"testing"
)

func TestAdjacenciesKeepTheirIndex(t *testing.T) {
	a, b := Neighbor{Addr: netip.MustParseAddr("192.0.2.1"), Port: 1}, Neighbor{Addr: netip.MustParseAddr("192.0.2.1"), Port: 2}
	var none *Adjacencies
	first := none.With(Adjacency{Neighbor: a}, Adjacency{Neighbor: b})
	second := first.With(Adjacency{Neighbor: b, State: Resolved})
	i, ok := second.Find(b)
	if !ok || i != 1 || second.Len() != 2 {
		t.Fatalf("index %d %v of %d, want 1 of 2", i, ok, second.Len())
	}
	if second.At(i).State != Resolved || first.At(i).State != Incomplete {
		t.Error("a change shows in the version before it, or not in its own")
	}
	if _, ok := first.Find(Neighbor{}); ok {
		t.Error("found a neighbour that is not there")
	}
}
