package main

import (
	"net/netip"
	"testing"

	"weir/policy/packet"
)

// backwards is for a strict port em0 and a loose one em1: everybody is behind wan0, but for two networks behind em0, and two
// that there is no way to.
const backwards = `
tables:
  main:
    id: 254
    routes:
      - {to: default, via: 10.0.2.2}
      - {to: default, via: "fd00:0:0:2::2"}
      - {to: 203.0.113.0/24, via: 10.0.0.2}
      - {to: "2001:db8:5::/48", via: "fd00::2"}
      - {to: 198.18.0.0/15, type: blackhole}
      - {to: "2001:db8:f0::/48", type: blackhole}
`

// TestReversePath: packets whose source is elsewhere are dropped without a word, and counted.
func TestReversePath(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "reverse-path: strict"}, endOptions{name: "em1", config: "reverse-path: loose"},
		endOptions{name: "wan0"})
	w := n.start(n.config(backwards))
	em0, em1, wan0 := n.ends[0], n.ends[1], n.ends[2]
	n.warm([2]*end{em0, wan0}, [2]*end{em1, wan0})
	for _, e := range n.ends {
		e.watch()
	}
	want := map[uint32]string{} // by id: what becomes of it
	var dropped uint64
	for _, c := range []struct {
		from     *end
		src, dst string
		passes   bool
	}{
		{em0, "203.0.113.5", "192.0.2.1", true},
		{em0, "10.0.0.77", "192.0.2.1", true},
		{em0, "9.9.9.9", "192.0.2.1", false},
		{em0, "10.0.1.2", "192.0.2.1", false},
		{em0, "198.18.0.1", "192.0.2.1", false},
		{em1, "203.0.113.5", "192.0.2.1", true},
		{em1, "9.9.9.9", "192.0.2.1", true},
		{em1, "198.18.0.1", "192.0.2.1", false},
		{wan0, "198.18.0.1", "10.0.0.2", true},
		{em0, "2001:db8:5::5", "2001:db8:7::1", true},
		{em0, "2001:db8:9::5", "2001:db8:7::1", false},
		{em0, "fd00:0:0:1::2", "2001:db8:7::1", false},
		{em1, "2001:db8:9::5", "2001:db8:7::1", true},
		{em1, "2001:db8:f0::5", "2001:db8:7::1", false},
	} {
		id := uint32(len(want) + 1)
		want[id] = outcome{}.String()
		if c.passes {
			want[id] = outcome{port: map[bool]string{true: "em0", false: "wan0"}[c.from == wan0]}.String()
		} else {
			dropped++
		}
		c.from.sent(spec{src: netip.MustParseAddr(c.src), dst: netip.MustParseAddr(c.dst), proto: 253, id: id})
	}
	n.settle(w)
	got := n.outcomes()
	for id := range want {
		if got[id].String() != want[id] {
			t.Errorf("packet %d %v, expected: %s", id, got[id], want[id])
		}
	}
	if drops := w.look().Totals.Drops[packet.ReversePath.String()]; drops != dropped {
		t.Errorf("%d drops of reason reverse-path, expected %d", drops, dropped)
	}

	em0.options[len(em0.options)-1] = `reverse-path: "off"`
	w.write(n.config(backwards))
	w.reload()
	em0.sent(spec{src: netip.MustParseAddr("9.9.9.9"), dst: netip.MustParseAddr("192.0.2.1"), proto: 253, id: 100})
	wan0.frames.await(t, "packet from elsewhere, without the check", is(100))
}
