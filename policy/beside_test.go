package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// TestChangesDecideAlike holds decisions to the specification of a twin that has always had the routes as they are after random
// changes, whichever tables have array forms, and whichever links are down.
func TestChangesDecideAlike(t *testing.T) {
	ports := newLab(t).Ports
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		long := func(r fib.Route) fib.Route { // else a hundred thousand entries to write, and more
			if r.Prefix.Bits() > 0 && r.Prefix.Bits() < 9 {
				r.Prefix = netip.PrefixFrom(r.Prefix.Addr(), 8+r.Prefix.Bits()).Masked()
			}
			return r
		}
		for i := range p.Tables {
			for j := range p.Tables[i].Routes {
				p.Tables[i].Routes[j] = long(p.Tables[i].Routes[j])
			}
		}
		s, twin := compileFor(t, &p), compileFor(t, &p)
		chosen, n := rapid.IntRange(0, 3).Draw(t, "tables"), 0
		if errs := s.promote(func(*fib.Table) bool { n++; return chosen>>(n-1)&1 != 0 }); errs != nil {
			t.Fatal(errs)
		}
		if rapid.Bool().Draw(t, "link down") {
			down := uint16(rapid.IntRange(0, len(ports)-1).Draw(t, "port"))
			s, twin = s.WithAdjacencies(s.Adjacencies.WithDown(down)), twin.WithAdjacencies(twin.Adjacencies.WithDown(down))
		}
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) packet.Key { return genKey(t, len(ports)) }), 1, 70).Draw(t, "keys")
		verdicts := make([]Verdict, len(keys))
		for range rapid.IntRange(1, 5).Draw(t, "rounds") {
			for range rapid.IntRange(0, 5).Draw(t, "changes") {
				i := rapid.IntRange(0, len(s.tables)-1).Draw(t, "table")
				mine, others := s.tables[i].routes, twin.tables[i].routes
				mine.Share()
				if list := slices.Collect(others.All()); len(list) > 0 && rapid.Bool().Draw(t, "delete") {
					r := *rapid.SampledFrom(list).Draw(t, "route")
					mine.Delete(r.Prefix, r.TOS, r.Metric)
					others.Delete(r.Prefix, r.TOS, r.Metric)
					continue
				}
				r := long(fib.Route{Prefix: genPrefix(t, genFamily(t)), Metric: rapid.Uint32Range(0, 1).Draw(t, "metric"), Action: fib.Unicast,
					Hops: []fib.NextHop{{Port: uint16(rapid.IntRange(0, len(ports)-1).Draw(t, "port"))}}})
				if r.Prefix.Addr().Is4() {
					r.TOS = rapid.SampledFrom([]uint8{0, 0x10}).Draw(t, "tos")
				}
				mine.Insert(r)
				others.Insert(r)
			}
			for i := range s.tables {
				s.tables[i].routes.Turn()
				s.tables[i].routes.Reclaim()
			}
			s.Decide(keys, verdicts, nil)
			for i := range keys {
				if want := twin.Evaluate(&keys[i], nil); verdicts[i] != want || s.Evaluate(&keys[i], nil) != want {
					t.Fatalf("%+v: %+v, the twin has %+v", keys[i], verdicts[i], want)
				}
			}
		}
	})
}

