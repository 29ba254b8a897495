package fib

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// multipath is a route with a hop of each weight, by port 0, 1, …, to a gateway there, and their adjacencies.
func multipath(weights ...uint16) (*Route, *Adjacencies) {
	table := NewTable("x")
	r := Route{Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	var a *Adjacencies
	for i, w := range weights {
		n := Neighbor{Addr: netip.AddrFrom4([4]byte{10, 0, byte(i), 2}), Port: uint16(i)}
		a = a.With(Adjacency{Neighbor: n, State: Resolved})
		r.Hops = append(r.Hops, NextHop{Gateway: n.Addr, Port: n.Port, Weight: w, Adjacency: uint32(i)})
	}
	table.Insert(r)
	got, _ := table.Tree().Lookup(netip.MustParseAddr("10.0.0.1"), 0)
	return got, a
}

// lose returns adjacencies in which the neighbours of the given hops are lost.
func lose(a *Adjacencies, hops ...int) *Adjacencies {
	for _, i := range hops {
		x := *a.At(uint32(i))
		x.State, x.Lost = Failed, true
		a = a.With(x)
	}
	return a
}

const flows = 64 << 10

// spread is the port of each of many flows.
func spread(r *Route, a *Adjacencies) []uint16 {
	rng := rand.New(rand.NewPCG(1, 2))
	ports := make([]uint16, flows)
	for i := range ports {
		ports[i] = r.Hop(rng.Uint32(), a).Port
	}
	return ports
}

var weightSets = [][]uint16{{1}, {1, 1}, {3, 1}, {1, 2, 3, 4}, {65535, 65535}, {200, 100, 100}, {1, 1, 1, 1, 1, 1, 1, 1}, {0, 2}}

// checkShares holds the flows of each hop to its share of the weights, those of the hops that are out being 0.
func checkShares(t *testing.T, what string, ports []uint16, weights []uint16, out ...int) {
	t.Helper()
	total := 0.0
	share := make([]float64, len(weights))
	for i, w := range weights {
		if !slices.Contains(out, i) {
			share[i] = float64(max(w, 1))
			total += share[i]
		}
	}
	counts := make([]float64, len(weights))
	for _, p := range ports {
		counts[p]++
	}
	for i := range weights {
		if want := flows * share[i] / total; math.Abs(counts[i]-want) > 0.03*want {
			t.Errorf("%s, weights %v: hop %d has %v flows, want %.0f within 3 %%", what, weights, i, counts[i], want)
		}
	}
}

func TestHopDistribution(t *testing.T) {
	for _, weights := range weightSets {
		r, a := multipath(weights...)
		checkShares(t, "all", spread(r, a), weights)
	}
}

// TestHopResilience takes each hop out, by its neighbour and by its port: its flows alone go elsewhere, in proportion to
// the weights there; and when it is back, so are they.
func TestHopResilience(t *testing.T) {
	for _, weights := range weightSets {
		if len(weights) < 2 {
			continue
		}
		r, a := multipath(weights...)
		before := spread(r, a)
		for i := range weights {
			for what, without := range map[string]*Adjacencies{"neighbour lost": lose(a, i), "port down": a.WithDown(uint16(i))} {
				what = fmt.Sprintf("%s of hop %d", what, i)
				after := spread(r, without)
				for f := range before {
					if before[f] != uint16(i) && after[f] != before[f] {
						t.Fatalf("%s, weights %v: a flow moves from %d to %d", what, weights, before[f], after[f])
					}
				}
				checkShares(t, what, after, weights, i)
			}
			if back := lose(a, i).With(*a.At(uint32(i))).WithDown(uint16(i)).WithDown(); back.impaired || !slices.Equal(spread(r, back), before) {
				t.Errorf("weights %v: hop %d is back, but not its flows", weights, i)
			}
		}
	}
}

// TestNewHop: a hop that a route gets takes flows from the others, who swap none; and a weight that grows does so too.
func TestNewHop(t *testing.T) {
	old, a := multipath(2, 1, 3)
	wider, b := multipath(2, 1, 3, 2)
	heavier, _ := multipath(2, 2, 3)
	before := spread(old, a)
	for f, p := range spread(wider, b) {
		if p != before[f] && p != 3 {
			t.Fatalf("a flow moves from %d to %d, which is not new", before[f], p)
		}
	}
	for f, p := range spread(heavier, a) {
		if p != before[f] && p != 1 {
			t.Fatalf("a flow moves from %d to %d, whose weight has not grown", before[f], p)
		}
	}
	checkShares(t, "new hop", spread(wider, b), []uint16{2, 1, 3, 2})
	checkShares(t, "more weight", spread(heavier, a), []uint16{2, 2, 3})
}

// TestHopOfAnySet: whatever is out of order, a flow has the hop that comes first in an order of its own.
func TestHopOfAnySet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		weights := rapid.SliceOfN(rapid.Uint16Range(1, 5), 1, 8).Draw(t, "weights")
		r, all := multipath(weights...)
		hash := rapid.Uint32().Draw(t, "hash")
		var order []uint16 // of the flow: what it gets when all that it had before are down
		for range weights {
			order = append(order, r.Hop(hash, all.WithDown(order...)).Port)
		}
		down := rapid.SliceOfNDistinct(rapid.IntRange(0, len(weights)-1), 0, len(weights)-1, rapid.ID).Draw(t, "down")
		gone := rapid.SliceOfDistinct(rapid.IntRange(0, len(weights)-1), rapid.ID).Draw(t, "lost")
		var ports []uint16
		for _, i := range down {
			ports = append(ports, uint16(i))
		}
		a := lose(all, gone...).WithDown(ports...)
		want := -1
		for _, avoid := range [][]int{append(slices.Clone(down), gone...), down} { // a lost neighbour is better than none
			i := slices.IndexFunc(order, func(p uint16) bool { return !slices.Contains(avoid, int(p)) })
			if i >= 0 {
				want = int(order[i])
				break
			}
		}
		if got := r.Hop(hash, a); int(got.Port) != want {
			t.Fatalf("weights %v, down %v, lost %v, order %v: hop %d, want %d", weights, down, gone, order, got.Port, want)
		}
	})
}

