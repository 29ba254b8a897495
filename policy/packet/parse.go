package packet

import (
	"encoding/binary"
	"math/bits"
)

// Lengths of headers, in bytes.
const (
	EthernetHeaderLen = 14 // IEEE 802.3: two addresses and the EtherType
	VLANTagLen        = 4  // IEEE 802.1Q: TPID and TCI
	MaxVLANTags       = 2
	IPv4HeaderLen     = 20 // RFC 791 section 3.1, without options
	IPv6HeaderLen     = 40 // RFC 8200 section 3

	tcpHeaderLen  = 20 // RFC 9293 section 3.1, without options
	udpHeaderLen  = 8  // RFC 768
	icmpHeaderLen = 4  // RFC 792, RFC 4443 section 2.1: type, code and checksum, which is all that every message has
)

// MaxExtensionHeaders bounds the walk along an IPv6 extension-header chain. RFC 8200 section 4.1 has use for seven
// headers at most. The bound is Linux's for the walk that fills its rule selectors (MAX_FLOW_DISSECT_HDRS in
// net/core/flow_dissector.c); Linux then routes the packet without knowing its L4 header, while Parse drops it, so
// that a chain nobody needs cannot carry a packet past the rules about its ports.
const MaxExtensionHeaders = 15

// EtherTypes (IEEE registration authority).
const (
	EtherTypeIPv4 uint16 = 0x0800
	EtherTypeIPv6 uint16 = 0x86dd

	tagCustomer uint16 = 0x8100 // IEEE 802.1Q C-TAG
	tagService  uint16 = 0x88a8 // IEEE 802.1ad S-TAG
	tagQinQ     uint16 = 0x9100 // the S-TAG of equipment older than 802.1ad
)

// IPv6 extension headers (IANA "IPv6 Extension Header Types"), as far as Linux's ipv6_ext_hdr walks over them.
// Mobility (135), HIP (139) and shim6 (140) are on IANA's list too, but not on Linux's: like ESP (50) they end the
// chain and are the packet's protocol.
const (
	extHopByHop    uint8 = 0
	extRouting     uint8 = 43
	extFragment    uint8 = 44
	extAuth        uint8 = 51
	protoNoNext    uint8 = 59 // nothing follows (RFC 8200 section 4.7)
	extDestination uint8 = 60
)

// Parse reads frame, which begins with the Ethernet header and may be longer than the packet in it, into k. It
// returns None if the packet can go on, or the reason why it must be dropped.
//
// Every field is overwritten but Ingress, which is the caller's; Mark becomes 0. If a reason is returned, k
// holds what had been read until then, and is good for nothing but counting.
//
// The frame is not written to and not kept.
func Parse(frame []byte, k *Key) Reason {
	ingress := k.Ingress
	*k = Key{}
	k.Ingress = ingress

	if len(frame) < EthernetHeaderLen {
		return Truncated
	}
	etherType := binary.BigEndian.Uint16(frame[12:])
	l3 := EthernetHeaderLen
	if isTag(etherType) {
		var reason Reason
		if etherType, l3, reason = parseTags(frame, etherType, k); reason != None {
			return reason
		}
	}

	switch etherType {
	case EtherTypeIPv4:
		return parseIPv4(frame, l3, k)
	case EtherTypeIPv6:
		return parseIPv6(frame, l3, k)
	}
	return NotIP
}

func isTag(etherType uint16) bool {
	return etherType == tagCustomer || etherType == tagService || etherType == tagQinQ
}

// parseTags reads the VLAN tags of a frame whose first EtherType is a tag's. It returns the EtherType behind
// the last tag and the offset of what follows it.
func parseTags(frame []byte, etherType uint16, k *Key) (uint16, int, Reason) {
	offset := EthernetHeaderLen
	for isTag(etherType) {
		if k.Tags == MaxVLANTags {
			return 0, 0, TooManyTags
		}
		if len(frame) < offset+VLANTagLen {
			return 0, 0, Truncated
		}
		tag := (*[VLANTagLen]byte)(frame[offset:])
		k.VLAN[k.Tags] = binary.BigEndian.Uint16(tag[0:]) & 0x0fff // without PCP and DEI
		k.Tags++
		etherType = binary.BigEndian.Uint16(tag[2:])
		offset += VLANTagLen
	}
	return etherType, offset, None
}

