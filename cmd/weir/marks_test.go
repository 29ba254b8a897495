package main

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
	"weir/policy/packet"
)

// marking stamps, drops and rejects; what it marks leaves by em2, the rest by em1.
const marking = `
sets: {voice: [5000-5099]}
tags: {fast: 0x10/0xf0}
tables:
  main: {id: 254, routes: [{to: 203.0.113.0/24, via: 10.0.1.2}, {to: "2001:db8:5::/48", via: "fd00:0:0:1::2"}]}
  fast: {id: 100, routes: [{to: 203.0.113.0/24, via: 10.0.2.2}, {to: "2001:db8:5::/48", via: "fd00:0:0:2::2"}]}
marks:
  main:
    - {match: {proto: udp, dport: $voice}, then: [{tag: fast}, {dscp: ef}]}
    - {match: {proto: [tcp, udp], dport: 23}, then: [reject]}
    - {match: {dport: 24}, then: [drop]}
rules:
  - {priority: 100, tagged: fast, lookup: fast}
`

// TestMarks: what the program leaves chooses the way and is written into the packet, which is whole after that even where
// it had to wait for its next hop.
func TestMarks(t *testing.T) {
	n := newNetwork(t, "em0", "em1", "em2")
	w := n.start(n.config(marking))
	from, plain, fast := n.ends[0], n.ends[1], n.ends[2]
	from.watch()
	plain.watch()
	fast.watch()
	id := uint32(0)
	for _, dst := range []string{"203.0.113.9", "2001:db8:5::9"} {
		dst := netip.MustParseAddr(dst)
		for _, c := range []struct {
			dport    uint16
			to       *end
			tos, out uint8
		}{
			{5000, fast, 0x03, 0xbb}, // ECN stays
			{5099, fast, 0xb8, 0xb8},
			{5100, plain, 0x2b, 0x2b},
		} {
			id++
			from.sent(spec{src: from.addr(dst), dst: dst, dport: c.dport, tos: c.tos, id: id})
			got := c.to.frames.await(t, "packet to "+c.to.port, is(id))
			if k := parsed(t, got); k.TOS != c.out || k.TTL != 63 {
				t.Errorf("to %s port %d: tos %#x, ttl %d, expected tos %#x", dst, c.dport, k.TOS, k.TTL, c.out)
			}
			if err := lab.VerifyChecksums(got); err != nil {
				t.Errorf("to %s port %d: %v", dst, c.dport, err)
			}
		}
		id++
		from.sent(spec{src: from.addr(dst), dst: dst, dport: 24, id: id})
	}
	if s := w.rest(); s.Totals.Drops[packet.MarkDrop.String()] != 2 {
		t.Errorf("drops: %v", s.Totals.Drops)
	}
}

// TestMarksReject: a host's own stack understands the answers, TCP a reset from its peer, UDP that nobody listens there.
func TestMarksReject(t *testing.T) {
	n := newNetwork(t, "em0", "em1", "em2")
	w := n.start(n.config(marking))
	from, to := n.ends[0], n.ends[1]
	from.watch()
	families(t, func(t *testing.T, like netip.Addr) {
		id, kind, code := uint32(4), packet.ICMPUnreachable, packet.ICMPPortUnreachable
		if like.Is6() {
			id, kind, code = 6, packet.ICMPv6Unreachable, packet.ICMPv6PortUnreachable
		}
		if _, err := from.SendTCP(testContext(t), lab.TCPOptions{To: netip.AddrPortFrom(to.addr(like), 23), Bytes: 1}); !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("connection: %v, expected that it is refused", err)
		}
		reset := parsed(t, from.frames.await(t, "reset", func(frame []byte) bool {
			var k packet.Key
			return packet.Parse(frame, &k) == packet.None && k.Proto == packet.ProtoTCP && k.TCPFlags&packet.TCPReset != 0 && k.SrcAddr() == to.addr(like)
		}))
		if reset.SrcPort != 23 || reset.TTL != 64 {
			t.Errorf("reset %+v", reset)
		}

		from.sent(spec{src: from.addr(like), dst: to.addr(like), dport: 23, id: id, tos: 0x28})
		got := from.frames.await(t, "error", is(id))
		if k := parsed(t, got); k.ICMPType != kind || k.ICMPCode != code || k.SrcAddr() != from.gateway(like) {
			t.Errorf("%d/%d from %s", k.ICMPType, k.ICMPCode, k.SrcAddr())
		}
		if err := lab.VerifyChecksums(got); err != nil {
			t.Error(err)
		}
	})
	if s := w.rest(); s.Totals.Drops[packet.MarkReject.String()] != 4 || s.Totals.Generated != 4 {
		t.Errorf("generated %d, drops %v", s.Totals.Generated, s.Totals.Drops)
	}
}
