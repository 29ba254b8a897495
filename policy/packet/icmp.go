package packet

import (
	"encoding/binary"
	"net/netip"
)

// ICMP types and codes that a router answers with (RFC 792, RFC 1812 section 5.2.7).
const (
	ICMPUnreachable  uint8 = 3
	ICMPRedirect     uint8 = 5
	ICMPTimeExceeded uint8 = 11

	ICMPNetUnreachable   uint8 = 0  // of ICMPUnreachable
	ICMPHostUnreachable  uint8 = 1  // of ICMPUnreachable
	ICMPPortUnreachable  uint8 = 3  // of ICMPUnreachable
	ICMPFragNeeded       uint8 = 4  // of ICMPUnreachable; Error.Info is the MTU (RFC 1191 section 4)
	ICMPAdminProhibited  uint8 = 13 // of ICMPUnreachable
	ICMPRedirectHost     uint8 = 1  // of ICMPRedirect; Error.Info is the gateway's address
	ICMPTTLExceeded      uint8 = 0  // of ICMPTimeExceeded
	icmpSourceQuench     uint8 = 4
	icmpParameterProblem uint8 = 12
	icmpLastKnown        uint8 = 18 // Linux NR_ICMP_TYPES: address mask reply
)

// ICMPv6 types and codes that a router answers with (RFC 4443 section 3, RFC 4861 section 4.5).
const (
	ICMPv6Unreachable  uint8 = 1
	ICMPv6PacketTooBig uint8 = 2 // Error.Info is the MTU
	ICMPv6TimeExceeded uint8 = 3
	ICMPv6Redirect     uint8 = 137

	ICMPv6NoRoute            uint8 = 0   // of ICMPv6Unreachable
	ICMPv6AdminProhibited    uint8 = 1   // of ICMPv6Unreachable
	ICMPv6BeyondScope        uint8 = 2   // of ICMPv6Unreachable
	ICMPv6AddressUnreachable uint8 = 3   // of ICMPv6Unreachable
	ICMPv6PortUnreachable    uint8 = 4   // of ICMPv6Unreachable
	ICMPv6HopLimitExceeded   uint8 = 0   // of ICMPv6TimeExceeded
	icmpv6ParameterProblem   uint8 = 4   // the last error type in use
	icmpv6Informational      uint8 = 128 // types from here on are not errors (RFC 4443 section 2.1)
)

// Sizes of an ICMP error, in bytes of the IP packet.
const (
	maxErrorIPv4 = 576  // RFC 1812 section 4.3.2.3
	maxErrorIPv6 = 1280 // the minimum MTU, RFC 4443 section 2.4 (c)

	errorHeaderLen = 8 // type, code, checksum and four bytes that depend on the type; both families

	// MaxErrorFrameLen is the room that BuildError asks for at most.
	MaxErrorFrameLen = EthernetHeaderLen + maxErrorIPv6
)

// errorTTL is the TTL and hop limit of what weir itself sends (IANA "IP Parameters", default TTL).
const errorTTL = 64

// Error is an ICMP or ICMPv6 error to be sent, by the family of the packet it is about. For ICMP, Type is one of 3,
// 4, 5, 11 and 12, for ICMPv6 one of 1..4. ICMPv6 redirects have another shape: BuildRedirect.
type Error struct {
	Source     netip.Addr // the router's address, of the packet's family
	Info       uint32     // the second word: MTU, gateway or pointer, where the type has one; else 0
	ID         uint16     // IPv4 identification
	MTU        uint16     // of the way to the sender: no error is longer; 0: not known
	Type, Code uint8
}

