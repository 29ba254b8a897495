package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
	"weir/policy/packet"
)

// These tests send the same frames through a kernel that routes and through weir, in laboratories that do not differ
// but in that, and compare every byte that comes out.

// besideRoutes are those of both routers.
var besideRoutes = []lab.Route{
	{To: "203.0.113.0/26", Via: "10.0.1.2"}, // em1, whose MTU is 1400
	{To: "203.0.113.64/26", Type: "prohibit"},
	{To: "203.0.113.128/26", Type: "unreachable"},
	{To: "203.0.113.192/26", Via: "10.0.1.2", MTU: 600},
	{To: "198.18.0.0/24", Via: "10.0.0.9"}, // back where packets come from
	{To: "192.0.2.0/24", Via: "10.0.1.2"},  // senders that are not where their packets come from
	{To: "2001:db8:5:0::/64", Via: "fd00:0:0:1::2"},
	{To: "2001:db8:5:1::/64", Type: "prohibit"},
	{To: "2001:db8:5:2::/64", Type: "unreachable"},
	{To: "2001:db8:6::/64", Via: "fe80::9", Device: "em0"},
	{To: "2001:db8:7::/64", Via: "fd00::9", Device: "em0"},
	{To: "2001:db8:99::/64", Via: "fd00:0:0:1::2"},
	{To: "198.51.100.128/26", Type: "blackhole"},
	{To: "198.51.100.64/26", Type: "throw"},
	{To: "2001:db8:5:3::/64", Type: "blackhole"},
	{To: "2001:db8:5:4::/64", Type: "throw"},
}

// gatewayMAC is that of 10.0.0.9, fd00::9 and fe80::9, neighbours on the link of em0.
var gatewayMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// besideNeighbors are all that a router sends to.
func besideNeighbors(n *network) (list []neighbor) {
	add := func(port string, mac net.HardwareAddr, addrs ...string) {
		for _, a := range addrs {
			list = append(list, neighbor{netip.MustParseAddr(a), port, mac})
		}
	}
	from, to := n.ends[0].logical(), n.ends[1].logical()
	add(from, n.ends[0].mac(), "10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "fd00::2", "fd00::3", "fd00::4", "fd00::5", "fd00::6", "fe80::5", "fe80::6")
	add(from, gatewayMAC, "10.0.0.9", "fd00::9", "fe80::9")
	add(to, n.ends[1].mac(), "10.0.1.2", "fd00:0:0:1::2")
	return list
}

type neighbor struct {
	addr netip.Addr
	port string
	mac  net.HardwareAddr
}

// newBeside makes one of the laboratories, whose ports may have VLANs.
func newBeside(t *testing.T, tags ...[]uint16) *network {
	mac := func(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 1, last} }
	ends := []endOptions{
		{name: "em0", lab: lab.LinkOptions{MACA: mac(1), MACB: mac(2), NoMerge: true}},
		{name: "em1", lab: lab.LinkOptions{MACA: mac(3), MACB: mac(4), NoMerge: true}, config: "mtu: 1400"},
	}
	for i, ids := range tags {
		if len(ids) > 0 && ids[0] != 0 {
			ends[i].lab.MTU, ends[i].bare, ends[i].config = 1508, true, "mtu: 1508"
		}
	}
	n := newNetworkOf(t, ends...)
	for i, ids := range tags {
		e := n.ends[i]
		if e.tags = ids; e.logical() == e.port {
			continue
		}
		option := fmt.Sprintf(`addresses: [%s/24, "%s/64"], mtu: %d`, e.gateway4(), e.gateway6(), []int{1500, 1400}[i])
		for _, id := range slices.Backward(ids) {
			option = fmt.Sprintf("vlans: {%d: {%s}}", id, option)
		}
		e.options = append(e.options, option)
	}
	return n
}

// besideConfig is weir's.
func besideConfig(n *network) string {
	var b strings.Builder
	b.WriteString("system: {icmp: {per-destination: {rate: 0}}}\nneighbors:\n")
	for _, x := range besideNeighbors(n) {
		fmt.Fprintf(&b, "  - {address: %q, port: %s, mac: %q}\n", x.addr, x.port, x.mac)
	}
	b.WriteString("tables:\n  main:\n    id: 254\n    routes:\n")
	for _, r := range besideRoutes {
		fmt.Fprintf(&b, "      - {to: %q", r.To)
		if r.Type != "" {
			fmt.Fprintf(&b, ", type: %s", r.Type)
		}
		switch {
		case r.Device != "":
			fmt.Fprintf(&b, ", via: [{gateway: %q, port: %s}]", r.Via, n.end(r.Device).logical())
		case r.Via != "":
			fmt.Fprintf(&b, ", via: %q", r.Via)
		}
		if r.MTU != 0 {
			fmt.Fprintf(&b, ", mtu: %d", r.MTU)
		}
		b.WriteString("}\n")
	}
	b.WriteString(besideTables())
	return n.config(b.String())
}

