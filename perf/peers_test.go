package perf

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weir/perf/lab"
	"weir/perf/trial"
)

// TestPeers lets the floor and the kernel forward a few thousand packets: that they do, not how fast.
func TestPeers(t *testing.T) {
	needTwoCPUs(t)
	group, _ := os.ReadFile("/proc/self/autogroup")
	var lines strings.Builder
	r, err := Peers(t.Context(), PeersOptions{
		FloorCommand: floorCommand(t), Peers: []Peer{Floor, Kernel}, Rounds: 2, Window: 50 * time.Millisecond,
		Rates: []float64{20e3}, Common: 10e3, Sizes: must[trial.Sizes](t)(trial.ParseSizes("imix")), Progress: &lines,
	})
	check(t, err)
	for _, p := range r.Peers {
		if len(p.Turns) != 2 {
			t.Fatalf("%s had %d turns", p.Peer, len(p.Turns))
		}
		for _, turn := range p.Turns {
			for _, w := range turn.Windows {
				if w.Counted == 0 || w.Counted > w.Sent || w.NAPI <= 0 || (w.Worker > 0) != (p.Peer == Floor) {
					t.Errorf("%s: %+v", p.Peer, w)
				}
			}
		}
	}
	if n := strings.Count(lines.String(), "\n"); n != 2*2*2 {
		t.Errorf("%d lines of progress:\n%s", n, lines.String())
	}
	if now, _ := os.ReadFile("/proc/self/autogroup"); string(now) != string(group) {
		t.Errorf("scheduling group was %q, is %q", group, now)
	}
	nothingLeft(t)
}

// cancelAfter ends a context at the first line of progress.
type cancelAfter struct{ cancel func() }

func (c cancelAfter) Write(line []byte) (int, error) {
	c.cancel()
	return len(line), nil
}

func TestPeersCancel(t *testing.T) {
	needTwoCPUs(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_, err := Peers(ctx, PeersOptions{
		FloorCommand: floorCommand(t), Peers: []Peer{Floor}, Window: 20 * time.Millisecond, Rates: []float64{10e3}, Common: 10e3,
		Progress: cancelAfter{cancel},
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	nothingLeft(t)
}

// TestPeersBroken wants to know why a peer did not start.
func TestPeersBroken(t *testing.T) {
	needTwoCPUs(t)
	_, err := Peers(t.Context(), PeersOptions{FloorCommand: []string{"/bin/sh", "-c", "echo no ports today; exit 1"}, Peers: []Peer{Floor}})
	if err == nil || !strings.Contains(err.Error(), "no ports today") || !strings.Contains(err.Error(), "start floor") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t)
}

func TestPeersOptions(t *testing.T) {
	for _, c := range []struct {
		o    PeersOptions
		part string
	}{
		{PeersOptions{GeneratorCPU: 1, RouterCPU: 1}, "different CPUs"},
		{PeersOptions{Rounds: -1}, "rounds"},
		{PeersOptions{Window: time.Millisecond}, "window"},
		{PeersOptions{Peers: []Peer{"vpp"}}, "vpp"},
		{PeersOptions{Ports: 1 << 16}, "ports"},
		{PeersOptions{Sizes: trial.Sizes{64, 1519}}, "frame size 1519: must be at most 1518"},
	} {
		if _, err := Peers(t.Context(), c.o); err == nil || !strings.Contains(err.Error(), c.part) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
}

func nothingLeft(t *testing.T) {
	t.Helper()
	if left, err := lab.Leftovers(); err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "weir-perf-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// TestNothingOfOthers wants what another `weir perf peers` has on this machine not to be taken for something left.
func TestNothingOfOthers(t *testing.T) {
	other := must[string](t)(os.MkdirTemp(shared, "weir-perf-"))
	defer func() { check(t, os.RemoveAll(other)) }()
	nothingLeft(t)
}

func TestCommonRate(t *testing.T) {
	for _, c := range []struct {
		able map[Peer]float64
		want float64
	}{
		{map[Peer]float64{Weir: 500e3, Floor: 520e3, Kernel: 1e6}, 350e3},
		{map[Peer]float64{Weir: 507e3}, 350e3},
		{map[Peer]float64{Weir: 1e3}, 10e3},
	} {
		if got := commonRate(c.able); got != c.want {
			t.Errorf("%v: %v", c.able, got)
		}
	}
}

func TestParseFloorPort(t *testing.T) {
	p, err := ParseFloorPort("em0=02:00:00:00:00:01")
	if err != nil || p.Name != "em0" || p.String() != "em0=02:00:00:00:00:01" {
		t.Errorf("%v %v", p, err)
	}
	for _, text := range []string{"", "em0", "em0=", "=02:00:00:00:00:01", "em0=02:00:00:00:00:00:00:01"} {
		if p, err := ParseFloorPort(text); err == nil {
			t.Errorf("%q: %v", text, p)
		}
	}
}

func TestFloorNeedsPairs(t *testing.T) {
	for n := range 4 {
		if err := RunFloor(t.Context(), FloorOptions{Ports: make([]FloorPort, n)}); err == nil {
			t.Errorf("%d nameless ports run", n)
		}
	}
}
