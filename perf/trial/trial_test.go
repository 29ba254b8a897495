package trial

import (
	"encoding/json"
	"math"
	"testing"
	"time"
)

func TestLossRatio(t *testing.T) {
	second := Trial{Rate: 1000, Duration: time.Second}
	for name, c := range map[string]struct {
		trial Trial
		o     Outcome
		want  float64
		short bool
	}{
		"none":                              {second, Outcome{Sent: 1000, Received: 1000}, 0, false},
		"one":                               {second, Outcome{Sent: 1000, Received: 999}, 0.001, false},
		"generator a little behind":         {second, Outcome{Sent: 995, Received: 995}, 0, false},
		"generator behind":                  {second, Outcome{Sent: 990, Received: 990}, 0.01, true},
		"nothing sent":                      {second, Outcome{}, 1, true},
		"more than asked":                   {second, Outcome{Sent: 1001, Received: 1001}, 0, false},
		"ended early":                       {second, Outcome{Sent: 500, Received: 499, Cut: true}, 0.002, false},
		"ended before the first":            {second, Outcome{Cut: true}, 1, false},
		"more received than sent":           {second, Outcome{Sent: 1000, Received: 1001}, 0, false},
		"burst":                             {Burst(100, 1e6, Sizes{64}), Outcome{Sent: 100, Received: 90}, 0.1, false},
		"steps, of which the second is cut": {Trial{Rate: 1000, Duration: time.Second, Then: []Step{{500, 2 * time.Second}}}, Outcome{Sent: 1000, Received: 1000}, 0.5, true},
	} {
		r := Record{Trial: c.trial, Outcome: c.o}
		if got := r.LossRatio(); math.Abs(got-c.want) > 1e-9 || r.Short() != c.short {
			t.Errorf("%s: %v, short %v", name, got, r.Short())
		}
	}
}

// TestLineRate has the rates of RFC 5180 appendix A and RFC 2544's for 10 Mbit/s.
func TestLineRate(t *testing.T) {
	for _, c := range []struct {
		speed uint64
		size  int
		want  float64
	}{
		{10e6, 64, 14880}, {10e6, 1518, 812}, {1e9, 64, 1488095}, {1e9, 1518, 81274}, {10e9, 64, 14880952}, {10e9, 512, 2349624},
	} {
		if got := (Sizes{c.size}).LineRate(c.speed); math.Floor(got) != c.want {
			t.Errorf("%d bytes at %d: %v", c.size, c.speed, got)
		}
	}
	if got := (Sizes{64, 1518}).LineRate(1e9); math.Abs(got-1e9/8/811) > 1e-6 {
		t.Errorf("a mix: %v", got)
	}
	if got := (Sizes{64}).LineRate(0); got != 0 {
		t.Errorf("unknown speed: %v", got)
	}
}

func TestLatency(t *testing.T) {
	l := NewLatency()
	if l.Quantile(0.5) != 0 || l.Quantile(0) != 0 || l.Quantile(1) != 0 {
		t.Error("quantiles of nothing")
	}
	for i := range 10_000 {
		l.Record(time.Duration(i+1)*time.Microsecond, 1)
	}
	l.Record(-1, 1)
	l.Record(time.Hour, 1)
	for share, want := range map[float64]time.Duration{0: 1, 0.5: 5 * time.Millisecond, 0.99: 9900 * time.Microsecond, 1: time.Minute} {
		got := l.Quantile(share)
		if math.Abs(float64(got-want)) > 0.002*float64(want) {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	var back Latency
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	if !back.Equal(l) || back.Quantile(0.9) != l.Quantile(0.9) || back.Count() != 10_002 {
		t.Errorf("read back: %v at 0.9 of %d", back.Quantile(0.9), back.Count())
	}
	again, err := json.Marshal(&back)
	if err != nil || string(again) != string(text) {
		t.Errorf("written again: %s, %v", again, err)
	}
	both := NewLatency()
	both.Merge(l)
	both.Merge(&back)
	if both.Count() != 20_004 || both.Equal(l) {
		t.Errorf("merged: %d", both.Count())
	}
	if err := json.Unmarshal([]byte(`{"hdr":"nonsense"}`), &back); err == nil {
		t.Error("nonsense was read")
	}
}
