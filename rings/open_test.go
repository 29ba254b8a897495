package rings

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// resources are what sockets take from a process.
type resources struct{ descriptors, mappings int }

func taken(tb testing.TB) resources {
	tb.Helper()
	return resources{openDescriptors(), len(must[map[socketMapping]bool](tb)(socketMappings()))}
}

// TestOpenClose opens and closes the same queue again and again. Nothing of a socket may outlive its close: a ring that
// stays mapped would keep the queue busy.
func TestOpenClose(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		b := newBed(t, lab.LinkOptions{})
		p := b.port(0, Auto)
		for i := range 20 {
			b.inside(func() error {
				before := taken(t)
				u, q, err := p.OpenUMEM(0, o)
				if err != nil {
					return fmt.Errorf("round %d: %w", i, err)
				}
				if now := taken(t); now != (resources{before.descriptors + 1, before.mappings + 4}) {
					t.Errorf("open: %+v, before: %+v", now, before)
				}
				if flags := must[int](t)(unix.FcntlInt(uintptr(q.fd), unix.F_GETFD, 0)); flags&unix.FD_CLOEXEC == 0 {
					t.Error("child processes inherit the socket, and keep the queue busy")
				}
				q.Refill()
				wantCensus(t, u, o.Frames-o.RingSize, 0)
				check(t, p.Start(q), p.Stop(q), p.CloseQueue(q))
				u.Reclaim(q.ID)
				u.Recycle(q.ID)
				wantCensus(t, u, o.Frames, 0)
				check(t, u.Close())
				if now := taken(t); now != before {
					return fmt.Errorf("round %d: %+v, before: %+v", i, now, before)
				}
				return nil
			})
		}
	})
}

// TestOpenerName: who opened, and on what pages, is in the log.
func TestOpenerName(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	for _, c := range []struct {
		opener Opener
		huge   bool
		want   string
	}{
		{OpenAuto, false, "asavie/xdp"},
		{OpenLibrary, false, "asavie/xdp"},
		{OpenOwn, false, "own, "},
		{OpenAuto, true, "own, "},
		{OpenOwn, true, "own, "},
	} {
		o := UMEMOptions{Frames: 1024, FrameSize: 2048, RingSize: 64, Opener: c.opener, HugePages: c.huge}
		if c.want == "own, " {
			c.want += wantPages(t, c.huge, o.Frames*o.FrameSize)
		}
		p := b.port(0, Auto)
		b.inside(func() error {
			u, q, err := p.OpenUMEM(0, o)
			if err != nil {
				return err
			}
			if u.Opener != c.want || u.ZeroCopy() || u.FrameSize() != o.FrameSize || len(u.mem) != o.Frames*o.FrameSize {
				t.Errorf("opener %d, huge %v: %q, zero-copy %v, %d bytes; want %q", c.opener, c.huge, u.Opener, u.ZeroCopy(), len(u.mem), c.want)
			}
			return errors.Join(p.CloseQueue(q), u.Close(), p.Close())
		})
	}
}

// TestBusy: a queue has one socket, and who comes second is told so and leaves nothing behind.
func TestBusy(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		b := newBed(t, lab.LinkOptions{})
		p := b.port(0, Auto)
		u, _ := b.umem(p, 0, o)
		before := taken(t)
		b.inside(func() error {
			_, _, err := p.OpenUMEM(0, o)
			if !errors.Is(err, ErrQueueBusy) {
				t.Errorf("second opener: %v", err)
			}
			if want := "open queue 0 of em0: bind: queue is in use by another AF_XDP socket"; err != nil && err.Error() != want {
				t.Errorf("got  %q\nwant %q", err, want)
			}
			if _, err = p.OpenQueue(0, u); !errors.Is(err, ErrQueueBusy) {
				t.Errorf("second socket over the same memory: %v", err)
			}
			return nil
		})
		if now := taken(t); now != before {
			t.Errorf("after the refusals: %+v, before: %+v", now, before)
		}
	})
}

