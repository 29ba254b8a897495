package main

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"weir/policy/packet"
)

// fixIPv4 makes the checksum of the IPv4 header at offset 14 right again.
func fixIPv4(f []byte) []byte {
	h := f[14:]
	if n := int(h[0]&15) * 4; n <= len(h) {
		h = h[:n]
	}
	binary.BigEndian.PutUint16(h[10:], 0)
	binary.BigEndian.PutUint16(h[10:], packet.Checksum(packet.Sum(0, h)))
	return f
}

// withOptions replaces the IPv4 header by one with these options, whose length is a multiple of four.
func withOptions(f []byte, options ...byte) []byte {
	g := append(append(append([]byte(nil), f[:34]...), options...), f[34:]...)
	g[14] = byte(0x45 + len(options)/4)
	binary.BigEndian.PutUint16(g[16:], uint16(len(g)-14))
	return fixIPv4(g)
}

// withExtensions puts IPv6 extension headers, each named and eight bytes long, in front of what the packet holds.
func withExtensions(f []byte, kinds ...byte) []byte {
	last := f[20]
	g := append([]byte(nil), f[:54]...)
	for i := range kinds {
		next := last
		if i+1 < len(kinds) {
			next = kinds[i+1]
		}
		g = append(g, next, 0, 1, 4, 0, 0, 0, 0)
	}
	g = append(g, f[54:]...)
	g[20] = kinds[0]
	binary.BigEndian.PutUint16(g[18:], uint16(len(g)-54))
	return g
}

