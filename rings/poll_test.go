package rings

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// longWait is a Wait that only something else than time ends, as far as a test is concerned.
const longWait = 2 * patience

// waits runs Wait in the background.
func waits(p *Poller, timeout time.Duration) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Wait(timeout)
	}()
	return done
}

func ended(done <-chan struct{}) func() bool {
	return func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
}

func newPoller(tb testing.TB) *Poller {
	tb.Helper()
	p := must[*Poller](tb)(NewPoller())
	tb.Cleanup(func() { check(tb, p.Close()) })
	return p
}

// TestWake: a wake-up ends the Wait that runs, or the next one, and no other.
func TestWake(t *testing.T) {
	p := newPoller(t)
	p.Wake()
	eventually(t, "a wake-up before the wait ends it", ended(waits(p, longWait)))
	done := waits(p, longWait)
	pause() // lets it fall asleep, most of the time; either order must do
	p.Wake()
	eventually(t, "a wake-up during the wait ends it", ended(done))

	for range 1000 { // many are like one, and none blocks
		p.Wake()
	}
	eventually(t, "wake-ups before the wait end it", ended(waits(p, longWait)))
	begin := time.Now()
	for rounds := 0; time.Since(begin) < 100*time.Millisecond; rounds++ {
		p.Wait(20 * time.Millisecond)
		if rounds > 100 {
			t.Fatal("old wake-ups end new waits")
		}
	}
}

// TestWakeConcurrent wakes a waiting goroutine again and again, each time from a state that neither knows.
func TestWakeConcurrent(t *testing.T) {
	p := newPoller(t)
	const rounds = 2000
	awake, told := make(chan int), make(chan struct{})
	go func() {
		for i := range rounds {
			p.Wait(longWait)
			awake <- i
			<-told
		}
	}()
	timeout := time.After(patience)
	for range rounds {
		p.Wake()
		select {
		case <-awake:
			told <- struct{}{}
		case <-timeout:
			t.Fatal("a wake-up was lost")
		}
	}
}

// TestWaitPackets: packets on any queue end a Wait, and packets that have been there before it too.
func TestWaitPackets(t *testing.T) {
	f := newForwarder(t, Auto, UMEMOptions{Frames: 1024, FrameSize: 2048, RingSize: 128})
	wires := [2]*lab.FrameSocket{f.frames(0), f.frames(1)}
	ctx, p := testContext(t), newPoller(t)
	send := func(side int) {
		check(t, wires[side].Send(ctx, transit(f.port[side].MAC, f.far[side], uint32(side), 0)))
	}
	p.SetQueues(f.queue[:])
	for range 3 {
		for side := range f.queue {
			done := waits(p, longWait)
			pause()
			send(side)
			eventually(t, "packets end the wait", ended(done))
			eventually(t, "the packet is there", func() bool { return f.step(side) == 1 })
			send(side)
			eventually(t, "packets end the next wait", ended(waits(p, longWait)))
			eventually(t, "the packet is there", func() bool { return f.step(side) == 1 })
		}
	}
	f.settle(t)

	p.SetQueues(f.queue[1:])
	send(0)
	done := waits(p, longWait)
	eventually(t, "the packet is there", func() bool { return f.step(0) == 1 })
	if ended(done)() {
		t.Error("a packet on a queue that is not waited for ended the wait")
	}
	p.Wake()
	eventually(t, "a wake-up ends the wait", ended(done))
	p.SetQueues(nil)
	if len(p.fds) != 1 {
		t.Errorf("%d descriptors without queues", len(p.fds))
	}
	p.Wait(0)
}

// TestWaitTimeout: without an event a Wait takes its time, every time.
func TestWaitTimeout(t *testing.T) {
	p := newPoller(t)
	for _, timeout := range []time.Duration{0, time.Nanosecond, time.Millisecond} {
		eventually(t, timeout.String()+" are over", ended(waits(p, timeout)))
	}
	begin, rounds := time.Now(), 0
	for ; time.Since(begin) < 300*time.Millisecond; rounds++ {
		p.Wait(30 * time.Millisecond)
	}
	if rounds > 60 { // a few may end early, by signals of the Go runtime
		t.Errorf("%d waits of 30 ms in 300 ms", rounds)
	}
}

// TestWaitBroken: a descriptor that reports an error reports it always. A Wait takes note once, and sleeps from then on.
func TestWaitBroken(t *testing.T) {
	pipe := func(closed int) (fd int) {
		var ends [2]int
		check(t, unix.Pipe2(ends[:], unix.O_CLOEXEC), unix.Close(ends[closed]))
		t.Cleanup(func() { check(t, unix.Close(ends[1-closed])) })
		return ends[1-closed]
	}
	for name, fd := range map[string]int{
		"hung up (POLLHUP)": pipe(1), "in error (POLLERR)": pipe(0), "closed (POLLNVAL)": 1 << 20,
	} {
		p := newPoller(t)
		p.SetQueues([]*Queue{{fd: fd}})
		eventually(t, "a queue that is "+name+" ends a wait", ended(waits(p, longWait)))
		done := waits(p, longWait)
		pause()
		for rounds := 0; ended(done)(); rounds++ { // a few may end early, by signals of the Go runtime
			if rounds == 20 {
				t.Fatalf("a queue that is %s ends every wait", name)
			}
			done = waits(p, longWait)
			pause()
		}
		p.Wake()
		eventually(t, "a wake-up ends the wait", ended(done))
	}
}
