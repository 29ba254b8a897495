// Package trial says what a tester is: something that offers packets to a device at a constant rate for a while and counts
// what comes back. Procedures (perf/procedure) decide which trials to make, and reports (perf/report) show them; neither
// knows how packets are made.
//
// A [Trial] is the question, an [Outcome] the answer, a [Record] both. Rates are frames per second over all ports that
// transmit, sizes are bytes of Ethernet frames with FCS, and times in an outcome count from the first frame sent.
//
// What to beware of:
//   - Sent is what was really sent. A generator that falls behind makes loads look lighter than they are, which
//     [Record.LossRatio] has counted as loss where it matters.
//   - A trial that the context ended has an outcome too, of what was sent until then.
package trial

import (
	"context"
	"time"
)

// Tester is a generator and a receiver with a device between them.
type Tester interface {
	// Trial offers t and counts. It waits for t.Drain after the last frame, and then for t.Settle, before it returns.
	// When the context ends it stops sending and returns the outcome up to there with the context's error.
	Trial(ctx context.Context, t Trial) (Outcome, error)
	// Calibrate measures what the tester can do without a device, with frames of these sizes.
	Calibrate(ctx context.Context, sizes Sizes) (Calibration, error)
}

// Trial is what a tester is asked to do.
type Trial struct {
	Rate     float64       `json:"rate"`             // frames per second
	Duration time.Duration `json:"duration"`         // of sending, in ns
	Frames   uint64        `json:"frames,omitempty"` // exactly so many, where not 0
	Sizes    Sizes         `json:"sizes"`
	Traffic  string        `json:"traffic,omitempty"` // names the streams that the tester was given; "": its only ones

	// Drain is how long the receiver waits for frames that are still on their way, and Settle how long the device is then
	// left alone.
	Drain  time.Duration `json:"drain"`
	Settle time.Duration `json:"settle"`

	// Then are rates that follow the first without a pause.
	Then []Step `json:"then,omitempty"`
	// During is called once, on a goroutine of its own, when a frame is due that long after the first. The tester goes on
	// sending meanwhile, and waits for it before it returns.
	During *Intervention `json:"during,omitempty"`
}

// Step is a rate for a time.
type Step struct {
	Rate     float64       `json:"rate"`
	Duration time.Duration `json:"duration"`
}

// Intervention is something done to the device in the middle of a trial.
type Intervention struct {
	Name string                          `json:"name"`
	At   time.Duration                   `json:"at"`
	Do   func(ctx context.Context) error `json:"-"`
}

// Burst is a trial of so many frames at a rate.
func Burst(frames uint64, rate float64, sizes Sizes) Trial {
	return Trial{Rate: rate, Duration: time.Duration(float64(frames) / rate * float64(time.Second)), Frames: frames, Sizes: sizes}
}

// Length is how long the tester sends.
func (t *Trial) Length() time.Duration {
	length := t.Duration
	for _, s := range t.Then {
		length += s.Duration
	}
	return length
}

// Whole is how long the trial takes with everything.
func (t *Trial) Whole() time.Duration { return t.Length() + t.Drain + t.Settle }

// Intended is the number of frames that the trial asks for.
func (t *Trial) Intended() float64 {
	if t.Frames > 0 {
		return float64(t.Frames)
	}
	frames := t.Rate * t.Duration.Seconds()
	for _, s := range t.Then {
		frames += s.Rate * s.Duration.Seconds()
	}
	return frames
}

// Calibration is what a tester measured of itself, generator wired to receiver.
type Calibration struct {
	Sizes     Sizes    `json:"sizes"`
	Ceiling   float64  `json:"ceiling"`             // frames per second that it sends and receives without loss
	LinkSpeed uint64   `json:"linkSpeed,omitempty"` // bits per second of all transmitting ports together; 0: not known, as on veth
	Bias      *Latency `json:"bias,omitempty"`      // of latency: what it measures where nothing is in between
}
