package appliance

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
	"weir/rings"
)

// Worker is one pinned goroutine. It owns its queues of every port and the memory that their frames live in, and runs
// packets from ring to ring; nobody else touches what it owns. Its scratch space is allocated once.
type Worker struct {
	id     int
	cpu    int
	router *Router
	poller *rings.Poller

	gen        *generation
	lane       *lane
	tally      *policy.Tally
	taps       []tap    // captures, mostly none
	from       *ingress // what the packets at hand came in by, for those that are dropped; nil: nothing that is still there
	fromPort   uint16   // likewise the logical port, where it is known without a look at the packet; else policy.None
	batch      rings.Batch
	frames     [rings.BatchSize]rings.Frame // what parsed, beside keys
	keys       [rings.BatchSize]packet.Key
	verdicts   [rings.BatchSize]policy.Verdict
	ownKey     [1]packet.Key // of an answer of ours
	ownVerdict [1]policy.Verdict
	seenKey    packet.Key // of a packet that is captured
	egress     []egress   // by device index

	rooms     waitingRooms
	leaving   [seatsMax]seat // out of a room, on the way
	datagrams *datagrams     // of which fragments have been seen
	errors    errorBuckets
	senders   *senders
	errorID   uint16     // IPv4 identification of the latest error
	piece     packet.Key // of a fragment
	idler     rings.Idler
	requests  *spsc[fib.Neighbor] // neighbours to resolve
	punts     *spsc[punt]         // packets for the kernel
	used      []atomic.Uint32     // by adjacency: the second in which it was last used

	// The control plane's part, which run never touches: the memory of each kind, and how many queues it has frames for.
	umems     [umemKinds]*rings.UMEM
	queuesMax [umemKinds]int
	lastBeats uint64 // as Stuck saw them

	count   counters
	now     int64         // monotonic, ns, at the beginning of the batch
	seconds uint32        // now in seconds
	seen    atomic.Uint64 // epoch of the generation that it runs
	beats   atomic.Uint64 // rounds of run: a worker that moves has more of them than a moment ago
	adopted chan struct{} // rung when seen changes; holds one ring
	done    chan struct{} // closed when run ends
}

// egress gathers the packets of one batch that leave through one device.
type egress struct {
	queue  *rings.Queue
	device uint16
	frames [2 * rings.BatchSize]rings.Frame // full before the end of a batch where fragments, answers or waiting rooms add to it: then it is flushed
	from   [2 * rings.BatchSize]uint16      // logical port that each came in on, or policy.LocalOutput
	n      int
}

func newWorker(r *Router, id, cpu int) (*Worker, error) {
	p, err := rings.NewPoller()
	if err != nil {
		return nil, fmt.Errorf("start worker %d: %w", id, err)
	}
	return &Worker{
		id: id, cpu: cpu, router: r, poller: p,
		requests:  newSPSC[fib.Neighbor](256),
		punts:     newSPSC[punt](256),
		used:      make([]atomic.Uint32, adjacenciesMax),
		rooms:     waitingRooms{knocks: make([]uint32, knocked), seed: rand.Uint64()},
		datagrams: newDatagrams(),
		senders:   newSenders(),
		idler:     rings.Idler{Spin: r.options.IdleSpin},
		adopted:   make(chan struct{}, 1),
		done:      make(chan struct{}),
	}, nil
}

// run is the worker's life. It ends when a generation tells it to stop.
func (w *Worker) run() {
	defer close(w.done)
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its affinity with it
	pin(w.cpu)
	hurry()
	for w.follow() {
		w.beats.Store(w.beats.Load() + 1)
		n := 0
		for i := range w.lane.in {
			n += w.forward(&w.lane.in[i])
		}
		if n == 0 {
			w.idle()
		} else {
			w.idler.Busy()
		}
	}
}

// forward takes one batch from a queue to wherever its packets go. This is the packet path.
func (w *Worker) forward(in *ingress) int {
	in.queue.Complete()
	in.queue.Refill()
	n := in.queue.Receive(&w.batch)
	if n == 0 {
		in.queue.Kick() // what an earlier kick left in the ring
		return 0
	}
	w.route(in, n)
	w.flush()
	return n
}

// route takes the n packets of the batch to the egresses that they leave by.
func (w *Worker) route(in *ingress, n int) {
	w.tick()
	w.from, w.fromPort = in, policy.None
	w.count.packets.Add(uint64(n))
	w.count.batches.Add(1)
	if w.taps != nil {
		w.captureIn(in)
	}
	umem, m := in.queue.UMEM(), w.parse(in)
	if w.gen.snap.ConsistentFragments() {
		w.decideFragments(umem, m)
	} else {
		w.decide(umem, w.frames[:m], w.keys[:m], w.verdicts[:m])
	}
}

