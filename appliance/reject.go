package appliance

import (
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// reject drops a packet and answers it with the ICMP error that the verdict asks for.
func (w *Worker) reject(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict) {
	w.answer(umem, f, k, packet.Error{Type: v.Type, Code: v.Code, Info: uint32(v.MTU)})
	w.drop(umem, f, v.Reason)
}

// unreachable drops a packet whose next hop does not answer (RFC 1812 section 4.3.3.1, RFC 4443 section 3.1).
func (w *Worker) unreachable(umem *rings.UMEM, f rings.Frame, k *packet.Key) {
	e := packet.Error{Type: packet.ICMPUnreachable, Code: packet.ICMPHostUnreachable}
	if k.Family == packet.IPv6 {
		e.Type, e.Code = packet.ICMPv6Unreachable, packet.ICMPv6AddressUnreachable
	}
	w.answer(umem, f, k, e)
	w.drop(umem, f, packet.NeighborFailed)
}

// refuse drops a packet that Parse refused, and answers it where its options are to blame.
func (w *Worker) refuse(in *ingress, umem *rings.UMEM, f rings.Frame, k *packet.Key, reason packet.Reason) {
	if reason == packet.BadOption || reason == packet.UnknownOption {
		snap := w.gen.snap
		if e, ok := packet.Problem(umem.Bytes(f), k); ok && snap.Ingress(in.device, k) && snap.Credible(k) {
			w.answer(umem, f, k, e)
		}
	}
	w.drop(umem, f, reason)
}

// reset drops a TCP segment and answers it with a reset.
func (w *Worker) reset(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict) {
	if b := w.errors.of(k.Ingress); !b.has(w.gen.snap.ICMP.Port, w.now) {
		w.count.limited.Add(1)
	} else if g, ok := w.blank(umem); ok {
		b.spend(w.gen.snap.ICMP.Port)
		n, ok := packet.BuildReset(space(umem, g), umem.Bytes(f), k)
		if w.originate(umem, &g, n, ok) {
			w.decideOwn(k.Ingress)
			w.dispatch(umem, g)
		}
	}
	w.drop(umem, f, v.Reason)
}

// answer sends an ICMP error about a packet, which stays as it is. None is sent about what we sent ourselves (it comes
// from policy.LocalOutput).
func (w *Worker) answer(umem *rings.UMEM, f rings.Frame, k *packet.Key, e packet.Error) {
	if k.Ingress == policy.LocalOutput {
		return
	}
	snap := w.gen.snap
	if !packet.Answerable(umem.Bytes(f), k) {
		w.count.unsent.Add(1)
		return
	}
	if !w.allowed(k, &e) {
		return
	}
	from, ok := snap.Reply(k, &w.ownKey[0], w.gen.linkLocal(k.Ingress), &w.ownVerdict[0])
	if !ok { // nobody knows the way back
		w.count.unsent.Add(1)
		return
	}
	g, ok := w.blank(umem)
	if !ok {
		return
	}
	w.errors.of(k.Ingress).spend(snap.ICMP.Port)
	w.errorID++
	e.Source, e.MTU, e.ID = from.Source, from.MTU, w.errorID
	n, ok := packet.BuildError(space(umem, g), umem.Bytes(f), k, e)
	if w.originate(umem, &g, n, ok) {
		w.dispatch(umem, g)
	}
}

// allowed reports whether the limits allow the error about a packet, and counts where they do not. It takes the token
// of the sender, but not yet that of the port. Redirects have a limit of their own for each sender.
func (w *Worker) allowed(k *packet.Key, e *packet.Error) bool {
	limits := &w.gen.snap.ICMP
	if !w.errors.of(k.Ingress).has(limits.Port, w.now) {
		w.count.limited.Add(1)
		return false
	}
	if limits.Sender.PerSecond == 0 || e.Free(k.Family) {
		return true
	}
	s := w.senders.find(&k.Src)
	if !s.bucket.has(limits.Sender, w.now) {
		w.count.spared.Add(1)
		return false
	}
	s.bucket.spend(limits.Sender)
	return true
}

// blank is a frame for an answer to a packet, if there is memory.
func (w *Worker) blank(umem *rings.UMEM) (rings.Frame, bool) {
	addr, ok := umem.Alloc()
	if !ok {
		w.count.limited.Add(1)
	}
	return rings.Frame{Addr: addr + answerHeadroom}, ok
}

// space is what a blank frame has room for.
func space(umem *rings.UMEM, g rings.Frame) []byte {
	chunk, start := umem.Chunk(g)
	return chunk[start:]
}

// originate counts the answer of n bytes that was built in a blank frame, and parses it into ownKey; or it frees the
// frame, if none may be sent.
func (w *Worker) originate(umem *rings.UMEM, g *rings.Frame, n int, built bool) bool {
	if !built {
		w.count.unsent.Add(1)
		umem.Free(g.Addr)
		return false
	}
	w.count.generated.Add(1)
	g.Len = uint32(n)
	k := &w.ownKey[0]
	if reason := packet.Parse(umem.Bytes(*g), k); reason != packet.None {
		panic("appliance: an answer of ours does not parse: " + reason.String())
	}
	k.Ingress = policy.LocalOutput
	return true
}

// decideOwn decides an answer to what came in on a port like any packet, as one of the router's own. A link-local
// destination is a host on that port's link: no table knows which.
func (w *Worker) decideOwn(ingress uint16) {
	if dst := w.ownKey[0].DstAddr(); dst.Is6() && dst.IsLinkLocalUnicast() {
		w.ownVerdict[0] = w.gen.snap.ToNeighbor(dst, ingress)
		return
	}
	w.gen.snap.Decide(w.ownKey[:], w.ownVerdict[:], w.tally)
}

// dispatch does with the answer in g, whose Key is ownKey, what ownVerdict says.
func (w *Worker) dispatch(umem *rings.UMEM, g rings.Frame) {
	k := &w.ownKey[0]
	switch v := &w.ownVerdict[0]; v.Action {
	case policy.Forward:
		w.send(umem, g, k, v)
	case policy.Punt:
		w.punt(umem, g, k)
	default: // no error about an error
		w.drop(umem, g, v.Reason)
	}
}

// answerHeadroom is the space before an answer, for the VLAN tags of its way out; a multiple of the cache line.
const answerHeadroom = 64
