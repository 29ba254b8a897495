package policy

import (
	"testing"

	"weir/fib"
	"weir/policy/packet"
)

// TestLinksDown: routes by links that are down are as good as not there.
func TestLinksDown(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.100.7 em1", "10.0.0.0/8 via 192.0.2.9 em0", "10.1.0.0/16 dev em2", "10.1.0.0/16 via 198.51.100.7 em1 metric 5",
		"10.2.0.0/16 via 192.0.2.9 em0 tos 0x10", "10.2.0.0/16 dev em2 metric 1", "10.3.0.0/16 via 203.0.113.9 em0.100", "10.3.3.0/24 dev em2",
		"10.3.3.0/24 blackhole metric 9", "2001:db8:a::/48 via 2001:db8:1::9 em0", "2001:db8::/32 via 2001:db8:2::7 em1")
	l.table("x", "11.0.0.0/8 via 192.0.2.9 em0", "11.1.0.0/16 lookup y resume", "11.1.1.0/24 dev em2").OnMiss = MissProhibit
	l.table("y", "11.1.2.0/24 via 192.0.2.9 em0")
	l.rule(10, "lookup x", Selector{To: prefix("11.0.0.0/8")})
	s := l.compile()
	em0, em2 := l.port("em0"), l.port("em2")
	for _, c := range []struct {
		name, decisions string
		down            []uint16
	}{
		{"all up", `
			iif=em1 src=9.0.0.1 dst=10.1.0.1            => forward em2 main main 10.1.0.0/16
			iif=em1 src=9.0.0.1 dst=10.2.0.1 tos=0x10   => forward em0 via 192.0.2.9 main main 10.2.0.0/16
			iif=em1 src=9.0.0.1 dst=11.1.1.1            => forward em2 r3 x 11.1.1.0/24
			iif=em1 src=9.0.0.1 dst=192.0.2.77          => forward em0 main main 192.0.2.0/24`, nil},
		{"em2 down", `
			iif=em1 src=9.0.0.1 dst=10.1.0.1            => forward em1 via 198.51.100.7 main main 10.1.0.0/16
			iif=em1 src=9.0.0.1 dst=10.2.0.1            => forward em0 via 192.0.2.9 main main 10.0.0.0/8
			iif=em1 src=9.0.0.1 dst=10.3.3.1            => blackhole main main 10.3.3.0/24
			iif=em1 src=9.0.0.1 dst=11.1.1.1            => forward em0 via 192.0.2.9 r3 x 11.0.0.0/8
			iif=em1 src=9.0.0.1 dst=10.3.0.1            => forward em0.100 via 203.0.113.9 main main 10.3.0.0/16`, []uint16{em2}},
		{"em0 down", `
			iif=em1 src=9.0.0.1 dst=10.2.0.1 tos=0x10   => forward em2 main main 10.2.0.0/16
			iif=em1 src=9.0.0.1 dst=10.4.0.1            => forward em1 via 198.51.100.7 main main 0.0.0.0/0
			iif=em1 src=9.0.0.1 dst=192.0.2.77          => forward em1 via 198.51.100.7 main main 0.0.0.0/0
			iif=em1 src=9.0.0.1 dst=192.0.2.1           => local local local 192.0.2.1/32
			iif=em1 src=9.0.0.1 dst=11.1.2.1            => prohibit 3/13 r3 x -
			iif=em1 src=2001:db8:f::1 dst=2001:db8:a::1 => forward em1 via 2001:db8:2::7 main main 2001:db8::/32`, []uint16{em0}},
		{"everything down", `
			iif=em1 src=9.0.0.1 dst=10.1.0.1            => unreachable 3/0 - - -
			iif=em1 src=9.0.0.1 dst=10.3.3.1            => blackhole main main 10.3.3.0/24`, []uint16{0, 1, 2, 3}},
		{"all up again", `
			iif=em1 src=9.0.0.1 dst=10.1.0.1            => forward em2 main main 10.1.0.0/16`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			s = s.WithAdjacencies(s.Adjacencies.WithDown(c.down...))
			expect(t, s, c.decisions)
		})
	}
}

