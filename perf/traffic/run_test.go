package traffic

import (
	"math"
	"math/bits"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestRunChecks wants errors of runs that cannot be.
func TestRunChecks(t *testing.T) {
	second := Phase{Rate: 1, Duration: time.Second}
	for want, r := range map[string]Run{
		"run of 0 rates: must be 1 to 8":             {},
		"run of 9 rates":                             {Phases: []Phase{second, second, second, second, second, second, second, second, second}},
		"rate of -1 packets a second":                {Phases: []Phase{{-1, time.Second}}},
		"rate of NaN packets a second":               {Phases: []Phase{{math.NaN(), time.Second}}},
		"rate of +Inf packets a second":              {Phases: []Phase{{math.Inf(1), time.Second}}},
		"rate of 6.1e+08 packets a second: must be ": {Phases: []Phase{second, {6.1e8, time.Second}}},
		"run of 0s: must be longer than 0":           {Phases: []Phase{{Rate: 1}}},
		"run of 25h0m0s: ":                           {Phases: []Phase{{1, 25 * time.Hour}}},
	} {
		if err := r.check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", r.Phases, err, want)
		}
	}
}

// TestRunNumbers: intervals are exact to 10 ppm, a limit is above what the phases make, and bins hold the run.
func TestRunNumbers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r Run
		intended := 0.0
		for range rapid.IntRange(1, phasesMax).Draw(t, "phases") {
			p := Phase{Rate: rapid.Float64Range(0.1, RateMax).Draw(t, "rate"), Duration: time.Duration(rapid.Int64Range(1, int64(3*time.Hour)).Draw(t, "duration"))}
			if actual := 1e9 * (1 << clockShift) / float64(p.interval()); math.Abs(actual/p.Rate-1) > 1e-5 {
				t.Fatalf("a rate of %v is %v", p.Rate, actual)
			}
			intended += p.Rate * p.Duration.Seconds()
			r.Phases = append(r.Phases, p)
		}
		if err := r.check(); err != nil {
			t.Fatal(err)
		}
		if got := float64(r.limit()); got < intended*(1-1e-9) || got > intended*(1+1e-9)+2*phasesMax {
			t.Fatalf("at most %v packets, where %v are intended", got, intended)
		}
		if width := time.Duration(1) << r.binWidth(); r.duration()/width >= binsMax || width > 1 && r.duration()/(width/2) < (binsMax-1)/2 {
			t.Fatalf("bins of %v for %v", width, r.duration())
		}
		r.Limit = 7
		if last := len(r.Phases) - 1; r.limit() != 7 || r.end(last, time.Second) < 24*time.Hour || last > 0 && r.end(0, time.Second) != time.Second {
			t.Fatal("a limit does not have the last phase, and only that, go on")
		}
	})
}

// TestBuckets holds bucketTime to the receiver's buckets, as receive.c makes them: it is within half a bucket, which is 0.4 %.
func TestBuckets(t *testing.T) {
	bucket := func(ns uint64) int { // receive.c, bucket
		if ns < 1<<latencyMinor {
			return int(ns)
		}
		n := bits.Len64(ns) - 1 - latencyMinor
		return n<<latencyMinor + int(uint32(ns>>n))
	}
	rapid.Check(t, func(t *rapid.T) {
		ns := rapid.Uint64Range(0, 1<<36).Draw(t, "ns")
		got := bucketTime(bucket(ns))
		if off := math.Abs(float64(got) - float64(ns)); off > 0.004*float64(ns)+0.5 {
			t.Fatalf("%d ns are counted as %v", ns, got)
		}
	})
	last := time.Duration(-1)
	for i := range (38 - latencyMinor) << latencyMinor { // LATENCY_BUCKETS
		if at := bucketTime(i); at <= last {
			t.Fatalf("bucket %d is at %v, the one before at %v", i, at, last)
		} else {
			last = at
		}
	}
}

func TestLateness(t *testing.T) {
	var l Lateness
	if l.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	l[0], l[6], l[20] = 50, 49, 1
	for share, want := range map[float64]time.Duration{0: 2, 0.5: 2, 0.51: 128, 0.99: 128, 0.991: 1 << 21, 1: 1 << 21} {
		if got := l.Quantile(share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
}
