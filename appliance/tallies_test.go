package appliance

import (
	"context"
	"testing"

	"weir/policy"
)

// mainAnswers are the packets that table main has answered.
func mainAnswers(h Hits) uint64 {
	answered, _ := h.Snapshot.TableHits(h.Tally, 1)
	return answered.Packets
}

// TestHitsOfLateWorker: a worker that does not come back is not waited for without end, what it has counted is not read
// while it may still write it, and is not lost either. Nor does asking again and again pile up tallies.
func TestHitsOfLateWorker(t *testing.T) {
	g := newRig(t, 2, false, everyPath)
	over, cancel := context.WithCancel(t.Context())
	cancel() // nobody waits: the worker moves only where the test says so
	send := func(n int) {
		for range n {
			g.inject(0, g.frame(0, packetOf{src: "10.0.0.2", dst: "172.16.0.1"}))
		}
		g.forward(0, n)
	}
	send(3)
	for range 5 {
		if h := g.router.Hits(over); h.Late == nil || mainAnswers(h) != 0 || len(g.router.tallies.taken) != 1 {
			t.Fatalf("late %v, %d answers, %d tallies taken", h.Late, mainAnswers(h), len(g.router.tallies.taken))
		}
	}
	send(2) // still in the old one
	g.w.follow()
	send(4)
	if h := g.router.Hits(over); mainAnswers(h) != 5 {
		t.Fatalf("%d answers, 5 packets were counted before the worker moved on", mainAnswers(h))
	}
	g.w.follow()
	first := g.w.tally
	if h := g.router.Hits(over); mainAnswers(h) != 9 {
		t.Fatalf("%d answers of 9", mainAnswers(h))
	}

	// A commit in between: the hits of the policy before go to the items of the next by name, late ones too.
	send(1)
	g.router.tallies.collect()
	policyBefore := g.setup.snap
	next := policyBefore.WithAdjacencies(policyBefore.Adjacencies)
	next.Generation = policyBefore.Generation + 1
	g.setup.snap = next
	tallies := g.router.tallies.fresh(next, g.router.workers, g.router.epoch+1)
	g.router.publish(&generation{snap: next, lanes: g.router.lanes(g.setup, nil), tallies: tallies})
	g.router.tallies.move(next)
	send(1) // the worker has not seen it yet
	g.router.tallies.collect()
	g.w.follow()
	send(1)
	g.router.tallies.collect()
	if got := mainAnswers(Hits{Snapshot: next, Tally: g.router.tallies.total, routing: &g.router.routing}); got != 11 {
		t.Errorf("%d answers of 11 by the policy before", got)
	}
	if g.w.tally == first {
		t.Error("the worker counts into a tally that it has given back")
	}
	var none *policy.Snapshot
	if h := new(Router).Hits(over); h.Snapshot != none {
		t.Errorf("hits of a router that runs nothing: %+v", h)
	}
}
