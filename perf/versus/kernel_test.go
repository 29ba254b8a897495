package versus

import (
	"net/netip"
	"os"
	"slices"
	"testing"

	"weir/perf/lab"
)

// TestKernel asks tables of both families, and rules of everything that they may look at.
func TestKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("makes network namespaces: run the test as root")
	}
	prefixes := func(list ...string) (p []netip.Prefix) {
		for _, text := range list {
			p = append(p, netip.MustParsePrefix(text))
		}
		return p
	}
	addr := netip.MustParseAddr
	for _, c := range []struct {
		routes  []netip.Prefix
		rules   []lab.Rule // of next hop 10 and on
		packets []Packet
		want    []int
	}{
		{routes: prefixes("20.0.0.0/8", "20.1.0.0/16"), packets: []Packet{{Dst: addr("20.0.0.1")}, {Dst: addr("20.1.2.3")}, {Dst: addr("21.0.0.1")}}, want: []int{0, 1, NoRoute}},
		{routes: prefixes("2a00::/16", "2a00:1::/32", "2a00:1::8000:0:0:0/65"),
			packets: []Packet{{Dst: addr("2a00:2::1")}, {Dst: addr("2a00:1::1")}, {Dst: addr("2a00:1::8000:0:0:1")}, {Dst: addr("2b00::1")}}, want: []int{0, 1, 2, NoRoute}},
		{routes: prefixes("20.0.0.0/8"),
			rules: []lab.Rule{{Priority: 1, From: prefixes("10.1.0.0/16")[0]}, {Priority: 2, To: prefixes("20.2.0.0/16")[0], Protocol: 17},
				{Priority: 3, Protocol: 6, DportMin: 80, DportMax: 81}, {Priority: 4, Protocol: 6, SportMin: 1000, SportMax: 1001}},
			packets: []Packet{
				{Src: addr("10.1.2.3"), Dst: addr("20.2.0.1")}, {Src: addr("10.2.0.1"), Dst: addr("20.2.0.1"), Proto: 17},
				{Src: addr("10.2.0.1"), Dst: addr("20.2.0.1"), Proto: 6, Dport: 81}, {Src: addr("10.2.0.1"), Dst: addr("20.2.0.1"), Proto: 6, Dport: 82},
				{Src: addr("10.2.0.1"), Dst: addr("20.2.0.1"), Proto: 6, Sport: 1000, Dport: 82},
			}, want: []int{10, 11, 12, 0, 13}},
	} {
		hops := make([]int, len(c.routes))
		for i := range hops {
			hops[i] = i
		}
		k := NewKernel(t, c.routes, hops, 100)
		for i, r := range c.rules {
			k.AddRule(r, 10+i)
		}
		k.UsePackets(c.packets)
		if took := k.Lookup(); took <= 0 {
			t.Errorf("took %d ns", took)
		}
		if got := k.Answers(); !slices.Equal(got, c.want) {
			t.Errorf("%v: next hops %v, want %v", c.packets, got, c.want)
		}
	}
}
