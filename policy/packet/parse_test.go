package packet

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

func addr(s string) [16]byte { return netip.MustParseAddr(s).As16() }

// wantV4 and wantV6 are the Keys of the UDP samples, from which the others differ by little.
func wantV4() Key {
	return Key{
		Src: addr("::ffff:198.51.100.7"), Dst: addr("::ffff:203.0.113.9"),
		SrcPort: 40000, DstPort: 53, Length: 48, L4: 34,
		Family: IPv4, Proto: ProtoUDP, TOS: 0xb9, TTL: 61,
	}
}

func wantV6() Key {
	return Key{
		Src: addr("2001:db8:1::7"), Dst: addr("2001:db8:2::9"), FlowLabel: 0xabcde,
		SrcPort: 40000, DstPort: 53, Length: 68, L4: 54,
		Family: IPv6, Proto: ProtoUDP, TOS: 0xb9, TTL: 61, DontFragment: true,
	}
}

func TestParseSamples(t *testing.T) {
	wants := map[string]func() Key{
		"v4-udp": wantV4,
		"v4-tcp": func() Key {
			k := wantV4()
			k.Proto, k.DstPort, k.Length, k.TCPFlags = ProtoTCP, 443, 60, 0x42
			return k
		},
		"v6-udp": wantV6,
		"v6-tcp": func() Key {
			k := wantV6()
			k.Proto, k.DstPort, k.Length, k.TCPFlags = ProtoTCP, 443, 80, 0x42
			return k
		},
		"v4-options": func() Key {
			k := wantV4()
			k.Length, k.L4 = 56, 42
			return k
		},
		"v4-vlan": func() Key {
			k := wantV4()
			k.VLAN, k.Tags, k.L4 = [2]uint16{100, 0}, 1, 38
			return k
		},
		"v6-qinq": func() Key {
			k := wantV6()
			k.VLAN, k.Tags, k.L4 = [2]uint16{100, 4094}, 2, 62
			return k
		},
		"v4-icmp": func() Key {
			k := wantV4()
			k.Proto, k.SrcPort, k.DstPort, k.ICMPType = ProtoICMP, 0, 0, 8
			return k
		},
		"v6-icmp": func() Key {
			k := wantV6()
			k.Proto, k.SrcPort, k.DstPort, k.ICMPType, k.Length = ProtoICMPv6, 0, 0, 128, 64
			return k
		},
		"v6-extensions": func() Key {
			k := wantV6()
			k.Length, k.L4 = 68+16+24+24, 54+16+24+24
			return k
		},
	}
	for _, s := range samples() {
		t.Run(s.name, func(t *testing.T) {
			want, ok := wants[s.name]
			if !ok {
				t.Fatal("sample without an expected Key")
			}
			if diff := cmp.Diff(want(), mustParse(t, s.frame)); diff != "" {
				t.Errorf("Key (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseOverwrites parses into a Key that holds another packet: nothing of that may stay but Ingress.
func TestParseOverwrites(t *testing.T) {
	for _, s := range samples() {
		k := Key{
			Mark: 1, FlowLabel: 2, SrcPort: 3, DstPort: 4, Length: 5, Ingress: 6, VLAN: [2]uint16{7, 8}, L4: 9, Tags: 10,
			Family: 11, Proto: 12, TOS: 13, TTL: 14, Fragment: 15, ICMPType: 16, ICMPCode: 17, TCPFlags: 18, DontFragment: true,
		}
		for i := range k.Src {
			k.Src[i], k.Dst[i] = 0xa5, 0xa5
		}
		want := mustParse(t, s.frame)
		want.Ingress = 6
		if reason := Parse(s.frame, &k); reason != None {
			t.Fatalf("%s: %v", s.name, reason)
		}
		if diff := cmp.Diff(want, k); diff != "" {
			t.Errorf("%s: Key (-want +got):\n%s", s.name, diff)
		}
	}
}

// TestParseIgnoresPadding: the Key of a frame does not depend on what Ethernet appended.
func TestParseIgnoresPadding(t *testing.T) {
	for _, s := range samples() {
		padded := append(append([]byte(nil), s.frame...), make([]byte, 46)...)
		if diff := cmp.Diff(mustParse(t, s.frame), mustParse(t, padded)); diff != "" {
			t.Errorf("%s: Key of the padded frame (-want +got):\n%s", s.name, diff)
		}
	}

	empty := serialize(t, ethernet(layers.EthernetTypeIPv4), ipv4(layers.IPProtocolUDP)) // no UDP header
	k := mustParse(t, append(empty, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa))
	if k.SrcPort != 0 || k.L4 != 0 {
		t.Errorf("padding was read as an L4 header: port %d, L4 %d", k.SrcPort, k.L4)
	}
}

// TestParseShortened: every frame that is shorter than its packet is dropped.
func TestParseShortened(t *testing.T) {
	for _, s := range samples() {
		for n := range s.frame {
			var k Key
			if reason := Parse(s.frame[:n:n], &k); reason != Truncated && reason != BadTotalLen {
				t.Errorf("%s: first %d of %d bytes: %v", s.name, n, len(s.frame), reason)
			}
		}
	}
}

// edited is a copy of a frame with some bytes changed: pairs of offset and value.
func edited(frame []byte, changes ...int) []byte {
	out := append([]byte(nil), frame...)
	for i := 0; i < len(changes); i += 2 {
		out[changes[i]] = byte(changes[i+1])
	}
	return out
}

type drop struct {
	name  string
	frame []byte
	want  Reason
}

// drops are frames that must not be forwarded, at least one for each reason that Parse can give.
func drops() []drop {
	s := samples()
	v4, v6, options, vlan, qinq := s[0].frame, s[2].frame, s[4].frame, s[5].frame, s[6].frame
	const l3 = EthernetHeaderLen
	arp := edited(v4, 12, 0x08, 13, 0x06)
	threeTags := append(append(append([]byte(nil), qinq[:20]...), 0x81, 0x00, 0, 1), qinq[20:]...)
	longHeader := fixIPv4(edited(v4, l3, 0x4f))
	longHeader = longHeader[:l3+40] // 15 words announced, ten there

	chain := make([]extension, MaxExtensionHeaders+1)
	for i := range chain {
		chain[i].proto = extDestination
	}
	return []drop{
		{"empty", nil, Truncated},
		{"ethernet cut", v4[:13], Truncated},
		{"tag cut", vlan[:17], Truncated},
		{"second tag cut", qinq[:20], Truncated},
		{"v4 header cut", v4[:l3+19], Truncated},
		{"v4 options cut", longHeader, Truncated},
		{"v6 header cut", v6[:l3+39], Truncated},
		{"arp", arp, NotIP},
		{"802.3 length", edited(v4, 12, 0, 13, 48), NotIP},
		{"arp in a vlan", edited(vlan, 16, 0x08, 17, 0x06), NotIP},
		{"three tags", threeTags, TooManyTags},
		{"v6 as v4", edited(v4, l3, 0x65), BadVersion},
		{"v4 as v6", edited(v6, l3, 0x40), BadVersion},
		{"four words of header", fixIPv4(edited(v4, l3, 0x44)), BadHeaderLen},
		{"no header", edited(v4, l3, 0x40), BadHeaderLen},
		{"one bit of the checksum", edited(v4, l3+10, int(v4[l3+10])^1), BadChecksum},
		{"one bit of the ttl", edited(v4, l3+8, int(v4[l3+8])^1), BadChecksum},
		{"one bit of an option", edited(options, l3+20, 0), BadChecksum},
		{"total length below 20", fixIPv4(edited(v4, l3+2, 0, l3+3, 19)), BadTotalLen},
		{"total length below the options", fixIPv4(edited(options, l3+2, 0, l3+3, 27)), BadTotalLen},
		{"total length beyond the frame", fixIPv4(edited(v4, l3+3, int(v4[l3+3])+1)), BadTotalLen},
		{"payload length beyond the frame", edited(v6, l3+5, int(v6[l3+5])+1), BadTotalLen},
		{"payload length 65535", edited(append(v6, make([]byte, 65535)...), l3+4, 0xff, l3+5, 0xff), BadTotalLen},
		{"option without length", fixIPv4(edited(options, l3+20, 1, l3+21, 1, l3+22, 1, l3+23, 1, l3+24, 1, l3+25, 1, l3+26, 1, l3+27, 7)), BadOption},
		{"option of length 1", fixIPv4(edited(options, l3+22, 1)), BadOption},
		{"option of length 0", fixIPv4(edited(options, l3+22, 0)), BadOption},
		{"option beyond the header", fixIPv4(edited(options, l3+22, 8)), BadOption},
		{"loose source route", fixIPv4(edited(options, l3+21, 131, l3+22, 7, l3+23, 4)), SourceRoute},
		{"strict source route", fixIPv4(edited(options, l3+21, 137, l3+22, 7, l3+23, 4)), SourceRoute},
		{"jumbogram", edited(withExtensions(v6, extension{extHopByHop, 0}), l3+4, 0, l3+5, 0), BadOption},
		{"hop-by-hop beyond the packet", edited(withExtensions(v6, extension{extHopByHop, 0}), l3+IPv6HeaderLen+1, 4), BadOption},
		{"hop-by-hop option to be discarded", edited(withExtensions(v6, extension{extHopByHop, 0}), l3+IPv6HeaderLen+2, 0x5e), UnknownOption},
		{"sixteen extension headers", withExtensions(v6, chain...), TooManyHeaders},
	}
}

func TestParseDrops(t *testing.T) {
	produced := map[Reason]bool{}
	for _, d := range drops() {
		t.Run(d.name, func(t *testing.T) {
			k := Key{Ingress: 3}
			if got := Parse(d.frame, &k); got != d.want {
				t.Errorf("Parse = %v, want %v", got, d.want)
			}
			if k.Ingress != 3 {
				t.Errorf("Ingress = %d, want 3: drops are counted by it", k.Ingress)
			}
		})
		produced[d.want] = true
	}
	for r := Truncated; r < UnknownVLAN; r++ {
		if !produced[r] {
			t.Errorf("no frame is dropped with reason %v", r)
		}
	}
}

// TestParseForwards: what is wrong with these is none of a router's business. Linux forwards them all.
func TestParseForwards(t *testing.T) {
	s := samples()
	v4, v4t, v6, options, icmp, icmp6 := s[0].frame, s[1].frame, s[2].frame, s[4].frame, s[7].frame, s[8].frame
	const l3, l4v4, l4v6 = EthernetHeaderLen, EthernetHeaderLen + IPv4HeaderLen, EthernetHeaderLen + IPv6HeaderLen
	cutV4 := func(frame []byte, payload int) []byte {
		out := append([]byte(nil), frame[:l4v4+payload]...)
		binary.BigEndian.PutUint16(out[l3+2:], uint16(IPv4HeaderLen+payload))
		return fixIPv4(out)
	}
	cutV6 := func(frame []byte, payload int) []byte {
		out := append([]byte(nil), frame[:l4v6+payload]...)
		binary.BigEndian.PutUint16(out[l3+4:], uint16(payload))
		return out
	}
	fragment := func(offset uint16) []byte {
		out := append([]byte(nil), v4...)
		binary.BigEndian.PutUint16(out[l3+6:], offset)
		return fixIPv4(out)
	}
	proto := func(p uint8) []byte { return fixIPv4(edited(v4, l3+9, int(p))) }
	maximum := make([]extension, MaxExtensionHeaders)
	for i := range maximum {
		maximum[i].proto = extDestination
	}
	more := func(frame []byte) []byte { return edited(frame, l4v6+3, 1) } // M of a fragment header that comes first

	tests := []struct {
		name  string
		frame []byte
		want  Key // the fields that are compared: those below
	}{
		{"tcp of 19 bytes", cutV4(v4t, 19), Key{Proto: ProtoTCP, SrcPort: 40000, DstPort: 443}},
		{"tcp of 4 bytes", cutV4(v4t, 4), Key{Proto: ProtoTCP, SrcPort: 40000, DstPort: 443}},
		{"tcp of 3 bytes", cutV4(v4t, 3), Key{Proto: ProtoTCP}},
		{"tcp of 0 bytes", cutV4(v4t, 0), Key{Proto: ProtoTCP}},
		{"tcp data offset 0", edited(v4t, l4v4+12, 0), Key{Proto: ProtoTCP, SrcPort: 40000, DstPort: 443, TCPFlags: 0x42, L4: l4v4}},
		{"udp of 7 bytes", cutV4(v4, 7), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53}},
		{"udp length wrong", edited(v4, l4v4+4, 0xff), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v4}},
		{"udp checksum wrong", edited(v4, l4v4+6, int(v4[l4v4+6])^1), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v4}},
		{"icmp of 3 bytes", cutV4(icmp, 3), Key{Proto: ProtoICMP}},
		{"icmp of 4 bytes", cutV4(icmp, 4), Key{Proto: ProtoICMP, ICMPType: 8, L4: l4v4}},
		{"icmpv6 of 3 bytes", cutV6(icmp6, 3), Key{Proto: ProtoICMPv6}},
		{"icmpv6 code", edited(icmp6, l4v6+1, 9), Key{Proto: ProtoICMPv6, ICMPType: 128, ICMPCode: 9, L4: l4v6}},
		{"esp", proto(50), Key{Proto: 50, L4: l4v4}},
		{"ah in v4", proto(51), Key{Proto: 51, L4: l4v4}},
		{"gre without a byte", cutV4(proto(47), 0), Key{Proto: 47}},
		{"protocol 0 in v4", proto(0), Key{L4: l4v4}},

		{"df", fragment(0x4000), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v4, DontFragment: true}},
		{"reserved flag", fragment(0x8000), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v4}},
		{"first fragment", fragment(0x2000), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v4, Fragment: FragmentFirst}},
		{"tiny first fragment", func() []byte {
			return cutV4(fragment(0x2000), 2)
		}(), Key{Proto: ProtoUDP, Fragment: FragmentFirst}},
		{"later fragment", fragment(0x2001), Key{Proto: ProtoUDP, Fragment: FragmentLater}},
		{"last fragment", fragment(0x0001), Key{Proto: ProtoUDP, Fragment: FragmentLater}},
		{"fragment beyond 65535", fragment(0x1fff), Key{Proto: ProtoUDP, Fragment: FragmentLater}},

		{"end of options before garbage", fixIPv4(edited(options, l3+20, 0, l3+22, 99)), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: 42}},
		{"record route", fixIPv4(edited(options, l3+21, 7, l3+22, 7, l3+23, 4)), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: 42}},

		{"v6 no next header", edited(v6, l3+6, 59), Key{Proto: 59}},
		{"v6 esp", edited(v6, l3+6, 50), Key{Proto: 50, L4: l4v6}},
		{"v6 mobility", edited(v6, l3+6, 135), Key{Proto: 135, L4: l4v6}},
		{"v6 hip", edited(v6, l3+6, 139), Key{Proto: 139, L4: l4v6}},
		{"v6 shim6", edited(v6, l3+6, 140), Key{Proto: 140, L4: l4v6}},
		{"v6 payload length 0", edited(cutV6(v6, 0), l3+6, 6), Key{Proto: ProtoTCP}},
		{"v6 fifteen headers", withExtensions(v6, maximum...), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 15*8}},
		{"v6 routing type 0", edited(withExtensions(v6, extension{extRouting, 2}), l4v6+3, 1), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 24}},
		{"v6 ah", withExtensions(v6, extension{extAuth, 5}), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 28}},
		{"v6 hop-by-hop twice", withExtensions(v6, extension{extHopByHop, 0}, extension{extHopByHop, 0}), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 16}},
		{"v6 second hop-by-hop cut", edited(withExtensions(v6, extension{extDestination, 0}, extension{extHopByHop, 0}), l4v6+9, 99), Key{Proto: extHopByHop}},
		{"v6 destination options cut", edited(withExtensions(v6, extension{extDestination, 0}), l4v6+1, 99), Key{Proto: extDestination}},
		{"v6 extension of one byte", cutV6(edited(v6, l3+6, int(extRouting)), 1), Key{Proto: extRouting}},
		{"v6 fragment header cut", cutV6(edited(v6, l3+6, int(extFragment)), 7), Key{Proto: extFragment}},
		{"v6 atomic fragment", withExtensions(v6, extension{extFragment, 0}), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 8}},
		{"v6 reserved fragment bits", withExtensions(v6, extension{extFragment, 6}), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 8}},
		{"v6 reserved fragment byte", edited(withExtensions(v6, extension{extFragment, 0}), l4v6+1, 9), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 8}},
		{"v6 first fragment", withExtensions(v6, extension{extFragment, 1}), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 8, Fragment: FragmentFirst}},
		{"v6 later fragment", withExtensions(v6, extension{extFragment, 8}), Key{Proto: ProtoUDP, Fragment: FragmentLater}},
		{"v6 later fragment of an extension", withExtensions(v6, extension{extFragment, 8}, extension{extDestination, 0}), Key{Proto: extDestination, Fragment: FragmentLater}},
		{"v6 first fragment, then atomic", more(withExtensions(v6, extension{extFragment, 1}, extension{extFragment, 0})), Key{Proto: ProtoUDP, SrcPort: 40000, DstPort: 53, L4: l4v6 + 16, Fragment: FragmentFirst}},
		{"v6 first fragment ends in the chain", func() []byte {
			return edited(withExtensions(v6, extension{extFragment, 1}, extension{extDestination, 0}), l4v6+9, 99)
		}(), Key{Proto: extDestination, Fragment: FragmentFirst}},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			k := mustParse(t, c.frame)
			if k.Family == IPv6 {
				c.want.DontFragment = true
			}
			got := Key{
				Proto: k.Proto, SrcPort: k.SrcPort, DstPort: k.DstPort, L4: k.L4, Fragment: k.Fragment,
				ICMPType: k.ICMPType, ICMPCode: k.ICMPCode, TCPFlags: k.TCPFlags, DontFragment: k.DontFragment,
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("Key (-want +got):\n%s", diff)
			}
		})
	}
}

