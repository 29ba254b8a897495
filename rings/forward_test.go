package rings

import (
	"errors"
	"net"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// forwarder is the smallest router: two ports, one UMEM, and what comes in on one goes out on the other.
type forwarder struct {
	*bed
	port    [2]*Port
	queue   [2]*Queue
	umem    *UMEM
	far     [2]net.HardwareAddr // of the hosts
	batch   Batch
	dropped int // found no room in the tx ring
}

// newForwarder opens both ports, fills the fill rings and lets packets in.
func newForwarder(tb testing.TB, mode Mode, o UMEMOptions) *forwarder {
	tb.Helper()
	f := &forwarder{bed: newBed(tb, lab.LinkOptions{})}
	for side := range f.port {
		f.port[side], f.far[side] = f.bed.port(side, mode), f.hostMAC(side)
	}
	f.umem, f.queue[0] = f.bed.umem(f.port[0], 0, o)
	f.queue[1] = f.bed.queue(f.port[1], 0, f.umem)
	for side, q := range f.queue {
		q.Refill()
		check(tb, f.port[side].Start(q))
	}
	return f
}

// step forwards one batch that came in on a side, and returns its size. It is the packet path, and allocates nothing.
func (f *forwarder) step(side int) int {
	in, out := f.queue[side], f.queue[1-side]
	in.Complete()
	in.Refill()
	n := in.Receive(&f.batch)
	if n == 0 {
		in.Kick()
		return 0
	}
	frames := f.batch.Frames[:n]
	for _, p := range frames {
		b := f.umem.Bytes(p)
		copy(b, f.far[1-side])
		copy(b[6:], f.port[1-side].MAC)
	}
	sent := out.Transmit(frames)
	for _, p := range frames[sent:] {
		f.umem.Free(p.Addr)
		f.dropped++
	}
	out.Kick()
	out.Complete()
	return n
}

// settle waits until everything is transmitted and completed. Then every chunk is free or in a fill ring.
func (f *forwarder) settle(tb testing.TB) {
	tb.Helper()
	eventually(tb, "all is completed", func() bool {
		for _, q := range f.queue {
			q.Kick()
			q.Complete()
		}
		return f.queue[0].Pending() == 0 && f.queue[1].Pending() == 0
	})
	c := f.umem.Census()
	filled := 0
	for _, q := range f.queue {
		inRing := int(q.fill.next - atomic.LoadUint32(q.fill.cons))
		if taken := c.Queue[q.ID] - inRing; taken < 0 || taken > 1 { // the kernel may hold one that it has looked at
			tb.Errorf("queue of %s has %d chunks, %d of them in its fill ring", q.Name, c.Queue[q.ID], inRing)
		}
		filled += c.Queue[q.ID]
	}
	wantCensus(tb, f.umem, len(f.umem.place)-filled, 0)
}

// window is how many frames may be under way at once: half of what a veth queue holds (VETH_RING_SIZE in
// drivers/net/veth.c is 256), so that nothing but the router can lose any.
const window = 128

// stream is traffic from one host to the other.
type stream struct {
	f        *forwarder
	side     int // where it comes in
	out, in  *lab.FrameSocket
	received atomic.Uint32
	failed   chan error
}

func (f *forwarder) stream(side int) *stream {
	f.tb.Helper()
	return &stream{f: f, side: side, out: f.frames(side), in: f.frames(1 - side), failed: make(chan error, 2)}
}

// run sends and receives n frames in the background, every one of which must arrive: once, in order, intact.
func (s *stream) run(n uint32) {
	ctx := testContext(s.f.tb)
	near, far := s.f.port[s.side].MAC, s.f.far[s.side]
	outMAC, dst := s.f.port[1-s.side].MAC, s.f.far[1-s.side]
	go func() {
		for seq := range n {
			for seq-s.received.Load() >= window {
				if ctx.Err() != nil {
					return // the receiver reports it
				}
				pause()
			}
			if err := s.out.Send(ctx, transit(near, far, uint32(s.side), seq)); err != nil {
				s.failed <- err
				return
			}
		}
	}()
	go func() {
		for seq := uint32(0); seq < n; {
			frame, err := s.in.Receive(ctx)
			if err != nil {
				s.failed <- err
				return
			}
			if _, _, ours := identify(frame.Data); !ours {
				continue
			}
			flow, got, err := intact(frame.Data, dst, outMAC)
			if err != nil || flow != uint32(s.side) || got != seq {
				s.f.tb.Errorf("to side %d: flow %d, number %d (%v); want number %d", 1-s.side, flow, got, err, seq)
				s.failed <- errDamaged
				return
			}
			seq++
			s.received.Store(seq)
		}
	}()
}

// done reports whether all n frames have arrived, and fails the test if that will not happen.
func (s *stream) done(n uint32) bool {
	select {
	case err := <-s.failed:
		s.f.tb.Fatalf("from side %d: %v after %d frames", s.side, err, s.received.Load())
	default:
	}
	return s.received.Load() == n
}

// TestForward carries traffic both ways at once, by descriptor: nothing is lost, doubled, damaged or overtaken, and no
// chunk is lost track of.
func TestForward(t *testing.T) {
	for _, mode := range []Mode{Copy, Generic} {
		t.Run(mode.String(), func(t *testing.T) {
			eachOpener(t, func(t *testing.T, o UMEMOptions) {
				const frames = 5000
				o.RingSize, o.Frames = 2*window, 8*window // with one window and a batch in it, a fill ring is never empty
				f := newForwarder(t, mode, o)
				streams := [2]*stream{f.stream(0), f.stream(1)}
				for _, s := range streams {
					s.run(frames)
				}
				eventually(t, "all frames arrive", func() bool {
					for busy := true; busy; {
						busy = f.step(0)+f.step(1) > 0
						if c := f.umem.Census(); c.sum() != o.Frames || c.Worker != 0 || c.Free != len(f.umem.free) {
							t.Fatalf("%d chunks, %d of them with the worker, %d free (%d on the stack)", c.sum(), c.Worker, c.Free, len(f.umem.free))
						}
					}
					return streams[0].done(frames) && streams[1].done(frames)
				})
				f.settle(t)
				if f.dropped != 0 {
					t.Errorf("%d frames found no room", f.dropped)
				}
				for side, q := range f.queue {
					s := q.Stats()
					if s.Received != frames || s.Transmitted != frames || s.Completed != frames {
						t.Errorf("queue of %s: %+v", q.Name, s)
					}
					if s.Kicks == 0 || s.Kicks > 2*frames {
						t.Errorf("queue of %s: %d kicks", q.Name, s.Kicks)
					}
					if s := must[unix.XDPStatistics](t)(q.KernelStats()); s.Rx_dropped+s.Rx_invalid_descs+s.Tx_invalid_descs+s.Rx_ring_full != 0 {
						t.Errorf("queue of %s: the kernel counts %+v", q.Name, s)
					}
					check(t, f.port[side].CloseQueue(q))
					f.umem.Reclaim(q.ID)
				}
				wantCensus(t, f.umem, o.Frames, 0)
			})
		})
	}
}

// TestForwardAllocates forwards real packets, and drops some: none of it allocates.
func TestForwardAllocates(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		o.RingSize, o.Frames = 1024, 4096
		f := newForwarder(t, Auto, o)
		poller := must[*Poller](t)(NewPoller())
		defer poller.Close()
		poller.SetQueues(f.queue[:])
		const runs = 12 // and one more, before AllocsPerRun counts
		wire, ctx := f.frames(0), testContext(t)
		sent := uint32(0)
		fillRing := func() {
			for range (runs + 1) * BatchSize {
				check(t, wire.Send(ctx, transit(f.port[0].MAC, f.far[0], 0, sent)))
				sent++
				arrived := sent - uint32(f.queue[0].Stats().Received)
				eventually(t, "the frame is in the ring", func() bool {
					return atomic.LoadUint32(f.queue[0].rx.prod)-f.queue[0].rx.next == arrived
				})
			}
		}
		fillRing()
		got, short := 0, false
		allocs := testing.AllocsPerRun(runs, func() {
			n := f.step(0)
			got += n
			short = short || n != BatchSize
			f.step(1)
			poller.Wait(0)
		})
		if allocs != 0 || short || got != int(sent) {
			t.Errorf("%v allocations per batch, %d frames of %d", allocs, got, sent)
		}
		f.settle(t)

		// The same with an egress that never has room.
		fillRing()
		tx := &f.queue[1].tx
		stuck := tx.next - uint32(o.RingSize) // as the kernel's index would be
		tx.seen, tx.cons = stuck, &stuck
		allocs = testing.AllocsPerRun(runs, func() {
			f.step(0)
		})
		if allocs != 0 || f.dropped != (runs+1)*BatchSize {
			t.Errorf("%v allocations per dropped batch, %d frames dropped", allocs, f.dropped)
		}
	})
}