// decide gives packets their verdicts, and carries those out.
func (w *Worker) decide(umem *rings.UMEM, frames []rings.Frame, keys []packet.Key, verdicts []policy.Verdict) {
	w.gen.snap.Decide(keys, verdicts, w.tally)
	for i := range keys {
		f, k, v := frames[i], &keys[i], &verdicts[i]
		if goesOn := v.Action == policy.Forward || v.Action == policy.Punt; goesOn && v.SetDSCP {
			packet.SetDSCP(umem.Bytes(f), k, v.TOS>>2) // an answer to a packet is about it as it came
		}
		switch v.Action {
		case policy.Forward:
			if v.Port == k.Ingress {
				w.redirect(umem, f, k, v)
			}
			packet.DecrementTTL(umem.Bytes(f), k)
			w.send(umem, f, k, v)
		case policy.Punt:
			w.punt(umem, f, k)
		case policy.Reject:
			w.reject(umem, f, k, v)
		case policy.Reset:
			w.reset(umem, f, k, v)
		default:
			w.drop(umem, f, v.Reason)
		}
	}
}

// parse fills keys with the packets of the batch that are sound, frames beside them, and returns their number.
func (w *Worker) parse(in *ingress) int {
	umem, m := in.queue.UMEM(), 0
	for _, f := range w.batch.Frames[:w.batch.N] {
		k := &w.keys[m]
		if reason := packet.Parse(umem.Bytes(f), k); reason != packet.None {
			w.refuse(in, umem, f, k, reason)
			continue
		}
		if !w.gen.snap.Ingress(in.device, k) {
			w.drop(umem, f, packet.UnknownVLAN)
			continue
		}
		w.frames[m] = f
		m++
	}
	return m
}

// send rewrites a packet for its next hop, or lets it wait until that is known.
func (w *Worker) send(umem *rings.UMEM, f rings.Frame, k *packet.Key, v *policy.Verdict) {
	if v.Adjacency == policy.Unresolved {
		w.wait(umem, f, k, v.MTU, fib.Neighbor{Addr: k.DstAddr(), Port: v.Port})
		return
	}
	a := w.gen.snap.Adjacencies.At(v.Adjacency)
	if a.State != fib.Resolved {
		w.waitFor(umem, f, k, v.MTU, a)
		return
	}
	w.touch(v.Adjacency)
	w.depart(umem, f, k, v.MTU, a)
}

// depart transmits a packet, in fragments where mtu is not 0: then it is longer than that.
func (w *Worker) depart(umem *rings.UMEM, f rings.Frame, k *packet.Key, mtu uint16, a *fib.Adjacency) {
	if mtu != 0 {
		w.fragment(umem, f, k, mtu, a)
		return
	}
	w.transmit(umem, f, k, a)
}

// transmit makes the packet ready for the wire and puts it into its egress's batch.
func (w *Worker) transmit(umem *rings.UMEM, f rings.Frame, k *packet.Key, a *fib.Adjacency) {
	out := &w.egress[a.Device]
	if out.queue == nil {
		w.drop(umem, f, packet.PortDown)
		return
	}
	if out.n == len(out.frames) {
		w.flushOne(out)
	}
	chunk, start := umem.Chunk(f)
	link := packet.Link{Dst: a.DstMAC, Src: a.SrcMAC, VLAN: a.VLAN, Tags: a.Tags, Service: a.Service}
	newStart, length, ok := packet.Encap(chunk, start, int(f.Len), k, &link)
	if !ok {
		w.drop(umem, f, packet.NoFrame)
		return
	}
	f.Addr += uint64(newStart) - uint64(start) // the frame moves within its chunk by the tags pushed or popped
	f.Len = uint32(length)
	if to := out.queue.UMEM(); to != umem {
		if f, ok = w.carry(umem, to, f); !ok {
			return
		}
	}
	out.frames[out.n], out.from[out.n] = f, k.Ingress
	out.n++
}

// carry copies a packet into another UMEM: between a zero-copy port and one that is not, descriptors cannot move.
func (w *Worker) carry(from, to *rings.UMEM, f rings.Frame) (rings.Frame, bool) {
	addr, ok := to.Alloc()
	if !ok || int(f.Len) > to.FrameSize() {
		if ok {
			to.Free(addr)
		}
		w.drop(from, f, packet.NoFrame)
		return f, false
	}
	g := rings.Frame{Addr: addr, Len: f.Len}
	copy(to.Bytes(g), from.Bytes(f))
	from.Free(f.Addr)
	return g, true
}

