package packet

import (
	"encoding/binary"
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// The frames of the tests are serialized by gopacket, with its own checksums and lengths: it is the independent twin
// that this package is compared with. What gopacket cannot or will not write is edited into its output.

var (
	mac1 = net.HardwareAddr{0x02, 0, 0, 0, 0, 1}
	mac2 = net.HardwareAddr{0x02, 0, 0, 0, 0, 2}
)

// serialize is gopacket.SerializeLayers with lengths and checksums filled in. gopacket pads an Ethernet frame to 60
// bytes.
func serialize(tb interface{ Fatal(...any) }, ls ...gopacket.SerializableLayer) []byte {
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		tb.Fatal(err)
	}
	return append([]byte(nil), buf.Bytes()...)
}

func ethernet(t layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac1, DstMAC: mac2, EthernetType: t}
}

func ipv4(proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{
		Version: 4, TOS: 0xb9, Id: 7, TTL: 61, Protocol: proto,
		SrcIP: net.IP{198, 51, 100, 7}, DstIP: net.IP{203, 0, 113, 9},
	}
}

func ipv6(next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{
		Version: 6, TrafficClass: 0xb9, FlowLabel: 0xabcde, NextHeader: next, HopLimit: 61,
		SrcIP: net.ParseIP("2001:db8:1::7"), DstIP: net.ParseIP("2001:db8:2::9"),
	}
}

func tcp(ip gopacket.NetworkLayer) *layers.TCP {
	l := &layers.TCP{SrcPort: 40000, DstPort: 443, Seq: 1, Window: 1000, SYN: true, ECE: true}
	_ = l.SetNetworkLayerForChecksum(ip) // fails on other than IP only
	return l
}

func udp(ip gopacket.NetworkLayer) *layers.UDP {
	l := &layers.UDP{SrcPort: 40000, DstPort: 53}
	_ = l.SetNetworkLayerForChecksum(ip)
	return l
}

type sample struct {
	name  string
	frame []byte
}

// samples are frames that must be accepted. The first four are the common ones: v4 and v6, UDP and TCP.
func samples() []sample {
	tb := failure{}
	payload := gopacket.Payload("0123456789abcdef0123")
	v4, v6 := ipv4(layers.IPProtocolUDP), ipv6(layers.IPProtocolUDP)
	v4t, v6t := ipv4(layers.IPProtocolTCP), ipv6(layers.IPProtocolTCP)
	options := ipv4(layers.IPProtocolUDP)
	options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 148, OptionLength: 4, OptionData: []byte{0, 0}}}
	v4i, v6i := ipv4(layers.IPProtocolICMPv4), ipv6(layers.IPProtocolICMPv6)
	icmp6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
	_ = icmp6.SetNetworkLayerForChecksum(v6i)
	return []sample{
		{"v4-udp", serialize(tb, ethernet(layers.EthernetTypeIPv4), v4, udp(v4), payload)},
		{"v4-tcp", serialize(tb, ethernet(layers.EthernetTypeIPv4), v4t, tcp(v4t), payload)},
		{"v6-udp", serialize(tb, ethernet(layers.EthernetTypeIPv6), v6, udp(v6), payload)},
		{"v6-tcp", serialize(tb, ethernet(layers.EthernetTypeIPv6), v6t, tcp(v6t), payload)},
		{"v4-options", serialize(tb, ethernet(layers.EthernetTypeIPv4), options, udp(options), payload)},
		{"v4-vlan", serialize(tb, ethernet(layers.EthernetTypeDot1Q),
			&layers.Dot1Q{VLANIdentifier: 100, Priority: 5, Type: layers.EthernetTypeIPv4}, v4, udp(v4), payload)},
		{"v6-qinq", serialize(tb, ethernet(layers.EthernetTypeQinQ),
			&layers.Dot1Q{VLANIdentifier: 100, DropEligible: true, Type: layers.EthernetTypeDot1Q},
			&layers.Dot1Q{VLANIdentifier: 4094, Type: layers.EthernetTypeIPv6}, v6, udp(v6), payload)},
		{"v4-icmp", serialize(tb, ethernet(layers.EthernetTypeIPv4), v4i,
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 1, Seq: 2}, payload)},
		{"v6-icmp", serialize(tb, ethernet(layers.EthernetTypeIPv6), v6i, icmp6, payload)},
		{"v6-extensions", withExtensions(v6Frame(), extension{extHopByHop, 1}, extension{extDestination, 2}, extension{extAuth, 4})},
	}
}

