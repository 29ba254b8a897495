package packet

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	router4 = netip.MustParseAddr("192.0.2.1")
	router6 = netip.MustParseAddr("2001:db8:ffff::1")
)

// wantError is the frame that BuildError has to write, as gopacket writes it.
func wantError(tb testing.TB, k *Key, quote []byte, e Error) []byte {
	zero := make(net.HardwareAddr, 6)
	info := gopacket.Payload(binary.BigEndian.AppendUint32(nil, e.Info))
	if k.Family == IPv4 {
		ip := &layers.IPv4{
			Version: 4, TOS: k.TOS&0x1e | 0xc0, TTL: 64, Id: e.ID, Protocol: layers.IPProtocolICMPv4,
			SrcIP: e.Source.AsSlice(), DstIP: k.SrcAddr().AsSlice(),
		}
		icmp := &layers.ICMPv4{
			TypeCode: layers.CreateICMPv4TypeCode(e.Type, e.Code), Id: uint16(e.Info >> 16), Seq: uint16(e.Info),
		}
		frame := serialize(tb, &layers.Ethernet{SrcMAC: zero, DstMAC: zero, EthernetType: layers.EthernetTypeIPv4}, ip, icmp, gopacket.Payload(quote))
		return frame[:EthernetHeaderLen+IPv4HeaderLen+8+len(quote)]
	}
	ip := &layers.IPv6{
		Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: e.Source.AsSlice(), DstIP: k.SrcAddr().AsSlice(),
	}
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(e.Type, e.Code)}
	_ = icmp.SetNetworkLayerForChecksum(ip)
	return serialize(tb, &layers.Ethernet{SrcMAC: zero, DstMAC: zero, EthernetType: layers.EthernetTypeIPv6}, ip, icmp, info, gopacket.Payload(quote))
}

// padded4 and padded6 are frames with a payload of n bytes, for the limits of the quotation.
func padded4(tb testing.TB, n int) []byte {
	ip := ipv4(layers.IPProtocolUDP)
	return serialize(tb, ethernet(layers.EthernetTypeIPv4), ip, udp(ip), gopacket.Payload(bytes.Repeat([]byte{0xc3, 0x5a, 0x11}, n)[:n]))
}

func padded6(tb testing.TB, n int) []byte {
	ip := ipv6(layers.IPProtocolUDP)
	return serialize(tb, ethernet(layers.EthernetTypeIPv6), ip, udp(ip), gopacket.Payload(bytes.Repeat([]byte{0xc3, 0x5a, 0x11}, n)[:n]))
}

func TestBuildError(t *testing.T) {
	s := samples()
	tests := []struct {
		name  string
		frame []byte
		e     Error
		quote int // bytes of the packet that come back
	}{
		{"v4 network unreachable", s[0].frame, Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: ICMPNetUnreachable}, 48},
		{"v4 prohibited", s[1].frame, Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: ICMPAdminProhibited}, 60},
		{"v4 time exceeded", s[4].frame, Error{Source: router4, Info: 0, Type: ICMPTimeExceeded, Code: ICMPTTLExceeded}, 56},
		{"v4 too big", padded4(t, 1472), Error{Source: router4, Info: 1400, Type: ICMPUnreachable, Code: ICMPFragNeeded}, 548},
		{"v4 redirect", s[0].frame, Error{Source: router4, Info: 0xc0000209, Type: ICMPRedirect, Code: ICMPRedirectHost}, 48},
		{"v4 about an echo", s[7].frame, Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: ICMPHostUnreachable}, 48},
		{"v4 tagged", s[5].frame, Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: ICMPHostUnreachable}, 48},
		{"v4 quotes all of 548 bytes", padded4(t, 520), Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: 0}, 548},
		{"v4 quotes 548 bytes of 549", padded4(t, 521), Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: 0}, 548},
		{"v4 without Ethernet's padding", padded4(t, 1), Error{Source: router4, Info: 0, Type: ICMPUnreachable, Code: 0}, 29},
		{"v6 no route", s[2].frame, Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: ICMPv6NoRoute}, 68},
		{"v6 prohibited", s[3].frame, Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: ICMPv6AdminProhibited}, 80},
		{"v6 hop limit", s[9].frame, Error{Source: router6, Info: 0, Type: ICMPv6TimeExceeded, Code: ICMPv6HopLimitExceeded}, 68 + 64},
		{"v6 too big", padded6(t, 1452), Error{Source: router6, Info: 1280, Type: ICMPv6PacketTooBig, Code: 0}, 1232},
		{"v6 about an echo", s[8].frame, Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: ICMPv6AddressUnreachable}, 64},
		{"v6 tagged", s[6].frame, Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: ICMPv6NoRoute}, 68},
		{"v6 quotes all of 1232 bytes", padded6(t, 1184), Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: 0}, 1232},
		{"v6 quotes 1232 bytes of 1233", padded6(t, 1185), Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: 0}, 1232},
		{"v6 odd length", padded6(t, 33), Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: 0}, 81},
		{"v6 about a first fragment", withExtensions(s[2].frame, extension{extFragment, 1}), Error{Source: router6, Info: 0, Type: ICMPv6Unreachable, Code: 0}, 76},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			k := mustParse(t, c.frame)
			parsed, before := k, append([]byte(nil), c.frame...)
			dst := bytes.Repeat([]byte{0xee}, MaxErrorFrameLen)
			n, ok := BuildError(dst, c.frame, &k, c.e)
			if !ok {
				t.Fatal("not ok")
			}
			want := wantError(t, &k, c.frame[k.L3():k.L3()+c.quote], c.e)
			if diff := cmp.Diff(want, dst[:n]); diff != "" {
				t.Errorf("frame (-want +got):\n%s", diff)
			}
			if k != parsed || !bytes.Equal(c.frame, before) {
				t.Error("the packet itself was changed")
			}
			if !bytes.Equal(dst[n:], bytes.Repeat([]byte{0xee}, len(dst)-n)) {
				t.Error("bytes behind the frame were written")
			}
			answer := mustParse(t, dst[:n])
			if answer.DstAddr() != k.SrcAddr() || answer.SrcAddr() != c.e.Source || answer.ICMPType != c.e.Type {
				t.Errorf("the answer parses as %+v", answer)
			}
		})
	}
}

