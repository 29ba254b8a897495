package appliance

import (
	"testing"
	"time"
)

// TestLostIsCountedOnce: what comes while the worker does not run, and finds no room, is lost, each packet once.
func TestLostIsCountedOnce(t *testing.T) {
	g := newRig(t, 2, false, nil)
	before := g.router.Lost()
	const sent = 3 * rigRing
	frame := g.frame(0, packetOf{src: "10.0.0.2", dst: "10.0.1.2"})
	for range sent {
		g.inject(0, frame)
	}
	q := g.devices[0].queues[0]
	var received, lost uint64
	for deadline := time.Now().Add(10 * time.Second); received+lost < sent && time.Now().Before(deadline); {
		g.w.forward(&g.w.lane.in[0])
		received, lost = q.Stats().Received, g.router.Lost()-before
	}
	if lost == 0 || received+lost != sent {
		k, err := q.KernelStats()
		t.Errorf("of %d packets %d were received and %d lost; the kernel counts %+v, %v", sent, received, lost, k, err)
	}
}
