package steer

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
)

// BenchmarkProgram measures the program alone, in the kernel, on one frame again and again: its instructions, the
// lookup of the destination and the count, with everything in the cache. "floor" is a program that does nothing: what
// BPF_PROG_TEST_RUN itself costs, to be subtracted from the others.
func BenchmarkProgram(b *testing.B) {
	b.Run("floor", func(b *testing.B) {
		requireRoot(b)
		nothing := stranger(b)
		measure(b, nothing, join(macs(ourMAC), ipv4(otherIPv4, make([]byte, 26)...)))
	})
	for _, c := range []struct {
		name  string
		frame []byte
		want  Class
	}{
		{"redirected-ipv4", join(macs(ourMAC), ipv4(otherIPv4, make([]byte, 26)...)), Redirected},
		{"redirected-ipv6", join(macs(ourMAC), ipv6(otherIPv6, 17, 64, make([]byte, 6)...)), Redirected},
		{"redirected-ipv4-vlan", join(macs(ourMAC), tag(0x8100), ipv4(otherIPv4, make([]byte, 22)...)), Redirected},
		{"redirected-ipv4-qinq", join(macs(ourMAC), tag(0x88a8), tag(0x8100), ipv4(otherIPv4, make([]byte, 18)...)), Redirected},
		{"own-address", join(macs(ourMAC), ipv4(ownIPv4, make([]byte, 26)...)), OwnAddress},
		{"arp", join(macs(ourMAC), etherType(0x0806), make([]byte, 46)), NotIP},
		{"not-our-mac", join(macs(otherMAC), ipv4(otherIPv4, make([]byte, 26)...)), NotOurMAC},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := newBench(b, ownIPv4, ownIPv6)
			p.plug(b)
			if got := p.run(b, c.frame); got != c.want {
				b.Fatalf("%v, want %v", got, c.want)
			}
			measure(b, p.objects.Steer, c.frame)
		})
	}
}

// BenchmarkOwnAddresses shows what the number of own addresses costs an IPv4 packet that is not for one of them.
func BenchmarkOwnAddresses(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"none", 0}, {"ten", 10}, {"full", ownAddressesMax}} {
		b.Run(c.name, func(b *testing.B) {
			p := newBench(b)
			p.plug(b)
			random := rand.New(rand.NewPCG(1, 2))
			own := make([]netip.Addr, c.n)
			for i := range own {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], random.Uint32())
				own[i] = netip.AddrFrom4(a)
			}
			if err := p.own.Set(own); err != nil {
				b.Fatal(err)
			}
			measure(b, p.objects.Steer, join(macs(ourMAC), ipv4(otherIPv4, make([]byte, 26)...)))
		})
	}
}

// measure reports the time per run as the kernel measured it. The runs of one system call take less than the 10 ms
// after which the Go runtime signals a thread, because a signal ends them.
func measure(b *testing.B, program *ebpf.Program, frame []byte) {
	const runs = 50_000
	b.ReportAllocs()
	var total time.Duration
	for b.Loop() {
		_, perRun, err := program.Benchmark(frame, runs, nil)
		if err != nil {
			b.Fatal(err)
		}
		total += perRun
	}
	b.ReportMetric(float64(total.Nanoseconds())/float64(b.N), "ns/packet")
}