// TestZeroCopyRefused: veth has none. An automatic port takes copy instead, a configured one does not.
func TestZeroCopyRefused(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	o := UMEMOptions{Frames: 1024, FrameSize: 2048, RingSize: 64}
	for side, mode := range []Mode{ZeroCopy, Auto} {
		p := b.port(side, mode)
		p.zeroCopy = true // what Auto decides where the driver announces it
		b.inside(func() error {
			before := taken(t)
			_, _, err := p.OpenUMEM(0, o)
			if want := "open queue 0 of " + p.Name + ": bind: the driver does not offer zero-copy here"; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			if now := taken(t); now != before {
				t.Errorf("after the refusal: %+v, before: %+v", now, before)
			}
			if p.FallBack(ErrQueueBusy) {
				t.Error("falls back because a queue is busy")
			}
			if !errors.Is(err, ErrZeroCopy) || p.FallBack(err) != (mode == Auto) {
				t.Errorf("mode %v: %v, falls back %v", mode, err, mode != Auto)
			}
			return nil
		})
		if mode == ZeroCopy {
			if p.Mode() != ZeroCopy || !p.WantsZeroCopy() {
				t.Errorf("mode %v", p.Mode())
			}
			continue
		}
		want := "driver veth announces zero-copy, but open queue 0 of em1: bind: the driver does not offer zero-copy here"
		if p.Mode() != Copy || p.WantsZeroCopy() || p.Reason != want {
			t.Errorf("mode %v because %q", p.Mode(), p.Reason)
		}
		b.umem(p, 0, o)
	}
}

// TestOpenErrors: what cannot be opened says why, and is undone.
func TestOpenErrors(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	p := b.port(0, Auto)
	before := taken(t)
	b.inside(func() error {
		_, err := b.steer.OpenPort("em7", Auto)
		if want := "open port em7: no such interface here (ip link shows which there are)"; err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		_, err = b.steer.OpenPort("lo", Auto)
		if want := "open port lo: "; err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("loopback: %v", err)
		}
		_, err = b.steer.OpenPort("em0", Auto)
		if err == nil || !strings.HasPrefix(err.Error(), "open port em0: attach to em0 in driver mode: ") {
			t.Errorf("a port that is open already: %v", err)
		}
		return nil
	})
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		b.inside(func() error {
			bad := o
			bad.RingSize = 100
			_, _, err := p.OpenUMEM(0, bad)
			if want := "open queue 0 of em0: ring size 100: must be a power of two of at least 64"; err == nil || err.Error() != want {
				t.Errorf("got  %v\nwant %s", err, want)
			}
			_, _, err = p.OpenUMEM(1, o)
			if err == nil || !strings.HasPrefix(err.Error(), "open queue 1 of em0: bind: ") || !strings.HasSuffix(err.Error(), unix.EINVAL.Error()) {
				t.Errorf("a queue that the netdev does not have: %v", err)
			}
			return nil
		})
	})
	if now := taken(t); now != before {
		t.Errorf("after the errors: %+v, before: %+v", now, before)
	}
	if list := p.Offloads(); len(list) == 0 {
		t.Error("the failed second opening restored the first one's offloads")
	}
	if on := must[map[string]bool](t)(b.router.Features("em0")); on[rxVLANOffload] {
		t.Error("the failed second opening switched VLAN offload on")
	}
}