// TestLostNeighbors: a multipath route does without them, a single next hop stays.
func TestLostNeighbors(t *testing.T) {
	l := newLab(t)
	l.table("x", "10.0.0.0/8 via 198.51.100.7 em1 via 192.0.2.9 em0", "11.0.0.0/8 via 192.0.2.9 em0", "0.0.0.0/0 via 198.51.100.7 em1",
		"12.0.0.0/8 via 192.0.2.9 em0 via 203.0.113.9 em0.100")
	l.rule(1, "lookup x", Selector{})
	s := l.compile()
	lose := func(s *Snapshot, list ...string) *Snapshot {
		for _, a := range list {
			for i := range uint32(s.Adjacencies.Len()) {
				if x := *s.Adjacencies.At(i); x.Neighbor.Addr.String() == a {
					x.State, x.Lost = fib.Failed, true
					s = s.WithAdjacencies(s.Adjacencies.With(x))
				}
			}
		}
		return s
	}
	ports := func(s *Snapshot, dst string) map[string]bool {
		seen := map[string]bool{}
		for i := range 64 {
			k := key(t, s, "iif=em2 src=9.0.0.1 proto=udp dst="+dst)
			k.SrcPort = uint16(i)
			seen[s.PortName(s.Evaluate(&k, nil).Port)] = true
		}
		return seen
	}
	check := func(what string, got map[string]bool, want ...string) {
		t.Helper()
		same := len(got) == len(want)
		for _, w := range want {
			same = same && got[w]
		}
		if !same {
			t.Errorf("%s: by %v, want %v", what, got, want)
		}
	}
	one, both := lose(s, "192.0.2.9"), lose(s, "192.0.2.9", "203.0.113.9")
	check("all there", ports(s, "10.0.0.1"), "em0", "em1")
	check("one of two lost", ports(one, "10.0.0.1"), "em1")
	check("the only one lost", ports(one, "11.0.0.1"), "em0")
	check("both lost", ports(both, "12.0.0.1"), "em0", "em0.100")
	down := both.WithAdjacencies(both.Adjacencies.WithDown(l.port("em0")))
	check("one lost, and the other's link down", ports(down, "12.0.0.1"), "em0.100")
	k := key(t, one, "iif=em2 src=9.0.0.1 dst=11.0.0.1")
	if v := one.Evaluate(&k, nil); one.Adjacencies.At(v.Adjacency).State != fib.Failed {
		t.Errorf("verdict %+v is not for the neighbour that failed", v)
	}
}

func TestExplainLinkDown(t *testing.T) {
	l := newLab(t)
	l.defaults()
	l.table("main", "10.0.0.0/8 via 192.0.2.9 em0 via 203.0.113.9 em0.100", "10.0.0.0/8 dev em2 metric 10", "0.0.0.0/0 via 198.51.100.7 em1")
	s := l.compile()
	s = s.WithAdjacencies(s.Adjacencies.WithDown(0, 2, 3))
	explainGolden(t, s, "link-down", "iif=em1 src=9.0.0.1 dst=10.0.0.1")
}

// BenchmarkMultipath has two next hops, and then one of them and a third port down.
func BenchmarkMultipath(b *testing.B) {
	l := newLab(b)
	l.defaults()
	l.table("main", "10.0.0.0/8 via 198.51.100.7 em1 via 192.0.2.9 em0", "10.0.0.0/7 dev em2")
	all := l.compile()
	for name, s := range map[string]*Snapshot{"up": all, "down": all.WithAdjacencies(all.Adjacencies.WithDown(0, 2))} {
		b.Run(name, func(b *testing.B) {
			keys, verdicts := make([]packet.Key, 64), make([]Verdict, 64)
			for i := range keys {
				keys[i] = key(b, s, "iif=em2 src=9.0.0.1 dst=10.0.0.1")
				keys[i].SrcPort = uint16(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(keys, verdicts, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/packet")
		})
	}
}
