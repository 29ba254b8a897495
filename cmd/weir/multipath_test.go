package main

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"
)

// uplinks has two uplinks: a network that both lead to, and one that each leads to with the other in reserve, one by metric and
// one by a shorter prefix.
const uplinks = `
tables:
  main:
    id: 254
    routes:
      - {to: 203.0.113.0/24, via: [{gateway: 10.0.1.2, weight: 2}, {gateway: 10.0.2.2, weight: 3}]}
      - {to: "2001:db8:5::/48", via: [{gateway: "fd00:0:0:1::2", weight: 2}, {gateway: "fd00:0:0:2::2", weight: 3}]}
      - {to: 198.51.100.0/24, via: 10.0.2.2, metric: 5}
      - {to: 198.51.100.0/24, via: 10.0.1.2, metric: 10}
      - {to: "2001:db8:6::/48", via: "fd00:0:0:2::2"}
      - {to: default, via: "fd00:0:0:1::2"}
`

// ways sends a packet of each flow and returns by which port it leaves.
func (n *network) ways(from *end, flows []spec, id *uint32) map[int]string {
	n.t.Helper()
	first := *id
	for _, s := range flows {
		s.id = *id
		*id++
		from.sent(s)
	}
	ways := make(map[int]string)
	eventually(n.t, "every packet comes out", func() (bool, any) {
		clear(ways)
		for got, o := range n.outcomes() {
			if got >= first && got < *id {
				ways[int(got-first)] = o.String()
			}
		}
		return len(ways) == len(flows), fmt.Sprintf("%d of %d", len(ways), len(flows))
	})
	return ways
}

// raise takes a host's interface up again, and what went with it: routes, and the socket that watches.
func (e *end) raise() {
	e.n.t.Helper()
	need(e.n.t, e.SetUp(hostPort))
	e.addGateways()
	e.frames = nil
	e.watch()
}

// multipathFlows are flows from a host to networks that two uplinks lead to.
func multipathFlows(from *end) (list []spec) {
	for _, dst := range []string{"203.0.113.9", "2001:db8:5::9"} {
		dst := netip.MustParseAddr(dst)
		for i := range 50 {
			list = append(list, spec{src: from.addr(dst), dst: dst, sport: uint16(1000 + i), dport: 7})
		}
	}
	return list
}

// TestMultipath: flows spread over two uplinks. When the link or the neighbour of one goes, its flows go to the other, and
// come back with it; the others stay where they are.
func TestMultipath(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	for _, family := range []string{"ipv4", "ipv6"} { // a neighbour that does not answer has failed soon
		need(t, n.router.SetSysctl("net/"+family+"/neigh/wan1/retrans_time_ms", "50"))
	}
	w := n.start(n.config(uplinks))
	for _, e := range n.ends {
		e.watch()
	}
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	id := uint32(1)
	flows := multipathFlows(from)
	all := n.ways(from, flows, &id)
	share := map[string]int{}
	for _, way := range all {
		share[way]++
	}
	by0, by1 := outcome{port: "wan0"}.String(), outcome{port: "wan1"}.String()
	if len(share) != 2 || share[by0] < 20 || share[by1] < 30 {
		t.Fatalf("100 flows over two uplinks of weights 2 and 3: %v", share)
	}

	state := func(what string, up bool, neighbors string, probes ...spec) {
		t.Helper()
		eventually(t, what, func() (bool, any) {
			for _, s := range probes {
				sentinel++
				s.id = sentinel
				from.sent(s)
			}
			s := w.look()
			ok := true
			for _, p := range s.Ports {
				ok = ok && (p.Name != wan1.port || (p.State == "up") == up)
			}
			for _, e := range s.Neighbors {
				if e.Address == wan1.addr4().String() || e.Address == wan1.addr6().String() {
					ok = ok && (neighbors == "" || e.State == neighbors)
				}
			}
			return ok, s.Neighbors
		})
	}
	without := func(what string) {
		t.Helper()
		for i, way := range n.ways(from, flows, &id) {
			if way != by0 {
				t.Errorf("%s: flow %d %s", what, i, way)
			}
		}
	}
	back := func(what string) {
		t.Helper()
		if ways := n.ways(from, flows, &id); !maps.Equal(ways, all) {
			t.Errorf("%s: flows do not go where they went before:\n%v\n%v", what, ways, all)
		}
	}

	need(t, wan1.SetDown(hostPort))
	state("the router sees the link go", false, "")
	without("link down")
	wan1.raise()
	state("the router finds the uplink again", true, "resolved") // by itself: no packet goes there
	back("link up")

	mask := map[netip.Addr]string{wan1.addr4(): "/24", wan1.addr6(): "/64"}
	for a, bits := range mask {
		need(t, wan1.RemoveAddress(hostPort, a.String()+bits), n.router.RemoveNeighbor(wan1.port, a))
	}
	var probes []spec // one flow of each family that notices
	for i, s := range flows {
		if all[i] == by1 && (len(probes) == 0 || probes[0].dst != s.dst) && len(probes) < 2 {
			probes = append(probes, s)
		}
	}
	state("the router sees the neighbour fail", true, "failed", probes...)
	without("neighbour failed")
	w.reload()
	without("neighbour failed, after a reload")
	for a, bits := range mask {
		need(t, wan1.AddAddress(hostPort, a.String()+bits))
	}
	state("the router finds the neighbour again", true, "resolved")
	back("neighbour back")
}

// TestBackupRoute: while the link of a route is down, the one behind it is taken.
func TestBackupRoute(t *testing.T) {
	n := newNetwork(t, "em0", "wan0", "wan1")
	from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
	w := n.start(n.config(uplinks))
	for _, e := range n.ends {
		e.watch()
	}
	n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
	id := uint32(1)
	var flows []spec
	for _, dst := range []string{"198.51.100.9", "2001:db8:6::9"} {
		dst := netip.MustParseAddr(dst)
		flows = append(flows, spec{src: from.addr(dst), dst: dst, sport: 1, dport: 7})
	}
	expect := func(what string, want *end) {
		t.Helper()
		for i, way := range n.ways(from, flows, &id) {
			if way != (outcome{port: want.port}).String() {
				t.Errorf("%s: packet to %s %s", what, flows[i].dst, way)
			}
		}
	}
	link := func(up bool) {
		t.Helper()
		eventually(t, "the router sees the link change", func() (bool, any) {
			for _, p := range w.look().Ports {
				if p.Name == wan1.port {
					return (p.State == "up") == up, p.State
				}
			}
			return false, nil
		})
	}
	expect("both up", wan1)
	need(t, wan1.SetDown(hostPort))
	link(false)
	expect("link down", wan0)
	wan1.raise()
	link(true)
	expect("link up", wan1)
	need(t, n.router.SetDown(wan1.port)) // by the operator's hand
	link(false)
	expect("port down", wan0)
	need(t, n.router.SetUp(wan1.port))
	link(true)
	expect("port up", wan1)
}