// TestParseTagTypes: each TPID counts, at either place.
func TestParseTagTypes(t *testing.T) {
	qinq := samples()[6].frame
	for _, outer := range []uint16{0x8100, 0x88a8, 0x9100} {
		for _, inner := range []uint16{0x8100, 0x88a8, 0x9100} {
			frame := append([]byte(nil), qinq...)
			binary.BigEndian.PutUint16(frame[12:], outer)
			binary.BigEndian.PutUint16(frame[16:], inner)
			if k := mustParse(t, frame); k.Tags != 2 || k.VLAN != [2]uint16{100, 4094} {
				t.Errorf("tags %#04x, %#04x: %d tags, VLANs %v", outer, inner, k.Tags, k.VLAN)
			}
		}
	}
}

// drawFrame is a random packet of TCP, UDP or ICMP in 0..2 tags, and the Key it has, as gopacket's structs say.
func drawFrame(t *rapid.T) ([]byte, Key) {
	ls := []gopacket.SerializableLayer{}
	tags := rapid.IntRange(0, 2).Draw(t, "tags")
	six := rapid.Bool().Draw(t, "v6")
	k := Key{Tags: uint8(tags)}
	inner, types := layers.EthernetTypeIPv4, []layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ, 0x9100}
	if six {
		inner = layers.EthernetTypeIPv6
	}
	next := inner
	var dot1q []gopacket.SerializableLayer
	for i := tags - 1; i >= 0; i-- {
		k.VLAN[i] = rapid.Uint16Range(0, 4095).Draw(t, "vlan")
		dot1q = append([]gopacket.SerializableLayer{&layers.Dot1Q{
			Priority: rapid.Uint8Range(0, 7).Draw(t, "pcp"), VLANIdentifier: k.VLAN[i], Type: next,
		}}, dot1q...)
		next = rapid.SampledFrom(types).Draw(t, "tpid")
	}
	ls = append(append(ls, ethernet(next)), dot1q...)

	k.TOS, k.TTL = rapid.Uint8().Draw(t, "tos"), rapid.Uint8().Draw(t, "ttl")
	k.Proto = rapid.SampledFrom([]uint8{ProtoTCP, ProtoUDP, ProtoICMP, ProtoICMPv6}).Draw(t, "proto")
	address := rapid.SliceOfN(rapid.Byte(), 16, 16)
	k.Src, k.Dst = [16]byte(address.Draw(t, "src")), [16]byte(address.Draw(t, "dst"))
	var network gopacket.NetworkLayer
	l4 := k.L3()
	if six {
		k.Family, k.FlowLabel, k.DontFragment = IPv6, rapid.Uint32Range(0, 1<<20-1).Draw(t, "flow"), true
		ip := &layers.IPv6{Version: 6, TrafficClass: k.TOS, FlowLabel: k.FlowLabel, HopLimit: k.TTL,
			NextHeader: layers.IPProtocol(k.Proto), SrcIP: k.Src[:], DstIP: k.Dst[:]}
		network, l4 = ip, l4+IPv6HeaderLen
		ls = append(ls, ip)
	} else {
		copy(k.Src[:], make([]byte, 10))
		copy(k.Dst[:], make([]byte, 10))
		copy(k.Src[10:], "\xff\xff")
		copy(k.Dst[10:], "\xff\xff")
		k.Family, k.DontFragment = IPv4, rapid.Bool().Draw(t, "df")
		ip := &layers.IPv4{Version: 4, TOS: k.TOS, TTL: k.TTL, Id: rapid.Uint16().Draw(t, "id"),
			Protocol: layers.IPProtocol(k.Proto), SrcIP: k.Src[12:], DstIP: k.Dst[12:]}
		if k.DontFragment {
			ip.Flags = layers.IPv4DontFragment
		}
		words := rapid.IntRange(0, 10).Draw(t, "option words")
		for range words * 4 {
			ip.Options = append(ip.Options, layers.IPv4Option{OptionType: optionNop})
		}
		network, l4 = ip, l4+IPv4HeaderLen+words*4
		ls = append(ls, ip)
	}

	k.L4 = uint16(l4)
	headerLen := map[uint8]int{ProtoTCP: 20, ProtoUDP: 8}[k.Proto]
	payload := rapid.SliceOfN(rapid.Byte(), 8, 64).Draw(t, "payload")
	switch k.Proto {
	case ProtoTCP:
		k.SrcPort, k.DstPort = rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport")
		k.TCPFlags = rapid.Uint8().Draw(t, "flags")
		bit := func(i int) bool { return k.TCPFlags>>i&1 == 1 }
		l := &layers.TCP{SrcPort: layers.TCPPort(k.SrcPort), DstPort: layers.TCPPort(k.DstPort), FIN: bit(0), SYN: bit(1),
			RST: bit(2), PSH: bit(3), ACK: bit(4), URG: bit(5), ECE: bit(6), CWR: bit(7)}
		_ = l.SetNetworkLayerForChecksum(network)
		ls = append(ls, l)
	case ProtoUDP:
		k.SrcPort, k.DstPort = rapid.Uint16().Draw(t, "sport"), rapid.Uint16().Draw(t, "dport")
		l := &layers.UDP{SrcPort: layers.UDPPort(k.SrcPort), DstPort: layers.UDPPort(k.DstPort)}
		_ = l.SetNetworkLayerForChecksum(network)
		ls = append(ls, l)
	default:
		k.ICMPType, k.ICMPCode = payload[0], payload[1]
	}
	frame := serialize(t, append(ls, gopacket.Payload(payload))...)
	k.Length = uint16(l4 - k.L3() + headerLen + len(payload))
	return append(frame, rapid.SliceOfN(rapid.Byte(), 0, 8).Draw(t, "padding")...), k
}

