package trial

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latencies are kept from 1 ns to a minute to three significant digits: what is longer counts as a minute.
const (
	latencyMax    = time.Minute
	latencyDigits = 3
)

// Latency is a histogram of times (HdrHistogram). Not for several goroutines at once; see Merge.
type Latency struct{ h *hdrhistogram.Histogram }

// NewLatency has no times in it.
func NewLatency() *Latency { return &Latency{hdrhistogram.New(1, int64(latencyMax), latencyDigits)} }

// Record adds a time n times.
func (l *Latency) Record(d time.Duration, n int64) {
	// In the range it cannot fail.
	_ = l.h.RecordValues(int64(min(max(d, 1), latencyMax)), n)
}

// Merge adds the times of another.
func (l *Latency) Merge(other *Latency) { l.h.Merge(other.h) }

// Count is the number of times.
func (l *Latency) Count() int64 { return l.h.TotalCount() }

// Quantile is the time that a share (0 to 1) of all is not above. That of 1 is the longest.
func (l *Latency) Quantile(share float64) time.Duration {
	switch {
	case l.Count() == 0:
		return 0
	case share >= 1:
		return time.Duration(l.h.Max())
	case share <= 0:
		return time.Duration(l.h.Min())
	}
	return time.Duration(l.h.ValueAtQuantile(100 * share))
}

// Mean is the average.
func (l *Latency) Mean() time.Duration { return time.Duration(l.h.Mean()) }

// Equal says that all counts are equal.
func (l *Latency) Equal(other *Latency) bool {
	if l == nil || other == nil {
		return l == other
	}
	return l.h.Equals(other.h)
}

// Quantiles are those that reports have, 0 and 1 being the shortest and the longest.
var Quantiles = []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1}

// latencyJSON has figures for readers, in ns, and the histogram in HdrHistogram's own form (V2, compressed), which other programs read too.
type latencyJSON struct {
	Count int64  `json:"count"`
	Mean  int64  `json:"mean"`
	Min   int64  `json:"min"`
	P50   int64  `json:"p50"`
	P90   int64  `json:"p90"`
	P99   int64  `json:"p99"`
	P999  int64  `json:"p99.9"`
	P9999 int64  `json:"p99.99"`
	Max   int64  `json:"max"`
	HDR   string `json:"hdr"`
}

// MarshalJSON writes latencyJSON.
func (l *Latency) MarshalJSON() ([]byte, error) {
	text, err := l.h.EncodeV2()
	if err != nil {
		return nil, fmt.Errorf("encode latencies: %w", err)
	}
	at := func(share float64) int64 { return int64(l.Quantile(share)) }
	return json.Marshal(latencyJSON{
		Count: l.Count(), Mean: int64(l.Mean()), Min: at(0), P50: at(0.5), P90: at(0.9), P99: at(0.99), P999: at(0.999),
		P9999: at(0.9999), Max: at(1), HDR: string(text),
	})
}

// UnmarshalJSON reads latencyJSON.
func (l *Latency) UnmarshalJSON(text []byte) error {
	var in latencyJSON
	if err := json.Unmarshal(text, &in); err != nil {
		return err
	}
	h, err := hdrhistogram.Decode([]byte(in.HDR))
	if err != nil {
		return fmt.Errorf("decode latencies: %w", err)
	}
	l.h = h
	return nil
}
