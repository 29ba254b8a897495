package packet

import (
	"bytes"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// segment is a frame with a TCP segment of the family.
func segment(tb testing.TB, family uint8, t layers.TCP, payload string) []byte {
	t.SrcPort, t.DstPort, t.Window = 40000, 443, 1000
	var ip gopacket.NetworkLayer = ipv4(layers.IPProtocolTCP)
	etherType := layers.EthernetTypeIPv4
	if family == IPv6 {
		ip, etherType = ipv6(layers.IPProtocolTCP), layers.EthernetTypeIPv6
	}
	if err := t.SetNetworkLayerForChecksum(ip); err != nil {
		tb.Fatal(err)
	}
	return serialize(tb, ethernet(etherType), ip.(gopacket.SerializableLayer), &t, gopacket.Payload(payload))
}

// wantReset is the frame that BuildReset has to write, as gopacket writes it.
func wantReset(tb testing.TB, k *Key, t layers.TCP) []byte {
	t.SrcPort, t.DstPort, t.RST = layers.TCPPort(k.DstPort), layers.TCPPort(k.SrcPort), true
	var ip gopacket.NetworkLayer = &layers.IPv4{Version: 4, TTL: 64, Flags: layers.IPv4DontFragment, Protocol: layers.IPProtocolTCP,
		SrcIP: k.DstAddr().AsSlice(), DstIP: k.SrcAddr().AsSlice()}
	etherType, length := layers.EthernetTypeIPv4, EthernetHeaderLen+40
	if k.Family == IPv6 {
		ip = &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolTCP, SrcIP: k.DstAddr().AsSlice(), DstIP: k.SrcAddr().AsSlice()}
		etherType, length = layers.EthernetTypeIPv6, EthernetHeaderLen+60
	}
	if err := t.SetNetworkLayerForChecksum(ip); err != nil {
		tb.Fatal(err)
	}
	zero := make(net.HardwareAddr, 6)
	return serialize(tb, &layers.Ethernet{SrcMAC: zero, DstMAC: zero, EthernetType: etherType}, ip.(gopacket.SerializableLayer), &t)[:length]
}

// TestBuildReset has the two kinds of RFC 9293 section 3.10.7.1 and everything that occupies sequence numbers.
func TestBuildReset(t *testing.T) {
	mss := []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}}}
	for _, c := range []struct {
		name    string
		segment layers.TCP
		payload string
		want    layers.TCP
	}{
		{"syn", layers.TCP{Seq: 1000, SYN: true}, "", layers.TCP{ACK: true, Ack: 1001}},
		{"syn with options", layers.TCP{Seq: 1000, SYN: true, Options: mss}, "", layers.TCP{ACK: true, Ack: 1001}},
		{"syn with data", layers.TCP{Seq: 0xfffffffe, SYN: true}, "hello", layers.TCP{ACK: true, Ack: 4}},
		{"fin", layers.TCP{Seq: 7, FIN: true}, "x", layers.TCP{ACK: true, Ack: 9}},
		{"no flags", layers.TCP{Seq: 7}, "xyz", layers.TCP{ACK: true, Ack: 10}},
		{"ack", layers.TCP{Seq: 7, Ack: 0xcafebabe, ACK: true, PSH: true}, "data", layers.TCP{Seq: 0xcafebabe}},
		{"syn ack", layers.TCP{Seq: 7, Ack: 12, ACK: true, SYN: true}, "", layers.TCP{Seq: 12}},
		{"fin ack", layers.TCP{Seq: 7, Ack: 0, ACK: true, FIN: true}, "", layers.TCP{Seq: 0}},
	} {
		for _, family := range []uint8{IPv4, IPv6} {
			frame := segment(t, family, c.segment, c.payload)
			tagged := serialize(t, &layers.Ethernet{SrcMAC: mac1, DstMAC: mac2, EthernetType: layers.EthernetTypeDot1Q},
				&layers.Dot1Q{VLANIdentifier: 7, Type: layers.EthernetType(uint16(frame[12])<<8 | uint16(frame[13]))}, gopacket.Payload(frame[14:]))
			for _, frame := range [][]byte{frame, tagged} {
				k := mustParse(t, frame)
				parsed, before := k, append([]byte(nil), frame...)
				dst := bytes.Repeat([]byte{0xee}, 128)
				n, ok := BuildReset(dst, frame, &k)
				if !ok {
					t.Fatalf("%s: not ok", c.name)
				}
				if diff := cmp.Diff(wantReset(t, &k, c.want), dst[:n]); diff != "" {
					t.Errorf("%s, family %d: frame (-want +got):\n%s", c.name, family, diff)
				}
				if k != parsed || !bytes.Equal(frame, before) {
					t.Errorf("%s: the segment itself was changed", c.name)
				}
				if !bytes.Equal(dst[n:], bytes.Repeat([]byte{0xee}, len(dst)-n)) {
					t.Errorf("%s: bytes behind the frame were written", c.name)
				}
				for short := range n {
					if _, ok := BuildReset(make([]byte, short), frame, &k); ok {
						t.Errorf("%s: ok with %d of %d bytes", c.name, short, n)
					}
				}
				if again := mustParse(t, dst[:n]); again.TCPFlags&TCPReset == 0 || again.SrcPort != k.DstPort {
					t.Errorf("%s: the reset parses as %+v", c.name, again)
				} else if _, ok := BuildReset(make([]byte, 128), dst[:n], &again); ok {
					t.Errorf("%s: a reset of a reset", c.name)
				}
			}
		}
	}
}