// BuildError writes the ICMP error e about the packet in frame, which was parsed into k and not edited since, to
// dst. The result is a whole frame of n bytes: an Ethernet header without tags whose addresses are zero, and the IP
// packet. It is meant to be parsed, decided and encapsulated like a packet that came in; leave headroom before dst
// for the tags that Encap may add. dst must not overlap frame and should have room for MaxErrorFrameLen bytes.
//
// ok is false, and dst untouched, if no error may be sent about this packet (RFC 1812 section 4.3.2.7, RFC 4443
// section 2.4 (e)): it is itself an ICMP error, or might be one, since its type is missing or (IPv4, as in Linux's
// icmp_send) unknown; it is a fragment other than the first; it came by a link-layer broadcast or multicast; one of
// its addresses is a multicast address or the limited broadcast address; its source does not name a single host.
// The broadcast addresses of attached networks are unknown here, and so is the rate limit: both are the caller's.
// ok is false too if e does not fit the family, or dst is too small.
func BuildError(dst, frame []byte, k *Key, e Error) (n int, ok bool) {
	switch {
	case !Answerable(frame, k):
		return 0, false
	case k.Family == IPv4:
		return buildErrorIPv4(dst, frame, k, e)
	}
	return buildErrorIPv6(dst, frame, k, e)
}

// Answerable reports whether an ICMP error may be sent about the packet in frame, which was parsed into k. BuildError has the
// list of those that none may be sent about.
func Answerable(frame []byte, k *Key) bool {
	return frame[0]&1 == 0 && k.Answerable() // the I/G bit of the destination, IEEE 802
}

func buildErrorIPv4(dst, frame []byte, k *Key, e Error) (n int, ok bool) {
	if !isErrorIPv4(e.Type) || !e.Source.Is4() {
		return 0, false
	}
	quote := quoted(frame, k, e.longest(maxErrorIPv4)-IPv4HeaderLen-errorHeaderLen)
	total := IPv4HeaderLen + errorHeaderLen + len(quote)
	n = EthernetHeaderLen + total
	if len(dst) < n {
		return 0, false
	}
	putEthernet(dst, EtherTypeIPv4)

	h := (*[IPv4HeaderLen]byte)(dst[EthernetHeaderLen:])
	h[0] = 0x45
	h[1] = ErrorTOS(k)
	binary.BigEndian.PutUint16(h[2:], uint16(total))
	// Without DF, as Linux's: about an error that is too long for a link nobody would be told.
	binary.BigEndian.PutUint16(h[4:], e.ID)
	binary.BigEndian.PutUint16(h[6:], 0)
	h[8] = errorTTL
	h[9] = ProtoICMP
	binary.BigEndian.PutUint16(h[10:], 0)
	*(*[4]byte)(h[12:]) = e.Source.As4()
	*(*[4]byte)(h[16:]) = [4]byte(k.Src[12:])
	binary.BigEndian.PutUint16(h[10:], Checksum(sumIPv4Header(h)))

	putError(dst[EthernetHeaderLen+IPv4HeaderLen:n], quote, e, 0)
	return n, true
}

func buildErrorIPv6(dst, frame []byte, k *Key, e Error) (n int, ok bool) {
	if e.Type == 0 || e.Type > icmpv6ParameterProblem || !e.Source.Is6() {
		return 0, false
	}
	quote := quoted(frame, k, e.longest(maxErrorIPv6)-IPv6HeaderLen-errorHeaderLen)
	payload := errorHeaderLen + len(quote)
	n = EthernetHeaderLen + IPv6HeaderLen + payload
	if len(dst) < n {
		return 0, false
	}
	putEthernet(dst, EtherTypeIPv6)

	source := e.Source.As16()
	putIPv6(dst[EthernetHeaderLen:], payload, errorTTL, &source, &k.Src)

	pseudo := PseudoIPv6(&source, &k.Src, ProtoICMPv6, uint32(payload))
	putError(dst[EthernetHeaderLen+IPv6HeaderLen:n], quote, e, pseudo)
	return n, true
}

// Free reports whether Linux's limit for one sender is not for the error: path MTU discovery must not break (icmpv4_mask_allow,
// icmpv6_mask_allow), and redirects have another limit.
func (e *Error) Free(family uint8) bool {
	if family == IPv6 {
		return e.Type == ICMPv6PacketTooBig
	}
	return e.Type == ICMPUnreachable && e.Code == ICMPFragNeeded || e.Type == ICMPRedirect
}

