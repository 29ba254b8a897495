package fib

import (
	"math/rand/v2"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// epochs is how readers tell the writer that they have begun another batch.
type epochs struct {
	now  atomic.Uint64
	seen []atomic.Uint64
	stop atomic.Bool
}

// grace returns when every reader has begun a batch since it was called.
func (e *epochs) grace() {
	now := e.now.Add(1)
	for i := range e.seen {
		for e.seen[i].Load() < now && !e.stop.Load() {
			runtime.Gosched()
		}
	}
}

// TestReadersRaceWriter: while a writer changes a table, every lookup comes to the answer of before a change or that of
// after it, in the array forms and in the tree. Addresses of one prefix alternate between two routes, and have a third one above; nothing
// else may be seen. Memory is used again all the time.
func TestReadersRaceWriter(t *testing.T) {
	table := NewTable("x")
	for i, p := range []string{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "::/0", "2001:db8::/32", "2001:db8:1::/48"} {
		table.Insert(Route{Prefix: netip.MustParsePrefix(p), MTU: uint16(1000 + i), Action: Local})
	}
	if err := table.Build(); err != nil {
		t.Fatal(err)
	}
	table.Share()
	// The prefixes that come, change and go, and what addresses of theirs may find meanwhile.
	flapping := []struct {
		prefix netip.Prefix
		addr   netip.Addr
		under  uint16
	}{
		{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParseAddr("10.1.2.3"), 1002},
		{netip.MustParsePrefix("10.1.2.128/25"), netip.MustParseAddr("10.1.2.200"), 0}, // whatever 10.1.2.0/24 is
		{netip.MustParsePrefix("10.1.3.4/32"), netip.MustParseAddr("10.1.3.4"), 1002},
		{netip.MustParsePrefix("10.2.0.0/15"), netip.MustParseAddr("10.3.9.9"), 1001},
		{netip.MustParsePrefix("11.0.0.0/13"), netip.MustParseAddr("11.7.0.1"), 1000},
		{netip.MustParsePrefix("2001:db8:1:2::/64"), netip.MustParseAddr("2001:db8:1:2::3"), 1005},
		{netip.MustParsePrefix("2001:db8:1:2::5/128"), netip.MustParseAddr("2001:db8:1:2::5"), 0},
		{netip.MustParsePrefix("2001:db8:2::/48"), netip.MustParseAddr("2001:db8:2::1"), 1004},
		{netip.MustParsePrefix("2001:db9::/29"), netip.MustParseAddr("2001:dbf::1"), 1003},
	}
	e := &epochs{seen: make([]atomic.Uint64, 2)}
	var readers sync.WaitGroup
	for r := range e.seen {
		readers.Go(func() {
			var v4 [BatchMax]uint32
			var v6 [4][BatchMax]uint32
			var at4, at6 []int
			for i := range flapping {
				k := keyOf(flapping[i].addr)
				if flapping[i].addr.Is4() {
					v4[len(at4)] = uint32(k.hi >> 32)
					at4 = append(at4, i)
				} else {
					for j, w := range [4]uint32{uint32(k.hi >> 32), uint32(k.hi), uint32(k.lo >> 32), uint32(k.lo)} {
						v6[j][len(at6)] = w
					}
					at6 = append(at6, i)
				}
			}
			var found Found
			for !e.stop.Load() {
				runtime.Gosched()
				e.seen[r].Store(e.now.Load())
				array, _ := table.Array()
				if !table.HasArrays() {
					t.Error("no array forms")
					return
				}
				array.Lookup4(&v4, len(at4), &found)
				verify := func(at []int) {
					answers := array.Answers()
					for i, j := range at {
						f := &flapping[j]
						route, ok := answers[found[i]].Route(0)
						own := ok && route.Prefix.Bits() == f.prefix.Bits() && route.MTU < 2
						above := ok && (route.MTU == f.under || f.under == 0)
						if !own && !above {
							t.Errorf("%v: %+v", f.addr, route)
							e.stop.Store(true)
						}
					}
				}
				verify(at4)
				array.Lookup6(&v6, len(at6), &found)
				verify(at6)
				tree := table.Tree()
				for j := range flapping {
					f := &flapping[j]
					route, ok := tree.Lookup(f.addr, 0)
					again, _ := tree.Lookup(f.addr, 0)
					after, okAfter := tree.After(route, f.addr, 0)
					shorter, okShorter := tree.LookupShorter(f.addr, 0, route.Prefix.Bits())
					own := ok && route.Prefix == f.prefix.Masked() && route.MTU < 2
					if !own && (!ok || f.under != 0 && route.MTU != f.under) || again != route || after != shorter || okAfter != okShorter {
						t.Errorf("%v by the tree: %+v, then %+v; after it %+v, shorter %+v", f.addr, route, again, after, shorter)
						e.stop.Store(true)
					}
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(3, 4))
	for range 3_000 {
		if e.stop.Load() {
			break
		}
		f := &flapping[rng.IntN(len(flapping))]
		switch rng.IntN(3) {
		case 0:
			table.Delete(f.prefix, 0, 0)
		default:
			table.Insert(Route{Prefix: f.prefix, MTU: uint16(rng.IntN(2)), Action: Local})
		}
		if rng.IntN(8) == 0 {
			table.Turn()
			e.grace()
			table.Reclaim()
		}
	}
	e.stop.Store(true)
	readers.Wait()
	a := table.arrays.Load()
	if n := a.tries[0].blockPool.next; n > 200 {
		t.Errorf("%d IPv4 blocks were ever used: they are not reclaimed", n)
	}
}
