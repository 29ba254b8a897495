package policy

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"weir/fib"
	"weir/policy/packet"
)

// TestArraysDecideAlike holds decisions by array forms to the specification: the same verdicts, and the same hits, whichever
// tables have them, and also while links are down.
func TestArraysDecideAlike(t *testing.T) {
	ports := newLab(t).Ports
	waited := 0
	rapid.Check(t, func(t *rapid.T) {
		p := genPolicy(t, ports)
		for i := range p.Tables {
			p.Tables[i].Counters = true
			for j := range p.Tables[i].Routes {
				if r := &p.Tables[i].Routes[j]; r.Prefix.Bits() > 0 && r.Prefix.Bits() < 9 { // else a hundred thousand entries to write, and more
					r.Prefix = netip.PrefixFrom(r.Prefix.Addr(), 8+r.Prefix.Bits()).Masked()
				}
			}
		}
		for i := range p.Rules {
			p.Rules[i].Name = fmt.Sprint(i)
		}
		if rapid.Bool().Draw(t, "marks") {
			p.Marks = genMarks(t, len(ports))
		}
		s := compileFor(t, &p)
		with := compileFor(t, &p)
		chosen := rapid.IntRange(0, 3).Draw(t, "tables") // bits: the first two
		n := 0
		if errs := with.promote(func(*fib.Table) bool { n++; return chosen>>(n-1)&1 != 0 }); errs != nil {
			t.Fatal(errs)
		}
		if rapid.Bool().Draw(t, "link down") {
			down := uint16(rapid.IntRange(0, len(ports)-1).Draw(t, "port"))
			s = s.WithAdjacencies(s.Adjacencies.WithDown(down))
			with = with.WithAdjacencies(with.Adjacencies.WithDown(down))
		}
		keys := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) packet.Key { return genMarkKey(t, len(ports)) }), 1, 150).Draw(t, "keys")
		want, got := make([]Verdict, len(keys)), make([]Verdict, len(keys))
		counted, counts := s.NewTally(), with.NewTally()
		counted.Now, counts.Now = 5, 5
		s.Decide(keys, want, counted)
		with.Decide(keys, got, counts)
		for i := range keys {
			if got[i] != want[i] {
				t.Fatalf("%+v: %+v, the specification has %+v", keys[i], got[i], want[i])
			}
		}
		for i := range counted.hits {
			if counted.hits[i] != counts.hits[i] {
				t.Fatalf("cell %d of %+v: %+v, the specification has %+v", i, s.cells, counts.hits[i], counted.hits[i])
			}
		}
		for i := range with.tables {
			if answered, _ := with.TableHits(counts, uint16(i)); with.tables[i].routes.HasArrays() && answered.Packets > 0 {
				waited++
			}
		}
	})
	if waited == 0 {
		t.Error("no array form has answered")
	}
}

// TestArraysDoNotAllocate runs a batch that waits for array forms of several tables.
func TestArraysDoNotAllocate(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("x", "10.0.0.0/16 throw", "10.1.0.0/16 via 198.51.100.7 em1", "10.2.0.0/16 lookup y resume", "10.3.0.0/16 dev em2", "2001:db8:5::/48 via 2001:db8:2::7 em1")
	l.table("y", "10.9.0.0/16 dev em2")
	l.table("main", "0.0.0.0/0 via 198.51.100.9 em1", "10.2.0.0/24 dev em2 tos 0x10")
	l.rule(10, "lookup x", Selector{})
	s := l.compile()
	if errs := s.promote(func(*fib.Table) bool { return true }); errs != nil {
		t.Fatal(errs)
	}
	for i := range s.tables { // as while routes change
		tab := s.tables[i].routes
		tab.Share()
		tab.Insert(fib.Route{Prefix: prefix("10.1.0.0/24"), Hops: []fib.NextHop{{Port: 1}}})
		tab.Turn()
	}
	down := s.WithAdjacencies(s.Adjacencies.WithDown(1))
	var keys []packet.Key
	for i := range 70 {
		keys = append(keys, key(t, s, fmt.Sprintf("iif=em0 src=9.0.0.1 dst=10.%d.0.%d", i%5, i)), key(t, s, "iif=em0 src=2001:db8:9::9 dst=2001:db8:5::1"))
	}
	verdicts, tally := make([]Verdict, len(keys)), s.NewTally()
	if n := testing.AllocsPerRun(100, func() {
		s.Decide(keys, verdicts, tally)
		down.Decide(keys, verdicts, tally)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
