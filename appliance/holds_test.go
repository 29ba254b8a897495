package appliance

import (
	"testing"

	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// atOnce makes all that is held have come at one time, now.
func (g *rig) atOnce() {
	ds := g.w.datagrams
	for i := range ds.holds {
		ds.holds[i].since = g.w.now
	}
	ds.due = g.w.now + int64(holdTime)
}

// TestHolds: they are bounded in fragments, datagrams and time. Whole packets pass whatever is held.
func TestHolds(t *testing.T) {
	g := newRig(t, 3, false, byPort(true))
	w := g.w
	whole := g.frame(0, packetOf{src: "10.0.0.2", dst: "203.0.113.9"})
	long := g.datagramOf(packet.IPv6, 7001, 1, (seatsMax+4)*400)
	g.take(long[1:]...) // three more than there are seats
	if n := g.dropped(packet.FragmentPending); n != 3 {
		t.Errorf("%d fragments found no seat", n)
	}
	g.accounted(seatsMax)
	for id := range uint32(holdsMax - 1) {
		g.take(g.datagram(packet.IPv4, 7001, 2+id)[1])
	}
	if n := g.dropped(packet.FragmentPending); w.datagrams.held != holdsMax || n != 3 {
		t.Errorf("%d holds, %d fragments dropped", w.datagrams.held, n)
	}
	g.accounted(seatsMax + holdsMax - 1)

	// One datagram more: the oldest, whose fragments are many, makes room. Its first comes too late for them.
	g.take(whole, g.datagram(packet.IPv4, 7001, 1000)[1], whole)
	if n := g.dropped(packet.FragmentPending); w.datagrams.held != holdsMax || n != 3+seatsMax {
		t.Errorf("%d holds, %d fragments dropped", w.datagrams.held, n)
	}
	g.accounted(holdsMax)
	g.take(long[0], long[1])
	if sent := g.sentBy(); sent != [3]uint64{0, 2, 2} {
		t.Errorf("sent %v", sent)
	}

	// A flood of them takes nothing from anybody else.
	for id := range uint32(40) {
		var batch [][]byte
		for i := range uint32(rings.BatchSize) {
			batch = append(batch, g.datagram(packet.IPv4, 7001, 2000+rings.BatchSize*id+i)[1])
		}
		g.take(append(batch, whole)...)
	}
	if sent := g.sentBy(); sent != [3]uint64{0, 42, 2} {
		t.Errorf("sent %v", sent)
	}
	g.accounted(holdsMax)

	// Their firsts do not come.
	pending := g.dropped(packet.FragmentPending)
	g.atOnce()
	w.now += int64(holdTime) - 1
	w.visitRooms()
	g.accounted(holdsMax)
	w.now++
	w.visitRooms()
	if n := g.dropped(packet.FragmentOrphan); n != holdsMax || g.dropped(packet.FragmentPending) != pending || w.datagrams.held != 0 {
		t.Errorf("%d fragments given up, %d holds", n, w.datagrams.held)
	}
	g.accounted(0)
}

// TestHoldsEndWithoutSleep: while packets keep coming, and the worker never sleeps, fragments are given up too, and
// those that came later stay.
func TestHoldsEndWithoutSleep(t *testing.T) {
	g := newRig(t, 3, false, byPort(true))
	ds := g.w.datagrams
	old, young := g.datagram(packet.IPv4, 7001, 1), g.datagram(packet.IPv4, 7001, 2)
	g.take(old[1], old[2], young[1])
	ds.holds[0].since -= int64(holdTime)
	ds.due -= int64(holdTime)
	ds.holds[1].since += int64(holdTime) // however slow this machine is
	g.take(g.frame(0, packetOf{src: "10.0.0.2", dst: "203.0.113.9"}))
	if n := g.dropped(packet.FragmentOrphan); n != 2 || ds.due > ds.holds[1].since+int64(holdTime) {
		t.Errorf("%d fragments given up", n)
	}
	g.accounted(1)
	g.take(young[0], young[2], young[3], old[0], old[3])
	if sent := g.sentBy(); sent != [3]uint64{0, 1, 6} {
		t.Errorf("sent %v", sent)
	}
	g.accounted(0)
}

// TestHoldsMove: a commit changes the indexes of ports, takes ports away, and makes fragments Linux's, while some are
// held and some datagrams are under way.
func TestHoldsMove(t *testing.T) {
	var p *policy.Policy
	g := newRig(t, 3, false, func(of *policy.Policy) {
		p = of
		byPort(true)(p)
	})
	ports := func(names ...string) *policy.Snapshot {
		p := policy.Policy{ConsistentFragments: true, Tables: []policy.Table{{Name: "main", ID: policy.TableMain}}}
		for i, name := range names {
			p.Ports = append(p.Ports, policy.Port{Name: name, Device: uint16(i)})
		}
		snap, err := policy.Compile(&p)
		need(t, err)
		return snap
	}
	held, passing := g.datagram(packet.IPv4, 7001, 1), g.datagram(packet.IPv6, 7001, 2)
	g.take(held[1], held[2], passing[0])
	ds, from, moved := g.w.datagrams, g.w.gen.snap, ports("em2", "em1", "em0")
	g.w.move(from, moved)
	var k packet.Key
	if r := packet.Parse(passing[1], &k); r != packet.None {
		t.Fatal(r)
	}
	k.Ingress = 2
	d := datagramOf(passing[1], &k)
	if first := ds.find(&d, g.w.now); first == nil || first.DstPort != 7001 {
		t.Error("a first fragment is forgotten")
	}
	if h := &ds.holds[0]; h.datagram.ingress != 2 || h.keys[0].Ingress != 2 || h.keys[1].Ingress != 2 {
		t.Errorf("hold of port %d", h.datagram.ingress)
	}
	g.w.move(moved, from)
	g.take(held[0], passing[1])
	if sent := g.sentBy(); sent != [3]uint64{0, 0, 5} {
		t.Errorf("sent %v", sent)
	}

	// The port goes.
	held = g.datagram(packet.IPv4, 7001, 3)
	g.take(held[1], held[2])
	g.w.move(from, ports("em1", "em2"))
	if n := g.dropped(packet.PortDown); n != 2 || ds.held != 0 || ds.remembers() {
		t.Errorf("%d fragments dropped, %d holds, remembers %v", n, ds.held, ds.remembers())
	}
	g.accounted(0)

	// Fragments are Linux's again: those that are held are decided as such, and nothing is remembered.
	g.take(held[1], passing[0])
	p.ConsistentFragments = false
	var err error
	g.setup.snap, err = policy.Compile(p)
	need(t, err)
	g.setup.snap.Generation = 7
	g.setup.snap = g.setup.snap.WithAdjacencies(g.router.resolve(g.setup))
	g.publish()
	if sent := g.sentBy(); sent != [3]uint64{0, 1, 6} || ds.held != 0 || ds.remembers() {
		t.Errorf("sent %v, %d holds, remembers %v", sent, ds.held, ds.remembers())
	}
	g.accounted(0)
}

// TestFragmentsDoNotAllocate covers every way of a fragment.
func TestFragmentsDoNotAllocate(t *testing.T) {
	g := newRig(t, 3, false, byPort(true))
	w := g.w
	id := uint32(0)
	const runs = 4
	giveUp := func() {
		w.now += int64(2 * holdTime)
		w.visitRooms()
	}
	for _, c := range []struct {
		name   string
		order  []int         // of the fragments of each datagram
		reason packet.Reason // None: transmitted
		each   func()
	}{
		{name: "in order", order: []int{0, 1, 2, 3}},
		{name: "backwards", order: []int{3, 2, 1, 0}},
		{name: "first alone", order: []int{0}},
		{name: "later alone", order: []int{1}, reason: packet.FragmentOrphan, each: giveUp},
		{name: "later alone, of too many", order: []int{2}, reason: packet.FragmentPending},
		{name: "later alone, several of too many", order: []int{1, 2, 3, 3}, reason: packet.FragmentPending},
		{name: "too many of one", order: []int{1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2}, reason: packet.FragmentPending},
	} {
		t.Run(c.name, func(t *testing.T) {
			var frames [][]byte
			for len(frames) < (runs+1)*rings.BatchSize {
				id++
				d := g.datagram([]uint8{packet.IPv4, packet.IPv6}[id%2], 7001, id)
				for _, i := range c.order {
					frames = append(frames, d[i])
				}
			}
			g.inject(0, frames...)
			sent, dropped := transmitted(g), g.dropped(c.reason)
			if n := testing.AllocsPerRun(runs, func() {
				g.forward(0, rings.BatchSize)
				if c.each != nil {
					c.each()
				}
			}); n != 0 {
				t.Errorf("%v allocations per batch", n)
			}
			if got := transmitted(g) - sent; c.reason == packet.None && got != uint64(len(frames)) {
				t.Errorf("%d fragments transmitted of %d", got, len(frames))
			}
			if got := g.dropped(c.reason) - dropped; c.reason != packet.None && got < runs {
				t.Errorf("%d fragments dropped as %v", got, c.reason)
			}
			g.accounted(w.count.waiting.Load())
		})
	}
	giveUp()
	g.accounted(0)
}