// TestMalformed: what cannot be believed is dropped under the right name, or left to the kernel, and never forwarded.
func TestMalformed(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "vlans: {100: {name: guests}}"}, endOptions{name: "em1"})
	w := n.start(n.config(""))
	from, to := n.ends[0], n.ends[1]
	from.watch()
	to.watch()
	n.warm([2]*end{from, to})
	v4 := func(tags ...uint16) []byte {
		return from.frame(spec{src: from.addr4(), dst: to.addr4(), id: 1, sport: 9, dport: 9, tags: tags})
	}
	v6 := func() []byte { return from.frame(spec{src: from.addr6(), dst: to.addr6(), id: 1, sport: 9, dport: 9}) }
	edit := func(f []byte, at int, b ...byte) []byte {
		copy(f[at:], b)
		return f
	}
	linkLocal := from.linkLocal()
	many := make([]byte, packet.MaxExtensionHeaders+1)
	for i := range many {
		many[i] = 60 // destination options
	}
	const kernel = "the kernel, as "
	for _, c := range []struct {
		what, reason string
		frame        []byte
	}{
		{"header cut short", kernel + "unparsable", v4()[:30]},
		{"IPv6 header cut short", kernel + "unparsable", v6()[:50]},
		{"options cut short", "truncated", edit(v4()[:34], 14, 0x4f)},
		{"ARP", kernel + "not-ip", edit(v4(), 12, 0x08, 0x06)},
		{"three tags", kernel + "not-ip", v4(1, 2, 3)},
		{"tag cut short", kernel + "unparsable", v4(100)[:16]},
		{"IPv6 called IPv4", kernel + "unparsable", edit(v6(), 12, 0x08, 0x00)},
		{"IPv4 called IPv6", kernel + "unparsable", edit(v4(), 12, 0x86, 0xdd)},
		{"header of four words", kernel + "unparsable", fixIPv4(edit(v4(), 14, 0x44))},
		{"checksum", "bad-checksum", edit(v4(), 24, 0x12, 0x34)},
		{"longer than the frame", "bad-total-length", fixIPv4(edit(v4(), 16, 0x05, 0x00))},
		{"shorter than its header", "bad-total-length", fixIPv4(edit(v4(), 16, 0, 19))},
		{"IPv6 longer than the frame", "bad-total-length", edit(v6(), 18, 0x05, 0x00)},
		{"option without a length", "bad-option", withOptions(v4(), 1, 1, 1, 7)},
		{"option of length 0", "bad-option", withOptions(v4(), 7, 0, 0, 0)},
		{"option beyond the header", "bad-option", withOptions(v4(), 7, 9, 0, 0)},
		{"hop-by-hop header beyond the packet", "bad-option", edit(withExtensions(v6(), 0), 55, 200)},
		{"loose source route", "source-route", withOptions(v4(), 131, 3, 4, 0)},
		{"strict source route", "source-route", withOptions(v4(), 137, 3, 4, 0)},
		{"endless headers", "too-many-headers", withExtensions(v6(), many...)},
		{"VLAN that nobody has", "unknown-vlan", v4(101)},
		{"two tags", "unknown-vlan", v4(100, 100)},
		{"source 127.0.0.1", "martian", fixIPv4(edit(v4(), 26, 127, 0, 0, 1))},
		{"destination 127.9.9.9", "martian", fixIPv4(edit(v4(), 30, 127, 9, 9, 9))},
		{"the kernel's own 127.0.0.1", kernel + "own-address", fixIPv4(edit(v4(), 30, 127, 0, 0, 1))},
		{"source of a multicast", "martian", fixIPv4(edit(v4(), 26, 224, 0, 0, 1))},
		{"source is the router's", "own-source", fixIPv4(edit(v4(), 26, 10, 0, 0, 1))},
		{"link-local source to another link", "beyond-scope", from.frame(spec{src: linkLocal, dst: to.addr6(), id: 2})},
	} {
		before := w.rest()
		from.send(c.frame)
		n.settle(w)
		after := w.rest()
		port := 0
		for i, p := range after.Ports {
			if p.Name == from.port {
				port = i
			}
		}
		found := ""
		for reason, k := range after.Totals.Drops {
			if k > before.Totals.Drops[reason] {
				found += reason
			}
		}
		class, toKernel := c.reason[:0], false
		if len(c.reason) > len(kernel) && c.reason[:len(kernel)] == kernel {
			class, toKernel = c.reason[len(kernel):], true
		}
		switch {
		case toKernel && (found != "" || after.Ports[port].Steered[class] == before.Ports[port].Steered[class]):
			t.Errorf("%s: not left to the kernel as %s: dropped %q, steered %v before, %v after", c.what, class, found,
				before.Ports[port].Steered, after.Ports[port].Steered)
		case !toKernel && found != c.reason:
			t.Errorf("%s: dropped as %q, expected %q", c.what, found, c.reason)
		}
		if to.frames.having(1) > 0 {
			t.Fatalf("%s: forwarded", c.what)
		}
	}
	// RFC 4443 section 3.1: the error goes back over the link that the packet came from.
	scope := parsed(t, from.frames.await(t, "error about a link-local source", is(2)))
	if scope.ICMPType != 1 || scope.ICMPCode != 2 || scope.DstAddr() != linkLocal {
		t.Errorf("link-local source: %d/%d to %s", scope.ICMPType, scope.ICMPCode, scope.DstAddr())
	}
	// They are counted, and forwarded, what was built is sound otherwise.
	good := []uint32{11, 12, 13, 14}
	for _, f := range [][]byte{
		from.frame(spec{src: from.addr4(), dst: to.addr4(), id: good[0], tags: []uint16{0}}), // a tag for its priority only
		withOptions(from.frame(spec{src: from.addr4(), dst: to.addr4(), id: good[1]}), 1, 1, 1, 0),
		withExtensions(from.frame(spec{src: from.addr6(), dst: to.addr6(), id: good[2]}), many[1:]...),
		append(from.frame(spec{src: from.addr4(), dst: to.addr4(), id: good[3]}), make([]byte, 20)...), // padding
	} {
		from.send(f)
	}
	n.settle(w)
	for _, id := range good {
		if to.frames.having(id) != 1 {
			t.Errorf("sound packet %d arrived %d times", id, to.frames.having(id))
		}
	}
}