// v6Frame is the IPv6 UDP frame that extension headers are put into.
func v6Frame() []byte {
	v6 := ipv6(layers.IPProtocolUDP)
	return serialize(failure{}, ethernet(layers.EthernetTypeIPv6), v6, udp(v6), gopacket.Payload("0123456789abcdef0123"))
}

// extension is one extension header: its type, and its length byte (or for a fragment header its low offset byte).
type extension struct{ proto, length uint8 }

func (e extension) bytes() []byte {
	switch e.proto {
	case extFragment:
		b := make([]byte, 8)
		b[3] = e.length
		return b
	case extAuth:
		b := make([]byte, (int(e.length)+2)*4)
		b[1] = e.length
		return b
	}
	b := make([]byte, (int(e.length)+1)*8)
	b[1] = e.length
	for rest := b[2:]; e.proto == extHopByHop && len(rest) > 1; { // zeroes would be more padding than there may be
		n := min(len(rest), 257)
		rest[0], rest[1] = 0x1e, uint8(n-2) // an option for experiments, to be passed over (RFC 4727)
		rest = rest[n:]
	}
	return b
}

// withExtensions puts extension headers between the IPv6 header of an untagged frame and what follows it, and
// corrects the chain and the payload length. The tests write these by hand since gopacket refuses most chains.
func withExtensions(frame []byte, chain ...extension) []byte {
	const l3 = EthernetHeaderLen
	out := append([]byte(nil), frame[:l3+IPv6HeaderLen]...)
	next := l3 + 6 // where the type of the coming header is written
	last := frame[next]
	for _, e := range chain {
		out[next] = e.proto
		next = len(out)
		out = append(out, e.bytes()...)
	}
	out[next] = last
	out = append(out, frame[l3+IPv6HeaderLen:]...)
	binary.BigEndian.PutUint16(out[l3+4:], uint16(len(out)-l3-IPv6HeaderLen))
	return out
}

// failure lets samples be made where there is no testing.TB.
type failure struct{}

func (failure) Fatal(args ...any) { panic(args) }

// chunk puts a frame into a chunk of UMEM behind the usual headroom (linux/bpf.h XDP_PACKET_HEADROOM).
func chunk(frame []byte) (buf []byte, start int) {
	const headroom = 256
	buf = make([]byte, 4096)
	copy(buf[headroom:], frame)
	return buf, headroom
}

// mustParse parses a frame that has to be accepted.
func mustParse(tb testing.TB, frame []byte) Key {
	tb.Helper()
	var k Key
	if reason := Parse(frame, &k); reason != None {
		tb.Fatalf("Parse dropped the frame: %v\n%x", reason, frame)
	}
	return k
}

// fixIPv4 writes the right header checksum into an untagged IPv4 frame. It is a loop over words on purpose: not
// the code under test.
func fixIPv4(frame []byte) []byte {
	h := frame[EthernetHeaderLen:]
	h = h[:min(len(h), int(h[0]&15)*4)]
	h[10], h[11] = 0, 0
	binary.BigEndian.PutUint16(h[10:], ^plainSum(h))
	return frame
}

// plainSum is RFC 1071 as its text has it: the slow twin of Sum.
func plainSum(b []byte) uint16 {
	var sum uint32
	for i := 0; i < len(b); i += 2 {
		w := uint32(b[i]) << 8
		if i+1 < len(b) {
			w |= uint32(b[i+1])
		}
		if sum += w; sum > 0xffff {
			sum = sum - 0x10000 + 1
		}
	}
	return uint16(sum)
}