func TestHopEdges(t *testing.T) {
	if (&Route{}).Hop(0, nil) != nil {
		t.Error("a route without hops has a hop")
	}
	r, a := multipath(1, 1)
	if r.Hop(7, a.WithDown(0, 1)) == nil {
		t.Error("a route whose ports are all down has no hop")
	}
	if r.Hop(7, nil) != r.Hop(7, a) {
		t.Error("no adjacencies are not as good as all in order")
	}
	twice := NewTable("x")
	same := NextHop{Gateway: netip.MustParseAddr("10.0.0.2"), Port: 1}
	twice.Insert(Route{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: []NextHop{same, same}})
	r, _ = twice.Tree().Lookup(netip.MustParseAddr("10.0.0.1"), 0)
	seen := map[*NextHop]bool{}
	for hash := range uint32(64) {
		seen[r.Hop(hash, nil)] = true
	}
	if len(seen) != 2 {
		t.Errorf("of a hop that is there twice, %d take flows", len(seen))
	}
}

func BenchmarkHop(b *testing.B) {
	for _, weights := range [][]uint16{{1, 1}, {3, 1}, {1, 1, 1, 1, 1, 1, 1, 1}, {1, 2, 3, 4, 5, 6, 7, 8}} {
		r, a := multipath(weights...)
		for what, a := range map[string]*Adjacencies{"": a, " one out": a.WithDown(0)} {
			b.Run(fmt.Sprintf("weights=%v%s", weights, what), func(b *testing.B) {
				b.ReportAllocs()
				hash := uint32(1)
				for b.Loop() {
					hash = hash*1664525 + 1013904223
					if r.Hop(hash, a) == nil {
						b.Fatal("no hop")
					}
				}
			})
		}
	}
}