// IPv4 flags and fragment offset, the word at byte 6 of the header (RFC 791 section 3.1).
const (
	ipv4DontFragment  uint16 = 0x4000
	ipv4MoreFragments uint16 = 0x2000
	ipv4OffsetMask    uint16 = 0x1fff
)

// parseIPv4 reads the packet that starts at l3. The checks and their order are those of Linux's ip_rcv_core.
func parseIPv4(frame []byte, l3 int, k *Key) Reason {
	room := len(frame) - l3
	if room < IPv4HeaderLen {
		return Truncated
	}
	h := (*[IPv4HeaderLen]byte)(frame[l3:])

	headerLen := IPv4HeaderLen
	sum := sumIPv4Header(h)
	if h[0] != 0x45 { // version 4 and five words of header
		if h[0]>>4 != IPv4 {
			return BadVersion
		}
		headerLen = int(h[0]&0x0f) * 4
		if headerLen < IPv4HeaderLen {
			return BadHeaderLen
		}
		if headerLen > room {
			return Truncated
		}
		sum += Sum(0, frame[l3+IPv4HeaderLen:l3+headerLen])
	}
	if fold(sum) != 0xffff { // RFC 1812 section 5.2.2 (2)
		return BadChecksum
	}
	total := int(binary.BigEndian.Uint16(h[2:]))
	if total < headerLen || total > room {
		return BadTotalLen
	}
	reason := None
	if headerLen > IPv4HeaderLen { // the rest is read all the same: an error may be due
		reason = checkIPv4Options(frame[l3+IPv4HeaderLen : l3+headerLen]).reason
	}

	k.Family = IPv4
	k.TOS = h[1]
	k.Length = uint16(total)
	k.TTL = h[8]
	k.Proto = h[9]
	mapIPv4(&k.Src, binary.LittleEndian.Uint32(h[12:]))
	mapIPv4(&k.Dst, binary.LittleEndian.Uint32(h[16:]))

	flags := binary.BigEndian.Uint16(h[6:])
	k.DontFragment = flags&ipv4DontFragment != 0
	if flags&ipv4OffsetMask != 0 {
		k.Fragment = FragmentLater
		return reason
	}
	if flags&ipv4MoreFragments != 0 {
		k.Fragment = FragmentFirst
	}
	parseL4(frame[:l3+total], l3+headerLen, k)
	return reason
}

// sumIPv4Header is Sum(0, h[:]) made for one length. The loads are big-endian as there, so that the two may be added.
func sumIPv4Header(h *[IPv4HeaderLen]byte) uint64 {
	a := binary.BigEndian.Uint64(h[0:])
	b := binary.BigEndian.Uint64(h[8:])
	sum, carry := bits.Add64(a, b, 0)
	sum = sum>>32 + sum&0xffffffff + carry // 2^64 is 1, modulo 2^16-1
	return sum + uint64(binary.BigEndian.Uint32(h[16:]))
}

// mapIPv4 stores an IPv4 address, loaded little-endian, as ::ffff:a.b.c.d. The first eight bytes of dst are 0
// already.
func mapIPv4(dst *[16]byte, addr uint32) {
	binary.LittleEndian.PutUint64(dst[8:], uint64(addr)<<32|0xffff0000)
}

// parseIPv6 reads the packet that starts at l3. The checks are those of Linux's ip6_rcv_core that are not about
// addresses.
//
// A payload length of 0 is taken at its word. A jumbogram (RFC 2675), which has that too, is longer than any frame,
// so there is none to be read here: its hop-by-hop header lies beyond the payload, and it is dropped for that.
func parseIPv6(frame []byte, l3 int, k *Key) Reason {
	room := len(frame) - l3
	if room < IPv6HeaderLen {
		return Truncated
	}
	h := (*[IPv6HeaderLen]byte)(frame[l3:])

	first := binary.BigEndian.Uint32(h[0:]) // version 4 bits, traffic class 8, flow label 20
	if uint8(first>>28) != IPv6 {
		return BadVersion
	}
	total := int(binary.BigEndian.Uint16(h[4:])) + IPv6HeaderLen
	if total > room || total > maxPacketLen {
		return BadTotalLen
	}

	k.Family = IPv6
	k.TOS = uint8(first >> 20)
	k.FlowLabel = first & 0x000fffff
	k.Length = uint16(total)
	k.Proto = h[6]
	k.TTL = h[7]
	k.Src = [16]byte(h[8:24])
	k.Dst = [16]byte(h[24:40])
	k.DontFragment = true

	packet := frame[:l3+total]
	if !isExtension(k.Proto) {
		parseL4(packet, l3+IPv6HeaderLen, k)
		return None
	}
	reason := None
	if k.Proto == extHopByHop { // the rest is read all the same: an error may be due
		reason = checkHopByHop(packet[l3:]).reason
	}
	if beyond := parseExtensions(packet, l3+IPv6HeaderLen, k); reason == None {
		reason = beyond
	}
	return reason
}

