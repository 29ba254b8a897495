package oracle

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"testing"

	"weir/perf/lab"
	"weir/policy/packet"
)

// sighting is a frame that came out of a router, at the wire of a port.
type sighting struct {
	port  int
	frame []byte
}

// wires sends frames to the ports of a router, and collects what comes out of them.
type wires struct {
	sockets []*lab.FrameSocket

	mu      sync.Mutex
	seen    map[uint32][]sighting // by the number in the probe, or in what is left of it in an error
	changed chan struct{}         // closed and replaced with every frame
	last    uint32                // sentinel
}

// firstSentinel is the number from which on probes are sentinels.
const firstSentinel = 0xf0000000

// firstPiece is the number from which on they are pieces of probes.
const firstPiece = 0xe0000000

func openWires(t testing.TB, r *router) *wires {
	t.Helper()
	w := &wires{seen: map[uint32][]sighting{}, changed: make(chan struct{}), last: firstSentinel}
	var readers sync.WaitGroup
	for i := range ports {
		s := must[*lab.FrameSocket](t)(r.wire.OpenFrames(wirePort(i)))
		w.sockets = append(w.sockets, s)
		readers.Go(func() { w.read(i, s) })
	}
	t.Cleanup(func() {
		for _, s := range w.sockets {
			check(t, s.Close())
		}
		readers.Wait()
	})
	return w
}

func (w *wires) read(port int, s *lab.FrameSocket) {
	for {
		f, err := s.Receive(context.Background())
		if err != nil {
			return // closed
		}
		id, ok := numberOf(f.Data)
		if !ok {
			continue // of the kernel's own: neighbour discovery and the like
		}
		w.mu.Lock()
		w.seen[id] = append(w.seen[id], sighting{port, f.Data})
		close(w.changed)
		w.changed = make(chan struct{})
		w.mu.Unlock()
	}
}

// numberOf is the number in the probe that a frame is or quotes. A router may have cut it off: then it is that of a piece.
func numberOf(frame []byte) (uint32, bool) {
	at := bytes.Index(frame, []byte(magic)) + len(magic)
	if at >= len(magic) && len(frame) >= at+4 {
		return binary.BigEndian.Uint32(frame[at:]), true
	}
	if !isPiece(frame) {
		return 0, false
	}
	return pieceOf(binary.BigEndian.Uint16(frame[packet.EthernetHeaderLen+4:])), true
}

// pieceOf is the number that a piece of a probe has, of which the IPv4 identification alone is left.
func pieceOf(identification uint16) uint32 { return firstPiece + uint32(identification) }

// exchange sends packets to the ports that they are for and returns what came of each.
//
// A sentinel from every port to every port follows them. Routers keep what goes from one port to another in order, so that
// when the last sentinel is there, so is everything else.
func (w *wires) exchange(t testing.TB, trials []*trial) [][]sighting {
	t.Helper()
	ctx := testContext(t)
	w.mu.Lock()
	clear(w.seen)
	w.mu.Unlock()
	for _, x := range trials {
		check(t, w.sockets[x.p.ingress].Send(ctx, x.frame))
	}
	var awaited []uint32
	for from := range ports {
		for to := range ports {
			w.last++
			awaited = append(awaited, w.last)
			s := probe{ingress: from, src: sentinelAddr(from), dst: sentinelAddr(to), proto: 253, ttl: 64}
			check(t, w.sockets[from].Send(ctx, s.frame(w.last)))
		}
	}
	for {
		w.mu.Lock()
		changed := w.changed
		awaited = slices.DeleteFunc(awaited, func(id uint32) bool { return len(w.seen[id]) > 0 })
		w.mu.Unlock()
		if len(awaited) == 0 {
			break
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("sentinels %v of %d are lost", awaited, w.last-firstSentinel)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := make([][]sighting, len(trials))
	for i, x := range trials {
		seen[i] = slices.Concat(w.seen[x.id], w.seen[pieceOf(uint16(x.id))])
	}
	return seen
}

// String is a frame's port and bytes.
func (s sighting) String() string { return fmt.Sprintf("%s: %x", ports[s.port].Name, s.frame) }
