package traffic

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"weir/perf/trial"
)

// Port is a netdev that a sender or a receiver uses.
type Port struct {
	Name  string
	Index int
	MAC   net.HardwareAddr
	MTU   int // 0: not known, and then nothing is held to it
	// Do runs a function in the port's network namespace, on a thread of its own. nil: this one's.
	Do func(func() error) error
}

func (p *Port) do(f func() error) error {
	if p.Do == nil {
		return f()
	}
	return p.Do(f)
}

// fits says whether a port takes the plan's frames.
func (p *Port) fits(plan *Plan) error {
	if p.MTU > 0 && plan.packetMax > p.MTU {
		return fmt.Errorf("packets of up to %d bytes: the MTU of %s is %d", plan.packetMax, p.Name, p.MTU)
	}
	return nil
}

// Sender puts the packets of a plan on the wire. It is for one run at a time.
type Sender interface {
	// Send sends as the run says, and returns when the last packet is on its way. When ctx ends it stops, and returns what was
	// sent with ctx's error.
	Send(ctx context.Context, r *Run) (Sent, error)
	// Clears its devices.
	Close() error
}

// Run is what is sent, and when.
type Run struct {
	Start  int64   // of the first packet, CLOCK_MONOTONIC, ns; see Ahead
	Phases []Phase // one after the other, without a pause
	Limit  uint64  // packets, all of which are sent, the later the longer the sender was kept from it; 0: what the phases make and the sender keeps up with

	id       uint8
	binShift uint8
}

// Phase is a rate for a time. A rate of 0 is as fast as possible.
type Phase struct {
	Rate     float64 // packets a second
	Duration time.Duration
}

const (
	phasesMax  = 8     // PHASES_MAX of traffic.h
	binsMax    = 4096  // BINS
	clockShift = 16    // CLOCK_SHIFT of send.c
	unpacedMax = 30e6  // packets a second that no sender can reach
	burstMax   = 16    // late packets that follow each other at once: what veth moves at once (DEV_MAP_BULK_SIZE)
	catchUp    = 16    // the late ones behind them come faster than the rate by one in so many
	RateMax    = 600e6 // of which 1/65536 ns tell rates apart
	ahead      = 30 * time.Millisecond
	lateMax    = 10 * time.Millisecond // that a sender may be behind its plan; what is beyond is not sent
)

// Ahead is a time that is early enough to begin a run at: until then the sender has its thread on its CPU, and the kernel its frames, which
// takes milliseconds where others want the CPU.
func Ahead() int64 { return (clock.now() + int64(ahead)) &^ (1<<stampShift - 1) }

// monotonic reads CLOCK_MONOTONIC, as bpf_ktime_get_ns does, without a system call.
type monotonic struct {
	began time.Time
	at    int64 // of began, ns
}

var clock = newMonotonic()

// newMonotonic asks several times what the one clock says when the other does; the closest pair is off by less than 1 µs.
func newMonotonic() monotonic {
	var best monotonic
	closest := time.Duration(math.MaxInt64)
	for range 100 {
		var t unix.Timespec
		before := time.Now()
		_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // cannot fail: the clock is there
		if took := time.Since(before); took < closest {
			closest, best = took, monotonic{before.Add(took / 2), t.Nano()}
		}
	}
	return best
}

func (m monotonic) now() int64 { return m.at + int64(time.Since(m.began)) }

// check finds runs that cannot be.
func (r *Run) check() error {
	if len(r.Phases) == 0 || len(r.Phases) > phasesMax {
		return fmt.Errorf("run of %d rates: must be 1 to %d", len(r.Phases), phasesMax)
	}
	for _, p := range r.Phases {
		if p.Rate < 0 || p.Rate > RateMax || math.IsNaN(p.Rate) {
			return fmt.Errorf("rate of %g packets a second: must be up to %g", p.Rate, float64(RateMax))
		}
		if p.Duration <= 0 || p.Duration > 24*time.Hour {
			return fmt.Errorf("run of %v: must be longer than 0, and at most a day", p.Duration)
		}
	}
	return nil
}

// duration is that of all phases.
func (r *Run) duration() (d time.Duration) {
	for _, p := range r.Phases {
		d += p.Duration
	}
	return d
}

