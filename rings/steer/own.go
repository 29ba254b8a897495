package steer

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ownAddressesMax is the limit of an Own that states none.
const ownAddressesMax = 1024

// Own is the set of the router's own addresses, directed broadcast addresses included: what goes to one of them goes
// to the kernel. All programs of a router share one, because an address of any port is the router's on every port (the
// weak host model of RFC 1122 section 3.3.4.2, as Linux has it).
//
// The methods may be called concurrently. A program keeps working after Close of the Own that it was loaded with.
type Own struct {
	mu      sync.Mutex
	entries *ebpf.Map
	filter  *ebpf.Map               // one element, a filter of entries
	stored  map[netip.Addr]struct{} // what entries holds
	max     int
}

// NewOwn makes an empty set with room for max addresses; 0 stands for 1024. Beyond a few thousand the program becomes
// slower, because its filter (see filter) lets too many strangers through to the hash.
func NewOwn(max int) (*Own, error) {
	if max <= 0 {
		max = ownAddressesMax
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise RLIMIT_MEMLOCK, which kernels before 5.11 need: %w", explain(err))
	}
	spec, err := loadBpf()
	if err != nil {
		return nil, fmt.Errorf("read BPF object: %w", err)
	}
	// Additions go before removals, so there must be room for a whole set beside a whole other set.
	spec.Maps[bpfMapOwn].MaxEntries = uint32(2 * max)
	entries, err := ebpf.NewMap(spec.Maps[bpfMapOwn])
	if err != nil {
		return nil, fmt.Errorf("create map of own addresses: %w", explain(err))
	}
	bits, err := ebpf.NewMap(spec.Maps[bpfMapOwnFilter])
	if err != nil {
		return nil, fmt.Errorf("create filter of own addresses: %w", errors.Join(explain(err), entries.Close()))
	}
	return &Own{entries: entries, filter: bits, stored: make(map[netip.Addr]struct{}), max: max}, nil
}

// Set makes addrs the whole set: it adds what is missing, then removes what is left over, and touches nothing else, so
// that an address which stays is never missing for a moment. Duplicates, zones and the order do not matter, and an
// IPv4-mapped address is that IPv4 address.
//
// After an error the set lies between the old and the new one, and the next call carries on from there.
func (o *Own) Set(addrs []netip.Addr) error {
	o.mu.Lock()
	defer o.mu.Unlock()

	want := make(map[netip.Addr]struct{}, len(addrs))
	for _, a := range addrs {
		a = a.Unmap().WithZone("")
		if !a.IsValid() || a.IsLinkLocalUnicast() && a.Is6() {
			continue // the program gives fe80::/10 to the kernel without asking
		}
		want[a] = struct{}{}
	}
	if len(want) > o.max {
		return fmt.Errorf("set %d own addresses, room for %d: %w", len(want), o.max, ErrTooManyAddresses)
	}
	for a := range want {
		if _, ok := o.stored[a]; ok {
			continue
		}
		if err := o.entries.Put(a.As16(), uint8(1)); err != nil {
			return fmt.Errorf("add own address %v: %w", a, explain(err))
		}
		o.stored[a] = struct{}{}
	}
	// Now the hash knows them all, and the filter lets the new set take effect. While it is copied, a bit that is set
	// before and after stays set.
	var f filter
	for a := range want {
		f.add(a)
	}
	if err := o.filter.Put(uint32(0), f); err != nil {
		return fmt.Errorf("write filter of own addresses: %w", explain(err))
	}
	for a := range o.stored {
		if _, ok := want[a]; ok {
			continue
		}
		if err := o.entries.Delete(a.As16()); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove own address %v: %w", a, explain(err))
		}
		delete(o.stored, a)
	}
	return nil
}

// Close gives the maps back. The programs that were loaded with them keep their reference.
func (o *Own) Close() error { return errors.Join(o.entries.Close(), o.filter.Close()) }

// filter is struct filter of bpf/steer.c: a Bloom filter of one function, which tells the program of most addresses
// that they are not in the hash. 2 KiB stay in the first-level cache; ten addresses let through one stranger in 1,600,
// a thousand one in 17.
type filter [1 << filterBitsLog2 / 64]uint64

const filterBitsLog2 = 14

func (f *filter) add(a netip.Addr) {
	b := a.As16()
	high, low := binary.LittleEndian.Uint64(b[:8]), binary.LittleEndian.Uint64(b[8:])
	h := (high*0x9e3779b97f4a7c15 ^ low) * 0xd6e8feb86659fd93 >> (64 - filterBitsLog2)
	f[h/64] |= 1 << (h % 64)
}
