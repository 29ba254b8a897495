package packet

import "encoding/binary"

// DatagramID is the identification that all fragments of one datagram have in common, with their addresses and, in IPv4,
// the protocol (RFC 791 section 3.2, RFC 8200 section 4.5). The frame was parsed into k, and k is a fragment.
func DatagramID(frame []byte, k *Key) uint32 {
	l3 := k.L3()
	if k.Family == IPv4 {
		return uint32(binary.BigEndian.Uint16(frame[l3+4:]))
	}
	proto, rest := frame[l3+6], frame[l3+IPv6HeaderLen:l3+int(k.Length)]
	for isExtension(proto) {
		size := extensionLen(proto, rest)
		if size > len(rest) {
			break
		}
		if proto == extFragment && fragmentOf(binary.BigEndian.Uint16(rest[2:])) != FragmentNone {
			return binary.BigEndian.Uint32(rest[4:])
		}
		proto, rest = rest[0], rest[size:]
	}
	return 0 // no fragment: Parse has found the header that the walk ends at
}

// L4Fields are what the first fragment of a datagram says of it and the later ones do not.
type L4Fields struct {
	SrcPort, DstPort   uint16
	Proto              uint8 // in IPv6 a later fragment may name an extension header instead
	ICMPType, ICMPCode uint8
	TCPFlags           uint8
}

// L4Fields returns them from the key of a first fragment.
func (k *Key) L4Fields() L4Fields {
	return L4Fields{SrcPort: k.SrcPort, DstPort: k.DstPort, Proto: k.Proto, ICMPType: k.ICMPType, ICMPCode: k.ICMPCode, TCPFlags: k.TCPFlags}
}

// SetL4Fields completes the key of a later fragment with those of the first.
func (k *Key) SetL4Fields(first *L4Fields) {
	k.SrcPort, k.DstPort, k.Proto = first.SrcPort, first.DstPort, first.Proto
	k.ICMPType, k.ICMPCode, k.TCPFlags = first.ICMPType, first.ICMPCode, first.TCPFlags
}
