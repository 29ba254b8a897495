package steer

import (
	"encoding/binary"
	"net"
	"net/netip"
)

// Frames are built, for the tests, by gluing byte slices together.

var (
	ourMAC   = parseMAC("02:00:5e:10:00:01")
	otherMAC = parseMAC("02:00:5e:10:00:02")
)

func join(parts ...[]byte) []byte {
	var whole []byte
	for _, p := range parts {
		whole = append(whole, p...)
	}
	return whole
}

// macs is what stands before the first EtherType.
func macs(dst net.HardwareAddr) []byte { return join(dst, otherMAC) }

func etherType(t uint16) []byte { return binary.BigEndian.AppendUint16(nil, t) }

// tag is a VLAN tag's type and VLAN identifier; what follows it begins with an EtherType.
func tag(tpid uint16) []byte { return join(etherType(tpid), []byte{0, 100}) }

func ipv4(dst string, payload ...byte) []byte {
	h := []byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 198, 51, 100, 1}
	h = append(h, netip.MustParseAddr(dst).AsSlice()...)
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	return join(etherType(0x0800), h, payload)
}

func ipv6(dst string, next, hopLimit uint8, payload ...byte) []byte {
	h := []byte{0x60, 0, 0, 0, 0, 0, next, hopLimit}
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h = append(h, netip.MustParseAddr("2001:db8:ffff::1").AsSlice()...)
	h = append(h, netip.MustParseAddr(dst).AsSlice()...)
	return join(etherType(0x86dd), h, payload)
}

// packetTo is a packet of the family of dst.
func packetTo(dst netip.Addr) []byte {
	if dst.Is4() {
		return ipv4(dst.String())
	}
	return ipv6(dst.String(), 17, 64)
}
