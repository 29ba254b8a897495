package appliance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// A capture watches packets where the worker has them: as they come in, as they go out, and where they are dropped. What the
// XDP program gives to the kernel never comes here; tcpdump on the port sees that.
//
// It comes to the workers with a generation. Without one the packet path pays a comparison a batch, another for each
// egress, and one for each drop. With one, the worker copies what is selected into a bounded ring of its own; what finds
// no room there is counted as lost by the capture, and goes its way as if nobody watched.

// Bounds of captures. A ring takes ringBytes at most, for each worker and capture.
const (
	capturesMax   = 4
	interfacesMax = 1024 // of a capture; packets of ports beyond are not captured
	ringBytes     = 16 << 20
	ringSlotsMax  = 16384
	frameMax      = 4096 // as rings.FrameSizeFor bounds it
)

// capturePoint is where on its way a packet is seen.
type capturePoint uint8

const (
	pointIn capturePoint = 1 << iota
	pointOut
	pointDrop
)

// captured is a packet in a capture's ring.
type captured struct {
	time   int64 // monotonic, ns
	iface  uint16
	point  capturePoint
	reason packet.Reason // of pointDrop
	length uint32        // of the frame; data has at most the capture's snap length of it
	n      int
	data   []byte
}

// captureRing takes what one worker captures to whoever writes it down.
type captureRing struct {
	queue *spsc[captured]
	lost  [interfacesMax]atomic.Uint64 // by interface; the worker writes
}

// tap is a worker's end of a capture, as a generation has it.
type tap struct {
	*binding
	points capturePoint
	ring   *captureRing
}

// binding is what a capture asks for in terms of one configuration.
type binding struct {
	generation uint64
	filter     *policy.Filter // nil: it asks for a port that is not there now, so for nothing
	interfaces []uint16       // by logical port; policy.None: not captured
}

// capture is one that runs.
type capture struct {
	options CaptureOptions
	points  capturePoint
	rings   []*captureRing // by worker
	bell    chan struct{}  // of all rings
	offset  int64          // from the monotonic clock to that of the wall, ns
	bound   *binding

	mu    sync.Mutex
	names []string // of the interfaces; only grows
}

// CaptureOptions say what to capture.
type CaptureOptions struct {
	In, Out, Dropped bool     // what comes in, goes out, is dropped
	Ports            []string // that it comes in or goes out by; of a dropped packet, that it came in by. None: all
	Filter           []string // as policy.Snapshot.ParseFilter takes it
	SnapLength       int      // bytes of each frame to keep; 0: all
	Count            uint64   // of packets to end after; 0: no limit
}

// ErrNothingRuns is returned where only a running configuration has an answer.
var ErrNothingRuns = errors.New("nothing runs")

// startCapture hands the workers their taps. When it returns, every packet from now on is captured or counted as lost.
func (r *Router) startCapture(o CaptureOptions) (*capture, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.running == nil || r.closed:
		return nil, ErrNothingRuns
	case len(r.running.snap.Ports) == 0:
		return nil, errors.New("start capture: there are no ports")
	case len(r.captures) == capturesMax:
		return nil, fmt.Errorf("start capture: %d run already, and that is the limit", capturesMax)
	}
	snap := r.running.snap
	if _, err := snap.ParseFilter(o.Filter); err != nil {
		return nil, fmt.Errorf("start capture: %w", err)
	}
	for _, name := range o.Ports {
		if _, ok := snap.PortByName(name); !ok {
			return nil, fmt.Errorf("start capture: no port %q", name)
		}
	}
	c := newCapture(o, len(r.workers))
	r.captures = append(r.captures, c)
	if err := r.retap(); err != nil {
		r.captures = slices.DeleteFunc(r.captures, func(x *capture) bool { return x == c })
		return nil, errors.Join(fmt.Errorf("start capture: %w", err), r.retap())
	}
	return c, nil
}

// stopCapture takes the taps back. When it returns without an error, no worker writes into the rings any more.
func (r *Router) stopCapture(c *capture) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.captures = slices.DeleteFunc(r.captures, func(x *capture) bool { return x == c })
	if r.closed {
		return nil
	}
	return r.retap()
}

// retap publishes the taps of the captures that there are. r.mu must be held.
func (r *Router) retap() error {
	g := *r.published.Load()
	return r.await(context.Background(), r.publish(&g))
}

func newCapture(o CaptureOptions, workers int) *capture {
	if o.SnapLength <= 0 || o.SnapLength > frameMax {
		o.SnapLength = frameMax
	}
	c := &capture{options: o, bell: make(chan struct{}, 1), offset: time.Now().UnixNano() - monotonic()}
	for point, wanted := range map[capturePoint]bool{pointIn: o.In, pointOut: o.Out, pointDrop: o.Dropped} {
		if wanted {
			c.points |= point
		}
	}
	slots := ringSlotsMax
	for slots*o.SnapLength > ringBytes {
		slots /= 2
	}
	for range workers {
		ring := &captureRing{queue: newSPSC[captured](slots)}
		ring.queue.bell = c.bell
		memory := make([]byte, slots*o.SnapLength)
		for i := 0; i < len(memory); i += 4096 {
			memory[i] = 0xff // has the kernel give the page now, rather than when the worker writes into it
		}
		for i := range ring.queue.slots {
			ring.queue.slots[i].data = memory[i*o.SnapLength:][:o.SnapLength:o.SnapLength]
		}
		c.rings = append(c.rings, ring)
	}
	return c
}

