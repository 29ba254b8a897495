package packet

import (
	"encoding/binary"
	"net/netip"
)

// Options of neighbour discovery (RFC 4861 section 4.6), whose lengths are in units of eight bytes.
const (
	ndTargetAddress    uint8 = 2
	ndRedirectedHeader uint8 = 4
	ndUnit                   = 8

	redirectLen  = 40  // type, code, checksum, four reserved bytes, target and destination
	neighborHops = 255 // hop limit of neighbour discovery, by which hosts know that nobody forwarded it
)

// Redirect tells the sender of an IPv6 packet the better next hop for its destination (RFC 4861 section 4.5). Its fields
// are IPv6 addresses of the link that the packet came by.
type Redirect struct {
	Source netip.Addr // the router's, link-local
	Target netip.Addr // the better next hop: a router's link-local address, or the destination itself
	MAC    [6]byte    // of the target, if HasMAC
	HasMAC bool
}

// BuildRedirect writes the ICMPv6 redirect r about the packet in frame, which was parsed into k and not edited since, to dst,
// as BuildError does; so does ndisc_send_redirect (net/ipv6/ndisc.c). ok is false if the packet is not IPv6, came by a
// link-layer multicast, or dst is too small. Whether sender and target are neighbours is the caller's business.
func BuildRedirect(dst, frame []byte, k *Key, r *Redirect) (n int, ok bool) {
	if k.Family != IPv6 || frame[0]&1 != 0 {
		return 0, false
	}
	options := 0
	if r.HasMAC {
		options = ndUnit
	}
	quote := quoted(frame, k, maxErrorIPv6-IPv6HeaderLen-redirectLen-options-ndUnit)
	quote = quote[:len(quote)&^(ndUnit-1)]
	payload := redirectLen + options + ndUnit + len(quote)
	if n = EthernetHeaderLen + IPv6HeaderLen + payload; len(dst) < n {
		return 0, false
	}
	putEthernet(dst, EtherTypeIPv6)
	source := r.Source.As16()
	putIPv6(dst[EthernetHeaderLen:], payload, neighborHops, &source, &k.Src)

	b := dst[EthernetHeaderLen+IPv6HeaderLen : n]
	clear(b[:redirectLen+options+ndUnit])
	b[0] = ICMPv6Redirect
	*(*[16]byte)(b[8:]) = r.Target.As16()
	*(*[16]byte)(b[24:]) = k.Dst
	o := b[redirectLen:]
	if r.HasMAC {
		o[0], o[1] = ndTargetAddress, 1
		*(*[6]byte)(o[2:]) = r.MAC
		o = o[ndUnit:]
	}
	o[0], o[1] = ndRedirectedHeader, uint8(1+len(quote)/ndUnit)
	copy(o[ndUnit:], quote)
	binary.BigEndian.PutUint16(b[2:], Checksum(Sum(PseudoIPv6(&source, &k.Src, ProtoICMPv6, uint32(payload)), b)))
	return n, true
}

// putIPv6 writes the header of an ICMPv6 message of the router's own: traffic class and flow label 0.
func putIPv6(b []byte, payload int, hops uint8, src, dst *[16]byte) {
	h := (*[IPv6HeaderLen]byte)(b)
	binary.BigEndian.PutUint32(h[0:], uint32(IPv6)<<28)
	binary.BigEndian.PutUint16(h[4:], uint16(payload))
	h[6] = ProtoICMPv6
	h[7] = hops
	*(*[16]byte)(h[8:]) = *src
	*(*[16]byte)(h[24:]) = *dst
}