func TestParseRandom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		frame, want := drawFrame(t)
		var k Key
		if reason := Parse(frame, &k); reason != None {
			t.Fatalf("Parse = %v", reason)
		}
		if diff := cmp.Diff(want, k); diff != "" {
			t.Errorf("Key (-want +got):\n%s", diff)
		}
	})
}

// TestParseRandomChain compares the walk with a chain whose length is known.
func TestParseRandomChain(t *testing.T) {
	frame := v6Frame()
	rapid.Check(t, func(t *rapid.T) {
		chain := make([]extension, rapid.IntRange(0, MaxExtensionHeaders).Draw(t, "headers"))
		size := 0
		for i := range chain {
			e := extension{rapid.SampledFrom([]uint8{extHopByHop, extRouting, extAuth, extDestination, extFragment}).Draw(t, "type"), 0}
			if e.proto != extFragment {
				e.length = rapid.Uint8Range(1, 255).Draw(t, "length")
			}
			chain[i] = e
			size += len(e.bytes())
		}
		var k Key
		if reason := Parse(withExtensions(frame, chain...), &k); reason != None {
			t.Fatalf("Parse = %v", reason)
		}
		want := wantV6()
		want.Length += uint16(size)
		want.L4 += uint16(size)
		if diff := cmp.Diff(want, k); diff != "" {
			t.Errorf("Key (-want +got):\n%s", diff)
		}
	})
}

// TestAddresses: SrcAddr and DstAddr are of the packet's family.
func TestAddresses(t *testing.T) {
	s := samples()
	for i, want := range map[int][2]string{0: {"198.51.100.7", "203.0.113.9"}, 2: {"2001:db8:1::7", "2001:db8:2::9"}} {
		k := mustParse(t, s[i].frame)
		if k.SrcAddr() != netip.MustParseAddr(want[0]) || k.DstAddr() != netip.MustParseAddr(want[1]) {
			t.Errorf("%s: %v to %v, want %v", s[i].name, k.SrcAddr(), k.DstAddr(), want)
		}
	}
}