// TestDecideBesideChanges: while routes change one after the other, every verdict is that of before a change or that of after it:
// by arrays and trees, resumed and nested lookups, TOS routes, routes whose links are down, on-miss lookups and reverse paths.
// Whoever reads says when it has left what it read, and does nothing else; run it with -race.
func TestDecideBesideChanges(t *testing.T) {
	l := newLab(t)
	l.Ports[2].ReversePath = ReverseLoose
	l.table("x", "10.2.0.0/16 lookup y resume", "10.0.0.0/8 via 198.51.100.7 em1", "10.4.0.0/16 lookup z", "2001:db8::/32 dev em1").OnMiss, l.Tables[0].MissTarget = MissLookup, 2
	l.table("y", "10.2.1.0/24 dev em2")
	l.table("z", "0.0.0.0/0 via 198.51.100.9 em1")
	l.rule(10, "lookup x", Selector{})
	compile := func() *Snapshot {
		s := l.compile()
		return s.WithAdjacencies(s.Adjacencies.WithDown(0))
	}
	s, twin := compile(), compile()
	if errs := s.promote(func(tab *fib.Table) bool { return tab.Name() == "x" }); errs != nil {
		t.Fatal(errs)
	}
	for i := range s.tables {
		s.tables[i].routes.Share()
	}
	type flap struct {
		table string
		fib.Route
	}
	em := func(port uint16) []fib.NextHop { return []fib.NextHop{{Port: port}} }
	flaps := []flap{
		{"x", fib.Route{Prefix: prefix("10.1.0.0/16"), Hops: em(2)}},
		{"x", fib.Route{Prefix: prefix("10.1.1.0/24"), Hops: em(0)}}, // its link is down
		{"x", fib.Route{Prefix: prefix("10.1.1.0/24"), Hops: em(1), Metric: 5}},
		{"x", fib.Route{Prefix: prefix("10.1.2.0/25"), Hops: em(1), TOS: 0x10}},
		{"x", fib.Route{Prefix: prefix("10.2.0.0/15"), Hops: em(1)}}, // where 10.2.0.0/16 resumes
		{"y", fib.Route{Prefix: prefix("10.2.2.0/24"), Hops: em(1)}},
		{"y", fib.Route{Prefix: prefix("10.2.1.0/25"), Hops: em(1)}},
		{"z", fib.Route{Prefix: prefix("10.4.4.0/24"), Action: fib.Prohibit}},
		{"z", fib.Route{Prefix: prefix("11.0.0.0/8"), Hops: em(2)}},
		{"x", fib.Route{Prefix: prefix("12.0.0.0/8"), Action: fib.Blackhole}}, // a source
		{"x", fib.Route{Prefix: prefix("2001:db8:1::/48"), Hops: em(2)}},
		{"x", fib.Route{Prefix: prefix("2001:db8:1:2::5/128"), Hops: em(0)}},
	}
	var keys []packet.Key
	for _, dst := range []string{"10.1.0.1", "10.1.1.1", "10.1.2.1", "10.2.1.1", "10.2.1.200", "10.2.2.1", "10.2.3.1", "10.4.4.1", "11.0.0.1", "2001:db8:1::1", "2001:db8:1:2::5"} {
		src, tos := "9.0.0.1", ""
		if dst == "10.1.2.1" {
			tos = " tos=0x10"
		}
		if netip.MustParseAddr(dst).Is6() {
			src = "2001:db8:9::9"
		}
		keys = append(keys, key(t, s, fmt.Sprintf("iif=em1 src=%s dst=%s%s", src, dst, tos)))
	}
	keys = append(keys, key(t, s, "iif=em2 src=12.0.0.1 dst=10.9.0.1"))
	const changes = 2000
	specified := make([]atomic.Pointer[[]Verdict], changes+2) // after so many changes
	specify := func(n int) {
		list := make([]Verdict, len(keys))
		for i := range keys {
			k := keys[i]
			list[i] = twin.Evaluate(&k, nil)
		}
		specified[n].Store(&list)
	}
	specify(0)
	var begun atomic.Int64 // changes
	var now atomic.Uint64
	var stop atomic.Bool
	seen := make([]atomic.Uint64, 2)
	var readers sync.WaitGroup
	for r := range seen {
		readers.Go(func() {
			mine, verdicts := slices.Clone(keys), make([]Verdict, len(keys)) // a key is turned round in place
			for !stop.Load() {
				seen[r].Store(now.Load())
				first := max(0, begun.Load()-1)
				s.Decide(mine, verdicts, nil)
				last := begun.Load()
				for i := range mine {
					fits := false
					for n := first; n <= last && !fits; n++ {
						fits = (*specified[n].Load())[i] == verdicts[i]
					}
					if !fits {
						t.Errorf("%+v after %d to %d changes: %+v", mine[i], first, last, verdicts[i])
						stop.Store(true)
					}
				}
				runtime.Gosched()
			}
		})
	}
	rng := rand.New(rand.NewPCG(uint64(rand.Uint32()), 1))
	differ := 0
	for n := 1; n <= changes && !stop.Load(); n++ {
		f := &flaps[rng.IntN(len(flaps))]
		change := func(tab *fib.Table) {
			if _, there := tab.Get(f.Prefix, f.TOS, f.Metric); there {
				tab.Delete(f.Prefix, f.TOS, f.Metric)
			} else {
				tab.Insert(f.Route)
			}
		}
		i := slices.IndexFunc(s.tables, func(tab table) bool { return tab.name == f.table })
		change(twin.tables[i].routes)
		specify(n)
		if !slices.Equal(*specified[n].Load(), *specified[n-1].Load()) {
			differ++
		}
		begun.Store(int64(n))
		tab := s.tables[i].routes
		change(tab)
		tab.Turn()
		epoch := now.Add(1)
		for r := range seen {
			for seen[r].Load() < epoch && !stop.Load() {
				runtime.Gosched()
			}
		}
		if !stop.Load() {
			tab.Reclaim()
		}
	}
	stop.Store(true)
	readers.Wait()
	if differ < changes/2 {
		t.Errorf("only %d of %d changes concern a packet", differ, changes)
	}
}
