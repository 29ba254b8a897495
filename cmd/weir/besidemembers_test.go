package main

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// addUplinks gives the router's kernel the routes over both uplinks that weir has by the configuration of the same name.
func (n *network) addUplinks() {
	n.t.Helper()
	for _, e := range n.ends {
		need(n.t, n.router.AddAddress(e.port, e.gateway4().String()+"/24"), n.router.AddAddress(e.port, e.gateway6().String()+"/64"))
	}
	need(n.t, n.router.EnableForwarding())
	for _, s := range []string{"net/ipv4/conf/all/ignore_routes_with_linkdown", "net/ipv6/conf/all/ignore_routes_with_linkdown",
		"net/ipv4/fib_multipath_hash_policy", "net/ipv6/fib_multipath_hash_policy"} {
		need(n.t, n.router.SetSysctl(s, "1"))
	}
	for _, e := range n.ends { // each port has its own
		need(n.t, n.router.SetSysctl("net/ipv4/conf/"+e.port+"/ignore_routes_with_linkdown", "1"), n.router.SetSysctl("net/ipv6/conf/"+e.port+"/ignore_routes_with_linkdown", "1"))
	}
	for _, to := range []string{"203.0.113.0/24", "2001:db8:5::/48"} {
		to := netip.MustParsePrefix(to)
		route := &netlink.Route{Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())}}
		for i, name := range []string{"wan0", "wan1"} {
			hop := &netlink.NexthopInfo{LinkIndex: must[int](n.t)(n.router.Index(name)), Hops: 1 + i, // the weight less one
				Gw: n.end(name).addr(to.Addr()).AsSlice()}
			route.MultiPath = append(route.MultiPath, hop)
		}
		need(n.t, n.router.Do(func() error { return netlink.RouteAdd(route) }))
	}
}

// carrier reports whether the router's kernel sees a carrier on a port.
func (n *network) carrier(port string) (up bool) {
	n.t.Helper()
	need(n.t, n.router.Do(func() error {
		link, err := netlink.LinkByName(port)
		if err == nil {
			up = link.Attrs().RawFlags&unix.IFF_LOWER_UP != 0
		}
		return err
	}))
	return up
}

// TestBesideMembers: flows are spread over the same next hops as by a kernel router, by their weights, and over those that are
// left where a link is down. Which flow goes where is each router's own affair.
func TestBesideMembers(t *testing.T) {
	var shares [2][]map[string]int
	for i, kernel := range []bool{true, false} {
		n := newNetwork(t, "em0", "wan0", "wan1")
		from, wan0, wan1 := n.ends[0], n.ends[1], n.ends[2]
		var w *weir
		if kernel {
			n.addUplinks()
		} else {
			w = n.start(n.config(uplinks))
		}
		for _, e := range n.ends {
			e.watch()
		}
		n.warm([2]*end{from, wan0}, [2]*end{from, wan1})
		id := uint32(1)
		look := func() {
			share := map[string]int{}
			for _, way := range n.ways(from, multipathFlows(from), &id) {
				share[way]++
			}
			shares[i] = append(shares[i], share)
		}
		link := func(up bool) {
			t.Helper()
			eventually(t, "the router sees the link change", func() (bool, any) {
				if w != nil && (w.port(wan1.port).State == "up") != up {
					return false, "weir"
				}
				return n.carrier(wan1.port) == up, "the kernel"
			})
		}
		look()
		need(t, wan1.SetDown(hostPort))
		link(false)
		look()
		wan1.raise()
		link(true)
		n.warm([2]*end{from, wan1})
		look()
	}
	for k, when := range []string{"both up", "one down", "both up again"} {
		linux, weir := shares[0][k], shares[1][k]
		if !slices.Equal(slices.Sorted(maps.Keys(linux)), slices.Sorted(maps.Keys(weir))) {
			t.Errorf("%s: Linux %v, weir %v", when, linux, weir)
		}
		if members := map[bool]int{true: 1, false: 2}[k == 1]; len(weir) != members {
			t.Errorf("%s: %v", when, weir)
		}
		for way, flows := range weir { // 100 flows, 40 and 60 expected: five standard deviations
			if k != 1 && (flows < 15 || linux[way] < 15) {
				t.Errorf("%s: %s %d flows, by Linux %d", when, way, flows, linux[way])
			}
		}
	}
	t.Logf("Linux %v, weir %v", shares[0], shares[1])
}
