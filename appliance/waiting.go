package appliance

import (
	"encoding/binary"
	"time"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// Packets to a next hop whose MAC address is not known yet wait for it in a room of its own, a few each. Rooms and
// seats are bounded: what finds no place is dropped and counted.
const (
	roomsMax = 64
	seatsMax = 16
	evictAge = 500 * time.Millisecond // who lives answers within milliseconds
	knocked  = 1 << 16                // neighbours that are remembered to have found no room
	waitMax  = 4 * time.Second        // the kernel gives up after three probes, one second apart (net.ipv4.neigh.*.mcast_solicit)
	askAgain = time.Second
)

// Whoever scans a large network takes all rooms in no time, for seconds each. So that others get one, a neighbour for
// whom a packet comes a second time, after none was free, is given that of the one who has waited longest, though not
// below evictAge. A scan goes to each neighbour once; and of one that knocks twice, no neighbour loses more than
// those need who are there.
type waitingRooms struct {
	rooms  [roomsMax]room
	open   int      // rooms in use
	knocks []uint32 // hashes of neighbours that found no room, at the place that the rest of the hash says
	seed   uint64   // so that nobody outside knows who shares a place
}

type room struct {
	neighbor fib.Neighbor
	since    int64 // when it was opened, ns
	asked    int64 // when the control plane was last asked to resolve the neighbour, ns
	n        int   // seats taken; 0: the room is closed
	seats    [seatsMax]seat
}

type seat struct {
	umem  *rings.UMEM
	frame rings.Frame
	key   packet.Key
	mtu   uint16 // as that of depart
}

// wait seats a packet in the room of its next hop. The first one makes the control plane resolve it.
func (w *Worker) wait(umem *rings.UMEM, f rings.Frame, k *packet.Key, mtu uint16, n fib.Neighbor) {
	if w.egress[w.gen.snap.Ports[n.Port].Device].queue == nil { // an absent port: there is nobody to wait for
		w.drop(umem, f, packet.PortDown)
		return
	}
	r := w.rooms.find(n)
	if r == nil && w.rooms.knock(n) {
		r = w.evict()
	}
	if r == nil || r.n == seatsMax {
		w.drop(umem, f, packet.NeighborPending)
		return
	}
	if r.n == 0 {
		r.neighbor, r.since = n, w.now
		r.asked = 0
		w.rooms.open++
	}
	w.ask(r)
	r.seats[r.n] = seat{umem, f, *k, mtu}
	r.n++
	w.count.waiting.Add(1)
}

// waitFor deals with a packet to a next hop that is known, and known to be unresolved.
func (w *Worker) waitFor(umem *rings.UMEM, f rings.Frame, k *packet.Key, mtu uint16, a *fib.Adjacency) {
	if a.State == fib.Failed {
		w.request(a.Neighbor) // it may have come back
		w.unreachable(umem, f, k)
		return
	}
	w.wait(umem, f, k, mtu, a.Neighbor)
}

// find returns the neighbour's room, else a closed one, else nil.
func (rs *waitingRooms) find(n fib.Neighbor) *room {
	var free *room
	for i, left := 0, rs.open; i < roomsMax && (left > 0 || free == nil); i++ {
		r := &rs.rooms[i]
		if r.n == 0 {
			if free == nil {
				free = r
			}
			continue
		}
		if r.neighbor == n {
			return r
		}
		left--
	}
	return free
}

// knock remembers that a neighbour found no room, and reports whether it was remembered before.
func (rs *waitingRooms) knock(n fib.Neighbor) bool {
	b := n.Addr.As16()
	// Multiplicative hashing: what differs in the lower bits of a factor shows in the upper ones of the product.
	h := (binary.BigEndian.Uint64(b[:]) ^ rs.seed) * 0x9e3779b97f4a7c15
	h = (h ^ h>>32 ^ binary.BigEndian.Uint64(b[8:]) ^ uint64(n.Port)<<48) * 0xd6e8feb86659fd93
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	at, tag := &rs.knocks[h>>48%knocked], uint32(h>>16)
	if *at == tag {
		return true
	}
	*at = tag
	return false
}

// evict empties the room that was opened first, unless that is not long ago.
func (w *Worker) evict() *room {
	oldest := &w.rooms.rooms[0]
	for i := range w.rooms.rooms {
		if r := &w.rooms.rooms[i]; r.since < oldest.since {
			oldest = r
		}
	}
	if w.now-oldest.since < int64(evictAge) {
		return nil
	}
	for _, s := range w.empty(oldest) {
		w.drop(s.umem, s.frame, packet.NeighborPending)
	}
	return oldest
}

// ask requests resolution of a room's neighbour, at most once a second.
func (w *Worker) ask(r *room) {
	if r.asked == 0 || w.now-r.asked > int64(askAgain) {
		r.asked = w.now
		w.request(r.neighbor)
	}
}

// request passes a neighbour to the control plane. If its queue is full, the next packet will ask again.
func (w *Worker) request(n fib.Neighbor) {
	if s := w.requests.slot(); s != nil {
		*s = n
		w.requests.commit()
	}
}

// visitRooms sends the packets whose next hop is now known, and gives up on those that waited too long.
func (w *Worker) visitRooms() {
	w.visitHolds()
	if w.rooms.open == 0 {
		return
	}
	adjacencies := w.gen.snap.Adjacencies
	for i := range w.rooms.rooms {
		r := &w.rooms.rooms[i]
		if r.n == 0 {
			continue
		}
		a := (*fib.Adjacency)(nil)
		if j, ok := adjacencies.Find(r.neighbor); ok {
			a = adjacencies.At(j)
		}
		switch {
		case a != nil && a.State == fib.Resolved:
			for i, s := range w.empty(r) {
				w.attribute(w.leaving[i].key.Ingress)
				w.depart(s.umem, s.frame, &w.leaving[i].key, s.mtu, a)
			}
		case a != nil && a.State == fib.Failed, w.now-r.since > int64(waitMax):
			for i, s := range w.empty(r) {
				w.attribute(w.leaving[i].key.Ingress)
				w.unreachable(s.umem, s.frame, &w.leaving[i].key)
			}
		default:
			w.ask(r)
		}
	}
	w.flush()
}

// empty closes a room and returns those who were in it, in order of arrival. They stand in w.leaving until the next
// call: the room itself may be taken again by what is done with them.
func (w *Worker) empty(r *room) []seat {
	n := copy(w.leaving[:], r.seats[:r.n])
	r.n = 0
	w.rooms.open--
	w.count.waiting.Add(-int64(n))
	return w.leaving[:n]
}

// move follows a commit, in which ports may get other indexes. Packets for a port that is gone are dropped.
func (w *Worker) move(from, to *policy.Snapshot) {
	w.moveDatagrams(from, to)
	for i := range w.rooms.rooms {
		r := &w.rooms.rooms[i]
		if r.n == 0 {
			continue
		}
		port, ok := to.PortByName(from.PortName(r.neighbor.Port))
		if !ok {
			for _, s := range w.empty(r) {
				w.drop(s.umem, s.frame, packet.PortDown)
			}
			continue
		}
		r.neighbor.Port = port
		for j := range r.seats[:r.n] {
			k := &r.seats[j].key
			if in, ok := to.PortByName(from.PortName(k.Ingress)); ok {
				k.Ingress = in
			} else {
				k.Ingress = policy.LocalOutput // its port is gone: no error will be sent about it
			}
		}
	}
}
