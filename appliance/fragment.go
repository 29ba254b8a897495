package appliance

import (
	"weir/fib"
	"weir/policy/packet"
	"weir/rings"
)

// fragment sends a packet in fragments of at most mtu bytes, each with a chunk of its own. If there are not enough for all of
// them none is sent: the rest could not be put together.
func (w *Worker) fragment(umem *rings.UMEM, f rings.Frame, k *packet.Key, mtu uint16, a *fib.Adjacency) {
	out := &w.egress[a.Device]
	if out.queue == nil {
		w.drop(umem, f, packet.PortDown)
		return
	}
	frame, to := umem.Bytes(f), out.queue.UMEM()
	n := packet.Fragments(frame, k, mtu)
	if n == 0 {
		w.drop(umem, f, packet.TooBig)
		return
	}
	if n > to.Available() {
		w.drop(umem, f, packet.NoFrame)
		return
	}
	for i := range n {
		addr, _ := to.Alloc() // which they have been counted for: transmitting takes none
		g := rings.Frame{Addr: addr + answerHeadroom}
		length, ok := packet.BuildFragment(space(to, g), frame, k, mtu, i)
		if !ok { // the first, than which none is longer: these chunks are for a smaller MTU
			to.Free(g.Addr)
			w.drop(umem, f, packet.NoFrame)
			return
		}
		g.Len = uint32(length)
		w.piece = *k
		w.piece.Tags, w.piece.VLAN, w.piece.L4 = 0, [2]uint16{}, 0
		w.piece.Length = uint16(length - packet.EthernetHeaderLen)
		w.count.fragments.Add(1)
		w.transmit(to, g, &w.piece, a)
	}
	w.count.cut.Add(1)
	umem.Free(f.Addr)
}
