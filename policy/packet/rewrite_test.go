package packet

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"pgregory.net/rapid"
)

// withIPv4 is the UDP sample with another TTL, TOS and identification, serialized from scratch.
func withIPv4(tb interface{ Fatal(...any) }, ttl, tos uint8, id uint16) []byte {
	ip := ipv4(layers.IPProtocolUDP)
	ip.TTL, ip.TOS, ip.Id = ttl, tos, id
	return serialize(tb, ethernet(layers.EthernetTypeIPv4), ip, udp(ip), gopacket.Payload("0123456789abcdef0123"))
}

func withIPv6(tb interface{ Fatal(...any) }, ttl, class uint8, flow uint32) []byte {
	ip := ipv6(layers.IPProtocolUDP)
	ip.HopLimit, ip.TrafficClass, ip.FlowLabel = ttl, class, flow
	return serialize(tb, ethernet(layers.EthernetTypeIPv6), ip, udp(ip), gopacket.Payload("0123456789abcdef0123"))
}

// TestDecrementTTL: the edited frame is the one that gopacket would have written, checksum and all.
func TestDecrementTTL(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ttl := rapid.Uint8Range(1, 255).Draw(t, "ttl")
		tos, id := rapid.Uint8().Draw(t, "tos"), rapid.Uint16().Draw(t, "id")
		for _, pair := range [][2][]byte{
			{withIPv4(t, ttl, tos, id), withIPv4(t, ttl-1, tos, id)},
			{withIPv6(t, ttl, tos, uint32(id)), withIPv6(t, ttl-1, tos, uint32(id))},
		} {
			var k, want Key
			Parse(pair[0], &k)
			Parse(pair[1], &want)
			DecrementTTL(pair[0], &k)
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("frame after DecrementTTL:\n%x, want\n%x", pair[0], pair[1])
			}
			if diff := cmp.Diff(want, k); diff != "" {
				t.Errorf("Key (-want +got):\n%s", diff)
			}
		}
	})
}

// TestDecrementTTLChecksums runs through every checksum that a header can have, by way of every identification. One
// of them is the result 0x0000, which RFC 1141 gets wrong.
func TestDecrementTTLChecksums(t *testing.T) {
	frame := withIPv4(t, 61, 0, 0)
	h := frame[EthernetHeaderLen : EthernetHeaderLen+IPv4HeaderLen]
	seen := map[uint16]bool{}
	for id := range 1 << 16 {
		h[8] = 61
		binary.BigEndian.PutUint16(h[4:], uint16(id))
		fixIPv4(frame)
		k := mustParse(t, frame)
		DecrementTTL(frame, &k)
		got := binary.BigEndian.Uint16(h[10:])
		seen[got] = true
		if fixIPv4(frame); got != binary.BigEndian.Uint16(h[10:]) {
			t.Fatalf("checksum with identification %#04x = %#04x, want %#04x", id, got, binary.BigEndian.Uint16(h[10:]))
		}
	}
	if len(seen) != 1<<16-1 || seen[0xffff] {
		t.Errorf("%d checksums were tried, want all but 0xffff", len(seen))
	}
}

// TestDecrementTTLOtherZero: a sender may write 0xffff where 0x0000 belongs, and it verifies.
func TestDecrementTTLOtherZero(t *testing.T) {
	frame := withIPv4(t, 61, 0, 0)
	h := frame[EthernetHeaderLen : EthernetHeaderLen+IPv4HeaderLen]
	binary.BigEndian.PutUint16(h[4:], binary.BigEndian.Uint16(h[10:])) // the identification takes up the checksum
	h[10], h[11] = 0xff, 0xff
	k := mustParse(t, frame)
	DecrementTTL(frame, &k)
	if got := binary.BigEndian.Uint16(h[10:]); got != 0x0100 {
		t.Errorf("checksum = %#04x, want 0x0100", got)
	}
	mustParse(t, frame)
}

func TestDecrementTTLStopsAtZero(t *testing.T) {
	for _, frame := range [][]byte{withIPv4(t, 0, 0, 0), withIPv6(t, 0, 0, 0)} {
		want := append([]byte(nil), frame...)
		k := mustParse(t, frame)
		DecrementTTL(frame, &k)
		if k.TTL != 0 || !bytes.Equal(frame, want) {
			t.Errorf("TTL 0 became %d", k.TTL)
		}
	}
}

