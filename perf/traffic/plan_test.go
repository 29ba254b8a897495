package traffic

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"weir/perf/trial"
)

func random(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

var testLink = Link{net.HardwareAddr{2, 0, 0, 0, 0, 1}, net.HardwareAddr{2, 0, 0, 0, 0, 2}}

// TestPlan: a plan is the same at every call, streams have the shares of their weights at any time, and flows theirs.
func TestPlan(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var list []Stream
		for i := range rapid.IntRange(1, 5).Draw(rt, "streams") {
			s, err := ParseStream(fmt.Sprintf("from=10.0.0.0/16 to=10.1.0.0/16 flows=%d weight=%d size=%s", rapid.IntRange(1, 300).Draw(rt, "flows"),
				rapid.IntRange(1, 9).Draw(rt, "weight"), rapid.SampledFrom([]string{"64", "64x3,128x2", "1518"}).Draw(rt, "size")))
			if err != nil {
				rt.Fatal(err)
			}
			s.Name = fmt.Sprint(i)
			list = append(list, s)
		}
		p, err := NewPlan(list, testLink, nil)
		again, err2 := NewPlan(list, testLink, nil)
		if err != nil || err2 != nil {
			rt.Fatal(err, err2)
		}
		if !slices.Equal(p.flows, again.flows) || !slices.Equal(p.slots, again.slots) {
			rt.Fatal("another plan the second time")
		}
		if n := len(p.slots); n&(n-1) != 0 || n < 4*len(p.flows) && n < slotsMax {
			rt.Fatalf("%d slots for %d flows", n, len(p.flows))
		}
		weights, given := 0, make([]int, len(list))
		for i := range list {
			weights += list[i].Weight
		}
		turns := make(map[uint32]int)
		for at, slot := range p.slots {
			stream := p.flows[slot.Flow].Stream
			given[stream]++
			turns[slot.Flow]++
			for i := range list {
				if share := float64(at+1) * float64(list[i].Weight) / float64(weights); math.Abs(float64(given[i])-share) > float64(len(list)) {
					rt.Fatalf("after %d packets stream %d has %d, its share is %.1f", at+1, i, given[i], share)
				}
			}
		}
		for f := range p.flows { // in turn, so that none is ahead of another of its stream by more than one
			s := p.flows[f].Stream
			if want := given[s] / list[s].Flows; turns[uint32(f)] < want || turns[uint32(f)] > want+1 {
				rt.Fatalf("flow %d has %d turns of %d for %d flows", f, turns[uint32(f)], given[s], list[s].Flows)
			}
		}
	})
}

// TestZipf: flow i has its share of the packets, 1/i to the exponent.
func TestZipf(t *testing.T) {
	for _, exponent := range []float64{0.5, 1, 2} {
		const flows = 100
		p := must[*Plan](t)(NewPlan(streams(t, fmt.Sprintf("from=10.0.0.2 to=10.1.0.0/16 flows=%d choice=zipf:%g", flows, exponent)), testLink, nil))
		counts := make([]float64, flows)
		for _, slot := range p.slots {
			counts[slot.Flow]++
		}
		sum := 0.0
		for i := range flows {
			sum += math.Pow(float64(i+1), -exponent)
		}
		n := float64(len(p.slots))
		for i := range flows {
			share := math.Pow(float64(i+1), -exponent) / sum
			if deviation := math.Sqrt(n * share * (1 - share)); math.Abs(counts[i]-n*share) > 6*deviation+1 {
				t.Errorf("exponent %g: flow %d has %.0f of %.0f packets, expected %.1f", exponent, i+1, counts[i], n, n*share)
			}
		}
	}
}

// TestPlanSizes: sizes that are given take the place of the streams' own, and what is in the frames is held to an MTU.
func TestPlanSizes(t *testing.T) {
	list := streams(t, "from=10.0.0.2 to=10.1.0.1 size=64", "from=10.0.0.2 to=10.1.0.1 vlan=5 size=1522")
	p := must[*Plan](t)(NewPlan(list, testLink, nil))
	if p.sizeMax != 1518 || p.packetMax != 1500 {
		t.Errorf("frames up to %d, packets up to %d", p.sizeMax, p.packetMax)
	}
	p = must[*Plan](t)(NewPlan(list, testLink, trial.Sizes{100, 1518}))
	if p.sizeMax != 1514 || p.packetMax != 1500 {
		t.Errorf("given: frames up to %d, packets up to %d", p.sizeMax, p.packetMax)
	}
	port := Port{Name: "em0", MTU: 1499}
	for what, open := range map[string]func() error{
		"live":     func() error { _, err := NewLive(port, p); return err },
		"xsk":      func() error { _, err := NewXSK(port, p, XSKOptions{}); return err },
		"receiver": func() error { _, err := NewReceiver(port, p); return err },
	} {
		if err := open(); err == nil || !strings.Contains(err.Error(), "packets of up to 1500 bytes: the MTU of em0 is 1499") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestPlanErrors(t *testing.T) {
	one := streams(t, "from=10.0.0.2 to=10.1.0.1 flows=1000000")
	for want, make := range map[string]func() (*Plan, error){
		"no streams":    func() (*Plan, error) { return NewPlan(nil, testLink, nil) },
		"MAC addresses": func() (*Plan, error) { return NewPlan(one, Link{testLink.Source, nil}, nil) },
		"1100000 flows: at most 1048576": func() (*Plan, error) {
			return NewPlan(append(streams(t, "from=10.0.0.2 to=10.1.0.1 flows=100000"), one...), testLink, nil)
		},
		"stream 1: size 64: headers and a": func() (*Plan, error) {
			return NewPlan(streams(t, "from=2001:db8::1 to=2001:db8::2 size=100"), testLink, trial.Sizes{64})
		},
	} {
		if _, err := make(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