// TestMutatedFrames: whatever comes in, the router lives, and accounts for it.
func TestMutatedFrames(t *testing.T) {
	n := newNetworkOf(t, endOptions{name: "em0", config: "vlans: {100: {name: guests}}"}, endOptions{name: "em1"})
	w := n.start(n.config("tables: {main: {id: 254, routes: [{to: 0.0.0.0/0, via: 10.0.1.2}, {to: \"::/0\", via: \"fd00:0:0:1::2\"}]}}\n"))
	from, to := n.ends[0], n.ends[1]
	to.watch()
	n.warm([2]*end{from, to})
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	bases := from.bases(to)
	for i := range 20_000 {
		from.send(mutated(r, bases[i%len(bases)]))
	}
	s := w.rest()
	if s.Totals.Received == 0 || s.Totals.Dropped == 0 || s.Totals.Transmitted == 0 {
		t.Errorf("counted %+v", s.Totals)
	}
	n.ping(from, to.addr4())
	n.ping(from, to.addr6())
}

// bases are sound frames of every kind, through the router to another host and to networks behind it.
func (e *end) bases(to *end) [][]byte {
	behind4, behind6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8::1")
	v4 := func(s spec) []byte {
		s.src, s.sport, s.dport = e.addr4(), 9, 9
		if !s.dst.IsValid() {
			s.dst = to.addr4()
		}
		return e.frame(s)
	}
	v6 := func(s spec) []byte {
		s.src, s.sport, s.dport = e.addr6(), 9, 9
		if !s.dst.IsValid() {
			s.dst = to.addr6()
		}
		return e.frame(s)
	}
	return [][]byte{
		v4(spec{}), v6(spec{}), v4(spec{proto: 6}), v6(spec{proto: 6}),
		v4(spec{dst: behind4, proto: 6, tags: []uint16{100}}), v6(spec{dst: behind6, tags: []uint16{100}}),
		v4(spec{dst: behind4, tags: []uint16{200, 300}}), v6(spec{dst: behind6, tags: []uint16{200, 300}}),
		v4(spec{dst: behind4, proto: 1, ttl: 1}), v6(spec{dst: behind6, proto: 58, ttl: 1}),
		withOptions(v4(spec{}), 7, 7, 4, 0, 0, 0, 0, 0), withOptions(v4(spec{dst: behind4, payload: 1400}), 68, 8, 5, 0, 0, 0, 0, 0),
		withExtensions(v6(spec{}), 0, 60, 44, 43), withExtensions(v6(spec{dst: behind6}), 0, 60, 51, 135),
		v4(spec{fragment: packet.FragmentFirst}), v4(spec{fragment: packet.FragmentLater}),
		v6(spec{fragment: packet.FragmentFirst}), v6(spec{fragment: packet.FragmentLater}),
		v4(spec{payload: 1400}), v6(spec{payload: 1400}),
	}
}

// mutated is a frame that has been tampered with, or cut, or whose packet is random.
func mutated(r *rand.Rand, base []byte) []byte {
	f := append([]byte(nil), base...)
	if r.IntN(16) == 0 {
		for i := range f[18:] {
			f[18+i] = byte(r.Uint32())
		}
		return f[:14+r.IntN(len(f)-13)]
	}
	for range 1 + r.IntN(4) {
		switch at := 12 + r.IntN(len(f)-12); r.IntN(4) {
		case 0:
			f[at] ^= 1 << r.IntN(8)
		case 1:
			f[at] = byte(r.Uint32())
		case 2:
			f = f[:max(at, 15)]
		default:
			f[min(at, 12+r.IntN(50))] = []byte{0, 0xff, 0x7f, 0x80}[r.IntN(4)]
		}
	}
	if r.IntN(2) == 0 && len(f) >= 34 && f[12] == 8 && f[14] >= 0x45 && f[14] <= 0x4f { // so that more get further
		fixIPv4(f)
	}
	return f
}
