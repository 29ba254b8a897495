package policy

import (
	"math/bits"
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// Origin is where the router answers a packet from.
type Origin struct {
	Source netip.Addr
	MTU    uint16 // of the way to the sender
}

// Reply decides how an ICMP error about a packet gets to its sender: v becomes the verdict on the error. about is the
// packet's Key, linkLocal the router's own address on the link that it came in on, if it has one. ok is false if there is
// no way to the sender, or no address to answer from. k is room for what is looked up.
//
// In IPv4 the way comes first, looked up without a source address, and the address is that of the way (icmp_send and
// icmp_route_lookup in net/ipv4/icmp.c). In IPv6 the address comes first, preferably one of the port that the packet came
// in on, and the way is one for it (icmp6_send in net/ipv6/icmp.c). A link-local sender is on that port's link, and
// no table knows it.
func (s *Snapshot) Reply(about, k *packet.Key, linkLocal netip.Addr, v *Verdict) (from Origin, ok bool) {
	*k = packet.Key{
		Family: about.Family, Dst: about.Src, Src: unspecified4, Ingress: LocalOutput, Proto: packet.ProtoICMP,
		TOS: packet.ErrorTOS(about),
	}
	if k.Family == packet.IPv6 {
		if from.Source, ok = s.source6(about, linkLocal); !ok {
			return from, false
		}
		k.Src, k.Proto = from.Source.As16(), packet.ProtoICMPv6
		if linkLocal6(&k.Dst) {
			*v = s.ToNeighbor(about.SrcAddr(), about.Ingress)
			return from, true
		}
	}
	if from.MTU, ok = s.output(k, v); !ok {
		return from, false
	}
	if k.Family == packet.IPv4 {
		from.Source, ok = s.source4(about.SrcAddr(), v)
	}
	return from, ok
}

// Credible reports whether a packet that cannot be decided on comes from where it may be answered, and is not for the
// router itself.
func (s *Snapshot) Credible(k *packet.Key) bool {
	source := s.sourceKind(k)
	return source == foreign && classify(k, source) == addressesFit
}

var unspecified4 = [16]byte{10: 0xff, 11: 0xff}

// output decides where a packet of the router's own goes, by rules and tables alone, and how long it may be.
func (s *Snapshot) output(k *packet.Key, v *Verdict) (mtu uint16, ok bool) {
	var f flow
	f.fill(s, k)
	r := s.walk(&f, nil)
	if r.outcome != found {
		return 0, false
	}
	if r.route.Action == fib.Local {
		*v = Verdict{Action: Punt, Adjacency: Unresolved, Port: None}
		return 0, true
	}
	hop := s.hop(r.route, k)
	if hop.OnLink() {
		*v = s.ToNeighbor(f.dst, hop.Port)
	} else {
		*v = Verdict{Action: Forward, Adjacency: hop.Adjacency, Port: hop.Port}
	}
	return s.mtu(r.route, hop), true
}

// ToNeighbor is the verdict that a packet goes to a neighbour of a port, whatever rules and tables say.
func (s *Snapshot) ToNeighbor(to netip.Addr, port uint16) Verdict {
	v := Verdict{Action: Forward, Adjacency: Unresolved, Port: port, OnLink: true}
	if i, ok := s.Adjacencies.Find(fib.Neighbor{Addr: to, Port: port}); ok {
		v.Adjacency = i
	}
	return v
}

// source4 is the router's address on the way to dst: of the port that it leaves by the one in the next hop's subnet, else its
// first; that of any port, where this one has none (inet_select_addr in net/ipv4/devinet.c).
func (s *Snapshot) source4(dst netip.Addr, v *Verdict) (source netip.Addr, ok bool) {
	if v.Action != Forward { // to the router itself
		return dst, true
	}
	next := dst
	if !v.OnLink {
		next = s.Adjacencies.At(v.Adjacency).Neighbor.Addr
	}
	for _, p := range s.Ports[v.Port].Addresses {
		if p.Contains(next) {
			return p.Addr(), true
		}
		if !ok && p.Addr().Is4() {
			source, ok = p.Addr(), true
		}
	}
	for i := 0; i < len(s.Ports) && !ok; i++ {
		for _, p := range s.Ports[i].Addresses {
			if p.Addr().Is4() {
				return p.Addr(), true
			}
		}
	}
	return source, ok
}

// source6 is the router's address for a sender: of sufficient scope, of the port that its packet came in on, and the one that
// has the longest prefix in common with the sender's, in this order (RFC 6724 section 5, ipv6_dev_get_saddr in
// net/ipv6/addrconf.c).
func (s *Snapshot) source6(about *packet.Key, linkLocal netip.Addr) (source netip.Addr, ok bool) {
	if linkLocal6(&about.Src) && linkLocal.IsValid() {
		return linkLocal, true
	}
	if source, ok = s.closest6(about.Ingress, about); ok {
		return source, true
	}
	for i := range s.Ports {
		if source, ok = s.closest6(uint16(i), about); ok {
			return source, true
		}
	}
	return source, false
}

// closest6 is the port's address beyond the link that is closest to the sender's.
func (s *Snapshot) closest6(port uint16, about *packet.Key) (source netip.Addr, ok bool) {
	longest := -1
	for _, p := range s.Ports[port].Addresses {
		if a := p.Addr(); a.Is6() && !a.IsLinkLocalUnicast() {
			if n := min(common(a.As16(), about.Src), p.Bits()); n > longest {
				source, ok, longest = a, true, n
			}
		}
	}
	return source, ok
}

// common is the length of the prefix that two addresses have in common.
func common(a, b [16]byte) int {
	for i := range a {
		if x := a[i] ^ b[i]; x != 0 {
			return 8*i + bits.LeadingZeros8(x)
		}
	}
	return 128
}