// startKernel makes the router's own kernel route.
func (n *network) startKernel() {
	n.t.Helper()
	need(n.t, n.router.EnableForwarding())
	for _, s := range [][2]string{
		{"net/ipv4/icmp_ratemask", "0"}, // no type is limited
		{"net/ipv6/icmp/ratelimit", "0"},
		{"net/ipv6/auto_flowlabels", "0"},
		{"net/ipv4/conf/all/shared_media", "0"}, // redirects only to gateways of the sender's subnet
		{"net/ipv4/conf/em0/shared_media", "0"},
		{"net/ipv4/conf/em0/send_redirects", "1"},
	} {
		need(n.t, n.router.SetSysctl(s[0], s[1]))
	}
	for _, e := range n.ends {
		need(n.t, n.router.AddAddress(e.port, e.gateway4().String()+"/24"), n.router.AddAddress(e.port, e.gateway6().String()+"/64"))
	}
	need(n.t, n.router.SetMTU("em1", 1400))
	for _, x := range besideNeighbors(n) {
		need(n.t, n.router.AddNeighbor(x.port, x.addr, x.mac))
	}
	for _, r := range besideRoutes {
		need(n.t, n.router.AddRoute(r))
	}
	n.addRules()
	n.awaitLinkLocal("em0")
}

// awaitLinkLocal waits until the router's link-local address on a port is in use: nobody else has it.
func (n *network) awaitLinkLocal(port string) {
	n.t.Helper()
	eventually(n.t, "the router has a link-local address", func() (ok bool, seen any) {
		need(n.t, n.router.Do(func() error {
			link, err := netlink.LinkByName(port)
			if err != nil {
				return err
			}
			addrs, err := netlink.AddrList(link, unix.AF_INET6)
			for _, a := range addrs {
				ok = ok || a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0
			}
			seen = addrs
			return err
		}))
		return ok, seen
	})
}

// sight is a frame that came out of the router, and where.
type sight struct {
	port  string
	frame []byte
}

func (s sight) String() string { return fmt.Sprintf("%s: %x", s.port, s.frame) }

// through sends a frame to em0, with the tags of that port, and returns what comes out of the router because of it, without
// tags: all that has or quotes its number, or has it for IPv4 identification, flow label or, in a reset, port.
func (n *network) through(frame []byte, id uint32) (seen []sight) {
	n.t.Helper()
	from, to := n.ends[0], n.ends[1]
	from.watch()
	to.watch()
	from.send(from.tagged(frame))
	for _, pair := range [][2]*end{{from, to}, {to, from}} { // behind it, then behind what it brought
		sentinel++
		pair[0].send(pair[0].tagged(pair[0].frame(spec{src: pair[0].addr4(), dst: pair[1].addr4(), id: sentinel, proto: 253})))
		pair[1].frames.await(n.t, "sentinel", is(sentinel))
	}
	for _, e := range n.ends {
		for _, f := range e.frames.all() {
			var k packet.Key
			if reason := packet.Parse(f.Data, &k); reason != packet.None {
				continue // not IP
			}
			got, ok := idOf(f.Data)
			ours := ok && got == id
			switch {
			case ok || k.TTL == 255:
			case k.Proto == packet.ProtoTCP && k.TCPFlags&packet.TCPReset != 0:
				ours = k.DstPort == uint16(id)
			case k.Family == packet.IPv4:
				ours = binary.BigEndian.Uint16(f.Data[k.L3()+4:]) == uint16(id)
			default:
				ours = k.FlowLabel == id
			}
			if ours {
				seen = append(seen, sight{e.port, e.untagged(f.Data)})
			}
		}
	}
	return seen
}

