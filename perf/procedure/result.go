package procedure

import (
	"time"

	"weir/perf/trial"
)

// Result is what a procedure found. Only the parts of its procedure are there.
type Result struct {
	Procedure    string              `json:"procedure"`
	Standard     string              `json:"standard"` // that it follows
	Parameters   []Parameter         `json:"parameters,omitempty"`
	Deviations   []string            `json:"deviations,omitempty"` // from the standard
	Refused      []string            `json:"refused,omitempty"`    // what could not be stated, and why
	Partial      string              `json:"partial,omitempty"`    // where and why it ended early
	Calibrations []trial.Calibration `json:"calibrations,omitempty"`

	Bounds           []Bounds              `json:"bounds,omitempty"`           // Throughput, Imix, MLRsearch, and those that need a throughput
	Latencies        []LatencyAt           `json:"latencies,omitempty"`        // Latency
	Losses           []LossAt              `json:"losses,omitempty"`           // LossCurve
	Bursts           []BurstLength         `json:"bursts,omitempty"`           // BackToBack
	Recoveries       []RecoveryTime        `json:"recoveries,omitempty"`       // Recovery
	Resets           []ResetTime           `json:"resets,omitempty"`           // Reset
	Reconfigurations []ReconfigurationTime `json:"reconfigurations,omitempty"` // Reconfiguration
	Runs             []RunAt               `json:"runs,omitempty"`             // Run, Soak

	Trials []trial.Record `json:"trials"` // all, in order; those of searches without latencies, and series only where a change over time is what they are about
}

// Parameter is a choice that the procedure was run with.
type Parameter struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Bounds are what a search found for a goal.
type Bounds struct {
	Goal  Goal        `json:"goal"`
	Sizes trial.Sizes `json:"sizes"`
	Lower float64     `json:"lower,omitempty"` // relevant lower bound, frames per second; 0: none
	Upper float64     `json:"upper,omitempty"` // relevant upper bound; 0: none
	// Throughput is the conditional throughput at the lower bound: RFC 2544's throughput where the goal is that.
	Throughput float64 `json:"throughput,omitempty"`
	// Regular says that both bounds are there and not further apart than the goal's width (RFC 9971, Regular Goal Result).
	Regular bool `json:"regular"`
	// Refused says why no throughput is stated. Bounds and throughput are then only what was seen.
	Refused string  `json:"refused,omitempty"`
	Note    string  `json:"note,omitempty"`
	Line    float64 `json:"line,omitempty"` // the most frames per second that fit on the link; 0: not known
}

// LatencyAt are the latencies at a rate, over all repeats.
type LatencyAt struct {
	Sizes   trial.Sizes     `json:"sizes"`
	Rate    float64         `json:"rate"`
	Share   float64         `json:"share"` // of the throughput
	Latency *trial.Latency  `json:"latency"`
	Means   []time.Duration `json:"means"`   // of every repeat
	Medians []time.Duration `json:"medians"` // of every repeat
	P99s    []time.Duration `json:"p99s"`
	Lost    uint64          `json:"lost"`
	Sent    uint64          `json:"sent"`
}

// LossAt is a point of a loss curve.
type LossAt struct {
	Sizes   trial.Sizes `json:"sizes"`
	Share   float64     `json:"share"` // of the highest rate
	Rate    float64     `json:"rate"`
	Loss    float64     `json:"loss"` // ratio
	Trial   int         `json:"trial"`
	Refused string      `json:"refused,omitempty"`
}

// BurstLength is the back-to-back benchmark of a frame size.
type BurstLength struct {
	Sizes      trial.Sizes `json:"sizes"`
	Rate       float64     `json:"rate"` // of the burst
	Throughput float64     `json:"throughput"`
	Step       uint64      `json:"step"`    // frames to which the search is exact
	Lengths    []uint64    `json:"lengths"` // the longest burst without loss of every test
	Mean       float64     `json:"mean"`
	Min        uint64      `json:"min"`
	Max        uint64      `json:"max"`
	Deviation  float64     `json:"standardDeviation"`
	// Implied and Corrected are the device's buffer in time: without and with regard to the frames that it forwards while
	// the burst lasts (RFC 9004 section 6.4).
	Implied   time.Duration `json:"impliedBufferTime"`
	Corrected time.Duration `json:"correctedBufferTime"`
	Refused   string        `json:"refused,omitempty"`
}

// RecoveryTime is the time that a device takes to lose no more frames after an overload.
type RecoveryTime struct {
	Sizes    trial.Sizes     `json:"sizes"`
	Overload float64         `json:"overload"` // frames per second
	Then     float64         `json:"then"`
	Times    []time.Duration `json:"times"`
	Mean     time.Duration   `json:"mean"`
	Refused  string          `json:"refused,omitempty"`
}

// ResetTime is the time without frames when a device is reset.
type ResetTime struct {
	Sizes   trial.Sizes     `json:"sizes"`
	Rate    float64         `json:"rate"`
	Reset   string          `json:"reset"`
	Gaps    []time.Duration `json:"gaps"`   // from the last frame received before to the first one after (RFC 2544 section 26.6)
	Losses  []time.Duration `json:"losses"` // frames lost in time at the rate (RFC 6201 section 4, frame-loss method)
	Refused string          `json:"refused,omitempty"`
}

// ReconfigurationTime is the time that a device was blocked by a change.
type ReconfigurationTime struct {
	Sizes   trial.Sizes     `json:"sizes"`
	Rate    float64         `json:"rate"`
	Change  string          `json:"change"`
	Lost    []uint64        `json:"lost"`
	Blocked []time.Duration `json:"blocked"` // lost frames through the rate offered
	Took    []time.Duration `json:"took"`    // the change itself
}

// RunAt is a rate for a time.
type RunAt struct {
	Sizes trial.Sizes `json:"sizes"`
	Rate  float64     `json:"rate"` // asked for
	Trial int         `json:"trial"`
	Loss  float64     `json:"loss"` // ratio
}

// Find is a trial by its number.
func (r *Result) Find(number int) *trial.Record {
	if number < 1 || number > len(r.Trials) {
		return nil
	}
	return &r.Trials[number-1]
}
