package main

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"

	"weir/perf/lab"
	"weir/policy/packet"
)

// What is refused in both, for weir and for nftables, which has to be told to reset.
const (
	refusedMarks = `
marks:
  main:
    - {name: refused, match: {to: [203.0.113.8/32, "2001:db8:5::8/128"]}, then: [reject]}
    - {name: dropped, match: {to: [203.0.113.7/32, "2001:db8:5::7/128"]}, then: [drop]}
    - {name: changed, match: {to: [203.0.113.6/32, "2001:db8:5::6/128"]}, then: [{dscp: ef}]}
`
	refusedNft = `
table inet marks {
	chain main {
		type filter hook prerouting priority mangle + 5
		ip daddr 203.0.113.8 meta l4proto tcp reject with tcp reset
		ip6 daddr 2001:db8:5::8 meta l4proto tcp reject with tcp reset
		ip daddr 203.0.113.8 reject
		ip6 daddr 2001:db8:5::8 reject
		ip daddr 203.0.113.7 drop
		ip6 daddr 2001:db8:5::7 drop
		ip daddr 203.0.113.6 ip dscp set ef
		ip6 daddr 2001:db8:5::6 ip6 dscp set ef
	}
}
`
)

// TestBesideNft: what senders of refused packets get is what nftables would have sent them, byte for byte.
func TestBesideNft(t *testing.T) {
	nft := program(t, "nft", "nftables")
	kernel, beside := newBeside(t), newBeside(t)
	kernel.startKernel()
	load := must[*lab.Process](t)(kernel.router.Start(testContext(t), lab.Command{Name: nft, Args: []string{"-f", "-"}, Stdin: strings.NewReader(refusedNft)}))
	if err := load.Wait(); err != nil {
		t.Fatalf("nft: %v: %s", err, load.Output())
	}
	w := beside.start(besideConfig(beside) + refusedMarks)
	var cases []besideCase
	add := func(want, name string, s spec, edit ...func([]byte) []byte) *besideCase {
		s.id = uint32(0x2000 + len(cases))
		cases = append(cases, besideCase{name: name, s: s, edit: inOrder(edit...), want: want})
		return &cases[len(cases)-1]
	}
	for family, dst := range []string{"203.0.113.8", "2001:db8:5::8"} {
		dst := netip.MustParseAddr(dst)
		told := []string{"em0 3/3 from 10.0.0.1", "em0 1/4 from fd00::1"}[family]
		reset := []string{"em0 0/0 from 203.0.113.8", "em0 0/0 from 2001:db8:5::8"}[family]
		echo := []layers.IPProtocol{layers.IPProtocolICMPv4, layers.IPProtocolICMPv6}[family]
		failure := []uint16{3 << 8, 1 << 8}[family]
		checksum := []int{40, 60}[family]
		add(told, "UDP", spec{dst: dst, tos: 0x2a})
		add(told, "UDP, long", spec{dst: dst, payload: 1400})
		add(told, "UDP, TTL 1", spec{dst: dst, ttl: 1})
		add(told, "ping", spec{dst: dst, proto: echo})
		add(told, "ESP", spec{dst: dst, proto: 50})
		add("", "another protocol", spec{dst: dst, proto: 253}).other(told, "nftables wants a checksum of every protocol that it does not know")
		add("", "error", spec{dst: dst, proto: echo, icmp: failure})
		add("", "to all", spec{dst: dst}, groupFrame)
		add(told, "first fragment", spec{dst: dst, fragment: packet.FragmentFirst})
		add("", "later fragment", spec{dst: dst, fragment: packet.FragmentLater})
		add("", "wrong checksum", spec{dst: dst}, put(checksum, 0x12, 0x34)).other(told, "weir looks at the checksums of TCP only")
		add("", "TCP, wrong checksum", spec{dst: dst, proto: layers.IPProtocolTCP}, put(checksum+10, 0x12, 0x34))
		for name, flags := range map[string]uint8{"FIN ACK": 0x11, "SYN": 0x02, "SYN ACK": 0x12, "ACK": 0x10, "FIN": 0x01, "none": 0, "SYN ECE CWR": 0xc2, "PSH ACK": 0x18} {
			add(reset, "TCP "+name, spec{dst: dst, proto: layers.IPProtocolTCP, dport: 80, seq: 0xfffffff0, ack: 0x12345678, flags: &flags, tos: 0x2a})
		}
		flags := uint8(0x14)
		add("", "TCP RST ACK", spec{dst: dst, proto: layers.IPProtocolTCP, flags: &flags})
		add(reset, "TCP, first fragment", spec{dst: dst, proto: layers.IPProtocolTCP, fragment: packet.FragmentFirst}).
			other("", "nftables resets what has a checksum that is right without the rest, as none has that was cut")
	}
	for family, forwarded := range []string{"em1 ip 60", "em1 ip 80"} {
		add("", "dropped", spec{dst: netip.MustParseAddr([]string{"203.0.113.7", "2001:db8:5::7"}[family])})
		for _, tos := range []uint8{0, 0x03, 0xb8, 0xff} {
			add(forwarded, "changed", spec{dst: netip.MustParseAddr([]string{"203.0.113.6", "2001:db8:5::6"}[family]), tos: tos})
		}
	}
	compare(t, cases, kernel.seen(cases), beside.seen(cases))
	if s := w.rest().Totals; s.Drops[packet.MarkReject.String()] == 0 || s.Drops[packet.MarkDrop.String()] != 2 {
		t.Errorf("counted %+v", s)
	}
}