// taps are the workers' ends of all captures, for a generation of the snapshot; nil if nobody captures. r.mu must be held.
func (r *Router) taps(snap *policy.Snapshot) [][]tap {
	if len(r.captures) == 0 {
		return nil
	}
	all := make([][]tap, len(r.workers))
	for _, c := range r.captures {
		b := c.bind(snap)
		if b.filter == nil {
			continue
		}
		for i := range all {
			all[i] = append(all[i], tap{b, c.points, c.rings[i]})
		}
	}
	return all
}

// bind finds out what the capture means in a configuration. Its ports keep their interfaces by name.
func (c *capture) bind(snap *policy.Snapshot) *binding {
	if c.bound != nil && c.bound.generation == snap.Generation {
		return c.bound
	}
	b := &binding{generation: snap.Generation, interfaces: make([]uint16, len(snap.Ports))}
	if f, err := snap.ParseFilter(c.options.Filter); err == nil {
		b.filter = f
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, p := range snap.Ports {
		b.interfaces[i] = policy.None
		if len(c.options.Ports) > 0 && !slices.Contains(c.options.Ports, p.Name) {
			continue
		}
		j := slices.Index(c.names, p.Name)
		if j < 0 && len(c.names) < interfacesMax {
			j = len(c.names)
			c.names = append(c.names, p.Name)
		}
		if j >= 0 {
			b.interfaces[i] = uint16(j)
		}
	}
	c.bound = b
	return b
}

// captureIn sees a batch as it came in.
func (w *Worker) captureIn(in *ingress) {
	umem := in.queue.UMEM()
	for _, f := range w.batch.Frames[:w.batch.N] {
		frame := umem.Bytes(f)
		k, parsed := w.captureKey(frame, in.device)
		w.capture(pointIn, frame, k, parsed, k.Ingress, packet.None)
	}
}

// captureOut sees what an egress has handed to the kernel; nothing is changed in it any more.
func (w *Worker) captureOut(out *egress, sent int) {
	umem := out.queue.UMEM()
	for i, f := range out.frames[:sent] {
		frame := umem.Bytes(f)
		k, parsed := w.captureKey(frame, out.device)
		port := k.Ingress
		k.Ingress = out.from[i]
		w.capture(pointOut, frame, k, parsed, port, packet.None)
	}
}

// captureDrop sees a packet as it is when it is dropped. One whose port is gone is not seen.
func (w *Worker) captureDrop(frame []byte, reason packet.Reason) {
	if w.from == nil {
		return
	}
	k, parsed := w.captureKey(frame, w.from.device)
	if w.fromPort != policy.None {
		k.Ingress = w.fromPort
	}
	w.capture(pointDrop, frame, k, parsed, k.Ingress, reason)
}

// captureKey parses a frame of a device. Its Ingress is the logical port that the frame's tags belong to, or the device's
// own where they belong to none, or do not parse.
func (w *Worker) captureKey(frame []byte, device uint16) (k *packet.Key, parsed bool) {
	k, snap := &w.seenKey, w.gen.snap
	parsed = packet.Parse(frame, k) == packet.None
	if !parsed || !snap.Ingress(device, k) {
		var untagged packet.Key
		snap.Ingress(device, &untagged)
		k.Ingress = untagged.Ingress
	}
	return k, parsed
}

// capture copies a packet into the rings of those captures that select it.
func (w *Worker) capture(point capturePoint, frame []byte, k *packet.Key, parsed bool, port uint16, reason packet.Reason) {
	for i := range w.taps {
		t := &w.taps[i]
		if t.points&point == 0 || t.interfaces[port] == policy.None {
			continue
		}
		if parsed && t.filter.Match(k) || !parsed && t.filter.MatchPort(k.Ingress) {
			t.ring.put(captured{time: monotonic(), iface: t.interfaces[port], point: point, reason: reason, length: uint32(len(frame))}, frame)
		}
	}
}

// put copies a packet into the ring, or counts it as lost.
func (r *captureRing) put(c captured, frame []byte) {
	s := r.queue.slot()
	if s == nil {
		r.lost[c.iface].Add(1)
		return
	}
	c.data = s.data
	c.n = copy(c.data, frame)
	*s = c
	r.queue.commit()
}

// attribute says what port the packets at hand came in on, for those that are dropped; policy.LocalOutput is none.
func (w *Worker) attribute(port uint16) {
	w.from, w.fromPort = nil, port
	if int(port) >= len(w.gen.snap.Ports) {
		return
	}
	device := w.gen.snap.Ports[port].Device
	for i := range w.lane.in {
		if w.lane.in[i].device == device {
			w.from = &w.lane.in[i]
			return
		}
	}
}

// dropRest drops what an egress's full ring did not take: as a router does, and counted.
func (w *Worker) dropRest(out *egress, rest []rings.Frame) {
	from, port := w.from, w.fromPort
	for i, f := range rest {
		w.attribute(out.from[out.n-len(rest)+i])
		w.drop(out.queue.UMEM(), f, packet.TransmitFull)
	}
	w.from, w.fromPort = from, port
}