// besideCase is one packet.
type besideCase struct {
	name    string
	s       spec
	edit    func(frame []byte) []byte // of the frame that s describes; may be nil
	want    string                    // what comes out, in short: see outline
	differs string                    // why not all bytes need be the same; the outline must be
	// otherwise is what comes out of weir where that is something else on purpose, which differs says.
	otherwise *string
	bare      bool // nothing but the IP header
	local     bool // the router's kernel answers, or is asked for its link-local address
}

// other says what comes out of weir instead, and why.
func (c *besideCase) other(want, why string) *besideCase {
	c.otherwise, c.differs = &want, why
	return c
}

// hopByHop puts a hop-by-hop header with these options, of 6 or 14 bytes, into an IPv6 frame.
func hopByHop(options ...byte) func([]byte) []byte {
	return func(frame []byte) []byte {
		const l4 = packet.EthernetHeaderLen + packet.IPv6HeaderLen
		header := append([]byte{frame[20], byte(len(options)-6) / 8}, options...)
		out := slices.Concat(frame[:l4], header, frame[l4:])
		out[20] = 0
		binary.BigEndian.PutUint16(out[18:], binary.BigEndian.Uint16(out[18:])+uint16(len(header)))
		return out
	}
}

func groupFrame(frame []byte) []byte {
	copy(frame, bytes.Repeat([]byte{0xff}, 6))
	return frame
}

