package appliance

import (
	"hash/maphash"
	"time"

	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// Where fragments are consistent, a later fragment is decided like the first of its datagram: with the ports, the ICMP type
// and the flags that stand in the first alone. So the worker remembers what first fragments say, and holds a later one
// that comes before its first. All fragments of a datagram must come to one worker for that: NICs spread fragments
// over their queues by the addresses alone, first ones included, unless they are told otherwise.
//
// All of it is bounded and made at the start. What is remembered lies in sets of a few places, in which a new datagram takes the
// place of the oldest one: whoever floods the router with first fragments makes it forget others sooner, no more.
// Whole packets never come near.
const (
	datagramSets = 2048
	datagramWays = 8
	datagramTime = 30 * time.Second // what hosts wait for the rest of a datagram (net.ipv4.ipfrag_time, net.ipv6.ip6frag_time)

	// Holds are for fragments that have overtaken each other, not for those whose first is lost, and what they hold are chunks that
	// packets could come in on: so they are few, short, and the oldest makes room.
	holdsMax = 64                     // datagrams; seatsMax fragments of each
	holdTime = 500 * time.Millisecond // ways to one destination do not differ by more
)

// datagram tells the fragments of one datagram from all others (RFC 791 section 3.2, RFC 8200 section 4.5).
type datagram struct {
	src, dst      [16]byte
	id            uint32
	ingress       uint16
	family, proto uint8 // the protocol in IPv4 only
}

// opened is a datagram whose first fragment has been seen. It fills a cache line.
type opened struct {
	datagram
	first packet.L4Fields
	since int64 // when, ns; 0: the place is free
}

// hold has fragments of one datagram that came before the first.
type hold struct {
	datagram datagram
	since    int64 // when the earliest of them came, ns
	n        int   // seats taken; 0: the hold is empty
	umems    [seatsMax]*rings.UMEM
	frames   [seatsMax]rings.Frame
	keys     [seatsMax]packet.Key
}

// datagrams are what a worker knows of those that come in fragments.
type datagrams struct {
	seed     maphash.Seed // secret: nobody can aim at a set
	opened   [datagramSets][datagramWays]opened
	holds    [holdsMax]hold
	held     int   // holds in use
	due      int64 // the oldest hold is not over before, ns
	verdicts [1]policy.Verdict
}

func newDatagrams() *datagrams { return &datagrams{seed: maphash.MakeSeed()} }

// decideFragments is decide for the packets of a batch where fragments are consistent: those that came before the first
// of their datagram stay behind, and those that it frees follow it.
func (w *Worker) decideFragments(umem *rings.UMEM, m int) {
	w.visitHolds()
	n := 0 // packets that go on, at the beginning of keys
	for i := range m {
		if n != i {
			w.frames[n], w.keys[n] = w.frames[i], w.keys[i]
		}
		f, k := w.frames[n], &w.keys[n]
		if !isPart(k) {
			n++
			continue
		}
		d := datagramOf(umem.Bytes(f), k)
		if k.Fragment == packet.FragmentLater {
			if first := w.datagrams.find(&d, w.now); first != nil {
				k.SetL4Fields(first)
				n++
			} else {
				w.hold(umem, f, k, &d)
			}
			continue
		}
		first := k.L4Fields()
		w.datagrams.open(&d, &first, w.now)
		n++
		if h := w.datagrams.holdOf(&d); h != nil {
			for j := range h.keys[:h.n] {
				h.keys[j].SetL4Fields(&first)
			}
			w.decide(umem, w.frames[:n], w.keys[:n], w.verdicts[:n])
			n = 0
			w.release(h)
		}
	}
	w.decide(umem, w.frames[:n], w.keys[:n], w.verdicts[:n])
}

// isPart reports whether the packet is a fragment of a datagram whose first fragment says what a decision may look at and
// the later ones do not. In IPv6, whatever stands behind the fragment header may be an extension header in front of such.
func isPart(k *packet.Key) bool {
	if k.Fragment == packet.FragmentNone {
		return false
	}
	switch k.Proto {
	case packet.ProtoTCP, packet.ProtoUDP, packet.ProtoICMP:
		return true
	}
	return k.Family == packet.IPv6
}

func datagramOf(frame []byte, k *packet.Key) datagram {
	d := datagram{src: k.Src, dst: k.Dst, id: packet.DatagramID(frame, k), ingress: k.Ingress, family: k.Family}
	if k.Family == packet.IPv4 {
		d.proto = k.Proto
	}
	return d
}

// set is where a datagram is looked for. Its port does not count: ports get other indexes, datagrams stay where they are.
func (ds *datagrams) set(d *datagram) *[datagramWays]opened {
	anywhere := *d
	anywhere.ingress = 0
	return &ds.opened[maphash.Comparable(ds.seed, anywhere)%datagramSets]
}

// open remembers what the first fragment of a datagram says. Of two with one identification the later one counts: it is
// the same again, or the sender has come round to the same number.
func (ds *datagrams) open(d *datagram, first *packet.L4Fields, now int64) {
	set := ds.set(d)
	place := &set[0]
	for i := range set {
		o := &set[i]
		if o.datagram == *d {
			place = o
			break
		}
		if o.since < place.since { // a free place is the oldest of all
			place = o
		}
	}
	*place = opened{datagram: *d, first: *first, since: now}
}

// find returns what the first fragment of a datagram said, or nil if it has not come.
func (ds *datagrams) find(d *datagram, now int64) *packet.L4Fields {
	set := ds.set(d)
	for i := range set {
		if o := &set[i]; o.datagram == *d && now-o.since < int64(datagramTime) {
			return &o.first
		}
	}
	return nil
}

// holdOf returns the hold that has fragments of a datagram, or nil.
func (ds *datagrams) holdOf(d *datagram) *hold {
	for i, left := 0, ds.held; left > 0; i++ {
		h := &ds.holds[i]
		if h.n == 0 {
			continue
		}
		if h.datagram == *d {
			return h
		}
		left--
	}
	return nil
}

// oldest returns an empty hold, else the one whose fragments have waited longest.
func (ds *datagrams) oldest() *hold {
	oldest := &ds.holds[0]
	for i := range ds.holds {
		h := &ds.holds[i]
		if h.n == 0 {
			return h
		}
		if h.since < oldest.since {
			oldest = h
		}
	}
	return oldest
}

// hold keeps a fragment until the first of its datagram comes.
func (w *Worker) hold(umem *rings.UMEM, f rings.Frame, k *packet.Key, d *datagram) {
	ds := w.datagrams
	h := ds.holdOf(d)
	if h == nil {
		if h = ds.oldest(); h.n > 0 {
			w.giveUp(h, packet.FragmentPending)
		}
		if ds.held == 0 {
			ds.due = w.now + int64(holdTime)
		}
		h.datagram, h.since = *d, w.now
		ds.held++
	}
	if h.n == seatsMax {
		w.drop(umem, f, packet.FragmentPending)
		return
	}
	h.umems[h.n], h.frames[h.n], h.keys[h.n] = umem, f, *k
	h.n++
	w.count.waiting.Add(1)
}

// release empties a hold: its fragments are decided on, in the order in which they came.
func (w *Worker) release(h *hold) {
	n, from, port := w.leave(h), w.from, w.fromPort
	w.attribute(h.datagram.ingress)
	for i := range n {
		w.decide(h.umems[i], h.frames[i:i+1], h.keys[i:i+1], w.datagrams.verdicts[:])
	}
	w.from, w.fromPort = from, port
}

// giveUp empties a hold: its fragments are dropped.
func (w *Worker) giveUp(h *hold, reason packet.Reason) {
	n, from, port := w.leave(h), w.from, w.fromPort
	w.attribute(h.datagram.ingress)
	for i := range n {
		w.drop(h.umems[i], h.frames[i], reason)
	}
	w.from, w.fromPort = from, port
}

// leave declares a hold empty, and returns how many fragments it had. They are still there: nothing that is done with a
// fragment holds another.
func (w *Worker) leave(h *hold) (n int) {
	n, h.n = h.n, 0
	w.datagrams.held--
	w.count.waiting.Add(-int64(n))
	return n
}

// visitHolds gives up on the fragments that have waited too long. They are dropped, not decided without ports: a
// datagram without its first fragment is worth nothing to anybody, and a rule about ports must not be evaded by leaving
// the first out. Those that were held when a commit made fragments Linux's again are decided as such.
func (w *Worker) visitHolds() {
	ds := w.datagrams
	linux := !w.gen.snap.ConsistentFragments()
	if ds.held == 0 || w.now < ds.due && !linux {
		return
	}
	ds.due = w.now + int64(holdTime)
	for i := range ds.holds {
		h := &ds.holds[i]
		switch {
		case h.n == 0:
		case linux:
			w.release(h)
		case w.now-h.since >= int64(holdTime):
			w.giveUp(h, packet.FragmentOrphan)
		default:
			ds.due = min(ds.due, h.since+int64(holdTime))
		}
	}
	w.flush()
}

// moveDatagrams follows a commit, in which ports may get other indexes. Fragments from a port that is gone are dropped.
// Where fragments become Linux's, nobody keeps what is remembered up to date any more: it is forgotten.
func (w *Worker) moveDatagrams(from, to *policy.Snapshot) {
	ds := w.datagrams
	if !from.ConsistentFragments() {
		return // there are none
	}
	ports := make([]uint16, len(from.Ports)) // a commit, not the packet path
	for i := range ports {
		var ok bool
		if ports[i], ok = to.PortByName(from.Ports[i].Name); !ok {
			ports[i] = policy.None
		}
	}
	for i := range ds.opened {
		set := &ds.opened[i]
		if !to.ConsistentFragments() {
			clear(set[:])
		}
		for j := range set {
			if o := &set[j]; o.since == 0 {
				continue
			} else if o.ingress = ports[o.ingress]; o.ingress == policy.None {
				*o = opened{}
			}
		}
	}
	for i := range ds.holds {
		h := &ds.holds[i]
		if h.n == 0 {
			continue
		}
		port := ports[h.datagram.ingress]
		if port == policy.None {
			w.giveUp(h, packet.PortDown)
			continue
		}
		h.datagram.ingress = port
		for j := range h.keys[:h.n] {
			h.keys[j].Ingress = port
		}
	}
}
