package appliance

import (
	"testing"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// TestRooms: each neighbour has a room of its own; rooms and seats are bounded; those who wait leave in order.
func TestRooms(t *testing.T) {
	g := newRig(t, 2, false, nil)
	w := g.w
	pending := &w.count.drops[packet.NeighborPending]
	for i := range roomsMax + 3 { // each to a neighbour of its own
		g.inject(0, g.frame(0, packetOf{src: "10.0.0.2", dst: addr("10.0.1.%d", 100+i).String()}))
	}
	g.forward(0, roomsMax+3)
	if w.rooms.open != roomsMax || pending.Load() != 3 || w.count.waiting.Load() != roomsMax {
		t.Errorf("%d rooms, %d packets wait, %d found no place", w.rooms.open, w.count.waiting.Load(), pending.Load())
	}
	first := fib.Neighbor{Addr: addr("10.0.1.100"), Port: 1}
	g.inject(0, repeat(g.frame(0, packetOf{src: "10.0.0.2", dst: "10.0.1.100"}), seatsMax+3)...)
	g.forward(0, seatsMax+3)
	if r := w.rooms.find(first); r == nil || r.n != seatsMax || pending.Load() != 3+4 {
		t.Errorf("room %+v, %d found no place", r, pending.Load())
	}
	g.census()
	asked := make(map[fib.Neighbor]int)
	w.requests.drain(func(n *fib.Neighbor) { asked[*n]++ })
	if len(asked) != roomsMax || asked[first] != 1 {
		t.Errorf("asked for %d neighbours, %d times for the first", len(asked), asked[first])
	}

	// One becomes known: its packets leave, all others stay.
	sent := transmitted(g)
	g.setup.snap = g.setup.snap.WithAdjacencies(g.setup.snap.Adjacencies.With(fib.Adjacency{
		Neighbor: first, Device: 1, MTU: 1500, DstMAC: g.macs[1], SrcMAC: g.ports[1], State: fib.Resolved,
	}))
	g.publish()
	if got := transmitted(g) - sent; got != seatsMax || w.rooms.open != roomsMax-1 || w.rooms.find(first).n != 0 {
		t.Errorf("%d packets left, %d rooms are open", got, w.rooms.open)
	}

	// Ports change their places: rooms follow.
	from := g.setup.snap
	swapped, err := policy.Compile(&policy.Policy{Ports: []policy.Port{{Name: "em1", Device: 0}, {Name: "em0", Device: 1}}, Tables: []policy.Table{{Name: "main", ID: policy.TableMain}}})
	need(t, err)
	w.move(from, swapped)
	for i := range w.rooms.rooms {
		r := &w.rooms.rooms[i]
		if r.n > 0 && (r.neighbor.Port != 0 || r.seats[0].key.Ingress != 1) {
			t.Errorf("room of port %d, whose packets came in on %d", r.neighbor.Port, r.seats[0].key.Ingress)
		}
	}
	// A port goes: its packets are dropped. The port that they came in on goes: nobody is told about them.
	only, err := policy.Compile(&policy.Policy{Ports: []policy.Port{{Name: "em1", Device: 0}}, Tables: []policy.Table{{Name: "main", ID: policy.TableMain}}})
	need(t, err)
	w.move(swapped, only)
	if w.rooms.open != roomsMax-1 || w.rooms.rooms[1].seats[0].key.Ingress != policy.LocalOutput {
		t.Errorf("%d rooms are open, came in on %d", w.rooms.open, w.rooms.rooms[1].seats[0].key.Ingress)
	}
	none, err := policy.Compile(&policy.Policy{Ports: []policy.Port{{Name: "em9", Device: 0}}, Tables: []policy.Table{{Name: "main", ID: policy.TableMain}}})
	need(t, err)
	w.move(only, none)
	if w.rooms.open != 0 || w.count.waiting.Load() != 0 || w.count.drops[packet.PortDown].Load() != roomsMax-1 {
		t.Errorf("%d rooms are open, %d wait, %d dropped", w.rooms.open, w.count.waiting.Load(), w.count.drops[packet.PortDown].Load())
	}
	g.census()
	if b := g.balance(); b != 0 {
		t.Errorf("%d packets unaccounted for", b)
	}
}

// BenchmarkRooms looks for a neighbour's room when all are taken.
func BenchmarkRooms(b *testing.B) {
	var rs waitingRooms
	for i := range rs.rooms {
		rs.rooms[i] = room{neighbor: fib.Neighbor{Addr: addr("10.0.0.%d", i)}, n: 1, seats: [seatsMax]seat{{frame: rings.Frame{}}}}
	}
	rs.open = roomsMax
	last := rs.rooms[roomsMax-1].neighbor
	for b.Loop() {
		rs.find(last)
	}
}

// TestKnock: when all rooms are taken, a neighbour for whom a second packet comes gets the one that was opened first, if
// that is not too young.
func TestKnock(t *testing.T) {
	g := newRig(t, 2, false, nil)
	w := g.w
	pending := &w.count.drops[packet.NeighborPending]
	packets := func(n, from int) {
		for i := range n {
			g.inject(0, g.frame(0, packetOf{src: "10.0.0.2", dst: addr("10.0.1.%d", from+i).String()}))
		}
		g.forward(0, n)
	}
	packets(roomsMax, 100)
	first, other := fib.Neighbor{Addr: addr("10.0.1.100"), Port: 1}, fib.Neighbor{Addr: addr("10.0.1.200"), Port: 1}
	packets(1, 200)
	packets(1, 200)
	if w.rooms.find(other) != nil || pending.Load() != 2 {
		t.Fatalf("a young room was taken away; %d found no place", pending.Load())
	}
	for i := range w.rooms.rooms {
		w.rooms.rooms[i].since -= int64(evictAge) + int64(roomsMax-i)
	}
	packets(1, 201)
	if w.rooms.find(first) == nil {
		t.Error("a room was taken away for who knocks once")
	}
	packets(1, 200)
	if r := w.rooms.find(other); r == nil || r.n != 1 || w.rooms.find(first) != nil || pending.Load() != 2+1+1 || w.rooms.open != roomsMax {
		t.Errorf("room %+v, %d are open, %d found no place", r, w.rooms.open, pending.Load())
	}
	if n := testing.AllocsPerRun(100, func() { w.rooms.knock(other) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	w.now += int64(2 * waitMax)
	w.visitRooms()
	g.census()
	if b := g.balance(); b != 0 {
		t.Errorf("%d packets unaccounted for", b)
	}
}