func besideCases() []besideCase {
	addr := netip.MustParseAddr
	option := func(kind uint8, data ...byte) []layers.IPv4Option {
		return []layers.IPv4Option{{OptionType: kind, OptionLength: uint8(len(data) + 2), OptionData: data}}
	}
	onward, back, routed6, back6 := addr("203.0.113.9"), addr("198.18.0.9"), addr("2001:db8:5::9"), addr("2001:db8:6::9")
	full := append(option(7, 8, 1, 2, 3, 4), option(148, 0, 0)...) // a record route without room, and a router alert
	return []besideCase{
		{name: "forwarded", s: spec{dst: onward}, want: "em1 ip 60"},
		{name: "TTL 1", s: spec{dst: onward, ttl: 1}, want: "em0 11/0 from 10.0.0.1"},
		{name: "TTL 1, with options", s: spec{dst: onward, ttl: 1, options: option(148, 0, 0)}, want: "em0 11/0 from 10.0.0.1"},
		{name: "TTL 1, with a record route", s: spec{dst: onward, ttl: 1, options: full}, want: "em0 11/0 from 10.0.0.1", differs: "Linux's error has it too"},
		{name: "TTL 1, long", s: spec{dst: onward, ttl: 1, payload: 1400}, want: "em0 11/0 from 10.0.0.1"},
		{name: "TTL 1, of a sender elsewhere", s: spec{src: addr("192.0.2.9"), dst: onward, ttl: 1}, want: "em1 11/0 from 10.0.1.1"},
		{name: "TTL 1, of a first fragment", s: spec{dst: onward, ttl: 1, fragment: packet.FragmentFirst}, want: "em0 11/0 from 10.0.0.1"},
		{name: "TTL 1, of a later fragment", s: spec{dst: onward, ttl: 1, fragment: packet.FragmentLater}},
		{name: "TTL 1, of an error", s: spec{dst: onward, ttl: 1, proto: layers.IPProtocolICMPv4, icmp: 3 << 8}},
		{name: "TTL 1, of a ping", s: spec{dst: onward, ttl: 1, proto: layers.IPProtocolICMPv4}, want: "em0 11/0 from 10.0.0.1"},
		{name: "TTL 1, to all", s: spec{dst: onward, ttl: 1}, edit: groupFrame},
		{name: "prohibited", s: spec{dst: addr("203.0.113.70"), tos: 0x28}, want: "em0 3/13 from 10.0.0.1"},
		{name: "unreachable", s: spec{dst: addr("203.0.113.130")}, want: "em0 3/1 from 10.0.0.1"},
		{name: "no route", s: spec{dst: addr("198.51.100.1")}, want: "em0 3/0 from 10.0.0.1"},

		{name: "too big for the port", s: spec{dst: onward, df: true, payload: 1440}, want: "em0 3/4 from 10.0.0.1"},
		{name: "too big for the route", s: spec{dst: addr("203.0.113.200"), df: true, payload: 1000}, want: "em0 3/4 from 10.0.0.1"},
		{name: "fragments", s: spec{dst: onward, payload: 1440}, want: "em1 ip 1396, em1 ip 92"},
		{name: "fragments, many", s: spec{dst: addr("203.0.113.200"), payload: 1440, tos: 0xb8}, want: "em1 ip 596, em1 ip 596, em1 ip 316"},
		{name: "fragments with options", s: spec{dst: addr("203.0.113.200"), payload: 1000, options: full}, want: "em1 ip 600, em1 ip 472"},
		{name: "fragments of a first fragment", s: spec{dst: onward, payload: 1440, fragment: packet.FragmentFirst}, want: "em1 ip 1396, em1 ip 92"},
		{name: "fragments of a later fragment", s: spec{dst: onward, payload: 1440, fragment: packet.FragmentLater}, want: "em1 ip 1396, em1 ip 84"},

		{name: "record route without a pointer", s: spec{dst: onward, options: option(7, 1, 0)}, want: "em0 12/0 from 10.0.0.1"},
		{name: "record route, half full", s: spec{dst: onward, options: option(7, 5, 0, 0, 0, 0)}, want: "em0 12/0 from 10.0.0.1"},
		{name: "timestamp, overflown", s: spec{dst: onward, options: option(68, 9, 0xf0, 0, 0, 0, 0)}, want: "em0 12/0 from 10.0.0.1"},
		{name: "bad option of a later fragment", s: spec{dst: onward, options: option(7, 1, 0), fragment: packet.FragmentLater}},
		{name: "source route", s: spec{dst: onward, options: option(131, 4, 10, 0, 1, 2)}},
		{name: "record route", s: spec{dst: onward, options: option(7, 4, 0, 0, 0, 0)}, want: "em1 ip 68", differs: "Linux writes itself into it"},
		{name: "router alert", s: spec{dst: onward, options: option(148, 0, 0)}, want: "em1 ip 64"},
		{name: "unknown option", s: spec{dst: onward, options: option(30, 1, 2)}, want: "em1 ip 64"},

		{name: "redirect", s: spec{dst: back}, want: "em0 5/1 from 10.0.0.1, em0 ip 60", differs: "weir quotes the packet as it came, Linux with its new TTL"},
		{name: "redirect on-link", s: spec{src: addr("10.0.0.3"), dst: addr("10.0.0.9")}, want: "em0 5/1 from 10.0.0.1, em0 ip 60", differs: "as above"},
		{name: "redirect about an error", s: spec{src: addr("10.0.0.4"), dst: back, proto: layers.IPProtocolICMPv4, icmp: 11 << 8}, want: "em0 ip 60"},
		{name: "redirect about a later fragment", s: spec{src: addr("10.0.0.5"), dst: back, fragment: packet.FragmentLater}, want: "em0 ip 52"},
		{name: "redirect of a stranger", s: spec{src: addr("192.0.2.9"), dst: back}, want: "em0 ip 60"},

		{name: "forwarded", s: spec{dst: routed6}, want: "em1 ip 80"},
		{name: "hop limit 1", s: spec{dst: routed6, ttl: 1}, want: "em0 3/0 from fd00::1"},
		{name: "hop limit 1, long", s: spec{dst: routed6, ttl: 1, payload: 1300}, want: "em0 3/0 from fd00::1"},
		{name: "hop limit 1, of a sender elsewhere", s: spec{src: addr("2001:db8:99::9"), dst: routed6, ttl: 1}, want: "em1 3/0 from fd00::1"},
		{name: "hop limit 1, of an error", s: spec{dst: routed6, ttl: 1, proto: layers.IPProtocolICMPv6, icmp: 1 << 8}},
		{name: "link-local sender", s: spec{src: addr("fe80::5"), dst: routed6}, want: "em0 1/2 from link-local"},
		{name: "prohibited", s: spec{dst: addr("2001:db8:5:1::9")}, want: "em0 1/1 from fd00::1"},
		{name: "unreachable", s: spec{dst: addr("2001:db8:5:2::9")}, want: "em0 1/0 from fd00::1"},
		{name: "no route", s: spec{dst: addr("2001:db8:77::1")}, want: "em0 1/0 from fd00::1"},
		{name: "too big", s: spec{dst: routed6, payload: 1400}, want: "em0 2/0 from fd00::1"},

		{name: "option to be passed over", s: spec{dst: routed6}, edit: hopByHop(0x1e, 4, 1, 2, 3, 4), want: "em1 ip 88"},
		{name: "option to be discarded", s: spec{dst: routed6}, edit: hopByHop(0x5e, 4, 1, 2, 3, 4)},
		{name: "option to be complained of", s: spec{dst: routed6}, edit: hopByHop(0, 0x9e, 3, 1, 2, 3), want: "em0 4/2 from fd00::1"},
		{name: "option to be complained of, second", s: spec{dst: routed6}, edit: hopByHop(0x1e, 0, 0xde, 2, 1, 2), want: "em0 4/2 from fd00::1"},
		{name: "option of a sender elsewhere", s: spec{src: addr("2001:db8:99::9"), dst: routed6}, edit: hopByHop(0x9e, 4, 1, 2, 3, 4), want: "em1 4/2 from fd00::1"},
		{name: "option of a link-local sender", s: spec{src: addr("fe80::5"), dst: routed6}, edit: hopByHop(0x9e, 4, 1, 2, 3, 4), want: "em0 4/2 from link-local"},
		{name: "jumbo payload that is none", s: spec{dst: routed6}, edit: hopByHop(0xc2, 4, 0, 0, 1, 0), want: "em0 4/0 from fd00::1"},
		{name: "jumbo payload", s: spec{dst: routed6}, edit: hopByHop(0xc2, 4, 0, 1, 0, 0), want: "em0 4/0 from fd00::1"},
		{name: "padding", s: spec{dst: routed6}, edit: hopByHop(1, 4, 0, 0, 0, 0), want: "em1 ip 88"},
		{name: "padding with a message", s: spec{dst: routed6}, edit: hopByHop(1, 4, 0, 7, 0, 0)},
		{name: "option beyond the header", s: spec{dst: routed6}, edit: hopByHop(0x1e, 5, 0, 0, 0, 0)},
		{name: "router alert", s: spec{dst: routed6}, edit: hopByHop(5, 2, 0, 0, 1, 0), want: "em1 ip 88"},

		// Of senders that got no error before: with no limit for errors, Linux has used up theirs for redirects too.
		{name: "redirect", s: spec{src: addr("fd00::6"), dst: back6}, want: "em0 137/0 from link-local, em0 ip 80"},
		{name: "redirect, long", s: spec{src: addr("fd00::3"), dst: addr("2001:db8:6::10"), payload: 1300}, want: "em0 137/0 from link-local, em0 ip 1348"},
		{name: "redirect on-link", s: spec{src: addr("fd00::4"), dst: addr("fd00::9")}, want: "em0 137/0 from link-local, em0 ip 80"},
		{name: "redirect of a link-local sender", s: spec{src: addr("fe80::6"), dst: addr("2001:db8:6::11")}, want: "em0 137/0 from link-local, em0 ip 80"},
		{name: "redirect to a gateway without a link-local address", s: spec{src: addr("fd00::5"), dst: addr("2001:db8:7::9")}, want: "em0 ip 80"},
		{name: "redirect of a stranger", s: spec{src: addr("2001:db8:99::9"), dst: addr("2001:db8:6::12")}, want: "em0 ip 80"},
	}
}

