package perf

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"weir/perf/environment"
)

var update = flag.Bool("update", false, "write the golden files")

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{nil, Spread{}},
		{[]float64{3}, Spread{3, 3, 3, 1}},
		{[]float64{4, 1}, Spread{2.5, 1, 4, 2}},
		{[]float64{9, 1, 5}, Spread{5, 1, 9, 3}},
	} {
		if got := spreadOf(c.values); got != c.want {
			t.Errorf("%v: %+v", c.values, got)
		}
	}
}

func TestLimit(t *testing.T) {
	for want, w := range map[string]Window{
		"the generator":      {Asked: 2e6, Offered: 1e6, Sent: 1000, Counted: 1000},
		"nothing":            {Asked: 1e6, Offered: 1e6, Sent: 1000, Counted: 999},
		"the machine":        {Asked: 1e6, Offered: 1e6, Sent: 1000, Counted: 900, Busy: 0.6, Foreign: 0.3},
		"the router's core":  {Asked: 1e6, Offered: 1e6, Sent: 1000, Counted: 900, Busy: 0.97},
		"bursts, or pauses ": {Asked: 1e6, Offered: 1e6, Sent: 1000, Counted: 900, Busy: 0.6},
	} {
		if got := w.Limit(); !strings.HasPrefix(got, want) {
			t.Errorf("want %q: %q", want, got)
		}
	}
}

// sampleResult is made up: three rounds of three peers.
func sampleResult() *PeersResult {
	r := &PeersResult{
		Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Elapsed: 99 * time.Second,
		Machine:     environment.Machine{CPU: "Example 9000", Cores: 2, Memory: 8 << 30, Kernel: "Linux 6.18 x86_64", Driver: "veth", Go: "go1.26", Commit: "abc"},
		CommandLine: "weir perf peers", Rounds: 3, Window: time.Second, Sizes: "64", Flows: "10 destinations", Load: "0 rules", Common: 350e3,
		LossRatio: 0.005, LoadBefore: 0.1, LoadAfter: 1.9,
	}
	for i, p := range []Peer{Weir, Floor, Kernel} {
		of := PeerResult{Peer: p}
		for round := range 3 {
			turn := Turn{Round: round + 1}
			for j, rate := range []float64{350e3, 500e3, 700e3} {
				got := min(rate, 480e3+float64(20e3*i+5e3*round))
				w := Window{
					Asked: rate, Offered: rate, Received: got, Sent: uint64(rate), Counted: uint64(got), Duration: time.Second,
					Worker: 1000 - float64(100*j+20*i+round), NAPI: 500 + float64(10*i), Softirq: 1, Busy: 0.8 + 0.09*float64(j), Tries: 1,
				}
				if p == Kernel {
					w.Worker = 0
				}
				if i == 1 && j == 2 {
					w.Foreign, w.Tries = 0.25, 3
				}
				turn.Windows = append(turn.Windows, w)
			}
			of.Turns = append(of.Turns, turn)
		}
		r.Peers = append(r.Peers, of)
	}
	r.summarize()
	return r
}

func TestReport(t *testing.T) {
	r := sampleResult()
	var text, page strings.Builder
	check(t, r.WriteText(&text), r.WriteMarkdown(&page))
	golden(t, "peers.txt", text.String())
	golden(t, "peers.md", page.String())
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		check(t, os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	check(t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (go test -update writes it):\n%s", name, diff)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	r := sampleResult()
	check(t, r.Write(dir, "x"))
	text, err := os.ReadFile(filepath.Join(dir, "x.json"))
	check(t, err)
	var back PeersResult
	check(t, json.Unmarshal(text, &back))
	if diff := cmp.Diff(r, &back); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(dir, "x.md")); err != nil {
		t.Error(err)
	}
}
