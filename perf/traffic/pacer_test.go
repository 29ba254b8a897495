package traffic

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"weir/perf/lab"
)

// TestPacer: whatever keeps a sender, it never sends before a packet is due, never more than a burst above a rate that is a sixteenth
// higher, and what it does not send is what it says it skipped.
func TestPacer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.Float64Range(1e3, 3e6).Draw(t, "rate")
		phase := Phase{Rate: rate, Duration: 20 * time.Millisecond}
		p := pacer{phases: []pacerPhase{{uint64(phase.Duration), phase.interval(), (&Run{Phases: []Phase{phase}}).behind(0)}}}
		var times []uint64 // of packets, 1/65536 ns
		now := uint64(0)
		stalls := rapid.SliceOfN(rapid.IntRange(0, 4_000_000), 0, 6).Draw(t, "stalls, ns")
		every := int(rate*phase.Duration.Seconds())/(len(stalls)+1) + 1
		for {
			if len(stalls) > 0 && len(times) > 0 && len(times)%every == 0 {
				now += uint64(stalls[0]) << clockShift
				stalls = stalls[1:]
			}
			wait, over := p.next(now)
			if over {
				break
			}
			if wait {
				now += 10 << clockShift
				continue
			}
			due := p.due
			l, _ := p.took(now)
			if now < due || l != now-due {
				t.Fatalf("packet %d, due at %d, is sent at %d, and called %d late", len(times), due, now, l)
			}
			times = append(times, now)
			now += 50 << clockShift // what a packet takes
		}
		for i, first := 0, 0; i < len(times); i++ {
			for ; times[i]-times[first] > 1_000_000<<clockShift; first++ {
			}
			span := float64(times[i]-times[first]) / (1 << clockShift) / 1e9
			if most := span*rate*(1+1.0/catchUp) + burstMax + 2; float64(i-first+1) > most {
				t.Fatalf("%d packets in %g s: at most %.1f", i-first+1, span, most)
			}
		}
		want := rate * (phase.Duration - p.skipped).Seconds()
		if got := float64(len(times)); got < want-2 || got > want+2 {
			t.Fatalf("%d packets sent, %v skipped: expected %.1f", len(times), p.skipped, want)
		}
	})
}

// TestCatchesUp has a thread that goes before every other take the sender's CPU for some milliseconds: all that was due is sent
// nevertheless, and never much faster than asked for.
func TestCatchesUp(t *testing.T) {
	w := newWire(t, lab.LinkOptions{})
	on := func(do func(func() error) error) func(func() error) error {
		return func(f func() error) error {
			return do(func() error { // a thread of its own, which ends
				var set unix.CPUSet
				set.Set(0)
				check(t, unix.SchedSetaffinity(0, &set))
				return f()
			})
		}
	}
	w.nearPort.Do = on(w.nearPort.Do)
	plan := must[*Plan](t)(NewPlan(streams(t, "from=10.1.0.1 to=10.0.0.0/24 flows=64"), w.link, nil))
	r := must[*Receiver](t)(NewReceiver(w.farPort, plan))
	defer func() { check(t, r.Close()) }()
	s := must[*Live](t)(NewLive(w.nearPort, plan))
	defer func() { check(t, s.Close()) }()
	const rate, length, at, kept = 50_000, 300 * time.Millisecond, 100 * time.Millisecond, 5 * time.Millisecond
	var result Result
	for attempt := 0; ; attempt++ {
		run := Run{Start: Ahead(), Phases: []Phase{{Rate: rate, Duration: length}}}
		done := make(chan error, 1)
		go func() {
			done <- on(w.near.Do)(func() error {
				time.Sleep(at - Since(run.Start))
				if err := unix.SchedSetAttr(0, &unix.SchedAttr{Policy: unix.SCHED_FIFO, Priority: 1}, 0); err != nil {
					return err
				}
				for began := time.Now(); time.Since(began) < kept; {
				}
				return unix.SchedSetAttr(0, &unix.SchedAttr{}, 0)
			})
		}()
		result = must[Result](t)(r.Measure(t.Context(), s, run, 200*time.Millisecond, false))
		check(t, <-done)
		if late := result.Late.Quantile(1); late < kept/2 {
			t.Fatalf("late by %v at most: was it kept at all?", late)
		}
		if want := uint64(rate * (length - result.Skipped).Seconds()); result.Packets+2 < want || result.Packets > want+2 || result.Received != result.Packets {
			t.Errorf("sent %d, received %d, skipped %v: expected %d", result.Packets, result.Received, result.Skipped, want)
		}
		if result.Skipped == 0 {
			break
		}
		if attempt == 9 { // others may keep it for longer than it catches up with
			t.Fatalf("%v skipped in each of ten attempts", result.Skipped)
		}
	}
	// What is caught up with is in the 5 ms × 16 behind it: in any 20 ms of those no more than a burst and a sixteenth above the rate.
	const window = 20 * time.Millisecond
	bins := int(window / result.BinWidth)
	for i := range len(result.bins) - bins {
		n := uint64(0)
		for _, one := range result.bins[i : i+bins] {
			n += one
		}
		if most := rate*window.Seconds()*(1+1.0/catchUp) + burstMax + 4; float64(n) > most {
			t.Fatalf("%d packets in %v from %v on: at most %.0f", n, window, time.Duration(i)*result.BinWidth, most)
		}
	}
}
