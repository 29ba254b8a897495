package versus

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"testing"

	"github.com/cilium/ebpf"

	"weir/perf/lab"
)

// Kernel is a kernel's IPv4 tables, in a network namespace of their own.
type Kernel struct {
	tb      testing.TB
	host    *lab.Host
	objects lookupObjects
	set     lookupSettings
	most, n int // addresses, and those in use
}

// NoRoute is the answer for an address without a route.
const NoRoute = -1

// NewKernel makes tables with a route to each prefix, by next hop hops[i], of which there may be 64, and room for a number of
// addresses to look up. It ends with the test.
func NewKernel(tb testing.TB, prefixes []netip.Prefix, hops []int, most int) *Kernel {
	tb.Helper()
	l := lab.ForTest(tb)
	k := &Kernel{tb: tb, most: most}
	var err error
	check := func(errs ...error) {
		if err := errors.Join(errs...); err != nil {
			tb.Fatal(err)
		}
	}
	k.host, err = l.Host("router")
	check(err)
	other, err := l.Host("other")
	check(err)
	_, err = l.Link(other, "eth0", k.host, "em0", lab.LinkOptions{AddressesA: []string{"100.64.0.126/25"}, AddressesB: []string{"100.64.0.125/25"}})
	check(err)
	check(k.host.SetSysctl("net/ipv4/ip_forward", "1"))
	byHop := make([][]netip.Prefix, 64)
	for i, p := range prefixes {
		byHop[hops[i]] = append(byHop[hops[i]], p)
	}
	for hop, list := range byHop {
		gateway := netip.AddrFrom4([4]byte{100, 64, 0, byte(1 + hop)})
		check(k.host.AddNeighbor("em0", gateway, net.HardwareAddr{2, 0, 0, 0, 0, byte(hop)}), k.host.AddRoutes(list, gateway))
	}

	index, err := k.host.Index("em0")
	check(err)
	k.set.Ifindex = uint32(index)
	spec, err := loadLookup()
	check(err)
	spec.Maps["addresses"].MaxEntries, spec.Maps["answers"].MaxEntries = uint32(most), uint32(most)
	check(spec.LoadAndAssign(&k.objects, nil))
	tb.Cleanup(func() { _ = k.objects.Close() })
	return k
}

// Use says which addresses Lookup looks up.
func (k *Kernel) Use(addresses []netip.Addr) {
	k.tb.Helper()
	k.n = len(addresses)
	keys, values := make([]uint32, k.n), make([]uint32, k.n)
	for i, a := range addresses {
		four := a.As4()
		keys[i], values[i] = uint32(i), binary.NativeEndian.Uint32(four[:])
	}
	if _, err := k.objects.Addresses.BatchUpdate(keys, values, nil); err != nil {
		k.tb.Fatal(err)
	}
}

// lookupsAtOnce are those of one run, during which its CPU does nothing else: some tens of milliseconds.
const lookupsAtOnce = 1 << 16

// Lookup looks all addresses up and returns what it took of the thread's time, ns.
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