func TestBuildResetRefuses(t *testing.T) {
	v4, v6 := segment(t, IPv4, layers.TCP{Seq: 5, SYN: true}, "abc"), segment(t, IPv6, layers.TCP{Seq: 5, SYN: true}, "abc")
	const l3, t4, t6 = EthernetHeaderLen, EthernetHeaderLen + IPv4HeaderLen, EthernetHeaderLen + IPv6HeaderLen
	moved := func(frame []byte, src, dst string) []byte { // the checksum moves along
		f := about(frame, src, dst)
		k := mustParse(t, f)
		seg := f[k.L4 : k.L3()+int(k.Length)]
		seg[16], seg[17] = 0, 0
		sum := Checksum(Sum(pseudo(&k, &k.Src, &k.Dst, len(seg)), seg))
		seg[16], seg[17] = byte(sum>>8), byte(sum)
		return f
	}
	for _, c := range []struct {
		name  string
		frame []byte
		ok    bool // the neighbouring case that is not refused
	}{
		{"v4", v4, true},
		{"v6", v6, true},
		{"udp", samples()[0].frame, false},
		{"v4 reset", segment(t, IPv4, layers.TCP{RST: true}, ""), false},
		{"v6 reset with ack", segment(t, IPv6, layers.TCP{RST: true, ACK: true}, ""), false},
		{"v4 wrong checksum", edited(v4, t4+16, 0xab), false},
		{"v6 wrong checksum", edited(v6, t6+8, 1), false},
		{"v4 first fragment", fixIPv4(edited(v4, l3+6, 0x20)), false},
		{"v4 later fragment", fixIPv4(edited(v4, l3+6, 0, l3+7, 1)), false},
		{"v6 first fragment", withExtensions(v6, extension{extFragment, 1}), false},
		{"v6 behind headers", withExtensions(v6, extension{extHopByHop, 0}), true},
		{"v4 header cut short", fixIPv4(edited(v4, l3+3, 39)), false},
		{"link-layer broadcast", edited(v4, 0, 0xff), false},
		{"v4 from 0.0.0.1", moved(v4, "0.0.0.1", "203.0.113.9"), false},
		{"v4 from 224.0.0.1", moved(v4, "224.0.0.1", "203.0.113.9"), false},
		{"v4 to 224.0.0.1", moved(v4, "198.51.100.7", "224.0.0.1"), false},
		{"v4 to 255.255.255.255", moved(v4, "198.51.100.7", "255.255.255.255"), false},
		{"v4 to 10.0.0.1", moved(v4, "198.51.100.7", "10.0.0.1"), true},
		{"v6 from ::", moved(v6, "::", "2001:db8::1"), false},
		{"v6 to ff02::1", moved(v6, "2001:db8::2", "ff02::1"), false},
		{"v6 to 2001:db8::1", moved(v6, "2001:db8::2", "2001:db8::1"), true},
	} {
		k := mustParse(t, c.frame)
		dst := make([]byte, MaxResetFrameLen)
		n, ok := BuildReset(dst, c.frame, &k)
		if ok != c.ok {
			t.Errorf("%s: ok = %v, want %v", c.name, ok, c.ok)
		}
		if !ok && (n != 0 || !bytes.Equal(dst, make([]byte, MaxResetFrameLen))) {
			t.Errorf("%s: refused, and something was written", c.name)
		}
	}

	// A data offset that is too small or reaches too far, with a checksum that is right.
	for offset, ok := range map[byte]bool{4: false, 5: true, 6: false, 15: false} {
		frame := segment(t, IPv4, layers.TCP{Seq: 5, SYN: true}, "")
		k := mustParse(t, frame)
		seg := frame[k.L4 : k.L3()+int(k.Length)]
		seg[12] = offset << 4
		seg[16], seg[17] = 0, 0
		sum := Checksum(Sum(pseudo(&k, &k.Src, &k.Dst, len(seg)), seg))
		seg[16], seg[17] = byte(sum>>8), byte(sum)
		if _, got := BuildReset(make([]byte, 128), frame, &k); got != ok {
			t.Errorf("data offset %d: ok = %v, want %v", offset, got, ok)
		}
	}
}

func TestBuildResetAllocs(t *testing.T) {
	dst := make([]byte, MaxResetFrameLen)
	for _, s := range samples() {
		k := mustParse(t, s.frame)
		wantNoAllocs(t, s.name, func() { BuildReset(dst, s.frame, &k) })
	}
}

func FuzzBuildReset(f *testing.F) {
	seeds(func(frame []byte) { f.Add(frame, uint16(MaxResetFrameLen)) })
	f.Fuzz(func(t *testing.T, frame []byte, room uint16) {
		frame = repaired(frame)
		k := Key{Ingress: 9}
		if Parse(frame, &k) != None {
			return
		}
		dst := make([]byte, room%256)
		n, ok := BuildReset(dst, frame, &k)
		if !ok {
			return
		}
		answer := Key{Ingress: 9}
		if reason := Parse(dst[:n], &answer); reason != None {
			t.Fatalf("reset is dropped: %v", reason)
		}
		checkKey(t, dst[:n], &answer)
		if answer.Src != k.Dst || answer.Dst != k.Src || answer.SrcPort != k.DstPort || answer.DstPort != k.SrcPort || k.TCPFlags&TCPReset != 0 {
			t.Errorf("reset %+v of %+v", answer, k)
		}
		seg := dst[answer.L4:n]
		if Checksum(Sum(pseudo(&answer, &answer.Src, &answer.Dst, len(seg)), seg)) != 0 {
			t.Error("TCP checksum does not verify")
		}
	})
}
