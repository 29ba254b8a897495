package policy

import (
	"net/netip"

	"weir/fib"
	"weir/policy/packet"
)

// DefaultRules returns the rules that Linux begins with (fib_default_rules_init in net/ipv4/fib_rules.c, and
// fib6_rules_net_init in net/ipv6/fib6_rules.c): 0 to local, 32766 to main, and for IPv4 alone 32767 to default.
// The arguments are the indexes of these tables in Policy.Tables.
func DefaultRules(local, main, fallback uint16) []Rule {
	return []Rule{
		{Name: "local", Priority: 0, Action: RuleLookup, Table: local, SuppressPrefixLength: -1},
		{Name: "main", Priority: 32766, Action: RuleLookup, Table: main, SuppressPrefixLength: -1},
		{Name: "default", Priority: 32767, Match: Selector{Family: packet.IPv4}, Action: RuleLookup, Table: fallback, SuppressPrefixLength: -1},
	}
}

// ConnectedRoutes returns the routes that Linux makes of the ports' addresses (fib_add_ifaddr in
// net/ipv4/fib_frontend.c, and net/ipv6/addrconf.c), each once: for table local the addresses, the IPv4 broadcast and
// the IPv6 subnet-router anycast addresses (RFC 4291 section 2.6.1), all of them Local; for table main the connected
// networks, on-link.
func ConnectedRoutes(ports []Port) (local, main []fib.Route) {
	seen := map[netip.Addr]bool{}
	host := func(a netip.Addr) {
		if !seen[a] {
			seen[a] = true
			local = append(local, fib.Route{Prefix: netip.PrefixFrom(a, a.BitLen()), Action: fib.Local})
		}
	}
	networks := map[netip.Prefix]bool{}
	for i := range ports {
		for _, a := range ports[i].Addresses {
			for _, l := range localAddrs(a) {
				if l.IsValid() {
					host(l)
				}
			}
			if a.IsSingleIP() || networks[a.Masked()] {
				continue
			}
			networks[a.Masked()] = true
			main = append(main, fib.Route{Prefix: a.Masked(), Hops: []fib.NextHop{{Port: uint16(i), Weight: 1}}})
		}
	}
	return local, main
}

// localAddrs are the addresses that an address of a port makes local: itself, and the broadcast or anycast address of its
// network. The zero Addr stands for one that there is not.
func localAddrs(p netip.Prefix) [2]netip.Addr {
	list := [2]netip.Addr{p.Addr()}
	if b, ok := broadcast(p); ok {
		list[1] = b
	}
	if p.Addr().Is6() && p.Bits() < 127 {
		list[1] = p.Masked().Addr()
	}
	return list
}

// localPort is the port whose address makes the given one local, or None. It looks at all of them: only rules that
// suppress by group ask, and only about packets for the router itself.
func (s *Snapshot) localPort(a netip.Addr) uint16 {
	for i := range s.Ports {
		for _, p := range s.Ports[i].Addresses {
			if l := localAddrs(p); l[0] == a || l[1] == a {
				return uint16(i)
			}
		}
	}
	return None
}