func TestModes(t *testing.T) {
	for text, want := range map[string]Mode{"": Auto, "auto": Auto, "zero-copy": ZeroCopy, "copy": Copy, "generic": Generic} {
		m, err := ParseMode(text)
		if err != nil || m != want || text != "" && m.String() != text {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	for _, text := range []string{"native", "Auto", "zerocopy", "0", " "} {
		_, err := ParseMode(text)
		if want := fmt.Sprintf("mode %q: must be auto, zero-copy, copy or generic", text); err == nil || err.Error() != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestQueues opens all queues of both ends of a link, over one UMEM each, and transmits on every queue of one: AF_XDP
// makes the queue the tx queue, and veth makes that the peer's rx queue.
func TestQueues(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		const queues, each = 4, 50
		o.Frames = 2 * queues * o.RingSize
		b := newBed(t, lab.LinkOptions{Queues: queues})
		far, near := b.side(b.hosts[0], "eth0", queues, o), b.side(b.router, ports[0], queues, o)
		if near.port.Queues != queues {
			t.Errorf("%d queues", near.port.Queues)
		}
		for i, q := range far.queues {
			for seq := range uint32(each) {
				far.send(t, q, transit(near.port.MAC, far.port.MAC, uint32(i), seq))
			}
		}
		for i, q := range near.queues {
			near.expect(t, q, uint32(i), each, far.port.MAC)
		}
		for _, q := range far.queues {
			eventually(t, "all is completed", func() bool { q.Complete(); return q.Pending() == 0 })
		}
		var batch Batch
		for i, q := range near.queues {
			if n := q.Receive(&batch); n != 0 {
				t.Errorf("queue %d received %d frames more", i, n)
			}
			if s := q.Stats(); s.Received != each || q.Index != i || q.Name != "em0" || q.UMEM() != near.umem {
				t.Errorf("queue %d of %s: %+v", q.Index, q.Name, s)
			}
			if s := must[unix.XDPStatistics](t)(q.KernelStats()); s != (unix.XDPStatistics{}) {
				t.Errorf("queue %d: the kernel counts %+v", i, s)
			}
		}
	})
}

// TestFlowsSpread sends flows through the far stack's own choice of queue. Together the queues get everything, and each
// flow stays on one.
func TestFlowsSpread(t *testing.T) {
	const queues, flows, each = 4, 64, 3
	b := newBed(t, lab.LinkOptions{Queues: queues})
	near := b.side(b.router, ports[0], queues, UMEMOptions{Frames: 2048, FrameSize: 2048, RingSize: 256})
	wire, ctx := b.frames(0), testContext(t)
	for seq := range uint32(each) {
		for flow := range uint32(flows) {
			check(t, wire.Send(ctx, transit(near.port.MAC, b.hostMAC(0), flow, seq)))
		}
	}
	queueOf, got, busy := map[uint32]int{}, 0, map[int]bool{}
	var batch Batch
	eventually(t, "all frames arrive", func() bool {
		for i, q := range near.queues {
			q.Receive(&batch)
			for _, f := range batch.Frames[:batch.N] {
				flow, _, err := intact(near.umem.Bytes(f), near.port.MAC, b.hostMAC(0))
				check(t, err)
				if other, seen := queueOf[flow]; seen && other != i {
					t.Errorf("flow %d on queues %d and %d", flow, other, i)
				}
				queueOf[flow], busy[i] = i, true
				near.umem.Free(f.Addr)
				got++
			}
		}
		return got == flows*each
	})
	if len(busy) < 2 {
		t.Errorf("%d flows on %d queues", flows, len(busy))
	}
}

// side is a netdev with all its queues open, over memory of its own.
type side struct {
	port   *Port
	umem   *UMEM
	queues []*Queue
	batch  Batch
}

// side opens a device and lets packets in. The test's end closes it.
func (b *bed) side(h *lab.Host, device string, queues int, o UMEMOptions) *side {
	b.tb.Helper()
	s := &side{}
	check(b.tb, h.Do(func() (err error) {
		if s.port, err = b.steer.OpenPort(device, Auto); err != nil {
			return err
		}
		for i := range queues {
			var q *Queue
			if i == 0 {
				s.umem, q, err = s.port.OpenUMEM(i, o)
			} else {
				q, err = s.port.OpenQueue(i, s.umem)
			}
			if err != nil {
				return err
			}
			q.Refill()
			s.queues = append(s.queues, q)
			if err := s.port.Start(q); err != nil {
				return err
			}
		}
		return nil
	}))
	b.tb.Cleanup(func() {
		err := h.Do(func() (err error) {
			for _, q := range s.queues {
				err = errors.Join(err, s.port.CloseQueue(q))
			}
			return errors.Join(err, s.umem.Close(), s.port.Close())
		})
		if err != nil {
			b.tb.Error(err)
		}
	})
	return s
}

// send transmits one frame on a queue.
func (s *side) send(tb testing.TB, q *Queue, frame []byte) {
	tb.Helper()
	eventually(tb, "a frame can be sent", func() bool {
		q.Complete()
		addr, ok := s.umem.Alloc()
		if !ok {
			return false
		}
		f := Frame{Addr: addr, Len: uint32(len(frame))}
		copy(s.umem.Bytes(f), frame)
		if q.Transmit([]Frame{f}) == 0 {
			s.umem.Free(addr)
			q.Kick()
			return false
		}
		q.Kick()
		return true
	})
}

// expect receives sequence numbers 0 to n-1 of a flow on a queue, in order and nothing else.
func (s *side) expect(tb testing.TB, q *Queue, flow uint32, n int, from net.HardwareAddr) {
	tb.Helper()
	next := 0
	eventually(tb, fmt.Sprintf("%d frames of flow %d arrive on queue %d of %s", n, flow, q.Index, q.Name), func() bool {
		q.Refill()
		q.Receive(&s.batch)
		for _, f := range s.batch.Frames[:s.batch.N] {
			gotFlow, seq, err := intact(s.umem.Bytes(f), s.port.MAC, from)
			if err != nil || gotFlow != flow || seq != uint32(next) {
				tb.Fatalf("queue %d of %s: flow %d, number %d (%v); want flow %d, number %d", q.Index, q.Name, gotFlow, seq, err, flow, next)
			}
			s.umem.Free(f.Addr)
			next++
		}
		return next == n
	})
}

// TestSharing closes the sockets of one UMEM in every order. Whoever is first, the memory stays registered by the
// socket that survives; when none does, it is registered anew.
func TestSharing(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		b := newBed(t, lab.LinkOptions{})
		p := [2]*Port{b.port(0, Auto), b.port(1, Auto)}
		wires := [2]*lab.FrameSocket{b.frames(0), b.frames(1)}
		var u *UMEM
		seq := [2]uint32{}
		alive := func(q *Queue, side int) { // a frame arrives, whole
			t.Helper()
			q.Refill()
			check(t, p[side].Start(q))
			check(t, wires[side].Send(testContext(t), transit(p[side].MAC, b.hostMAC(side), uint32(side), seq[side])))
			var batch Batch
			eventually(t, "a frame arrives", func() bool { return q.Receive(&batch) == 1 })
			if _, got, err := intact(u.Bytes(batch.Frames[0]), p[side].MAC, b.hostMAC(side)); err != nil || got != seq[side] {
				t.Fatalf("number %d (%v), want %d", got, err, seq[side])
			}
			u.Free(batch.Frames[0].Addr)
			seq[side]++
		}
		closed := func(q *Queue, side int) {
			t.Helper()
			check(t, p[side].CloseQueue(q))
			u.Reclaim(q.ID)
			u.Recycle(q.ID)
		}
		u, first := b.umem(p[0], 0, o)
		second := b.queue(p[1], 0, u)
		alive(first, 0)
		alive(second, 1)
		closed(first, 0)
		if u.first != second.fd {
			t.Error("the memory is not shared through the surviving socket: it would be registered and pinned twice")
		}
		alive(second, 1)
		wantCensus(t, u, o.Frames-o.RingSize+2, 0) // the second has received two, and refills by batches
		third := b.queue(p[0], 0, u)               // through the second socket
		alive(third, 0)
		alive(second, 1)
		closed(second, 1)
		alive(third, 0)
		closed(third, 0)
		wantCensus(t, u, o.Frames, 0)
		if n := u.Queues(); n != 0 {
			t.Errorf("%d queues", n)
		}
		fourth := b.queue(p[1], 0, u) // by a socket that registers the memory anew
		fifth := b.queue(p[0], 0, u)
		alive(fourth, 1)
		alive(fifth, 0)
		if err := u.Close(); err == nil || !strings.HasPrefix(err.Error(), "close UMEM: queue 0 of em") {
			t.Errorf("close with queues open: %v", err)
		}
		closed(fourth, 1)
		closed(fifth, 0)
		wantCensus(t, u, o.Frames, 0)
	})
}

