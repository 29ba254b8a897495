package fib

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func multipath(weights ...uint16) *Route {
	table := NewTable("x")
	r := Route{Prefix: netip.MustParsePrefix("0.0.0.0/0")}
	for i, w := range weights {
		r.Hops = append(r.Hops, NextHop{Port: uint16(i), Weight: w})
	}
	table.Insert(r)
	got, _ := table.Lookup(netip.MustParseAddr("10.0.0.1"), 0)
	return got
}

// The bounds that fib_rebalance of Linux gives for these weights.
func TestBounds(t *testing.T) {
	for _, c := range []struct {
		weights []uint16
		bounds  []uint32
	}{
		{[]uint16{1}, []uint32{0x7fffffff}},
		{[]uint16{1, 1}, []uint32{0x3fffffff, 0x7fffffff}},
		{[]uint16{3, 1}, []uint32{0x5fffffff, 0x7fffffff}},
		{[]uint16{1, 1, 1}, []uint32{0x2aaaaaaa, 0x55555554, 0x7fffffff}},
		{[]uint16{0, 0}, []uint32{0x3fffffff, 0x7fffffff}},
	} {
		for i, h := range multipath(c.weights...).Hops {
			if h.Bound != c.bounds[i] {
				t.Errorf("weights %v: bound %d is %#x, want %#x", c.weights, i, h.Bound, c.bounds[i])
			}
		}
	}
}

func TestHopEdges(t *testing.T) {
	r := multipath(3, 1)
	for _, c := range []struct {
		hash uint32
		port uint16
	}{{0, 0}, {0x5fffffff<<1 | 1, 0}, {0x60000000 << 1, 1}, {math.MaxUint32, 1}} {
		if h := r.Hop(c.hash); h.Port != c.port {
			t.Errorf("hash %#x: port %d, want %d", c.hash, h.Port, c.port)
		}
	}
	if (&Route{}).Hop(0) != nil {
		t.Error("a route without hops has a hop")
	}
}

func TestHopDistribution(t *testing.T) {
	const flows = 64 << 10
	rng := rand.New(rand.NewPCG(1, 2))
	for _, weights := range [][]uint16{{1}, {1, 1}, {3, 1}, {1, 2, 3, 4}, {65535, 65535}, {200, 100, 100}} {
		r := multipath(weights...)
		counts, total := make([]float64, len(weights)), 0.0
		for range flows {
			counts[r.Hop(rng.Uint32()).Port]++
		}
		for _, w := range weights {
			total += float64(w)
		}
		for i, w := range weights {
			if want := flows * float64(w) / total; math.Abs(counts[i]-want) > 0.03*want {
				t.Errorf("weights %v: hop %d has %v flows, want %.0f within 3 %%", weights, i, counts[i], want)
			}
		}
	}
}
