package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weir/perf/lab"
)

// network is a router between hosts, one behind each of its ports. Host i is called as port i of the router is. Port i
// has the addresses 10.0.i.1/24 and fd00:0:0:i::1/64, which weir sets, and host i has .2 and ::2, and the router as its
// gateway.
type network struct {
	t      *testing.T
	lab    *lab.Lab
	router *lab.Host
	ends   []*end
}

// end is a host with its port of the router.
type end struct {
	*lab.Host
	n       *network
	port    string // of the router
	index   int
	link    *lab.Link
	options []string // of the port in the configuration
	tags    []uint16 // of the frames that test cases send and get, outer first
	frames  *capture // what arrives at the host, once watch was called
}

// hostPort is the hosts' own interface.
const hostPort = "eth0"

// endOptions are what a test wants of a port and the link behind it.
type endOptions struct {
	name   string
	lab    lab.LinkOptions
	config string // lines of the port's section, at no indentation
	bare   bool   // no addresses on either side
}

func newNetwork(t *testing.T, names ...string) *network {
	t.Helper()
	var ends []endOptions
	for _, name := range names {
		ends = append(ends, endOptions{name: name})
	}
	return newNetworkOf(t, ends...)
}

func newNetworkOf(t *testing.T, ends ...endOptions) *network {
	t.Helper()
	n := &network{t: t, lab: lab.ForTest(t)}
	host := must[*lab.Host](t)
	n.router = host(n.lab.Host("router"))
	for i, o := range ends {
		e := &end{n: n, Host: host(n.lab.Host(o.name)), port: o.name, index: i}
		if !o.bare {
			o.lab.AddressesA = append(o.lab.AddressesA, e.addr4().String()+"/24", e.addr6().String()+"/64")
			e.options = append(e.options, fmt.Sprintf(`addresses: [%s/24, "%s/64"]`, e.gateway4(), e.gateway6()))
		}
		if o.config != "" {
			e.options = append(e.options, strings.Split(o.config, "\n")...)
		}
		e.link = must[*lab.Link](t)(n.lab.Link(e.Host, hostPort, n.router, e.port, o.lab))
		if !o.bare {
			e.addGateways()
		}
		n.ends = append(n.ends, e)
	}
	return n
}

func (e *end) address(format string, host int) netip.Addr {
	return netip.MustParseAddr(fmt.Sprintf(format, e.index, host))
}

// addr4 and addr6 are the host's, gateway4 and gateway6 the router's on its link.
func (e *end) addr4() netip.Addr    { return e.address("10.0.%d.%d", 2) }
func (e *end) addr6() netip.Addr    { return e.address("fd00:0:0:%d::%d", 2) }
func (e *end) gateway4() netip.Addr { return e.address("10.0.%d.%d", 1) }
func (e *end) gateway6() netip.Addr { return e.address("fd00:0:0:%d::%d", 1) }

// addr is the host's address of the family of another one, gateway the router's.
func (e *end) addr(like netip.Addr) netip.Addr {
	if like.Is4() {
		return e.addr4()
	}
	return e.addr6()
}

func (e *end) gateway(like netip.Addr) netip.Addr {
	if like.Is4() {
		return e.gateway4()
	}
	return e.gateway6()
}

// mac is that of the host, portMAC that of the router's port.
func (e *end) mac() net.HardwareAddr {
	return must[net.HardwareAddr](e.n.t)(e.MAC(hostPort))
}

func (e *end) portMAC() net.HardwareAddr {
	return must[net.HardwareAddr](e.n.t)(e.n.router.MAC(e.port))
}

// addGateways gives the host its default routes, which go whenever its link goes down.
func (e *end) addGateways() {
	e.n.t.Helper()
	need(e.n.t, e.AddRoute(lab.Route{To: "default", Via: e.gateway4().String()}),
		e.AddRoute(lab.Route{To: "default", Via: e.gateway6().String()}))
}

// linkLocal is the host's link-local address.
func (e *end) linkLocal() netip.Addr { return linkLocalOf(e.n.t, e.Host, hostPort) }

// routerLinkLocal is the router's link-local address on a port.
func (n *network) routerLinkLocal(port string) netip.Addr { return linkLocalOf(n.t, n.router, port) }

func linkLocalOf(t *testing.T, host *lab.Host, device string) (addr netip.Addr) {
	t.Helper()
	need(t, host.Do(func() error {
		link, err := netlink.LinkByName(device)
		if err != nil {
			return err
		}
		addrs, err := netlink.AddrList(link, unix.AF_INET6)
		for _, a := range addrs {
			if a.IP.IsLinkLocalUnicast() {
				addr, _ = netip.AddrFromSlice(a.IP)
			}
		}
		return err
	}))
	return addr
}

