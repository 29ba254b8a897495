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

func TestAdjacenciesKnowWhatIsAmiss(t *testing.T) {
	n := Neighbor{Addr: netip.MustParseAddr("192.0.2.1"), Port: 70}
	var none *Adjacencies
	fine := none.With(Adjacency{Neighbor: n, State: Failed})
	if fine.impaired {
		t.Error("a neighbour that failed is lost only where the owner says so")
	}
	lost := fine.With(Adjacency{Neighbor: n, Lost: true})
	if !lost.impaired || lost.LinksDown() || lost.With(Adjacency{Neighbor: n}).impaired || lost.Without(n).impaired {
		t.Error("a lost neighbour is not noticed, or not forgotten")
	}
	down := fine.WithDown(3, 70)
	later := down.With(Adjacency{Neighbor: Neighbor{Addr: n.Addr, Port: 1}})
	for port, want := range map[uint16]bool{0: false, 3: true, 64: false, 70: true, 1000: false} {
		if fine.Down(port) || down.Down(port) != want || later.Down(port) != want {
			t.Errorf("port %d: down before %v, then %v, later %v, want %v", port, fine.Down(port), down.Down(port), later.Down(port), want)
		}
	}
	if !later.impaired || !later.LinksDown() || later.WithDown().impaired || later.WithDown().LinksDown() {
		t.Error("ports that are down are not noticed, or not forgotten")
	}
	r := Route{Hops: []NextHop{{Port: 3}, {Port: 70}}}
	if later.Stands(&r) || !down.WithDown(3).Stands(&r) {
		t.Error("a route stands while one of its ports is up")
	}
}
