package appliance

import (
	"net/netip"
	"time"

	"weir/fib"
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

// reset drops a TCP segment and answers it with a reset.
func (w *Worker) reset(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict) {
	if g, ok := w.blank(umem, k); ok {
		n, ok := packet.BuildReset(space(umem, g), umem.Bytes(f), k)
		w.originate(umem, g, n, ok, k)
	}
	w.drop(umem, f, v.Reason)
}

// answer sends an ICMP error about a packet, which stays as it is. None is sent about what we sent ourselves (it comes
// from policy.LocalOutput).
func (w *Worker) answer(umem *rings.UMEM, f rings.Frame, k *packet.Key, e packet.Error) {
	if k.Ingress == policy.LocalOutput {
		return
	}
	var ok bool
	if e.Source, ok = errorSource(w.gen.snap.Ports, k); !ok {
		w.count.unsent.Add(1)
		return
	}
	if g, ok := w.blank(umem, k); ok {
		n, ok := packet.BuildError(space(umem, g), umem.Bytes(f), k, e)
		w.originate(umem, g, n, ok, k)
	}
}

// blank is a frame for an answer to a packet, if the limit of its port has one left and there is memory.
func (w *Worker) blank(umem *rings.UMEM, k *packet.Key) (rings.Frame, bool) {
	if !w.errors.take(k.Ingress, w.now) {
		w.count.limited.Add(1)
		return rings.Frame{}, false
	}
	addr, ok := umem.Alloc()
	if !ok {
		w.count.limited.Add(1)
		return rings.Frame{}, false
	}
	return rings.Frame{Addr: addr + answerHeadroom}, true
}

// space is what a blank frame has room for.
func space(umem *rings.UMEM, g rings.Frame) []byte {
	chunk, start := umem.Chunk(g)
	return chunk[start:]
}

// originate sends the answer of n bytes to a packet that was built in a blank frame, or frees the frame if none may be
// sent. The answer is decided like any packet, as one of the router's own.
func (w *Worker) originate(umem *rings.UMEM, g rings.Frame, n int, built bool, k *packet.Key) {
	if !built {
		w.count.unsent.Add(1)
		umem.Free(g.Addr)
		return
	}
	w.count.generated.Add(1)
	g.Len = uint32(n)
	keys, verdicts := &w.ownKey, &w.ownVerdict
	if reason := packet.Parse(umem.Bytes(g), &keys[0]); reason != packet.None {
		panic("appliance: an answer of ours does not parse: " + reason.String())
	}
	keys[0].Ingress = policy.LocalOutput
	if dst := keys[0].DstAddr(); dst.Is6() && dst.IsLinkLocalUnicast() { // a host on the link that the packet came by: no table knows which
		verdicts[0] = policy.Verdict{Action: policy.Forward, Adjacency: policy.Unresolved, Port: k.Ingress, OnLink: true}
		if i, ok := w.gen.snap.Adjacencies.Find(fib.Neighbor{Addr: dst, Port: k.Ingress}); ok {
			verdicts[0].Adjacency = i
		}
	} else {
		w.gen.snap.Decide(keys[:], verdicts[:], w.tally)
	}
	switch v := &verdicts[0]; v.Action {
	case policy.Forward:
		w.send(umem, g, &keys[0], v)
	case policy.Punt:
		w.punt(umem, g, &keys[0])
	default: // no error about an error
		w.drop(umem, g, v.Reason)
	}
}

// answerHeadroom is the space before an answer, for the VLAN tags of its way out; a multiple of the cache line.
const answerHeadroom = 64

// errorSource picks the router's address that an error about a packet comes from: one of the port that it came in on,
// rather one of the sender's subnet.
func errorSource(ports []policy.Port, k *packet.Key) (netip.Addr, bool) {
	sender := k.SrcAddr()
	var source netip.Addr
	for _, p := range ports[k.Ingress].Addresses {
		if p.Addr().Is4() != sender.Is4() {
			continue
		}
		if p.Contains(sender) {
			return p.Addr(), true
		}
		if !source.IsValid() {
			source = p.Addr()
		}
	}
	return source, source.IsValid()
}

// errorBuckets limit the ICMP errors and TCP resets about what comes in on each port (RFC 1812 section 4.3.2.8, RFC 4443
// section 2.4 (f)): a token bucket each. Linux's limit for the whole host is 1,000 a second in bursts of 50
// (net.ipv4.icmp_msgs_per_sec); ours is by port and worker.
type errorBuckets struct{ buckets [256]errorBucket }

type errorBucket struct {
	tokens int64 // in ns of waiting: an error costs errorInterval
	filled int64 // when, ns
}

const (
	errorInterval = int64(time.Second) / 1000
	errorBurst    = 50 * errorInterval
)

// take reports whether an error about a packet of this port may be sent now.
func (b *errorBuckets) take(port uint16, now int64) bool {
	k := &b.buckets[port%uint16(len(b.buckets))]
	if k.filled == 0 {
		k.tokens = errorBurst
	}
	k.tokens = min(errorBurst, k.tokens+now-k.filled)
	k.filled = now
	if k.tokens < errorInterval {
		return false
	}
	k.tokens -= errorInterval
	return true
}
