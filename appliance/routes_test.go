package appliance

import (
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weir/fib"
	"weir/policy"
)

// benchAddresses are where the worker of a decider sends packets.
var benchAddresses = []netip.Prefix{prefix("10.0.0.0/24"), prefix("2001:db8:1::/48")}

func addRoute(p string, hop policy.RouteHop) policy.RouteChange {
	return policy.RouteChange{Op: policy.AddRoute, Table: "main", Prefix: prefix(p), Hops: []policy.RouteHop{hop}}
}

func deleteRoute(p string) policy.RouteChange {
	return policy.RouteChange{Op: policy.DeleteRoute, Table: "main", Prefix: prefix(p)}
}

// have lists the prefixes of a setup's table main.
func (s *setup) have() (list []string) {
	for r := range s.snap.Routes(0).All() {
		list = append(list, r.Prefix.String())
	}
	return list
}

// TestRoutesComeAlong: a setup that is prepared has what has come at run time before, and what comes until it runs; its
// ports may be others, and its gateways are kept for as long as a route leads there.
func TestRoutesComeAlong(t *testing.T) {
	d := newDecider(t, benchAddresses)
	r := d.router
	change := func(changes ...policy.RouteChange) {
		t.Helper()
		if refused, err := r.ChangeRoutes(changes); err != nil || len(refused) > 0 {
			t.Fatal(refused, err)
		}
	}
	first, second := benchGateway(true, 1), benchGateway(true, 2) // by em1 and em2
	change(addRoute("10.0.0.0/24", first), addRoute("10.0.1.0/24", second), addRoute("10.0.2.0/24", policy.RouteHop{Port: "em3"}))

	p := &policy.Policy{Tables: []policy.Table{{Name: "main", ID: policy.TableMain}}}
	for i, name := range []string{"em2", "em1", "em0"} {
		p.Ports = append(p.Ports, policy.Port{Name: name, Device: uint16(i), MTU: 1500})
	}
	snap, err := policy.Compile(p)
	need(t, err)
	next := newSetup(snap)
	next.ifindex = make([]int, 3)
	r.keepRoutes(next)
	r.prepared = next
	if got := next.have(); !slices.Equal(got, []string{"10.0.0.0/24", "10.0.1.0/24"}) {
		t.Fatalf("%v", got)
	}
	if next.lost.count != 1 || !strings.Contains(next.lost.some[0], "10.0.2.0/24 in table main: no port is called em3") || next.runTime != 2 {
		t.Errorf("%d routes, lost %+v", next.runTime, next.lost)
	}
	gateways := func() (list []fib.Neighbor) {
		for i := range next.gateways() {
			list = append(list, next.base.At(i).Neighbor)
		}
		return list
	}
	if got := gateways(); len(got) != 2 || next.base.Known() != 2 || !slices.Contains(got, fib.Neighbor{Addr: first.Gateway, Port: 1}) || !slices.Contains(got, fib.Neighbor{Addr: second.Gateway, Port: 0}) {
		t.Errorf("gateways %v", got)
	}
	third := benchGateway(true, 4) // by em0
	change(deleteRoute("10.0.0.0/24"), addRoute("10.0.3.0/24", third), deleteRoute("10.0.2.0/24"))
	if got, want := next.have(), []string{"10.0.1.0/24", "10.0.3.0/24"}; !slices.Equal(got, want) || !slices.Equal(r.running.have(), want) {
		t.Errorf("%v and %v", r.running.have(), got)
	}
	if got := gateways(); len(got) != 2 || !slices.Contains(got, fib.Neighbor{Addr: third.Gateway, Port: 2}) {
		t.Errorf("gateways %v", got)
	}
}

// TestRoutesAwaitWorkers: a worker that does not move keeps changes from being made; when it moves again they go on.
func TestRoutesAwaitWorkers(t *testing.T) {
	d := newDecider(t, benchAddresses)
	d.stop.Store(true)
	d.done.Wait()
	if _, err := d.router.ChangeRoutes([]policy.RouteChange{addRoute("10.0.0.0/24", benchGateway(true, 1))}); err == nil || !strings.Contains(err.Error(), "worker 0 has not seen") {
		t.Fatal(err)
	}
	d.stop.Store(false)
	d.done.Go(d.run)
	if refused, err := d.router.ChangeRoutes([]policy.RouteChange{addRoute("10.0.1.0/24", benchGateway(true, 1))}); err != nil || len(refused) > 0 {
		t.Fatal(refused, err)
	}
	for _, p := range []string{"10.0.0.1", "10.0.1.1"} {
		if r, ok := d.router.running.snap.Routes(0).Tree().Lookup(addr("%s", p), 0); !ok || len(r.Hops) != 1 {
			t.Errorf("%s: %+v", p, r)
		}
	}
	if len(d.router.turning.tables) > 0 {
		t.Error("a table waits for workers that have moved")
	}
	if refused, err := (&Router{}).ChangeRoutes(make([]policy.RouteChange, 1)); err != errNotRunning || refused != nil {
		t.Error(refused, err)
	}
}

// settingsIn is a list of settings in a directory of the test.
func settingsIn(t testing.TB) *settings {
	return &settings{path: filepath.Join(t.TempDir(), "settings")}
}
