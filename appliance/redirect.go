package appliance

import (
	"encoding/binary"
	"net/netip"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// redirect tells the sender of a packet, which leaves by the port that it came in on and has not been edited yet, of
// the shorter way, if there is one (policy.Snapshot.Redirect). The packet is forwarded all the same. What is not said, since
// it has been said already, is not counted: it is the rule.
func (w *Worker) redirect(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict) {
	next, ok := w.gen.snap.Redirect(k, v)
	if !ok {
		return
	}
	if k.Family == packet.IPv6 {
		w.redirect6(umem, f, k, v, next)
		return
	}
	if !packet.Answerable(umem.Bytes(f), k) || !w.senders.find(&k.Src).redirect(w.now) {
		return
	}
	gateway := next.As4()
	w.answer(umem, f, k, packet.Error{Type: packet.ICMPRedirect, Code: packet.ICMPRedirectHost, Info: binary.BigEndian.Uint32(gateway[:])})
}

// redirect6 is redirect for IPv6. It comes from the router's link-local address, or hosts would ignore it (RFC 4861
// section 8.1); where the kernel has none on the port, there is no redirect.
func (w *Worker) redirect6(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict, next netip.Addr) {
	source := w.gen.linkLocal(k.Ingress)
	if !source.IsValid() || !w.senders.find(&k.Src).redirect(w.now) {
		return
	}
	limit, bucket := w.gen.snap.ICMP.Port, w.errors.of(k.Ingress)
	if !bucket.has(limit, w.now) {
		w.count.limited.Add(1)
		return
	}
	g, ok := w.blank(umem)
	if !ok {
		return
	}
	bucket.spend(limit)
	r := packet.Redirect{Source: source, Target: next}
	if v.Adjacency != policy.Unresolved {
		if a := w.gen.snap.Adjacencies.At(v.Adjacency); a.State == fib.Resolved {
			r.MAC, r.HasMAC = a.DstMAC, true
		}
	}
	n, ok := packet.BuildRedirect(space(umem, g), umem.Bytes(f), k, &r)
	if w.originate(umem, &g, n, ok) {
		w.ownVerdict[0] = w.gen.snap.ToNeighbor(k.SrcAddr(), k.Ingress)
		w.dispatch(umem, g)
	}
}
