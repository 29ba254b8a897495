package rings

import (
	"errors"
	"testing"
	"time"

	"weir/perf/lab"
)

// flood sends frames without regard to losses, and forwards until done says so.
func (f *forwarder) flood(side int, wire *lab.FrameSocket, what string, done func() bool) {
	f.tb.Helper()
	ctx, seq := testContext(f.tb), uint32(0)
	eventually(f.tb, what, func() bool {
		for range 8 {
			_ = wire.Send(ctx, transit(f.port[side].MAC, f.far[side], uint32(side), seq)) // the link may be down
			seq++
		}
		for f.step(side) > 0 {
		}
		f.step(1 - side)
		if c := f.umem.Census(); c.sum() != len(f.umem.place) || c.Worker != 0 {
			f.tb.Fatalf("%d chunks, %d of them with the worker", c.sum(), c.Worker)
		}
		return done()
	})
}

// flows waits until a frame that is sent now crosses the router.
func (f *forwarder) flows(side int, in, out *lab.FrameSocket, mark uint32) {
	f.tb.Helper()
	ctx, arrived := testContext(f.tb), make(chan struct{})
	go func() {
		defer close(arrived)
		_, _ = out.Await(ctx, func(frame lab.Frame) bool { // an error is the deadline, which eventually reports
			flow, _, ok := identify(frame.Data)
			return ok && flow == mark
		})
	}()
	f.flood(side, in, "traffic flows", func() bool {
		_ = in.Send(ctx, transit(f.port[side].MAC, f.far[side], mark, 0))
		select {
		case <-arrived:
			return true
		default:
			return false
		}
	})
}

// TestLinkDown takes links down under traffic, either end of either side. The kernel's answers are counted, and traffic
// flows again by itself.
func TestLinkDown(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		f := newForwarder(t, Auto, o)
		in, out := f.frames(0), f.frames(1)
		ctx := testContext(t)
		f.flows(0, in, out, 100)
		for i, c := range []struct {
			what   string
			host   *lab.Host
			device string
			errno  string // "" for the ports' rx side, which no system call tells of
		}{
			{"egress port", f.router, ports[1], "ENETDOWN"},
			{"peer of the egress port", f.hosts[1], "eth0", "EBUSY"},
			{"ingress port", f.router, ports[0], ""},
			{"peer of the ingress port", f.hosts[0], "eth0", ""},
		} {
			before := f.queue[1].Stats().Errno[c.errno]
			check(t, c.host.SetDown(c.device))
			rounds := 0
			f.flood(0, in, c.what+" is down: the kernel says "+c.errno, func() bool {
				rounds++
				return f.queue[1].Stats().Errno[c.errno] > before+10 || c.errno == "" && rounds > 20
			})
			check(t, c.host.SetUp(c.device), c.host.WaitUp(ctx, c.device))
			for side := range f.port {
				check(t, f.router.WaitUp(ctx, ports[side]), f.hosts[side].WaitUp(ctx, "eth0"))
			}
			f.flows(0, in, out, 101+uint32(i))
		}
		f.settle(t)
	})
}

// TestDeviceGone pulls the egress card while packets are in its ring. Nothing panics or spins, and all chunks come back.
func TestDeviceGone(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		f := newForwarder(t, Auto, o)
		in, out := f.frames(0), f.frames(1)
		ctx := testContext(t)
		poller := must[*Poller](t)(NewPoller())
		defer poller.Close()
		poller.SetQueues(f.queue[:])
		f.flows(0, in, out, 100)

		check(t, f.links[1].Delete(), f.router.WaitDevice(ctx, ports[1], false))
		f.flood(0, in, "the kernel says ENXIO", func() bool { return f.queue[1].Stats().Errno["ENXIO"] > 10 })
		f.flood(0, in, "the tx ring is full", func() bool { return f.dropped > 0 })

		// What is still on its way from the ingress may wake a wait; then only a sleep is left. A wait that does not
		// sleep makes thousands of rounds.
		for f.step(0) > 0 {
		}
		rounds := 0
		for begin := time.Now(); time.Since(begin) < 500*time.Millisecond; rounds++ {
			poller.Wait(50 * time.Millisecond)
			f.step(0)
			f.step(1)
		}
		if rounds > 100 {
			t.Errorf("%d waits of 50 ms in 500 ms", rounds)
		}

		// The port closes like any other, and the other port does not notice.
		check(t, f.port[1].CloseQueue(f.queue[1]))
		f.umem.Reclaim(f.queue[1].ID)
		f.umem.Recycle(f.queue[1].ID)
		f.closePort(f.port[1])
		if c := f.umem.Census(); c.Free+c.Queue[f.queue[0].ID] != o.Frames {
			t.Errorf("%d free, %d in the other queue, of %d", c.Free, c.Queue[f.queue[0].ID], o.Frames)
		}

		// A new card of the same name.
		check(t, f.links[1].Recreate())
		f.port[1] = f.bed.port(1, Auto)
		f.queue[1] = f.bed.queue(f.port[1], 0, f.umem)
		f.far[1] = f.hostMAC(1)
		f.queue[1].Refill()
		check(t, f.port[1].Start(f.queue[1]))
		poller.SetQueues(f.queue[:])
		f.flows(0, in, f.frames(1), 101)
	})
}

// TestAllDevicesGone pulls the only card: the memory's first socket is an orphan, and closes all the same.
func TestAllDevicesGone(t *testing.T) {
	eachOpener(t, func(t *testing.T, o UMEMOptions) {
		b := newBed(t, lab.LinkOptions{})
		p := b.port(0, Auto)
		u, q := b.umem(p, 0, o)
		q.Refill()
		check(t, p.Start(q))
		check(t, b.links[0].Delete(), b.router.WaitDevice(testContext(t), ports[0], false))
		var batch Batch
		addr, _ := u.Alloc()
		if n := q.Transmit([]Frame{{Addr: addr, Len: 60}}); n != 1 {
			t.Errorf("%d transmitted", n)
		}
		for range 3 {
			q.Kick()
			q.Complete()
			q.Refill()
			if n := q.Receive(&batch); n != 0 {
				t.Errorf("%d received", n)
			}
		}
		if s := q.Stats(); s.Errno["ENXIO"] != 3 || q.Pending() != 1 {
			t.Errorf("%+v, %d pending", s, q.Pending())
		}
		b.inside(func() error {
			return errors.Join(p.Stop(q), p.CloseQueue(q), p.Close())
		})
		u.Reclaim(q.ID)
		wantCensus(t, u, o.Frames, 0)
		check(t, b.links[0].Recreate())
		u.Recycle(q.ID)
		p = b.port(0, Auto)
		b.queue(p, 0, u)
	})
}

// TestSuccessor: a port whose netdev was deleted keeps its hands off the one that has its name now.
func TestSuccessor(t *testing.T) {
	b := newBed(t, lab.LinkOptions{})
	old := b.port(0, Auto)
	check(t, b.links[0].Delete(), b.links[0].Recreate())
	b.port(0, Auto)
	b.closePort(old)
	if on := must[map[string]bool](t)(b.router.Features(ports[0])); on[rxVLANOffload] {
		t.Error("closing the old port switched VLAN offload on")
	}
}
