package packet

import "encoding/binary"

// DecrementTTL takes one off the TTL or hop limit of the packet that was parsed into k, in frame and k. The IPv4
// checksum is adjusted, not computed anew, so a header that was damaged on the way stays recognizable (RFC 1812
// section 5.3.1, RFC 1624).
//
// A packet with a TTL of 0 or 1 must not be forwarded and should not get here. 0 stays 0.
func DecrementTTL(frame []byte, k *Key) {
	if k.TTL == 0 {
		return
	}
	k.TTL--
	if k.Family == IPv6 {
		frame[k.L3()+7] = k.TTL
		return
	}
	h := (*[IPv4HeaderLen]byte)(frame[k.L3():])
	word := binary.BigEndian.Uint16(h[8:]) // TTL and protocol
	setIPv4Word(h, 8, word, word-0x0100)
}

// SetDSCP sets the DSCP of the packet that was parsed into k, in frame and k, and keeps its ECN bits (RFC 2474
// section 3, RFC 3168 section 5). dscp has six bits: 0..63.
func SetDSCP(frame []byte, k *Key, dscp uint8) {
	k.TOS = dscp<<2 | k.TOS&0x03
	if k.Family == IPv6 {
		h := (*[IPv6HeaderLen]byte)(frame[k.L3():])
		word := binary.BigEndian.Uint16(h[0:]) // version, traffic class, upper four bits of the flow label
		binary.BigEndian.PutUint16(h[0:], word&0xf00f|uint16(k.TOS)<<4)
		return
	}
	h := (*[IPv4HeaderLen]byte)(frame[k.L3():])
	word := binary.BigEndian.Uint16(h[0:]) // version, header length, TOS
	setIPv4Word(h, 0, word, word&0xff00|uint16(k.TOS))
}

// setIPv4Word changes the word at an even offset of an IPv4 header from before to after, and the checksum with it.
func setIPv4Word(h *[IPv4HeaderLen]byte, offset int, before, after uint16) {
	check := binary.BigEndian.Uint16(h[10:])
	binary.BigEndian.PutUint16(h[offset:], after)
	binary.BigEndian.PutUint16(h[10:], updateChecksum(check, before, after))
}

// Link is the link-layer header of an outgoing frame.
type Link struct {
	Dst, Src [6]byte   // MAC addresses
	VLAN     [2]uint16 // VLAN identifiers (12 bits), outer tag first
	Tags     uint8     // number of VLAN tags, 0..2
	Service  bool      // the outer one is an S-TAG
}

// MaxLinkHeaderLen is the longest link-layer header that Encap writes, in bytes. A frame that arrives untagged
// needs VLANTagLen bytes of headroom for each tag that it leaves with.
const MaxLinkHeaderLen = EthernetHeaderLen + MaxVLANTags*VLANTagLen

// Encap writes l in front of the packet whose frame occupies length bytes from buf[start] and was parsed into k.
// buf is the whole chunk of UMEM, headroom included. Encap returns where the frame starts now and how long it is.
// The IP packet itself does not move, so the frame grows and shrinks at its front; L3, L4, Tags and VLAN of k
// follow.
//
// The new length is the header's plus Key.Length: padding that Ethernet added on the way in is cut off, as in
// Linux's ip_rcv_core. Padding a short frame on the way out is the business of the device or its driver, as for the
// kernel's own frames.
//
// Tags are C-TAGs (0x8100), but the outer one is an S-TAG (0x88a8; IEEE 802.1Q) if l says so. Priority and DEI are 0,
// whatever a tag on the way in had: they mark a frame for one link, and Linux does not carry them across a
// router either unless an egress map says so.
//
// ok is false, and nothing has been written, if buf has no room in front of the packet, if l.Tags is above 2, or
// if k is not of this frame.
func Encap(buf []byte, start, length int, k *Key, l *Link) (newStart, newLength int, ok bool) {
	if newLength = EthernetHeaderLen + int(k.Length); l.Tags|k.Tags == 0 && newLength <= length && start+length <= len(buf) {
		h := (*[12]byte)(buf[start:]) // no tags, before or after: the common case, in which only the addresses change
		*(*[6]byte)(h[0:]) = l.Dst
		*(*[6]byte)(h[6:]) = l.Src
		return start, newLength, true
	}
	l3 := start + k.L3()
	end := l3 + int(k.Length)
	headerLen := EthernetHeaderLen + int(l.Tags)*VLANTagLen
	newStart = l3 - headerLen
	if newStart < 0 || l.Tags > MaxVLANTags || end > start+length || end > len(buf) {
		return start, length, false
	}
	etherType := EtherTypeIPv4
	if k.Family == IPv6 {
		etherType = EtherTypeIPv6
	}

	h := (*[EthernetHeaderLen]byte)(buf[newStart:])
	*(*[6]byte)(h[0:]) = l.Dst
	*(*[6]byte)(h[6:]) = l.Src
	vlan, outer := [2]uint16{}, tagCustomer
	if l.Service {
		outer = tagService
	}
	switch l.Tags {
	case 0:
		binary.BigEndian.PutUint16(h[12:], etherType)
	case 1:
		vlan[0] = l.VLAN[0] & 0x0fff
		binary.BigEndian.PutUint16(h[12:], outer)
		putTag(buf[newStart+EthernetHeaderLen:], vlan[0], etherType)
	case 2:
		vlan = [2]uint16{l.VLAN[0] & 0x0fff, l.VLAN[1] & 0x0fff}
		binary.BigEndian.PutUint16(h[12:], outer)
		putTag(buf[newStart+EthernetHeaderLen:], vlan[0], tagCustomer)
		putTag(buf[newStart+EthernetHeaderLen+VLANTagLen:], vlan[1], etherType)
	}

	if k.L4 != 0 {
		k.L4 = uint16(int(k.L4) + headerLen - k.L3())
	}
	k.Tags = l.Tags
	k.VLAN = vlan
	return newStart, headerLen + int(k.Length), true
}

// putTag writes the part of a VLAN tag that follows its TPID: the TCI, and the EtherType of what comes next.
func putTag(b []byte, vlan, etherType uint16) {
	t := (*[VLANTagLen]byte)(b)
	binary.BigEndian.PutUint16(t[0:], vlan)
	binary.BigEndian.PutUint16(t[2:], etherType)
}
