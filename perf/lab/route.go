package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Route is a route of the kernel's own tables.
type Route struct {
	To     string // a prefix, or "default" (the family is then that of Via or Source, else IPv4)
	Via    string // gateway; empty: on-link, or none
	Device string // may be empty where Via tells
	Source string // preferred source address
	Table  int    // 0: main
	Metric int
	TOS    int
	MTU    int
	Type   string // "", "unicast", "blackhole", "unreachable", "prohibit", "throw", "local"
}

var routeTypes = map[string]int{
	"": unix.RTN_UNICAST, "unicast": unix.RTN_UNICAST, "blackhole": unix.RTN_BLACKHOLE, "unreachable": unix.RTN_UNREACHABLE,
	"prohibit": unix.RTN_PROHIBIT, "throw": unix.RTN_THROW, "local": unix.RTN_LOCAL,
}

// AddRoute adds a route, or replaces the one with the same prefix, TOS, metric and table.
func (h *Host) AddRoute(r Route) error {
	route, err := h.kernelRoute(r)
	if err == nil {
		err = h.netlink.RouteReplace(route)
	}
	if err != nil {
		return fmt.Errorf("add route %+v to %s: %w", r, h.name, err)
	}
	return nil
}

// RemoveRoute removes a route.
func (h *Host) RemoveRoute(r Route) error {
	route, err := h.kernelRoute(r)
	if err == nil {
		err = h.netlink.RouteDel(route)
	}
	if err != nil {
		return fmt.Errorf("remove route %+v from %s: %w", r, h.name, err)
	}
	return nil
}

func (h *Host) kernelRoute(r Route) (*netlink.Route, error) {
	kind, ok := routeTypes[r.Type]
	if !ok {
		return nil, fmt.Errorf("unknown type %q", r.Type)
	}
	route := &netlink.Route{Table: r.Table, Priority: r.Metric, Tos: r.TOS, MTU: r.MTU, Type: kind}
	family := netlink.FAMILY_V4
	for text, field := range map[string]*net.IP{r.Via: &route.Gw, r.Source: &route.Src} {
		if text == "" {
			continue
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return nil, err
		}
		if addr.Is6() {
			family = netlink.FAMILY_V6
		}
		*field = addr.AsSlice()
	}
	to := r.To
	switch {
	case to == "default" && family == netlink.FAMILY_V6:
		to = "::/0"
	case to == "default":
		to = "0.0.0.0/0"
	}
	prefix, err := netip.ParsePrefix(to)
	if err != nil {
		return nil, err
	}
	route.Dst = ipNet(prefix)
	route.Family = netlink.FAMILY_V4
	if prefix.Addr().Is6() {
		route.Family = netlink.FAMILY_V6
	}
	if r.Device != "" {
		link, err := h.device(r.Device)
		if err != nil {
			return nil, err
		}
		route.LinkIndex = link.Attrs().Index
	}
	return route, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	p = p.Masked()
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
