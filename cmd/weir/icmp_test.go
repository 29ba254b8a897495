package main

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"

	"weir/perf/lab"
	"weir/policy/packet"
)

// refusing routes to every kind of error; what is routed leaves by em1, whose MTU is small. A sender gets as many as it
// deserves.
const refusing = `
system: {icmp: {per-destination: {rate: 0}}}
tables:
  main:
    id: 254
    routes:
      - {to: 203.0.113.0/26, via: 10.0.1.2}
      - {to: 203.0.113.64/26, type: prohibit}
      - {to: 203.0.113.128/26, type: unreachable}
      - {to: 203.0.113.192/26, via: 10.0.1.2, mtu: 600}
      - {to: "2001:db8:5:0::/64", via: "fd00:0:0:1::2"}
      - {to: "2001:db8:5:1::/64", type: prohibit}
      - {to: "2001:db8:5:2::/64", type: unreachable}
      - {to: "2001:db8:5:3::/64", via: "fd00:0:0:1::2", mtu: 1290}
`

func newRefusing(t *testing.T) (n *network, from, to *end) {
	n = newNetworkOf(t, endOptions{name: "em0"}, endOptions{name: "em1", config: "mtu: 1400"})
	return n, n.ends[0], n.ends[1]
}

// TestICMPErrors: each comes with the right type, code and MTU, from the port's own address, quotes the packet as it
// was sent, and has right checksums.
func TestICMPErrors(t *testing.T) {
	n, from, _ := newRefusing(t)
	w := n.start(n.config(refusing))
	addr := netip.MustParseAddr
	id := uint32(0)
	for _, c := range []struct {
		what       string
		s          spec
		kind, code uint8
		mtu        uint32
	}{
		{"TTL 1", spec{dst: addr("203.0.113.9"), ttl: 1}, 11, 0, 0},
		{"TTL 1, of TCP", spec{dst: addr("203.0.113.9"), ttl: 1, proto: layers.IPProtocolTCP, dport: 80}, 11, 0, 0},
		{"TTL 1, of a ping", spec{dst: addr("203.0.113.9"), ttl: 1, proto: layers.IPProtocolICMPv4}, 11, 0, 0},
		{"TTL 1, of a first fragment", spec{dst: addr("203.0.113.9"), ttl: 1, fragment: packet.FragmentFirst}, 11, 0, 0},
		{"TTL 1, with options", spec{dst: addr("203.0.113.9"), ttl: 1, options: []layers.IPv4Option{{OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}}, 11, 0, 0},
		{"TTL 1, long", spec{dst: addr("203.0.113.9"), ttl: 1, payload: 1400}, 11, 0, 0},
		{"prohibited", spec{dst: addr("203.0.113.70")}, 3, 13, 0},
		{"unreachable", spec{dst: addr("203.0.113.130")}, 3, 1, 0},
		{"no route", spec{dst: addr("198.51.100.1")}, 3, 0, 0},
		{"too big for the port", spec{dst: addr("203.0.113.9"), df: true, payload: 1440}, 3, 4, 1400},
		{"too big for the route", spec{dst: addr("203.0.113.200"), df: true, payload: 1000}, 3, 4, 600},
		{"hop limit 1", spec{dst: addr("2001:db8:5::9"), ttl: 1}, 3, 0, 0},
		{"hop limit 1, of TCP", spec{dst: addr("2001:db8:5::9"), ttl: 1, proto: layers.IPProtocolTCP}, 3, 0, 0},
		{"hop limit 1, of a ping", spec{dst: addr("2001:db8:5::9"), ttl: 1, proto: layers.IPProtocolICMPv6}, 3, 0, 0},
		{"hop limit 1, long", spec{dst: addr("2001:db8:5::9"), ttl: 1, payload: 1300}, 3, 0, 0},
		{"prohibited", spec{dst: addr("2001:db8:5:1::9")}, 1, 1, 0},
		{"unreachable", spec{dst: addr("2001:db8:5:2::9")}, 1, 0, 0},
		{"no route", spec{dst: addr("2001:db8:77::1")}, 1, 0, 0},
		{"too big for the port", spec{dst: addr("2001:db8:5::9"), payload: 1400}, 2, 0, 1400},
		{"too big for the route", spec{dst: addr("2001:db8:5:3::9"), payload: 1300}, 2, 0, 1290},
	} {
		id++
		c.s.id, c.s.src, c.s.tos = id, from.addr(c.s.dst), 0x28
		sent := from.frame(c.s)
		from.send(sent)
		got := from.frames.await(t, c.what, is(id))
		if err := lab.VerifyChecksums(got); err != nil {
			t.Errorf("%s: %v", c.what, err)
		}
		k := parsed(t, got)
		if k.ICMPType != c.kind || k.ICMPCode != c.code || k.SrcAddr() != from.gateway(c.s.dst) || k.DstAddr() != c.s.src {
			t.Errorf("%s to %s: %d/%d from %s to %s, expected %d/%d from %s", c.what, c.s.dst, k.ICMPType, k.ICMPCode, k.SrcAddr(), k.DstAddr(),
				c.kind, c.code, from.gateway(c.s.dst))
		}
		message := got[k.L4:]
		if info := binary.BigEndian.Uint32(message[4:]); info != c.mtu {
			t.Errorf("%s: second word %d, expected %d", c.what, info, c.mtu)
		}
		// RFC 1812 section 4.3.2.3: as much as fits 576 bytes; RFC 4443 section 3.1: 1,280.
		most := 576
		if k.Family == packet.IPv6 {
			most = 1280
		}
		whole := sent[packet.EthernetHeaderLen:]
		quoted := got[int(k.L4)+8 : k.L3()+int(k.Length)]
		if want := whole[:min(len(whole), most-(int(k.L4)-k.L3())-8)]; !bytes.Equal(quoted, want) {
			t.Errorf("%s: quoted\n%x, expected\n%x", c.what, quoted, want)
		}
	}
	if s := w.rest(); s.Totals.Generated != uint64(id) || s.Totals.Received != uint64(id) {
		t.Errorf("%d packets sent, counted %+v", id, s.Totals)
	}
}

// TestTraceroute: a host's own stack understands the answers.
func TestTraceroute(t *testing.T) {
	n, from, to := newRefusing(t)
	n.start(n.config(""))
	n.warm([2]*end{from, to})
	families(t, func(t *testing.T, like netip.Addr) {
		echo := must[lab.Echo](t)(from.Ping(testContext(t), lab.PingOptions{To: to.addr(like), IPOptions: lab.IPOptions{TTL: 1}}))
		if echo.Error == nil || echo.From != from.gateway(like) || echo.Error.Quoted.HeaderTTL != 1 {
			t.Errorf("TTL 1: %+v, %v", echo, echo.Error)
		}
		if echo := n.ping(from, to.addr(like)); echo.TTL != 63 {
			t.Errorf("TTL %d, expected 63", echo.TTL)
		}
	})
}

// TestNoErrorAbout: of the packets that RFC 1812 section 4.3.2.7 and RFC 4443 section 2.4 (e) name.
func TestNoErrorAbout(t *testing.T) {
	n, from, to := newRefusing(t)
	w := n.start(n.config(refusing))
	to.watch()
	v4, v6 := netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("2001:db8:77::1") // no route
	specs := []spec{
		{dst: v4, proto: layers.IPProtocolICMPv4, icmp: 3<<8 | 1},
		{dst: v4, proto: layers.IPProtocolICMPv4, icmp: 11 << 8},
		{dst: v4, proto: layers.IPProtocolICMPv4, icmp: 5 << 8},
		{dst: v4, fragment: packet.FragmentLater},
		{dst: v4, fragment: packet.FragmentLater, ttl: 1},
		{dst: v4, src: netip.MustParseAddr("0.1.2.3")},
		{dst: v6, proto: layers.IPProtocolICMPv6, icmp: 1 << 8},
		{dst: v6, proto: layers.IPProtocolICMPv6, icmp: 3 << 8},
		{dst: v6, fragment: packet.FragmentLater},
		{dst: netip.MustParseAddr("224.1.2.3"), ttl: 1},
		{dst: netip.MustParseAddr("ff0e::1:2"), ttl: 1},
	}
	for i := range specs {
		s := &specs[i]
		if s.id = uint32(i + 1); !s.src.IsValid() {
			s.src = from.addr(s.dst)
		}
		from.sent(*s)
	}
	// The same packet in a broadcast frame.
	broadcast := from.frame(spec{src: from.addr4(), dst: v4, id: 100})
	copy(broadcast, bytes.Repeat([]byte{0xff}, 6))
	from.send(broadcast)
	n.settle(w)
	for i, s := range specs {
		if got := from.frames.having(s.id) + to.frames.having(s.id); got != 0 && s.src != netip.MustParseAddr("0.1.2.3") {
			t.Errorf("packet %d %+v: %d answers", i, s, got)
		}
	}
	if from.frames.having(100) != 0 {
		t.Error("an answer to a broadcast frame")
	}
	s := w.look()
	if s.Totals.ICMPUnsent < 8 {
		t.Errorf("counted %d errors that may not be sent, expected at least 8", s.Totals.ICMPUnsent)
	}
}

// TestRateLimit: errors are limited to a burst of 50 and 1,000 a second.
func TestRateLimit(t *testing.T) {
	n, from, to := newRefusing(t)
	w := n.start(n.config(refusing))
	n.warm([2]*end{from, to})
	const flood = 5000
	frame := from.frame(spec{src: from.addr4(), dst: netip.MustParseAddr("203.0.113.9"), ttl: 1, id: 7})
	start := time.Now()
	for range flood {
		from.send(frame)
	}
	n.settle(w)
	s := w.look()
	most := 50 + 1000*time.Since(start).Seconds() + 1
	got := from.frames.having(7)
	if got == 0 || float64(got) > most {
		t.Errorf("%d errors, expected at most %.0f", got, most)
	}
	if s.Totals.Generated != uint64(got) || s.Totals.Generated+s.Totals.ICMPLimited != flood || s.Totals.Drops["ttl-exceeded"] != flood {
		t.Errorf("%d errors arrived, counted: %+v", got, s.Totals)
	}
	if got > flood/2 && !raceEnabled {
		t.Errorf("%d errors about %d packets", got, flood)
	}
}

// TestSenderLimit: errors to one sender are limited to a burst of 6 and one a second, but for those about the MTU; another
// sender has a limit of its own.
func TestSenderLimit(t *testing.T) {
	n, from, _ := newRefusing(t)
	need(t, from.AddAddress(hostPort, "10.0.0.3/24"))
	w := n.start(n.config(""))
	n.warm([2]*end{from, n.ends[1]})
	start := time.Now()
	const flood, few = 20, 8 // all that is answered is within the burst of the port
	send := func(n int, s spec) {
		for range n {
			from.sent(s)
		}
	}
	other := netip.MustParseAddr("10.0.0.3")
	send(flood, spec{src: from.addr4(), dst: n.ends[1].addr4(), ttl: 1, id: 1})
	send(flood, spec{src: other, dst: n.ends[1].addr4(), ttl: 1, id: 2})
	send(flood, spec{src: from.addr6(), dst: n.ends[1].addr6(), ttl: 1, id: 3})
	send(few, spec{src: from.addr4(), dst: n.ends[1].addr4(), df: true, payload: 1440, id: 4})
	send(few, spec{src: from.addr6(), dst: n.ends[1].addr6(), payload: 1440, id: 5})
	n.settle(w)
	more := int(time.Since(start).Seconds()) + 1
	sum := 0
	for id := range uint32(5) {
		got, least, most := from.frames.having(id+1), 6, 6+more
		if id >= 3 {
			least, most = few, few
		}
		if got < least || got > most {
			t.Errorf("packet %d: %d errors, expected %d to %d", id+1, got, least, most)
		}
		sum += got
	}
	if s := w.look(); s.Totals.Generated != uint64(sum) || s.Totals.ICMPSpared != uint64(3*flood+2*few-sum) || s.Totals.ICMPLimited != 0 {
		t.Errorf("%d errors arrived, counted: %+v", sum, s.Totals)
	}
}
