package policy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"weir/policy/packet"
)

// threadTime is the CPU time of the calling thread, in ns.
func threadTime() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts)
	return ts.Nano()
}

// interleave decides the same packets in turn by each of the snapshots, in batches as a worker does, and reports the
// thread's CPU time for each packet.
func interleave(b *testing.B, keys []packet.Key, names []string, snapshots ...*Snapshot) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spent, tallies := make([]int64, len(snapshots)), make([]*Tally, len(snapshots))
	for i, s := range snapshots {
		tallies[i] = s.NewTally()
	}
	verdicts := make([]Verdict, 64)
	packets := 0
	for b.Loop() {
		for i, s := range snapshots {
			for at := 0; at < len(keys); at += 64 { // for the caches
				s.Decide(keys[at:at+64], verdicts, nil)
			}
			begin := threadTime()
			for at := 0; at < len(keys); at += 64 {
				s.Decide(keys[at:at+64], verdicts, tallies[i])
			}
			spent[i] += threadTime() - begin
		}
		packets += len(keys)
	}
	for i, name := range names {
		b.ReportMetric(float64(spent[i])/float64(packets), name+"-ns/packet")
	}
	b.ReportMetric(0, "ns/op")
}

// benchRules are n rules as of a network with many tenants, and a packet for each that meets it.
func benchRules(b testing.TB, n int) (l *lab, keys []packet.Key) {
	l = newLab(b)
	l.defaults()
	l.table("main", "0.0.0.0/0 via 198.51.100.9 em1")
	rng := rand.New(rand.NewPCG(7, 8))
	some := func(percent int) bool { return rng.IntN(100) < percent }
	address := func() netip.Addr {
		return netip.AddrFrom4([4]byte{10, byte(rng.IntN(64)), byte(rng.IntN(256)), byte(1 + rng.IntN(254))})
	}
	for i := range n {
		k := packet.Key{Family: packet.IPv4, Src: address().As16(), Dst: address().As16(), TTL: 64, Length: 84, Proto: packet.ProtoUDP,
			SrcPort: uint16(1024 + rng.IntN(60000)), DstPort: uint16(1 + rng.IntN(4096)), Ingress: uint16(rng.IntN(2))}
		m := Selector{HasIngress: some(30), Ingress: k.Ingress, HasProto: some(50), Proto: k.Proto}
		if some(80) {
			m.From = netip.PrefixFrom(k.SrcAddr(), 20+rng.IntN(13)).Masked()
		}
		if !m.From.IsValid() || some(60) {
			m.To = netip.PrefixFrom(k.DstAddr(), 20+rng.IntN(13)).Masked()
		}
		if some(10) {
			k.TOS = 0x10
			m.HasTOS, m.TOS = true, 0x10
		}
		if some(20) {
			k.Mark = 1 << rng.IntN(4)
			m.HasMark, m.Mark, m.MarkMask = true, k.Mark, 0xff
		}
		if some(30) {
			m.Dport = PortMatch{Kind: PortRange, Lo: k.DstPort, Hi: k.DstPort + uint16(rng.IntN(2)*rng.IntN(100))}
		}
		if some(10) {
			m.Sport = PortMatch{Kind: PortRange, Lo: 1024, Hi: k.SrcPort}
		}
		l.rule(uint32(1+i), "lookup main", m)
		keys = append(keys, k)
	}
	return l, keys
}

// BenchmarkRules compares the walk with the matcher, for packets that the first eight rules match, any rule, or the last ones.
func BenchmarkRules(b *testing.B) {
	for _, n := range []int{1, 4, 8, 10, 16, 32, 100, 1000, 10000} {
		l, all := benchRules(b, n)
		walked, matched := l.compile(), l.compile()
		matched.match(0, 0)
		rng := rand.New(rand.NewPCG(9, 10))
		for _, depth := range []string{"shallow", "any", "deep"} {
			keys := make([]packet.Key, 2048)
			for i := range keys {
				switch depth {
				case "shallow":
					keys[i] = all[rng.IntN(min(n, 8))]
				case "any":
					keys[i] = all[rng.IntN(n)]
				case "deep":
					keys[i] = all[rng.IntN(n)]
					keys[i].Src[13], keys[i].Dst[13] = byte(64+rng.IntN(64)), byte(64+rng.IntN(64)) // as the tenants' addresses, but nobody's
				}
			}
			b.Run(fmt.Sprintf("rules=%d/%s", n, depth), func(b *testing.B) {
				interleave(b, keys, []string{"walked", "matched"}, walked, matched)
			})
		}
	}
}

// BenchmarkStatements compares the program with its matcher: statements ask for addresses, ports and marks, few match, and
// some chains are jumped to.
func BenchmarkStatements(b *testing.B) {
	for _, n := range []int{0, 1, 10, 16, 32, 100, 1000} {
		l, keys := benchRules(b, 2048)
		l.Rules = l.Rules[:3]
		rng := rand.New(rand.NewPCG(11, 12))
		for i := range n {
			k := &keys[rng.IntN(len(keys))]
			to := Condition{Field: FieldTo, Prefixes: []netip.Prefix{netip.PrefixFrom(k.DstAddr(), 16+rng.IntN(17)).Masked()}}
			st := l.when("mark 0x1/0xff", is(FieldProto, 17), to, is(FieldDport, uint32(k.DstPort)))
			switch i % 8 {
			case 3:
				st = l.when("mark 0x2/0xff", to, under(FieldMark, 0, 0xff))
			case 5:
				st = l.when("jump tenant", to)
			}
			name := MainChain
			if i > 16 && i%4 == 0 {
				name = "tenant"
			}
			if name == "tenant" {
				st = l.when("mark 0x1/0xff", to, is(FieldDport, uint32(k.DstPort)))
			}
			l.chain(name, st)
		}
		if n > 0 {
			l.chain("tenant", l.when("mark 0x100/0x100", is(FieldTTL, 1)))
		}
		walked, matched := l.compile(), l.compile()
		matched.match(len(l.Rules), 0)
		b.Run(fmt.Sprintf("statements=%d", n), func(b *testing.B) {
			interleave(b, keys, []string{"walked", "matched"}, walked, matched)
		})
	}
}

// BenchmarkMatch is what Promote takes for rules, and the memory of what it makes.
func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{100, 1000, 10000, 60000} {
		l, _ := benchRules(b, n)
		s := l.compile()
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			for b.Loop() {
				s.match(0, 0)
			}
			b.ReportMetric(float64(s.matchers.rules[0].size()+s.matchers.rules[1].size())/(1<<17), "MB")
		})
	}
}
