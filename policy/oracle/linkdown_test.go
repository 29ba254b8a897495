package oracle

import (
	"math/rand/v2"
	"testing"

	"weir/perf/lab"
)

// TestGetRouteLinkDown is TestGetRoute while the links of some ports are down, with a kernel that is told to ignore routes by
// those, as weir does.
func TestGetRouteLinkDown(t *testing.T) {
	r := newRouter(t, lab.ForTest(t), "linux")
	for _, family := range []string{"ipv4", "ipv6"} {
		check(t, r.SetSysctl("net/"+family+"/conf/all/ignore_routes_with_linkdown", "1"))
		for i := range ports {
			check(t, r.SetSysctl("net/"+family+"/conf/"+ports[i].Name+"/ignore_routes_with_linkdown", "1"))
		}
	}
	k := newKernel(t, r)
	counts := map[string]int{}
	up := make([]bool, len(ports))
	for i := range up {
		up[i] = true
	}
	series(t, 100, 200, func(t *testing.T, _, packets int, random *rand.Rand) {
		g := newGenerator(random)
		d := g.description(nil)
		for i := range ports {
			want := !g.one(3)
			if want != up[i] {
				up[i] = want
				r.setLink(t, i, want)
			}
			if !want {
				d.down = append(d.down, uint16(i))
			}
		}
		k.configure(t, d)
		probes := make([]probe, packets)
		for i := range probes {
			probes[i] = g.probe()
		}
		k.compare(t, d, probes, counts)
	})
	t.Logf("decisions: %v", counts)
}

// setLink takes the link of a port down or up, at its other end, and waits until the kernel has noticed.
func (r *router) setLink(t testing.TB, port int, up bool) {
	t.Helper()
	ctx := testContext(t)
	if up {
		check(t, r.wire.SetUp(wirePort(port)), r.WaitUp(ctx, ports[port].Name))
	} else {
		check(t, r.wire.SetDown(wirePort(port)), r.WaitCarrierLost(ctx, ports[port].Name))
	}
}