// TestCloseQueueTwice: the second close must not hit a descriptor or an identifier that somebody else has by now.
func TestCloseQueueTwice(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	p := b.port(0, Auto)
	u, q := b.umem(p, 0, UMEMOptions{Frames: 256, FrameSize: 2048, RingSize: 64})
	check(t, p.CloseQueue(q))
	u.Recycle(q.ID)
	again := b.queue(p, 0, u)
	if again.ID != q.ID {
		t.Fatalf("identifier %d, before %d", again.ID, q.ID)
	}
	check(t, p.CloseQueue(q))
	if u.queues[again.ID] != again {
		t.Error("the second close of one queue forgot another")
	}
	if _, err := q.KernelStats(); !errors.Is(err, ErrClosed) {
		t.Errorf("statistics of a closed queue: %v", err)
	}
	must[unix.XDPStatistics](t)(again.KernelStats())
}

// TestStatsWhileClosing reads a queue's counters from other goroutines while it is closed, as anyone may.
func TestStatsWhileClosing(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	p := b.port(0, Auto)
	_, q := b.umem(p, 0, UMEMOptions{Frames: 256, FrameSize: 2048, RingSize: 64})
	started, done := make(chan struct{}), make(chan error)
	go func() {
		for n := 0; ; n++ {
			q.Stats()
			if _, err := q.KernelStats(); err != nil {
				done <- err
				return
			}
			if n == 100 {
				close(started)
			}
		}
	}()
	<-started
	check(t, p.CloseQueue(q))
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("statistics of a closed queue: %v", err)
	}
}