// end finds a host by name.
func (n *network) end(name string) *end {
	for _, e := range n.ends {
		if e.port == name {
			return e
		}
	}
	n.t.Fatalf("no host %s", name)
	return nil
}

// config is a configuration with all ports, or those named, and whatever else it is to have.
func (n *network) config(rest string, ports ...string) string {
	var b strings.Builder
	b.WriteString("version: 1\nports:\n")
	list := n.ends
	if ports != nil {
		list = nil
		for _, p := range ports {
			list = append(list, n.end(p))
		}
	}
	for _, e := range list {
		fmt.Fprintf(&b, "  %s:\n    mode: auto\n", e.port)
		for _, line := range e.options {
			fmt.Fprintf(&b, "    %s\n", line)
		}
	}
	return b.String() + rest
}

// families runs a test for IPv4 and for IPv6; like is an address of the family.
func families(t *testing.T, f func(t *testing.T, like netip.Addr)) {
	t.Run("ipv4", func(t *testing.T) { f(t, netip.IPv4Unspecified()) })
	t.Run("ipv6", func(t *testing.T) { f(t, netip.IPv6Unspecified()) })
}

// warm sends a ping between two hosts in both families, after which the router and the hosts know their neighbours.
func (n *network) warm(pairs ...[2]*end) {
	n.t.Helper()
	for _, p := range pairs {
		for _, to := range []netip.Addr{p[1].addr4(), p[1].addr6()} {
			n.ping(p[0], to)
		}
	}
}

// ping must be answered.
func (n *network) ping(from *end, to netip.Addr) lab.Echo {
	n.t.Helper()
	var echo lab.Echo
	eventually(n.t, fmt.Sprintf("ping from %s to %s", from.port, to), func() (bool, any) {
		var err error
		echo, err = from.Ping(testContext(n.t), lab.PingOptions{To: to})
		return err == nil && echo.Error == nil, fmt.Sprintf("%+v, %v", echo.Error, err)
	})
	return echo
}

// fingerprint is what weir may change in the router's kernel and has to change back, as text.
func (n *network) fingerprint() []string {
	n.t.Helper()
	var lines []string
	add := func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	err := n.router.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		names := make(map[int]string)
		for _, link := range links {
			a := link.Attrs()
			names[a.Index] = a.Name
			add("link %s: up %v, MTU %d, XDP %v", a.Name, a.Flags&net.FlagUp != 0, a.MTU, a.Xdp != nil && a.Xdp.Attached)
			addrs, err := netlink.AddrList(link, unix.AF_UNSPEC)
			if err != nil {
				return err
			}
			for _, addr := range addrs {
				if !addr.IP.IsLinkLocalUnicast() { // the kernel's own, which it makes anew when a link comes up
					add("address %s of %s", addr.IPNet, a.Name)
				}
			}
			for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
				neighbors, err := netlink.NeighList(a.Index, family)
				if err != nil {
					return err
				}
				for _, e := range neighbors {
					if e.State&netlink.NUD_PERMANENT != 0 {
						add("neighbour %s at %s of %s", e.IP, e.HardwareAddr, a.Name)
					}
				}
			}
		}
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := netlink.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return err
			}
			for _, r := range routes {
				if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() {
					add("route %s by %s", r.Dst, names[r.LinkIndex])
				}
			}
		}
		return nil
	})
	need(n.t, err)
	for _, e := range n.ends {
		features, err := n.router.Features(e.port)
		if err != nil {
			add("no port %s", e.port)
			continue
		}
		text := must[[]byte](n.t)(json.Marshal(features))
		add("features of %s: %s", e.port, text)
	}
	slices.Sort(lines)
	return lines
}

// difference is what two fingerprints do not have in common.
func difference(before, after []string) error {
	var errs []error
	for _, line := range before {
		if !slices.Contains(after, line) {
			errs = append(errs, fmt.Errorf("was before, not after: %s", line))
		}
	}
	for _, line := range after {
		if !slices.Contains(before, line) {
			errs = append(errs, fmt.Errorf("after, not before: %s", line))
		}
	}
	return errors.Join(errs...)
}

// xdp is the identifier of the XDP program on a port, 0 for none.
func (n *network) xdp(port string) (id uint32) {
	n.t.Helper()
	need(n.t, n.router.Do(func() error {
		link, err := netlink.LinkByName(port)
		if err == nil && link.Attrs().Xdp != nil {
			id = link.Attrs().Xdp.ProgId
		}
		return err
	}))
	return id
}