// outline says in short what came out: where, and the length of a packet that was forwarded, or type, code and source of
// a message of the router's own.
func outline(t *testing.T, seen []sight) string {
	t.Helper()
	var list []string
	for _, s := range seen {
		k := parsed(t, s.frame)
		if own := k.TTL == 64 || k.TTL == 255; !own {
			list = append(list, fmt.Sprintf("%s ip %d", s.port, k.Length))
			continue
		}
		source := k.SrcAddr().String()
		if k.SrcAddr().IsLinkLocalUnicast() {
			source = "link-local"
		}
		list = append(list, fmt.Sprintf("%s %d/%d from %s", s.port, k.ICMPType, k.ICMPCode, source))
		if err := lab.VerifyChecksums(s.frame); err != nil {
			t.Error(err)
		}
	}
	return strings.Join(list, ", ")
}

// withoutID is a frame without what is not fixed: the IPv4 identification of the router's own, and with it the checksum.
func withoutID(t *testing.T, frame []byte) []byte {
	if k := parsed(t, frame); k.Family == packet.IPv6 || k.TTL != 64 {
		return frame
	}
	b := bytes.Clone(frame)
	clear(b[packet.EthernetHeaderLen+4 : packet.EthernetHeaderLen+6])
	clear(b[packet.EthernetHeaderLen+10 : packet.EthernetHeaderLen+12])
	return b
}
