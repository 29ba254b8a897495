package perf

import (
	"math"
	"net/netip"
	"strings"
	"testing"

	"weir/policy/packet"
)

// TestStagesFinish wants the stages to add up to the total, whatever the rounds had.
func TestStagesFinish(t *testing.T) {
	var r StagesResult
	r.finish([]string{"deliver", "parse", "send"}, [][]float64{{2, 3, 9, 1, 2}, {10, 14, 12, 30, 11}, {50, 51, 90, 49, 48}})
	if want := []Stage{{"parse", 10, 3, 29}, {"send", 38, 19, 78}}; r.Stages[0] != want[0] || r.Stages[1] != want[1] || r.Deliver != 2 {
		t.Errorf("%+v, want %+v", r, want)
	}
	sum := 0.0
	for _, s := range r.Stages {
		sum += s.NS
	}
	if math.Abs(sum-r.Total.NS) > 1e-9 || r.Total != (Stage{"total", 48, 46, 81}) {
		t.Errorf("sum %v, total %+v", sum, r.Total)
	}
}

// TestStageFrames wants sound packets to where the load says.
func TestStageFrames(t *testing.T) {
	for _, six := range []bool{false, true} {
		routes := randomPrefixes(50, six)
		for _, o := range []StagesOptions{{Load: Load{IPv6: six}}, {Load: Load{IPv6: six, Routes: routes}}, {Load: Load{IPv6: six, Routes: routes}, Uniform: true}} {
			o.Packets = 500
			check(t, o.Complete())
			flows := netip.MustParsePrefix(o.Load.flows())
			for _, f := range o.frames() {
				var k packet.Key
				if reason := packet.Parse(f, &k); reason != packet.None || (k.Family == packet.IPv6) != six || k.Proto != packet.ProtoUDP || k.DstPort != streamPort {
					t.Fatalf("%+v: %v, %+v", o, reason, k)
				}
				inside := flows.Contains(k.DstAddr())
				for _, p := range o.Load.Routes {
					inside = inside || p.Contains(k.DstAddr())
				}
				if !inside || o.Load.Routes != nil && flows.Contains(k.DstAddr()) {
					t.Fatalf("to %v", k.DstAddr())
				}
			}
		}
	}
}

func TestStagesOptions(t *testing.T) {
	for part, o := range map[string]StagesOptions{"rounds": {Rounds: 4}, "packets": {Packets: -1}, "rules": {Load: Load{Rules: -1}}} {
		if err := o.Complete(); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