// TestTransmitFull hands the kernel more than the ring holds. What it does not take stays the worker's, and what it
// takes is sent.
func TestTransmitFull(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		o.RingSize = 64
		f := newForwarder(t, Auto, o)
		q, wire := f.queue[1], f.frames(1)
		filled := 2 * o.RingSize
		var frames []Frame
		for seq := range uint32(2 * o.RingSize) {
			addr, ok := f.umem.Alloc()
			if !ok {
				t.Fatal("no chunk is free")
			}
			data := transit(f.far[1], f.port[1].MAC, 7, seq)
			p := Frame{Addr: addr + 100, Len: uint32(len(data))} // somewhere within the chunk
			copy(f.umem.Bytes(p), data)
			frames = append(frames, p)
		}
		wantCensus(t, f.umem, o.Frames-filled-len(frames), len(frames))
		if n := q.Transmit(nil); n != 0 || q.Pending() != 0 {
			t.Errorf("nothing: %d taken, %d pending", n, q.Pending())
		}
		if n := q.Transmit(frames[:40]); n != 40 || q.Pending() != 40 {
			t.Fatalf("%d of 40 taken, %d pending", n, q.Pending())
		}
		if n := q.Transmit(frames[40:]); n != 24 || q.Pending() != 64 {
			t.Fatalf("%d taken where 24 had room, %d pending", n, q.Pending())
		}
		if n := q.Transmit(frames[64:]); n != 0 || q.Pending() != 64 {
			t.Fatalf("%d taken by a full ring, %d pending", n, q.Pending())
		}
		wantCensus(t, f.umem, o.Frames-filled-len(frames), len(frames)-o.RingSize)
		wantPanic(t, "free what was transmitted", func() { f.umem.Free(frames[0].Addr) })
		for _, p := range frames[64:] {
			f.umem.Free(p.Addr)
		}
		f.settle(t)
		ctx := testContext(t)
		for seq := uint32(0); seq < 64; {
			got := must[lab.Frame](t)(wire.Receive(ctx))
			if _, _, ours := identify(got.Data); !ours {
				continue
			}
			if _, n, err := intact(got.Data, f.far[1], f.port[1].MAC); err != nil || n != seq {
				t.Fatalf("number %d (%v), want %d", n, err, seq)
			}
			seq++
		}
		if s := q.Stats(); s.Transmitted != 64 || s.Completed != 64 {
			t.Errorf("%+v", s)
		}
		before := q.Stats().Kicks
		q.Kick()
		if q.Stats().Kicks != before {
			t.Error("kicks although there is nothing to send")
		}
	})
}