// longest is the most that an error may have of most bytes.
func (e *Error) longest(most int) int {
	if e.MTU != 0 {
		most = min(most, int(e.MTU))
	}
	return most
}

// ErrorTOS is the TOS or traffic class of an error about a packet: precedence internetwork control (RFC 1812 section 4.3.2.5)
// and the packet's own TOS bits, as in Linux's icmp_send; 0 in IPv6, as in its icmp6_send.
func ErrorTOS(k *Key) uint8 {
	if k.Family == IPv6 {
		return 0
	}
	return k.TOS&0x1e | 0xc0
}

// quoted is the part of the packet that an error with room bytes for it sends back: from the IP header on, without
// Ethernet's padding.
func quoted(frame []byte, k *Key, room int) []byte {
	packet := frame[k.L3():]
	return packet[:min(int(k.Length), room)]
}

func putEthernet(b []byte, etherType uint16) {
	h := (*[EthernetHeaderLen]byte)(b)
	*h = [EthernetHeaderLen]byte{}
	binary.BigEndian.PutUint16(h[12:], etherType)
}

// putError fills b, which is as long as it must be, with the ICMP message. partial is the sum of the pseudo header.
func putError(b, quote []byte, e Error, partial uint64) {
	h := (*[errorHeaderLen]byte)(b)
	h[0] = e.Type
	h[1] = e.Code
	binary.BigEndian.PutUint16(h[2:], 0)
	binary.BigEndian.PutUint32(h[4:], e.Info)
	copy(b[errorHeaderLen:], quote)
	binary.BigEndian.PutUint16(h[2:], Checksum(Sum(partial, b)))
}

// isErrorIPv4 tells the ICMP errors from the queries (RFC 1122 section 3.2.2).
func isErrorIPv4(icmpType uint8) bool {
	switch icmpType {
	case ICMPUnreachable, icmpSourceQuench, ICMPRedirect, ICMPTimeExceeded, icmpParameterProblem:
		return true
	}
	return false
}

// Answerable reports whether an ICMP error may be sent about the packet, as far as its Key tells; see BuildError.
func (k *Key) Answerable() bool {
	switch {
	case k.Fragment == FragmentLater:
		return false
	case k.Family == IPv6:
		return answerableIPv6(k)
	}
	return answerableIPv4(k)
}

// answerableIPv4 applies RFC 1812 section 4.3.2.7.
func answerableIPv4(k *Key) bool {
	if k.Proto == ProtoICMP && (k.L4 == 0 || isErrorIPv4(k.ICMPType) || k.ICMPType > icmpLastKnown) {
		return false
	}
	src, dst := (*[4]byte)(k.Src[12:]), (*[4]byte)(k.Dst[12:])
	if src[0] == 0 || src[0] == 127 { // a network prefix of zero; loopback
		return false
	}
	return !isGroupIPv4(src) && !isGroupIPv4(dst)
}

// isGroupIPv4 reports multicast (224/4) and limited broadcast addresses.
func isGroupIPv4(a *[4]byte) bool {
	return a[0]&0xf0 == 0xe0 || *a == [4]byte{255, 255, 255, 255}
}

// answerableIPv6 applies RFC 4443 section 2.4 (e). The exception there for a Packet Too Big about a multicast packet
// is not made: weir does not forward multicast.
func answerableIPv6(k *Key) bool {
	// A type that is missing reads as 0, and so counts as an error.
	if k.Proto == ProtoICMPv6 && (k.ICMPType < icmpv6Informational || k.ICMPType == ICMPv6Redirect) {
		return false
	}
	const multicast = 0xff // RFC 4291 section 2.7
	if k.Src[0] == multicast || k.Dst[0] == multicast {
		return false
	}
	unspecified, loopback := [16]byte{}, [16]byte{15: 1}
	return k.Src != unspecified && k.Src != loopback
}
