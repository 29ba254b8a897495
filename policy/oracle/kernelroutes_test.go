package oracle

import (
	"encoding/json"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"time"

	"weir/perf/lab"
	"weir/policy"
)

// TestKernelRoutes has weir give its policy to the kernel, and asks that by RTM_GETROUTE which route each packet takes. Every
// configuration comes after the one before it, as after a reload.
func TestKernelRoutes(t *testing.T) {
	l := lab.ForTest(t)
	r := newRouter(t, l, "weir")
	k := newKernel(t, r)
	// Until there has been an IPv4 rule, the kernel has the routes of local in main (fib_unmerge in net/ipv4/fib_frontend.c).
	rule := lab.Rule{Priority: 1, Mark: 1, Mask: 1, Table: 1}
	check(t, r.AddRule(rule), r.RemoveRule(rule))
	first := newDescription(true)
	first.KernelRoutes = true
	w := newWeir(t, l, r, first)
	counts := map[string]int{}
	series(t, 60, 200, func(t *testing.T, _, packets int, r *rand.Rand) {
		g := newGenerator(r)
		g.file = true
		d := g.kernelDescription()
		w.configure(t, d)
		w.awaitKernel(t, d)
		probes := make([]probe, packets)
		for i := range probes {
			probes[i] = g.probe()
		}
		k.compare(t, d, probes, counts)
	})
	t.Logf("decisions: %v", counts)
}

// kernelDescription draws a configuration that goes beyond Linux, but not beyond what weir can express there. Its default rules
// are those that the kernel keeps.
func (g *generator) kernelDescription() *description {
	d := g.description(nil)
	for !d.defaults {
		d = g.description(nil)
	}
	d.KernelRoutes = true
	for i := range d.Ports {
		d.Ports[i].ReversePath, d.Ports[i].SourceMark = policy.ReverseOff, false // the kernel's are sysctls, which weir leaves alone
	}
	for i := tableMain; i < len(d.Tables); i++ {
		if g.one(3) {
			d.Tables[i].OnMiss = pick(g, policy.MissUnreachable, policy.MissProhibit, policy.MissBlackhole)
		}
	}
	for i := range d.ownRules() {
		if r := &d.ownRules()[i]; g.one(4) {
			r.Match.HasGroup, r.Match.Group = true, uint32(1+g.IntN(2))
			if r.Not {
				r.Match.Group = 2 // which is one port
			}
		}
	}
	return d
}

// awaitKernel waits until the kernel has what weir runs, all of it.
func (w *weir) awaitKernel(t *testing.T, d *description) {
	t.Helper()
	type state struct {
		Generation   uint64   `json:"generation"`
		Trouble      []string `json:"trouble"`
		KernelRoutes *struct {
			Generation uint64 `json:"generation"`
			Rules      int    `json:"rules"`
			Routes     int    `json:"routes"`
		} `json:"kernel_routes"`
	}
	want := d.compile(t).Linux()
	routes := 0
	for range want.Routes() {
		routes++
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for ctx := testContext(t); ; {
		out, err := exec.CommandContext(ctx, w.binary, "show", "--control", w.control, "counters", "|", "json").Output()
		check(t, err)
		var s state
		check(t, json.Unmarshal(out, &s))
		if k := s.KernelRoutes; k != nil && k.Generation == s.Generation {
			if len(s.Trouble) > 0 || k.Rules != len(want.Rules) || k.Routes != routes {
				t.Fatalf("the kernel has %d rules and %d routes, and not %d and %d; trouble %q\n%s", k.Rules, k.Routes, len(want.Rules), routes,
					slices.Clone(s.Trouble), d.file())
			}
			return
		}
		<-tick.C
	}
}
