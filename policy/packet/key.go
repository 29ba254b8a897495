package packet

import (
	"net/netip"
	"unsafe"
)

// Address families, as Key.Family holds them: the IP version number.
const (
	IPv4 uint8 = 4
	IPv6 uint8 = 6
)

// IP protocol numbers that a decision looks into (IANA "Assigned Internet Protocol Numbers").
const (
	ProtoICMP   uint8 = 1
	ProtoTCP    uint8 = 6
	ProtoUDP    uint8 = 17
	ProtoICMPv6 uint8 = 58
)

// Fragment says which part of a datagram a packet is.
type Fragment uint8

// Fragment values.
const (
	FragmentNone  Fragment = iota // a whole datagram (an IPv6 "atomic fragment", RFC 6946, counts as whole)
	FragmentFirst                 // offset 0, more to come: the L4 header is here, unless the fragment is tiny
	FragmentLater                 // offset > 0: no L4 header
)

// Key holds the fields of one packet that a decision may depend on, and where its headers are.
// It is one cache line (64 bytes) and full, has no pointers, and is overwritten in place for every packet: its zero
// value is ready for Parse. Keys of one batch are owned by one worker.
//
// A Key says what the packet says. That Linux treats the ports of any fragment as 0, for instance, is the
// business of the policy, not of the Key. Where all fragments are to be decided like the first of their datagram,
// whoever has seen that one completes the Keys of the others (SetL4Fields).
type Key struct {
	Src, Dst [16]byte // IPv4 addresses are held v4-mapped (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2)

	Mark      uint32 // fwmark; 0 on arrival
	FlowLabel uint32 // IPv6 flow label, 20 bits; 0 in IPv4

	SrcPort, DstPort uint16 // TCP, UDP; else, in later fragments, and if their bytes are missing 0
	Length           uint16 // bytes of the IP packet, header included
	Ingress          uint16 // logical port it came in on (index into the snapshot's ports); not set by Parse

	VLAN [2]uint16 // VLAN identifiers (12 bits), outer tag first
	L4   uint16    // offset of the L4 header from the frame's start; 0 where there is none, or not all of it
	Tags uint8     // number of VLAN tags, 0..2

	Family   uint8 // IPv4 or IPv6
	Proto    uint8 // IPv4 protocol; IPv6 next header after the extension headers that could be read
	TOS      uint8 // IPv4 TOS, IPv6 traffic class: DSCP in the upper six bits, ECN in the lower two
	TTL      uint8 // IPv4 TTL, IPv6 hop limit
	Fragment Fragment
	ICMPType uint8 // ICMP and ICMPv6, not in later fragments
	ICMPCode uint8
	TCPFlags uint8 // the low eight flag bits: CWR ECE URG ACK PSH RST SYN FIN

	DontFragment bool // IPv4 DF; always true in IPv6 (RFC 8200 section 5: routers never fragment)
}

// A Key fits into a cache line: this does not compile if it outgrows one.
const _ = uint(64 - unsafe.Sizeof(Key{}))

// L3 is the offset of the IP header from the frame's start: what the Ethernet header and the tags take.
func (k *Key) L3() int { return EthernetHeaderLen + int(k.Tags)*VLANTagLen }

// SrcAddr is the source address in its own family.
func (k *Key) SrcAddr() netip.Addr { return k.addr(&k.Src) }

// DstAddr is the destination address in its own family.
func (k *Key) DstAddr() netip.Addr { return k.addr(&k.Dst) }

func (k *Key) addr(a *[16]byte) netip.Addr {
	if k.Family == IPv4 {
		return netip.AddrFrom4([4]byte(a[12:16]))
	}
	return netip.AddrFrom16(*a)
}