// flush hands every egress its batch, with one kick each.
func (w *Worker) flush() {
	for i := range w.egress {
		if out := &w.egress[i]; out.n > 0 {
			w.flushOne(out)
		}
	}
}

func (w *Worker) flushOne(out *egress) {
	sent := out.queue.Transmit(out.frames[:out.n])
	out.queue.Kick()
	if w.taps != nil {
		w.captureOut(out, sent)
	}
	if sent < out.n {
		w.dropRest(out, out.frames[sent:out.n])
	}
	out.n = 0
	out.queue.Complete()
}

// drop counts a packet that goes nowhere, and frees its chunk.
func (w *Worker) drop(umem *rings.UMEM, f rings.Frame, reason packet.Reason) {
	w.count.drops[reason].Add(1)
	if w.from != nil {
		w.from.drops[reason].Add(1)
	}
	if w.taps != nil {
		w.captureDrop(umem.Bytes(f), reason)
	}
	umem.Free(f.Addr)
}

// touch notes that an adjacency is in use, so that the control plane keeps its neighbour fresh.
func (w *Worker) touch(adjacency uint32) {
	if u := &w.used[adjacency%adjacenciesMax]; u.Load() != w.seconds {
		u.Store(w.seconds)
	}
}

// tick reads the clock, once a batch.
func (w *Worker) tick() {
	w.now = monotonic()
	w.seconds = uint32(w.now / int64(time.Second))
	w.tally.Now = w.now
}

// follow takes on the published generation if it is new, and reports whether to go on. In between it is one load and
// one compare.
func (w *Worker) follow() bool {
	g := w.router.published.Load()
	if g == w.gen {
		return true
	}
	return w.adopt(g)
}

func (w *Worker) adopt(g *generation) bool {
	lane := &g.lanes[w.id]
	w.from = nil
	if w.gen != nil && w.gen.snap.Generation != g.snap.Generation {
		w.move(w.gen.snap, g.snap)
	}
	changed := lane != w.lane
	w.gen, w.lane, w.tally, w.taps = g, lane, g.tallies[w.id], nil
	if g.taps != nil {
		w.taps = g.taps[w.id]
	}
	if changed {
		for _, r := range lane.retired {
			r.umem.Reclaim(r.id)
		}
		w.egress = w.egress[:0]
		queues := make([]*rings.Queue, 0, len(lane.in)) // a change of ports, not the packet path
		for device, q := range lane.out {
			w.egress = append(w.egress, egress{queue: q, device: uint16(device)})
		}
		for _, in := range lane.in {
			in.queue.Refill() // before the control plane lets packets in
			queues = append(queues, in.queue)
		}
		w.poller.SetQueues(queues)
	}
	w.tick()
	w.visitRooms()
	w.seen.Store(g.epoch)
	select {
	case w.adopted <- struct{}{}:
	default:
	}
	return !lane.stop
}

// sleepMax bounds a sleep, so that waiting rooms are looked at in time. Packets, and new generations, end it early.
const sleepMax = 100 * time.Millisecond

// idle passes the time until there is something to do.
func (w *Worker) idle() {
	now := monotonic()
	if !w.idler.ShouldSleep(now) {
		return
	}
	w.count.sleeps.Add(1)
	w.poller.Wait(sleepMax)
	w.tick()
	w.count.asleep.Add(uint64(w.now - now))
	w.idler.Slept(time.Duration(w.now - now))
	w.visitRooms()
}

// pin binds the calling thread to a CPU. Where that is not permitted the worker runs unpinned; run has logged nothing
// then, since State shows where each worker runs.
func pin(cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	_ = unix.SchedSetaffinity(0, &set)
}

// hurry puts the calling thread before ordinary ones (nice -20): a ring of 2,048 holds 0.2 s of 10,000 packets a second, and
// whatever else wants the CPU for longer than that costs packets. Softirq threads stay behind it: on a CPU that is
// overloaded they would only take in packets that nobody has time for. Where it is not permitted (CAP_SYS_NICE), the
// worker runs as everybody.
func hurry() { _ = unix.Setpriority(unix.PRIO_PROCESS, 0, -20) }

// monotonic is CLOCK_MONOTONIC in ns.
func monotonic() int64 { return int64(time.Since(epochStart)) }

// epochStart is long before the first packet, so that a time of 0 is one of never.
var epochStart = time.Now().Add(-time.Hour)