// TestRefillShort: with few chunks free the fill ring gets what there is.
func TestRefillShort(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	p := b.port(0, Auto)
	u, q := b.umem(p, 0, UMEMOptions{Frames: 256, FrameSize: 2048, RingSize: 128})
	var held []uint64
	for range 246 {
		addr, _ := u.Alloc()
		held = append(held, addr)
	}
	q.Refill()
	if c := u.Census(); c.Queue[q.ID] != 10 || c.Worker != 246 {
		t.Errorf("%d in the queue", c.Queue[q.ID])
	}
	q.Refill() // nothing is free
	for _, addr := range held {
		u.Free(addr)
	}
	wantCensus(t, u, 246, 0)
	q.Refill()
	wantCensus(t, u, 128, 0)
	q.Refill() // the ring is full
	wantCensus(t, u, 128, 0)
}

// TestKickOldKernel gives the socket the budget that kernels before 6.18 have: 32 packets a system call, and EAGAIN while
// there are more. One Kick sends a batch all the same.
func TestKickOldKernel(t *testing.T) {
	const frames = 100
	f := newForwarder(t, Auto, UMEMOptions{Frames: 1024, FrameSize: 2048, RingSize: 128})
	q := f.queue[1]
	err := unix.SetsockoptInt(q.fd, unix.SOL_XDP, unix.XDP_MAX_TX_SKB_BUDGET, 32)
	if errors.Is(err, unix.ENOPROTOOPT) {
		err = nil // this is such a kernel
	}
	check(t, err)
	for seq := range uint32(frames) {
		addr, _ := f.umem.Alloc()
		data := transit(f.far[1], f.port[1].MAC, 7, seq)
		p := Frame{Addr: addr, Len: uint32(len(data))}
		copy(f.umem.Bytes(p), data)
		if q.Transmit([]Frame{p}) != 1 {
			t.Fatal("the ring is full")
		}
	}
	q.Kick()
	if s := q.Stats(); !q.tx.drained() || s.Kicks != 4 || s.Errno["EAGAIN"] != 3 || len(s.Errno) != 1 {
		t.Errorf("all taken: %v, %+v", q.tx.drained(), s)
	}
	f.settle(t)
}

// TestSendBuffer: the room for packets on their way out is raised, whoever opened the socket, and for sharers.
func TestSendBuffer(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		f := newForwarder(t, Auto, o)
		for _, q := range f.queue {
			if n := must[int](t)(unix.GetsockoptInt(q.fd, unix.SOL_SOCKET, unix.SO_SNDBUF)); n < sendBuffer {
				t.Errorf("queue of %s: %d bytes", q.Name, n)
			}
		}
	})
}