// end is when a phase that is due to end after so long does: the last one of a run with a limit ends with that.
func (r *Run) end(phase int, due time.Duration) time.Duration {
	if r.Limit > 0 && phase == len(r.Phases)-1 {
		return math.MaxInt64 >> clockShift
	}
	return due
}

// limit is how many packets a run can have at most.
func (r *Run) limit() uint64 {
	if r.Limit > 0 {
		return r.Limit
	}
	n := 0.0
	for _, p := range r.Phases {
		rate := p.Rate
		if rate == 0 {
			rate = unpacedMax
		}
		n += math.Ceil(rate*p.Duration.Seconds()) + 1
	}
	return uint64(n)
}

// binWidth is the time that packets are counted by, as a power of two of ns.
func (r *Run) binWidth() uint8 { return uint8(bits.Len64(uint64(r.duration()) / (binsMax - 1))) }

// behind is the time between packets of a phase that are late, in 1/65536 ns. A run with a limit is a burst, which is to be as long as its
// rate makes it.
func (r *Run) behind(phase int) uint64 {
	if r.Limit > 0 && phase == len(r.Phases)-1 {
		return 0
	}
	return r.Phases[phase].interval() * catchUp / (catchUp + 1)
}

// interval is the time between packets, in 1/65536 ns; 0: none.
func (p Phase) interval() uint64 {
	if p.Rate == 0 {
		return 0
	}
	return uint64(math.Round(1e9 * (1 << clockShift) / p.Rate))
}

// Sent is what a sender has sent.
type Sent struct {
	Packets uint64
	Bytes   uint64        // of frames, without FCS
	Time    time.Duration // from the start to the last packet
	Skipped time.Duration // that it was behind its plan by, and did not catch up with
	Late    Lateness

	bins [binsMax]uint64
}

// Lateness counts packets by how late they were sent: Lateness[i] are those from 1<<i to 1<<(i+1) ns late, Lateness[0] those below 2 ns.
type Lateness [64]uint64

// Quantile is the time that a share of packets is not later than, rounded up to a power of two.
func (l *Lateness) Quantile(share float64) time.Duration {
	total := uint64(0)
	for _, n := range l {
		total += n
	}
	want, sum := uint64(math.Ceil(share*float64(total))), uint64(0)
	for i, n := range l {
		if sum += n; n > 0 && sum >= want {
			return time.Duration(1) << (i + 1)
		}
	}
	return 0
}

// Result is what became of a run.
type Result struct {
	Sent
	Received  uint64 // different ones
	Again     uint64 // came more than once
	Reordered uint64
	Corrupt   uint64 // came with another header than they were sent with
	Old       uint64 // of the run before
	Strangers uint64 // frames of others
	Streams   []StreamResult
	Latency   *trial.Latency
	BinWidth  time.Duration
	LastLost  time.Duration // when the last packet was sent that did not come, to a bin; 0: none is missing
	Silence   trial.Silence // the longest between two packets

	received [binsMax]uint64
}

// StreamResult is what came of one stream.
type StreamResult struct {
	Name                       string
	Received, Again, Reordered uint64
	Bytes                      uint64
}

// Series are the packets of a run by when they were sent, in about n intervals.
func (r *Result) Series(n int) (list []trial.Interval) {
	used := 0
	for i := range r.bins {
		if r.bins[i]+r.received[i] > 0 {
			used = i + 1
		}
	}
	step := max(1, (used+n-1)/n)
	for at := 0; at < used; at += step {
		one := trial.Interval{At: time.Duration(at) * r.BinWidth, Duration: time.Duration(step) * r.BinWidth}
		for i := at; i < min(at+step, used); i++ {
			one.Sent += r.bins[i]
			one.Received += r.received[i]
		}
		list = append(list, one)
	}
	return list
}

// lastLost finds the last bin of which not all have come.
func (r *Result) lastLost() time.Duration {
	for i := len(r.bins) - 1; i >= 0; i-- {
		if r.bins[i] > r.received[i] {
			return time.Duration(i+1) * r.BinWidth
		}
	}
	return 0
}

// Since is the time since a run's start.
func Since(start int64) time.Duration { return time.Duration(clock.now() - start) }