// TestDecrementTTLKeepsDamage: an incremental update must not repair a header (RFC 1812 section 5.3.1).
func TestDecrementTTLKeepsDamage(t *testing.T) {
	frame := withIPv4(t, 61, 0, 0)
	k := mustParse(t, frame)
	frame[EthernetHeaderLen+4] ^= 1
	DecrementTTL(frame, &k)
	if got := Parse(frame, &k); got != BadChecksum {
		t.Errorf("Parse of a header damaged before DecrementTTL = %v, want %v", got, BadChecksum)
	}
}

func TestSetDSCP(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tos, id := rapid.Uint8().Draw(t, "tos"), rapid.Uint16().Draw(t, "id")
		dscp := rapid.Uint8Range(0, 63).Draw(t, "dscp")
		flow := rapid.Uint32Range(0, 1<<20-1).Draw(t, "flow")
		after := dscp<<2 | tos&3
		for _, pair := range [][2][]byte{
			{withIPv4(t, 61, tos, id), withIPv4(t, 61, after, id)},
			{withIPv6(t, 61, tos, flow), withIPv6(t, 61, after, flow)},
		} {
			var k, want Key
			Parse(pair[0], &k)
			Parse(pair[1], &want)
			SetDSCP(pair[0], &k, dscp)
			if !bytes.Equal(pair[0], pair[1]) {
				t.Errorf("frame after SetDSCP:\n%x, want\n%x", pair[0], pair[1])
			}
			if diff := cmp.Diff(want, k); diff != "" {
				t.Errorf("Key (-want +got):\n%s", diff)
			}
		}
	})
}

// TestSetDSCPChecksums is TestDecrementTTLChecksums for SetDSCP: for no change, a small one and the largest.
func TestSetDSCPChecksums(t *testing.T) {
	frame := withIPv4(t, 61, 0, 0)
	h := frame[EthernetHeaderLen : EthernetHeaderLen+IPv4HeaderLen]
	for id := range 1 << 16 {
		for _, dscp := range []uint8{0, 1, 63} {
			h[1] = 1
			binary.BigEndian.PutUint16(h[4:], uint16(id))
			fixIPv4(frame)
			k := mustParse(t, frame)
			SetDSCP(frame, &k, dscp)
			got := binary.BigEndian.Uint16(h[10:])
			if fixIPv4(frame); got != binary.BigEndian.Uint16(h[10:]) {
				t.Fatalf("checksum with identification %#04x and dscp %d = %#04x, want %#04x",
					id, dscp, got, binary.BigEndian.Uint16(h[10:]))
			}
		}
	}
}

// tagged is a frame as gopacket writes it with the given VLANs, to and from the addresses of Encap's tests, unpadded.
func tagged(tb testing.TB, packet []byte, etherType layers.EthernetType, vlans ...uint16) []byte {
	types := append([]layers.EthernetType{layers.EthernetTypeDot1Q, layers.EthernetTypeQinQ}[:len(vlans)], etherType)
	eth := &layers.Ethernet{SrcMAC: mac2, DstMAC: mac1, EthernetType: etherType}
	ls := []gopacket.SerializableLayer{eth}
	for i, vlan := range vlans {
		ls = append(ls, &layers.Dot1Q{VLANIdentifier: vlan, Type: layers.EthernetTypeDot1Q})
		if i == len(vlans)-1 {
			ls[len(ls)-1].(*layers.Dot1Q).Type = etherType
		}
	}
	if len(vlans) > 0 {
		eth.EthernetType = types[len(vlans)-1]
	}
	frame := serialize(tb, append(ls, gopacket.Payload(packet))...)
	return frame[:EthernetHeaderLen+len(vlans)*VLANTagLen+len(packet)]
}

// TestEncap sends every sample, which arrive with 0, 1 and 2 tags, padded and not, out with 0, 1 and 2 tags.
func TestEncap(t *testing.T) {
	all := samples()
	short := ipv4(layers.IPProtocolUDP)
	all = append(all, sample{"short", serialize(t, ethernet(layers.EthernetTypeIPv4), short, udp(short))})
	for _, s := range all {
		for tags := range 3 {
			for _, padding := range []int{0, 6} {
				k := mustParse(t, s.frame)
				packet := append([]byte(nil), s.frame[k.L3():k.L3()+int(k.Length)]...)
				etherType := layers.EthernetTypeIPv4
				if k.Family == IPv6 {
					etherType = layers.EthernetTypeIPv6
				}
				vlans := []uint16{7, 4095}[:tags]
				want := tagged(t, packet, etherType, vlans...)

				buf, start := chunk(append(append([]byte(nil), s.frame...), make([]byte, padding)...))
				before := append([]byte(nil), buf...)
				ipAt := start + k.L3()
				// What is above the 12 bits of an identifier must not leak into priority and DEI.
				link := Link{Dst: [6]byte(mac1), Src: [6]byte(mac2), VLAN: [2]uint16{0xf007, 0xffff}, Tags: uint8(tags), Service: tags == 2}
				newStart, n, ok := Encap(buf, start, len(s.frame)+padding, &k, &link)
				if !ok {
					t.Fatalf("%s to %d tags: not ok", s.name, tags)
				}
				got := buf[newStart : newStart+n]
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s to %d tags (-want +got):\n%s", s.name, tags, diff)
				}
				if !bytes.Equal(buf[ipAt:], before[ipAt:]) || !bytes.Equal(buf[:newStart], before[:newStart]) {
					t.Errorf("%s to %d tags: bytes outside of the link-layer header were written", s.name, tags)
				}
				if diff := cmp.Diff(mustParse(t, got), k); diff != "" {
					t.Errorf("%s to %d tags: Key of the frame (-parsed anew +kept):\n%s", s.name, tags, diff)
				}
			}
		}
	}
}

