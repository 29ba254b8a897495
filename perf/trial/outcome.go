package trial

import "time"

// Outcome is what a tester counted.
type Outcome struct {
	Sent       uint64        `json:"sent"`
	Received   uint64        `json:"received"` // different ones of those sent; what came twice counts once
	Duplicated uint64        `json:"duplicated"`
	Reordered  uint64        `json:"reordered"`         // that came behind a later one of their stream (RFC 4737)
	Foreign    uint64        `json:"foreign,omitempty"` // that came and were not the tester's
	Duration   time.Duration `json:"duration"`          // from the first frame sent to the last, and the pause behind that
	Latency    *Latency      `json:"latency,omitempty"`
	Series     []Interval    `json:"series,omitempty"`

	// LastLost is when the last frame was sent that did not come back, where any did not.
	LastLost time.Duration `json:"lastLost,omitempty"`
	// Silence is the longest time without a frame received, between the first and the last.
	Silence Silence `json:"silence,omitzero"`
	// Intervened is when the intervention began and ended.
	Intervened Silence `json:"intervened,omitzero"`
	// Cut says that the trial was ended before its time.
	Cut bool `json:"cut,omitempty"`
}

// Silence is a span of a trial.
type Silence struct {
	From time.Duration `json:"from"`
	To   time.Duration `json:"to"`
}

// Length is how long it lasted.
func (s Silence) Length() time.Duration { return s.To - s.From }

// Interval is a part of a trial: what was sent in it, and how much of that came back.
type Interval struct {
	At       time.Duration `json:"at"` // its beginning
	Duration time.Duration `json:"duration"`
	Sent     uint64        `json:"sent"`
	Received uint64        `json:"received"`
	P99      time.Duration `json:"p99,omitempty"` // latency
}

// Lost is the number of frames that did not come back.
func (o *Outcome) Lost() uint64 { return o.Sent - min(o.Received, o.Sent) }

// Rate is the frames per second that were sent.
func (o *Outcome) Rate() float64 {
	if o.Duration <= 0 {
		return 0
	}
	return float64(o.Sent) / o.Duration.Seconds()
}

// Shortfall is the share of the frames asked for that a generator may fail to send before they count as lost, by which RFC 9971
// (section Measurer) has a load not be called carried that was not offered. It is the width of the usual goals.
const Shortfall = 0.005

// Record is a trial that was made.
type Record struct {
	Number  int    `json:"number"`         // from 1, in the order in which they were made
	Step    string `json:"step"`           // of the procedure
	Void    string `json:"void,omitempty"` // why the trial does not count and was made again
	Trial   Trial  `json:"trial"`
	Outcome `json:"outcome"`
}

// Short says that the generator did not send what it was asked for.
func (r *Record) Short() bool {
	return !r.Cut && float64(r.Sent) < (1-Shortfall)*r.Trial.Intended()
}

// LossRatio is the share of the frames expected that did not come back: of those sent, or where the generator fell short, of
// those that it should have sent.
func (r *Record) LossRatio() float64 {
	expected := float64(r.Sent)
	if r.Short() {
		expected = r.Trial.Intended()
	}
	if expected == 0 {
		return 1 // nothing was shown
	}
	return max(0, 1-float64(r.Received)/expected)
}

// ForwardingRate is the trial's load times the share that came back (RFC 9971, Trial Forwarding Rate).
func (r *Record) ForwardingRate() float64 { return r.Trial.Rate * (1 - r.LossRatio()) }
