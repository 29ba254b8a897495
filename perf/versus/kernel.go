package versus

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// Kernel is a kernel's rules and tables of one family, in a network namespace of their own.
type Kernel struct {
	tb      testing.TB
	host    *lab.Host
	six     bool
	objects lookupObjects
	set     lookupSettings
	most, n int // packets, and those in use
}

// NoRoute is the answer for an address without a route.
const NoRoute = -1

// Packet is what rules and tables are asked about. A zero source is none.
type Packet struct {
	Src, Dst     netip.Addr
	Proto        uint8
	Sport, Dport uint16
}

// kernelHops is how many next hops there are.
const kernelHops = 64

// NewKernel makes tables of one family with a route to each prefix, by next hop hops[i], of which there are 64, and room
// for a number of packets to look up. It ends with the test.
func NewKernel(tb testing.TB, prefixes []netip.Prefix, hops []int, most int) *Kernel {
	tb.Helper()
	l := lab.ForTest(tb)
	k := &Kernel{tb: tb, most: most, six: len(prefixes) > 0 && prefixes[0].Addr().Is6()}
	var err error
	k.host, err = l.Host("router")
	k.check(err)
	other, err := l.Host("other")
	k.check(err)
	near, far, forward := "100.64.0.125/25", "100.64.0.126/25", "net/ipv4/ip_forward"
	if k.six {
		near, far, forward = "fd64::125/64", "fd64::126/64", "net/ipv6/conf/all/forwarding"
	}
	_, err = l.Link(other, "eth0", k.host, "em0", lab.LinkOptions{AddressesA: []string{far}, AddressesB: []string{near}})
	k.check(err)
	k.check(k.host.SetSysctl(forward, "1"))
	byHop := make([][]netip.Prefix, kernelHops)
	for i, p := range prefixes {
		byHop[hops[i]] = append(byHop[hops[i]], p)
	}
	for hop, list := range byHop {
		k.check(k.host.AddNeighbor("em0", k.gateway(hop), net.HardwareAddr{2, 0, 0, 0, 0, byte(hop)}), k.host.AddRoutes(list, k.gateway(hop)))
	}

	index, err := k.host.Index("em0")
	k.check(err)
	k.set.Ifindex = uint32(index)
	spec, err := loadLookup()
	k.check(err)
	spec.Maps["questions"].MaxEntries, spec.Maps["answers"].MaxEntries = uint32(most), uint32(most)
	k.check(spec.LoadAndAssign(&k.objects, nil))
	tb.Cleanup(func() { _ = k.objects.Close() })
	return k
}

func (k *Kernel) check(errs ...error) {
	k.tb.Helper()
	if err := errors.Join(errs...); err != nil {
		k.tb.Fatal(err)
	}
}

func (k *Kernel) gateway(hop int) netip.Addr {
	if k.six {
		return netip.AddrFrom16([16]byte{0: 0xfd, 1: 0x64, 15: byte(1 + hop)})
	}
	return netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + hop)})
}

// AddRule adds an IPv4 rule (ip-rule(8)) that leads to a table of its next hop's, which has a default route by that.
func (k *Kernel) AddRule(r lab.Rule, hop int) {
	k.tb.Helper()
	r.Table = 1000 + hop
	k.check(k.host.AddRoute(lab.Route{To: "default", Via: k.gateway(hop).String(), Table: r.Table}), k.host.AddRule(r))
}

// Use says which addresses Lookup looks up.
func (k *Kernel) Use(addresses []netip.Addr) {
	k.tb.Helper()
	packets := make([]Packet, len(addresses))
	for i, a := range addresses {
		packets[i].Dst = a
	}
	k.UsePackets(packets)
}

// UsePackets says which packets Lookup looks up.
func (k *Kernel) UsePackets(packets []Packet) {
	k.tb.Helper()
	k.n = len(packets)
	keys, values := make([]uint32, k.n), make([]lookupQuestion, k.n)
	big := func(v uint16) uint16 { return v<<8 | v>>8 } // as the wire has it, in the memory of a little-endian machine
	words := func(to *[4]uint32, a netip.Addr) {
		for b := a.AsSlice(); len(b) > 0; b = b[4:] {
			to[(a.BitLen()/8-len(b))/4] = binary.NativeEndian.Uint32(b)
		}
	}
	for i := range packets {
		p, q := &packets[i], &values[i]
		keys[i] = uint32(i)
		q.Family, q.Protocol, q.Sport, q.Dport = unix.AF_INET, p.Proto, big(p.Sport), big(p.Dport)
		if k.six {
			q.Family = unix.AF_INET6
		}
		words(&q.Src, p.Src)
		words(&q.Dst, p.Dst)
	}
	if _, err := k.objects.Questions.BatchUpdate(keys, values, nil); err != nil {
		k.tb.Fatal(err)
	}
}

// lookupsAtOnce are those of one run, during which its CPU does nothing else: some tens of milliseconds.
const lookupsAtOnce = 1 << 16

// Lookup looks all packets up and returns what it took of the thread's time, ns.
func (k *Kernel) Lookup() (took int64) {
	k.tb.Helper()
	err := k.host.Do(func() error {
		for k.set.First = 0; int(k.set.First) < k.n; k.set.First += lookupsAtOnce {
			k.set.Count = uint32(min(lookupsAtOnce, k.n-int(k.set.First)))
			if err := k.objects.Settings.Set(&k.set); err != nil {
				return err
			}
			began := ThreadTime()
			if _, err := k.objects.Lookup.Run(&ebpf.RunOptions{Data: make([]byte, 64)}); err != nil {
				return err
			}
			took += ThreadTime() - began
		}
		return nil
	})
	if err != nil {
		k.tb.Fatal(err)
	}
	return took
}

// Answers are the next hops that the last Lookup has found, or NoRoute.
func (k *Kernel) Answers() []int {
	k.tb.Helper()
	keys, values := make([]uint32, k.most), make([]uint32, k.most)
	var cursor ebpf.MapBatchCursor
	if n, err := k.objects.Answers.BatchLookup(&cursor, keys, values, nil); n != k.most || err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		k.tb.Fatalf("%d of %d answers: %v", n, k.most, err)
	}
	answers := make([]int, k.most)
	for i, v := range values {
		if answers[keys[i]] = int(v >> 8); v>>16 != 0 {
			answers[keys[i]] = NoRoute
		}
	}
	return answers[:k.n]
}
