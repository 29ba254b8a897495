package traffic

import (
	"context"
	"fmt"
	"testing"
	"time"

	"weir/perf/lab"
)

// flawed is a device under test that does to frames what a test tells it: from one port to the other, in a goroutine of the test. A
// flaw returns what goes out in place of frame n.
type flaw func(n int, frame []byte) [][]byte

// newFlawed puts a device between two hosts.
func newFlawed(t *testing.T, delay time.Duration, f flaw) *wire {
	t.Helper()
	w := newWire(t, lab.LinkOptions{}) // near's link ends at the device
	l := lab.ForTest(t)
	device, far := w.far, must[*lab.Host](t)(l.Host("beyond"))
	must[*lab.Link](t)(l.Link(device, "eth1", far, "eth0", lab.LinkOptions{NoMerge: true}))
	w.far, w.farPort = far, Port{Name: "eth0", Do: far.Do}
	var err error
	w.farPort.Index, err = far.Index("eth0")
	check(t, err)
	in := must[*lab.FrameSocket](t)(device.OpenFrames("eth0"))
	out := must[*lab.FrameSocket](t)(device.OpenFrames("eth1"))
	ctx, cancel := context.WithCancel(t.Context())
	type due struct {
		frames [][]byte
		at     time.Time
	}
	queue := make(chan due, 1<<16)
	done := make(chan error, 2)
	go func() {
		defer close(queue)
		for n := 0; ; {
			frame, err := in.Receive(ctx)
			if err != nil {
				done <- nil // the test is over
				return
			}
			if len(frame.Data) < 14 || [6]byte(frame.Data[:6]) != [6]byte(w.link.Destination) {
				continue // of the device's own kernel
			}
			queue <- due{f(n, append([]byte(nil), frame.Data...)), time.Now().Add(delay)}
			n++
		}
	}()
	go func() {
		for d := range queue {
			for time.Now().Before(d.at) {
			}
			for _, frame := range d.frames {
				if err := out.Send(ctx, frame); err != nil && ctx.Err() == nil {
					done <- fmt.Errorf("device: %w", err)
					for range queue {
					}
					return
				}
			}
		}
		done <- nil
	}()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			check(t, <-done)
		}
	})
	return w
}

// TestFlawedDevices: what a device does to packets is what is measured.
func TestFlawedDevices(t *testing.T) {
	const packets, rate = 8000, 4000.0
	var held []byte
	for _, c := range []struct {
		name  string
		delay time.Duration
		flaw  flaw
		check func(t *testing.T, r *Result)
	}{
		{"none", 0, func(_ int, f []byte) [][]byte { return [][]byte{f} }, func(t *testing.T, r *Result) {
			if r.Received != r.Packets || r.Again+r.Reordered+r.Corrupt > 0 || r.LastLost != 0 {
				t.Errorf("%+v", r.Streams)
			}
		}},
		{"drops every 1000th", 0, func(n int, f []byte) [][]byte {
			if n%1000 == 999 {
				return nil
			}
			return [][]byte{f}
		}, func(t *testing.T, r *Result) {
			if lost := r.Packets - r.Received; lost != r.Packets/1000 || r.Again+r.Reordered > 0 {
				t.Errorf("%d of %d lost, %d again, %d reordered", lost, r.Packets, r.Again, r.Reordered)
			}
			if end := time.Duration(float64(r.Packets) / rate * float64(time.Second)); r.LastLost == 0 || r.LastLost > end+time.Second {
				t.Errorf("the last was lost at %v of %v", r.LastLost, end)
			}
		}},
		{"drops in the beginning", 0, func(n int, f []byte) [][]byte {
			if n < 500 {
				return nil
			}
			return [][]byte{f}
		}, func(t *testing.T, r *Result) {
			if lost := r.Packets - r.Received; lost != 500 || r.Reordered > 0 {
				t.Errorf("%d of %d lost, %d reordered", lost, r.Packets, r.Reordered)
			}
			if at, width := 500/rate, r.BinWidth.Seconds(); r.Skipped == 0 && (r.LastLost.Seconds() < at-width || r.LastLost.Seconds() > at+2*width+r.Late.Quantile(1).Seconds()) {
				t.Errorf("the last was lost at %v, expected %.3f s", r.LastLost, at)
			}
		}},
		{"doubles every 100th", 0, func(n int, f []byte) [][]byte {
			if n%100 == 50 {
				return [][]byte{f, f}
			}
			return [][]byte{f}
		}, func(t *testing.T, r *Result) {
			if r.Received != r.Packets || r.Again != (r.Packets+49)/100 || r.Reordered > 0 {
				t.Errorf("%d of %d received, %d again, %d reordered", r.Received, r.Packets, r.Again, r.Reordered)
			}
		}},
		{"swaps every 100th with the next", 0, func(n int, f []byte) [][]byte {
			switch n % 100 {
			case 50:
				held = f
				return nil
			case 51:
				return [][]byte{f, held}
			}
			return [][]byte{f}
		}, func(t *testing.T, r *Result) {
			if r.Received != r.Packets || r.Again > 0 || r.Reordered != (r.Packets+49)/100 {
				t.Errorf("%d of %d received, %d again, %d reordered", r.Received, r.Packets, r.Again, r.Reordered)
			}
		}},
		{"changes an address of every 1000th", 0, func(n int, f []byte) [][]byte {
			if n%1000 == 999 {
				f[33] ^= 1 // last byte of the destination
			}
			return [][]byte{f}
		}, func(t *testing.T, r *Result) {
			if r.Corrupt != r.Packets/1000 || r.Received != r.Packets-r.Corrupt {
				t.Errorf("%d of %d received, %d corrupt", r.Received, r.Packets, r.Corrupt)
			}
		}},
		{"delays by 1 ms", time.Millisecond, func(_ int, f []byte) [][]byte { return [][]byte{f} }, func(t *testing.T, r *Result) {
			if r.Received != r.Packets || r.Latency.Quantile(0) < time.Millisecond || r.Latency.Quantile(0.1) > 2*time.Millisecond {
				t.Errorf("%d of %d received, in %v to %v, a tenth within %v", r.Received, r.Packets, r.Latency.Quantile(0), r.Latency.Quantile(1), r.Latency.Quantile(0.1))
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newFlawed(t, c.delay, c.flaw)
			plan := must[*Plan](t)(NewPlan(streams(t, "from=10.0.0.2 to=198.51.100.1 size=128"), w.link, nil)) // one flow: every swap is one
			r := must[*Receiver](t)(NewReceiver(w.farPort, plan))
			defer func() { check(t, r.Close()) }()
			s := must[*Live](t)(NewLive(w.nearPort, plan))
			defer func() { check(t, s.Close()) }()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			run := Run{Phases: []Phase{{Rate: rate, Duration: packets / rate * time.Second}}}
			result := must[Result](t)(r.Measure(ctx, s, run, 500*time.Millisecond, true))
			if result.Packets < packets/4 {
				t.Fatalf("sent %d", result.Packets)
			}
			c.check(t, &result)
			if result.Strangers > 0 {
				t.Logf("%d strangers", result.Strangers)
			}
		})
	}
}