// maxPacketLen is what Key.Length can hold. An IPv6 packet can be 40 bytes longer; no device of ours carries one.
const maxPacketLen = 65535

func isExtension(proto uint8) bool {
	switch proto {
	case extHopByHop, extRouting, extFragment, extAuth, extDestination:
		return true
	}
	return false
}

// parseExtensions walks the extension headers that start at offset, and then reads the L4 header.
//
// The only one that concerns a router is a hop-by-hop header that comes first, which checkHopByHop has looked at. In
// all other places the walk just ends where it cannot go on: Proto is then the header that could not be read, and the
// packet is forwarded.
func parseExtensions(packet []byte, offset int, k *Key) Reason {
	for n := 0; isExtension(k.Proto); n++ {
		if n == MaxExtensionHeaders {
			return TooManyHeaders
		}
		rest := packet[offset:]
		size := extensionLen(k.Proto, rest)
		if size > len(rest) {
			return None
		}
		if k.Proto == extFragment {
			k.Fragment = max(k.Fragment, fragmentOf(binary.BigEndian.Uint16(rest[2:])))
		}
		k.Proto = rest[0]
		if k.Fragment == FragmentLater {
			return None
		}
		offset += size
	}
	parseL4(packet, offset, k)
	return None
}

// extensionLen is the length in bytes of the extension header at the start of b, at least 8. It may be more than
// there is of b.
func extensionLen(proto uint8, b []byte) int {
	const smallest = 8
	if proto == extFragment || len(b) < 2 { // byte 1 of a fragment header is reserved (RFC 8200 section 4.5)
		return smallest
	}
	if proto == extAuth {
		return (int(b[1]) + 2) * 4 // RFC 4302 section 2.2, which RFC 8200 did not change
	}
	return (int(b[1]) + 1) * smallest // RFC 8200 section 4.3
}

// fragmentOf interprets the offset word of a fragment header: 13 bits of offset, two reserved, M (RFC 8200 section
// 4.5).
func fragmentOf(word uint16) Fragment {
	switch {
	case word&0xfff8 != 0:
		return FragmentLater
	case word&1 != 0:
		return FragmentFirst
	}
	return FragmentNone // an atomic fragment, RFC 6946
}

// parseL4 reads the L4 header at offset; packet ends where the IP header says. Ports are read as soon as their four
// bytes are there, as Linux does for its rules; everything else, and L4 itself, wants the whole header.
func parseL4(packet []byte, offset int, k *Key) {
	b := packet[offset:]
	switch k.Proto {
	case ProtoTCP:
		if len(b) < tcpHeaderLen {
			parsePorts(b, k)
			return
		}
		k.SrcPort = binary.BigEndian.Uint16(b[0:])
		k.DstPort = binary.BigEndian.Uint16(b[2:])
		k.TCPFlags = b[13]
	case ProtoUDP:
		if len(b) < udpHeaderLen {
			parsePorts(b, k)
			return
		}
		k.SrcPort = binary.BigEndian.Uint16(b[0:])
		k.DstPort = binary.BigEndian.Uint16(b[2:])
	case ProtoICMP, ProtoICMPv6:
		if len(b) < icmpHeaderLen {
			return
		}
		k.ICMPType = b[0]
		k.ICMPCode = b[1]
	case protoNoNext:
		return
	default:
		if len(b) == 0 {
			return
		}
	}
	k.L4 = uint16(offset)
}

// parsePorts reads the ports of a header that is cut short.
func parsePorts(b []byte, k *Key) {
	if len(b) >= 4 {
		k.SrcPort = binary.BigEndian.Uint16(b[0:])
		k.DstPort = binary.BigEndian.Uint16(b[2:])
	}
}
