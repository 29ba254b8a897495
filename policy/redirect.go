package policy

import (
	"net/netip"

	"weir/policy/packet"
)

// Redirect reports whether the sender of a packet is to be told that there is a shorter way, and which: v, on the packet
// with Key k, forwards it by the port that it came in on, to a neighbour there that the sender can reach itself.
//
// So it is where the port may send redirects, and next hop and sender are in one of its networks (RFC 1812 section 5.2.7.2).
// In IPv6 the sender must be a neighbour, and the next hop must be link-local or the destination itself: only so
// are neighbours known to one another (RFC 4861 section 8.2, ndisc_send_redirect in net/ipv6/ndisc.c).
func (s *Snapshot) Redirect(k *packet.Key, v *Verdict) (next netip.Addr, ok bool) {
	if v.Action != Forward || v.Port != k.Ingress || !s.Ports[v.Port].Redirects {
		return netip.Addr{}, false
	}
	sender, next := k.SrcAddr(), k.DstAddr()
	if !v.OnLink {
		next = s.Adjacencies.At(v.Adjacency).Neighbor.Addr
	}
	if next == sender { // it sends in circles, and would be told to send to itself
		return netip.Addr{}, false
	}
	for _, p := range s.Ports[v.Port].Addresses {
		if p.Contains(sender) && (k.Family == packet.IPv6 || p.Contains(next)) {
			ok = true
		}
	}
	if k.Family == packet.IPv6 {
		ok = (ok || linkLocal6(&k.Src)) && (v.OnLink || next.IsLinkLocalUnicast())
	}
	return next, ok
}