// TestBuildErrorThenEncap takes an answer the whole way: built with headroom, parsed, and given two tags.
func TestBuildErrorThenEncap(t *testing.T) {
	frame := samples()[2].frame
	k := mustParse(t, frame)
	buf := make([]byte, 4096)
	const start = MaxLinkHeaderLen - EthernetHeaderLen // the least headroom there may be
	n, _ := BuildError(buf[start:], frame, &k, Error{Source: router6, Type: ICMPv6Unreachable})
	answer := mustParse(t, buf[start:start+n])
	s, n, ok := Encap(buf, start, n, &answer, &Link{VLAN: [2]uint16{1, 2}, Tags: 2})
	if !ok || s != 0 {
		t.Fatalf("Encap: frame at %d, ok %v", s, ok)
	}
	if again := mustParse(t, buf[:n]); again != answer {
		t.Errorf("Key of the answer = %+v, want %+v", again, answer)
	}
}

// about returns a sample whose addresses are replaced.
func about(frame []byte, src, dst string) []byte {
	out := append([]byte(nil), frame...)
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	h := out[EthernetHeaderLen:]
	if s.Is4() {
		copy(h[12:], s.AsSlice())
		copy(h[16:], d.AsSlice())
		return fixIPv4(out)
	}
	copy(h[8:], s.AsSlice())
	copy(h[24:], d.AsSlice())
	return out
}

