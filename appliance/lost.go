package appliance

import (
	"slices"

	"weir/policy/packet"
	"weir/rings"
)

// lostReasons are the drops that nobody has asked for: packets that there was no room for, or no way out where the policy has
// one. What the policy drops, and what has no neighbour, is not lost.
var lostReasons = [...]packet.Reason{packet.PortDown, packet.NeighborPending, packet.TransmitFull, packet.NoFrame, packet.PuntFull, packet.FragmentPending}

// Lost counts the packets that weir was given, or should have been, and could not forward for want of room or time: those that
// the kernel dropped since a ring was full or had no chunks, and those that workers dropped for such reasons.
func (r *Router) Lost() (lost uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	lost = r.pastLost
	devices := r.stale
	if r.running != nil {
		devices = slices.Concat(r.running.devices, r.stale)
	}
	for _, d := range devices {
		for _, q := range d.queues {
			lost += kernelLost(q)
		}
	}
	for _, w := range r.workers {
		for _, reason := range lostReasons {
			lost += w.count.drops[reason].Load()
		}
	}
	return lost
}

// kernelLost is what the kernel dropped at a queue. A copying socket counts a packet that finds no chunk twice, as dropped and as
// an empty fill ring (net/xdp/xsk.c, xsk_buff_pool.c); with zero-copy only the latter shows.
func kernelLost(q *rings.Queue) uint64 {
	k, err := q.KernelStats() // it fails where the netdev is gone; then there are none
	if err != nil {
		return 0
	}
	return k.Rx_ring_full + max(k.Rx_dropped, k.Rx_fill_ring_empty_descs)
}
