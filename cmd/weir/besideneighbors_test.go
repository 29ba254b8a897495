package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"
)

// TestBesideUnresolved: packets to a neighbour that does not answer wait for the kernel to give up, which it does for weir
// as it does for itself; then their senders are told the same.
func TestBesideUnresolved(t *testing.T) {
	kernel, beside := newBeside(t), newBeside(t)
	kernel.startKernel()
	w := beside.start(besideConfig(beside))
	const packets = 4
	var saw [2][][]byte
	told := map[string]int{} // in the end by weir
	for i, n := range []*network{kernel, beside} {
		for _, family := range []string{"ipv4", "ipv6"} { // soon
			need(t, n.router.SetSysctl("net/"+family+"/neigh/em1/retrans_time_ms", "50"))
		}
		from := n.ends[0]
		from.watch()
		id := uint32(0)
		for _, dst := range []string{"10.0.1.200", "fd00:0:0:1::200"} {
			for range packets {
				dst := netip.MustParseAddr(dst)
				from.sent(spec{src: from.addr(dst), dst: dst, id: id, tos: 0x2a, sport: 7, dport: 9})
				id++
			}
		}
		eventually(t, "all senders are told", func() (bool, any) {
			saw[i] = nil
			clear(told)
			for _, f := range from.frames.all() {
				if got, ok := idOf(f.Data); ok && got < id {
					k := parsed(t, f.Data)
					told[fmt.Sprintf("%d/%d from %s", k.ICMPType, k.ICMPCode, k.SrcAddr())]++
					saw[i] = append(saw[i], withoutID(t, f.Data))
				}
			}
			return len(saw[i]) >= int(id), len(saw[i])
		})
		slices.SortFunc(saw[i], bytes.Compare)
	}
	if !slices.EqualFunc(saw[0], saw[1], bytes.Equal) {
		t.Errorf("Linux %x\nweir  %x", saw[0], saw[1])
	}
	if want := map[string]int{"3/1 from 10.0.0.1": packets, "1/3 from fd00::1": packets}; fmt.Sprint(told) != fmt.Sprint(want) {
		t.Errorf("told %v, expected %v", told, want)
	}
	if s := w.rest().Totals; s.Drops["neighbor-failed"] != 2*packets {
		t.Errorf("counted %+v", s)
	}
}
