package oracle

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"weir/perf/lab"
	"weir/policy"
)

// ports are those of every router here: two plain ones, one whose networks are as small as can be, and one with a smaller
// MTU. The network behind a port is a host's interface with the neighbours' MAC addresses.
var ports = []policy.Port{
	{Name: "p0", Device: 0, MTU: 1500, Addresses: prefixes("10.1.0.1/24", "fd00:1::1/64")},
	{Name: "p1", Device: 1, MTU: 1500, Group: 1, GroupName: "g1", Addresses: prefixes("10.2.0.1/24", "10.2.4.1/30", "fd00:2::1/64")},
	{Name: "p2", Device: 2, MTU: 1500, Group: 2, GroupName: "g2", Addresses: prefixes("10.3.0.0/31", "fd00:3::/127")},
	{Name: "p3", Device: 3, MTU: 1400, Group: 1, GroupName: "g1", Addresses: prefixes("10.4.0.129/25", "fd00:4::1/64")},
}

// gateways are the neighbours that routes lead to, by port.
var gateways = [][]netip.Addr{
	addrs("10.1.0.2", "10.1.0.3", "fd00:1::2", "fd00:1::3"),
	addrs("10.2.0.2", "10.2.4.2", "fd00:2::2", "fe80::2"),
	addrs("10.3.0.1", "fd00:3::1"),
	addrs("10.4.0.130", "fd00:4::2"),
}

func prefixes(list ...string) (p []netip.Prefix) {
	for _, s := range list {
		p = append(p, netip.MustParsePrefix(s))
	}
	return p
}

func addrs(list ...string) (a []netip.Addr) {
	for _, s := range list {
		a = append(a, netip.MustParseAddr(s))
	}
	return a
}

// gateway is the first one of the family on a port.
func gateway(port int, ipv4 bool) netip.Addr {
	for _, g := range gateways[port] {
		if g.Is4() == ipv4 {
			return g
		}
	}
	panic("oracle: a port without a gateway")
}

// router is a namespace with the ports, and a host that they lead to.
type router struct {
	*lab.Host
	wire *lab.Host
}

// newRouter makes a router whose ports and neighbours have the same MAC addresses as any other's. Should its kernel route,
// then as plainly as it can: no reverse-path filters, no redirects, and ICMP errors as often as a namespace can have them.
func newRouter(t testing.TB, l *lab.Lab, name string) *router {
	t.Helper()
	r := &router{Host: must[*lab.Host](t)(l.Host(name)), wire: must[*lab.Host](t)(l.Host(name + "-wire"))}
	for _, host := range []*lab.Host{r.Host, r.wire} {
		// Duplicate address detection and the like would only disturb.
		check(t, host.SetSysctl("net/ipv6/conf/default/addr_gen_mode", "1"))
	}
	for i := range ports {
		p := &ports[i]
		_, err := l.Link(r.wire, wirePort(i), r.Host, p.Name, lab.LinkOptions{MTU: 1500, MACA: wireMAC(i), MACB: portMAC(i), NoMerge: true})
		check(t, err, r.SetMTU(p.Name, int(p.MTU)),
			r.SetSysfs("class/net/"+p.Name+"/netdev_group", fmt.Sprint(p.Group)))
		for _, a := range p.Addresses {
			check(t, r.AddAddress(p.Name, a.String()))
		}
	}
	for _, s := range [][2]string{
		{"net/ipv4/conf/all/send_redirects", "0"},
		{"net/ipv4/icmp_ratemask", "0"}, // no type is limited
		{"net/ipv6/icmp/ratelimit", "0"},
		{"net/ipv4/icmp_msgs_per_sec", "100000"}, // of both families
		{"net/ipv4/icmp_msgs_burst", "100000"},
		{"net/ipv6/auto_flowlabels", "0"},
		{"net/ipv6/route/gc_thresh", "1000000"},
	} {
		check(t, r.SetSysctl(s[0], s[1]))
	}
	for i := range ports {
		check(t, r.SetSysctl("net/ipv4/conf/"+ports[i].Name+"/send_redirects", "0"))
	}
	return r
}

func wirePort(i int) string { return fmt.Sprintf("w%d", i) }

func portMAC(i int) net.HardwareAddr { return net.HardwareAddr{2, 0xaa, 0, 0, 0, byte(i)} }

func wireMAC(i int) net.HardwareAddr { return net.HardwareAddr{2, 0xbb, 0, 0, 0, byte(i)} }
