package policy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"testing"

	"weir/fib"
	"weir/policy/packet"
)

// benchLab has the default rules and n-3 before them that match nothing, on tables of 100 routes.
func benchLab(b *testing.B, n int) (*Snapshot, []packet.Key) {
	l := newLab(b)
	l.defaults()
	for i := range 100 {
		l.table("main", fmt.Sprintf("10.%d.0.0/16 via 198.51.100.%d em1", i, 2+i%4))
	}
	for i := range n - 3 {
		l.rule(uint32(1+i), "lookup main", Selector{From: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(i >> 8), byte(i), 0}), 24), HasMark: true, Mark: 1, MarkMask: 0xff})
	}
	s := l.compile()
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([]packet.Key, 64)
	for i := range keys {
		keys[i] = key(b, s, fmt.Sprintf("iif=em0 src=9.0.%d.%d dst=10.%d.%d.1 sport=%d", rng.IntN(256), i, rng.IntN(100), i, 1024+i))
	}
	return s, keys
}

// BenchmarkDecide is what a worker does, and beside it the same without counting what matched.
func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{3, 10, 100, 1000} {
		s, keys := benchLab(b, n)
		s.Promote()
		verdicts := make([]Verdict, len(keys))
		for _, c := range []struct {
			name  string
			tally *Tally
		}{{"counted", s.NewTally()}, {"plain", nil}} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, c.name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Decide(keys, verdicts, c.tally)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/packet")
				if verdicts[0].Action != Forward {
					b.Fatal("not forwarded")
				}
			})
		}
	}
}

// BenchmarkMarks has statements that all but match: an address set of 100 prefixes, and ports.
func BenchmarkMarks(b *testing.B) {
	var far []netip.Prefix
	for i := range 100 {
		far = append(far, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i), 0}), 24))
	}
	for _, n := range []int{0, 1, 10, 100} {
		b.Run(fmt.Sprintf("statements=%d", n), func(b *testing.B) {
			l := newLab(b)
			l.defaults()
			l.table("main", "10.0.0.0/8 via 198.51.100.9 em1")
			for i := range n {
				l.chain(MainChain, l.when("mark 0x1/0xff", is(FieldProto, 17), Condition{Field: FieldTo, Not: true, Prefixes: far}, is(FieldDport, uint32(1+i))))
			}
			s := l.compile()
			s.Promote()
			keys, verdicts := make([]packet.Key, 64), make([]Verdict, 64)
			for i := range keys {
				keys[i] = key(b, s, fmt.Sprintf("iif=em0 src=9.0.0.%d dst=10.0.%d.1 dport=9999", i, i))
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Decide(keys, verdicts, nil)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys)), "ns/packet")
		})
	}
}

// lines are JSON packets, one a line.
func lines(s *Snapshot, keys []packet.Key) []byte {
	var text bytes.Buffer
	for i := range keys {
		k := &keys[i]
		fmt.Fprintf(&text, `{"iif":%q,"src":%q,"dst":%q,"proto":"udp","sport":%d,"dport":%d,"tos":0,"mark":0,"ttl":64,"length":84}`+"\n",
			s.PortName(k.Ingress), k.SrcAddr(), k.DstAddr(), k.SrcPort, k.DstPort)
	}
	return text.Bytes()
}

func BenchmarkExplainPackets(b *testing.B) {
	s, keys := benchLab(b, 10)
	text := bytes.Repeat(lines(s, keys), 16)
	packets := float64(16 * len(keys))
	b.ReportAllocs()
	for b.Loop() {
		if err := s.ExplainPackets(bytes.NewReader(text), io.Discard, false); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/(float64(b.N)*packets), "ns/packet")
	b.ReportMetric(float64(b.N)*packets/b.Elapsed().Seconds(), "packets/s")
}

func BenchmarkAppendJSON(b *testing.B) {
	s, keys := benchLab(b, 3)
	v := s.Evaluate(&keys[0], nil)
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = s.AppendJSON(buf[:0], &keys[0], v)
	}
}

func BenchmarkParsePacketJSON(b *testing.B) {
	s, keys := benchLab(b, 3)
	line := lines(s, keys[:1])
	b.Run("scanner", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.ParsePacketJSON(line); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("encoding-json", func(b *testing.B) { // what the scanner is there instead of, without any checks
		var p struct {
			Iif, Src, Dst, Proto                 string
			Sport, Dport, TOS, Mark, TTL, Length int
		}
		b.ReportAllocs()
		for b.Loop() {
			d := json.NewDecoder(bytes.NewReader(line))
			d.DisallowUnknownFields()
			if err := d.Decode(&p); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkCompile(b *testing.B) {
	l := newLab(b)
	l.defaults()
	t := l.table("main")
	for i := range 100000 {
		t.Routes = append(t.Routes, fib.Route{
			Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24),
			Hops:   []fib.NextHop{{Gateway: netip.AddrFrom4([4]byte{198, 51, 100, 2 + byte(i%200)}), Port: 1, Weight: 1}},
		})
	}
	b.ReportAllocs()
	for b.Loop() {
		l.compile()
	}
}

// BenchmarkDecideLargeTable decides by a table of 500,000 routes behind it all, as a tree and with its array forms, for
// traffic to random ones of them.
func BenchmarkDecideLargeTable(b *testing.B) {
	l := newLab(b)
	l.defaults()
	main := l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
	rng := rand.New(rand.NewPCG(3, 4))
	seen := map[netip.Prefix]bool{}
	for len(seen) < 500_000 {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(11 + rng.IntN(100)), byte(rng.IntN(256)), byte(rng.IntN(256)), 0}), 16+rng.IntN(9)).Masked()
		if !seen[p] {
			seen[p] = true
			main.Routes = append(main.Routes, fib.Route{Prefix: p, Hops: []fib.NextHop{{Gateway: netip.AddrFrom4([4]byte{198, 51, 100, byte(2 + rng.IntN(50))}), Port: 1, Weight: 1}}})
		}
	}
	tree, arrays := l.compile(), l.compile()
	if errs := arrays.Promote(); errs != nil {
		b.Fatal(errs)
	}
	keys := make([]packet.Key, 1<<16)
	for i := range keys {
		keys[i] = key(b, tree, fmt.Sprintf("iif=em0 src=9.0.0.1 dst=%d.%d.%d.1 sport=%d", 11+rng.IntN(100), rng.IntN(256), rng.IntN(256), 1024+i%4096))
	}
	verdicts := make([]Verdict, 64)
	for _, c := range []struct {
		name string
		s    *Snapshot
	}{{"tree", tree}, {"arrays", arrays}} {
		b.Run(c.name, func(b *testing.B) {
			tally, at := c.s.NewTally(), 0
			b.ReportAllocs()
			for b.Loop() {
				c.s.Decide(keys[at:at+64], verdicts, tally)
				at = (at + 64) % len(keys)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*64), "ns/packet")
		})
	}
}