func TestBuildErrorRefuses(t *testing.T) {
	s := samples()
	v4, v6, icmp, icmp6 := s[0].frame, s[2].frame, s[7].frame, s[8].frame
	e4, e6 := Error{Source: router4, Type: ICMPTimeExceeded}, Error{Source: router6, Type: ICMPv6TimeExceeded}
	const l3, l4v4, l4v6 = EthernetHeaderLen, EthernetHeaderLen + IPv4HeaderLen, EthernetHeaderLen + IPv6HeaderLen
	type refusal struct {
		name  string
		frame []byte
		e     Error
		ok    bool // the neighbouring case that is not refused
	}
	fragment := func(b int) []byte { return fixIPv4(edited(v4, l3+6, b, l3+7, 1)) }
	short4 := fixIPv4(edited(icmp, l3+3, IPv4HeaderLen+3))
	short6 := edited(icmp6, l3+5, 3)
	tests := []refusal{
		{"v4 later fragment", fragment(0x20), e4, false},
		{"v4 last fragment", fragment(0), e4, false},
		{"v6 later fragment", withExtensions(v6, extension{extFragment, 8}), e6, false},
		{"link-layer multicast", edited(v4, 0, 1), e4, false},
		{"link-layer broadcast", edited(v6, 0, 0xff), e6, false},
		{"v4 icmp without type", short4, e4, false},
		{"v6 icmp without type", short6, e6, false},
		{"v6 redirect", edited(icmp6, l4v6, 137), e6, false},
		{"v6 advertisement", edited(icmp6, l4v6, 136), e6, true},
		{"v6 error 127", edited(icmp6, l4v6, 127), e6, false},
		{"v6 error 0", edited(icmp6, l4v6, 0), e6, false},
		{"v6 error 1 behind headers", withExtensions(edited(icmp6, l4v6, 1), extension{extHopByHop, 0}, extension{extDestination, 3}), e6, false},
		{"v6 error 1 in a first fragment", withExtensions(edited(icmp6, l4v6, 1), extension{extFragment, 1}), e6, false},
		{"v6 echo behind headers", withExtensions(icmp6, extension{extHopByHop, 0}), e6, true},
		{"v4 from 0.0.0.0", about(v4, "0.0.0.0", "203.0.113.9"), e4, false},
		{"v4 from 0.1.2.3", about(v4, "0.1.2.3", "203.0.113.9"), e4, false},
		{"v4 from 1.0.0.0", about(v4, "1.0.0.0", "203.0.113.9"), e4, true},
		{"v4 from 127.0.0.1", about(v4, "127.0.0.1", "203.0.113.9"), e4, false},
		{"v4 from 224.0.0.1", about(v4, "224.0.0.1", "203.0.113.9"), e4, false},
		{"v4 from 239.255.255.255", about(v4, "239.255.255.255", "203.0.113.9"), e4, false},
		{"v4 from 240.0.0.1", about(v4, "240.0.0.1", "203.0.113.9"), e4, true},
		{"v4 from 255.255.255.255", about(v4, "255.255.255.255", "203.0.113.9"), e4, false},
		{"v4 to 224.0.0.5", about(v4, "198.51.100.7", "224.0.0.5"), e4, false},
		{"v4 to 255.255.255.255", about(v4, "198.51.100.7", "255.255.255.255"), e4, false},
		{"v4 to 255.255.255.254", about(v4, "198.51.100.7", "255.255.255.254"), e4, true},
		{"v6 from ::", about(v6, "::", "2001:db8::1"), e6, false},
		{"v6 from ::1", about(v6, "::1", "2001:db8::1"), e6, false},
		{"v6 from ::2", about(v6, "::2", "2001:db8::1"), e6, true},
		{"v6 from ff02::1", about(v6, "ff02::1", "2001:db8::1"), e6, false},
		{"v6 to ff0e::1", about(v6, "2001:db8::1", "ff0e::1"), e6, false},
		{"v6 to fe80::1", about(v6, "2001:db8::1", "fe80::1"), e6, true},
		{"v4 from a v6 router", v4, Error{Source: router6, Type: ICMPTimeExceeded}, false},
		{"v6 from a v4 router", v6, Error{Source: router4, Type: ICMPv6TimeExceeded}, false},
		{"v4 from no router", v4, Error{Type: ICMPTimeExceeded}, false},
		{"v6 from no router", v6, Error{Type: ICMPv6TimeExceeded}, false},
	}
	for icmpType := range 256 {
		query := map[int]bool{0: true, 1: true, 2: true, 6: true, 7: true, 8: true, 9: true, 10: true,
			13: true, 14: true, 15: true, 16: true, 17: true, 18: true}[icmpType]
		tests = append(tests, refusal{"v4 about icmp type " + strconv.Itoa(icmpType), edited(icmp, l4v4, icmpType), e4, query})
		is4 := map[int]bool{3: true, 4: true, 5: true, 11: true, 12: true}[icmpType]
		tests = append(tests, refusal{"v4 of type " + strconv.Itoa(icmpType), v4, Error{Source: router4, Type: uint8(icmpType)}, is4})
		is6 := icmpType >= 1 && icmpType <= 4
		tests = append(tests, refusal{"v6 of type " + strconv.Itoa(icmpType), v6, Error{Source: router6, Type: uint8(icmpType)}, is6})
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			k := mustParse(t, c.frame)
			dst := bytes.Repeat([]byte{0xee}, MaxErrorFrameLen)
			n, ok := BuildError(dst, c.frame, &k, c.e)
			if ok != c.ok {
				t.Fatalf("ok = %v, want %v", ok, c.ok)
			}
			if !ok && (n != 0 || !bytes.Equal(dst, bytes.Repeat([]byte{0xee}, MaxErrorFrameLen))) {
				t.Error("refused, and something was written")
			}
		})
	}
}

// TestBuildErrorRoom: one byte less than the answer needs is not ok, and not a panic.
func TestBuildErrorRoom(t *testing.T) {
	s := samples()
	for _, c := range []struct {
		frame []byte
		e     Error
	}{
		{s[0].frame, Error{Source: router4, Type: ICMPTimeExceeded}},
		{s[2].frame, Error{Source: router6, Type: ICMPv6TimeExceeded}},
		{padded6(t, 1452), Error{Source: router6, Type: ICMPv6TimeExceeded}},
	} {
		k := mustParse(t, c.frame)
		n, _ := BuildError(make([]byte, MaxErrorFrameLen), c.frame, &k, c.e)
		if _, ok := BuildError(make([]byte, n), c.frame, &k, c.e); !ok {
			t.Errorf("not ok with the %d bytes that it needs", n)
		}
		for short := range n {
			if _, ok := BuildError(make([]byte, short), c.frame, &k, c.e); ok {
				t.Errorf("ok with %d of %d bytes", short, n)
			}
		}
	}
}
