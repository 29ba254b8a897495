package oracle

import (
	"fmt"
	"net/netip"

	"weir/fib"
	"weir/policy"
)

// tableBack is the index of the table of reserve.
const tableBack = tablesBuiltin

// reserve gives a configuration a table and two rules that come first, for real packets: what the router itself sends
// (ICMP errors) leaves by the table, and so do sentinels, whatever the random rest says.
func reserve(d *description) {
	via := func(port int, ipv4 bool) []fib.NextHop {
		return []fib.NextHop{{Port: uint16(port), Gateway: gateway(port, ipv4), Weight: 1}}
	}
	back := policy.Table{Name: "back", ID: 99, Routes: []fib.Route{
		{Prefix: netip.MustParsePrefix("60.0.0.0/9"), Hops: via(0, true)},
		{Prefix: netip.MustParsePrefix("60.128.0.0/9"), Hops: via(1, true)},
		{Prefix: netip.MustParsePrefix("0.0.0.0/0"), Hops: via(2, true)},
		{Prefix: netip.MustParsePrefix("2001:db8:6000::/48"), Metric: 1, Hops: via(0, false)},
		{Prefix: netip.MustParsePrefix("2001:db8:e000::/48"), Metric: 1, Hops: via(1, false)},
		{Prefix: netip.MustParsePrefix("::/0"), Metric: 1, Hops: via(3, false)},
	}}
	for i := range ports {
		back.Routes = append(back.Routes, fib.Route{Prefix: netip.PrefixFrom(sentinelAddr(i), 32), Hops: via(i, true)})
	}
	d.Tables = append(d.Tables, back)
	d.Rules = append(d.Rules,
		policy.Rule{Name: "errors", Match: policy.Selector{HasIngress: true, IngressLo: true}, Table: tableBack, SuppressPrefixLength: -1},
		policy.Rule{Name: "sentinels", Match: policy.Selector{To: netip.MustParsePrefix("203.0.113.0/24")}, Table: tableBack, SuppressPrefixLength: -1})
	d.Neighbors = neighbors
}

// sentinelAddr is the destination of the packets that follow all others, to a port.
func sentinelAddr(port int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf("203.0.113.%d", 1+port))
}

// neighbors are all addresses that a packet may be sent on to, on every port where it can be, each with a MAC address that
// tells which it is.
var neighbors = allNeighbors()

func allNeighbors() (list []policy.StaticNeighbor) {
	add := func(a netip.Addr, port int) {
		n := uint16(len(list))
		list = append(list, policy.StaticNeighbor{Neighbor: fib.Neighbor{Addr: a, Port: uint16(port)},
			MAC: [6]byte{2, 0xcc, 0, byte(port), byte(n >> 8), byte(n)}})
	}
	isGateway := map[netip.Addr]bool{}
	for port := range gateways {
		for _, a := range gateways[port] {
			add(a, port)
			isGateway[a] = true
		}
	}
	for _, a := range append(append([]netip.Addr(nil), destinations...), oddDestinations...) {
		if a.IsUnspecified() || a.IsLoopback() || isOwn(a) || isConnectedBroadcast(a) {
			continue
		}
		for port := range ports {
			if !isGateway[a] || !onLink(a, port) {
				add(a, port)
			}
		}
	}
	return list
}

func onLink(a netip.Addr, port int) bool {
	for _, p := range ports[port].Addresses {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// isOwn reports whether an address is the router's, its subnet-router anycast addresses included.
func isOwn(a netip.Addr) bool {
	for i := range ports {
		for _, p := range ports[i].Addresses {
			if p.Addr() == a || a.Is6() && p.Bits() < 127 && p.Masked().Addr() == a {
				return true
			}
		}
	}
	return false
}

func isConnectedBroadcast(a netip.Addr) bool {
	for i := range ports {
		for _, p := range ports[i].Addresses {
			if p.Bits() <= 30 && p.Contains(a) && a.Is4() && !p.Contains(a.Next()) {
				return true
			}
		}
	}
	return false
}