// TestEncapTypes: the outer tag is of the type that is asked for, the inner one a C-TAG.
func TestEncapTypes(t *testing.T) {
	for _, c := range []struct {
		link Link
		want []byte // from the first tag on
	}{
		{Link{VLAN: [2]uint16{7}, Tags: 1}, []byte{0x81, 0, 0, 7, 8, 0}},
		{Link{VLAN: [2]uint16{7}, Tags: 1, Service: true}, []byte{0x88, 0xa8, 0, 7, 8, 0}},
		{Link{VLAN: [2]uint16{7, 8}, Tags: 2}, []byte{0x81, 0, 0, 7, 0x81, 0, 0, 8, 8, 0}},
		{Link{VLAN: [2]uint16{7, 8}, Tags: 2, Service: true}, []byte{0x88, 0xa8, 0, 7, 0x81, 0, 0, 8, 8, 0}},
	} {
		short := ipv4(layers.IPProtocolUDP)
		frame := serialize(t, ethernet(layers.EthernetTypeIPv4), short, udp(short))
		k := mustParse(t, frame)
		buf, start := chunk(frame)
		at, _, ok := Encap(buf, start, len(frame), &k, &c.link)
		if got := buf[at+12:][:len(c.want)]; !ok || !bytes.Equal(got, c.want) {
			t.Errorf("%+v: %x %v, expected %x", c.link, got, ok, c.want)
		}
	}
}

// TestEncapTwice: the Key that Encap leaves is good for another Encap, and a frame that is tagged and untagged again
// does not grow.
func TestEncapTwice(t *testing.T) {
	frame := samples()[0].frame
	k := mustParse(t, frame)
	buf, start := chunk(frame)
	s, n, _ := Encap(buf, start, len(frame), &k, &Link{VLAN: [2]uint16{1, 2}, Tags: 2})
	s, n, ok := Encap(buf, s, n, &k, &Link{})
	if !ok || s != start || n != len(frame) {
		t.Errorf("frame at %d of %d bytes, want %d of %d", s, n, start, len(frame))
	}
	if diff := cmp.Diff(wantV4(), k); diff != "" {
		t.Errorf("Key (-want +got):\n%s", diff)
	}
}

func TestEncapRefuses(t *testing.T) {
	frame := samples()[0].frame
	tests := []struct {
		name          string
		start, length int
		tags          uint8
		size          int
		ok            bool
	}{
		{"fits exactly", 8, len(frame), 2, 8 + len(frame), true},
		{"headroom lacks a byte", 7, len(frame), 2, 4096, false},
		{"no headroom, no tags", 0, len(frame), 0, 4096, true},
		{"three tags", 256, len(frame), 3, 4096, false},
		{"255 tags", 2000, len(frame), 255, 4096, false},
		{"frame shorter than its packet", 256, len(frame) - 1, 0, 4096, false},
		{"packet beyond the chunk", 256, len(frame), 0, 256 + len(frame) - 1, false},
	}
	for _, c := range tests {
		t.Run(c.name, func(t *testing.T) {
			k := mustParse(t, frame)
			parsed := k
			buf := make([]byte, 4096)
			copy(buf[c.start:], frame)
			buf = buf[:c.size]
			before := append([]byte(nil), buf...)
			start, n, ok := Encap(buf, c.start, c.length, &k, &Link{Tags: c.tags})
			if ok != c.ok {
				t.Fatalf("ok = %v, want %v", ok, c.ok)
			}
			if !ok && (start != c.start || n != c.length || k != parsed || !bytes.Equal(buf, before)) {
				t.Error("refused, and something changed")
			}
		})
	}
}
