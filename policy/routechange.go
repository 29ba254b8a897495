package policy

import (
	"errors"
	"fmt"
	"net/netip"

	"weir/fib"
)

// RouteOp is what a RouteChange does, in the words of ip-route(8).
type RouteOp uint8

// Changes of routes.
const (
	AddRoute     RouteOp = iota // there must be none of the same prefix, TOS and metric
	ReplaceRoute                // whether there is one or not
	DeleteRoute                 // there must be one
)

// RouteChange is a change of a table's routes while the router runs. It speaks of tables and ports by their names, so that
// it means the same to every snapshot.
type RouteChange struct {
	Op     RouteOp
	Table  string
	Prefix netip.Prefix
	TOS    uint8
	Metric uint32

	// Not of DeleteRoute.
	Action fib.Action // all but Local and Lookup, which are the configuration's
	MTU    uint16
	Hops   []RouteHop
}

// RouteHop is one way out: a gateway, a port, or both. The port of a gateway alone is the one whose network it is in.
type RouteHop struct {
	Gateway netip.Addr
	Port    string
	Weight  uint16 // 0 counts as 1
}

// NewRoute is the route that a change speaks of, and the table that it is for. Adjacencies of next hops are not set.
func (s *Snapshot) NewRoute(c *RouteChange) (table uint16, r fib.Route, err error) {
	table, ok := s.tableIndex[c.Table]
	switch {
	case !ok:
		return 0, r, fmt.Errorf("no table is called %s", c.Table)
	case s.tables[table].id == TableLocal:
		return 0, r, errors.New("table local has the router's own addresses, which are those of the ports")
	case !c.Prefix.IsValid():
		return 0, r, errors.New("no prefix")
	case c.Prefix != c.Prefix.Masked():
		return 0, r, fmt.Errorf("host bits set: the prefix is %v", c.Prefix.Masked())
	}
	ipv6 := c.Prefix.Addr().Is6()
	r = fib.Route{Prefix: c.Prefix, TOS: c.TOS, Metric: c.Metric, Action: c.Action, MTU: c.MTU, RunTime: true}
	least := uint16(minMTU4)
	if ipv6 {
		least = minMTU6
	}
	switch {
	case c.TOS != 0 && ipv6:
		return 0, r, errors.New("IPv6 routes have no tos")
	case c.TOS&^tosMask != 0:
		return 0, r, fmt.Errorf("tos %#x never matches: routes compare tos & 0x1c", c.TOS)
	case c.Op == DeleteRoute:
		return table, r, nil
	case c.Action == fib.Local || c.Action >= fib.Lookup:
		return 0, r, fmt.Errorf("routes of type %v belong to the configuration", c.Action)
	case c.Action == fib.Unicast && len(c.Hops) == 0:
		return 0, r, errors.New("route goes nowhere: it needs a gateway, a port or a type")
	case c.Action != fib.Unicast && (len(c.Hops) > 0 || c.MTU != 0):
		return 0, r, fmt.Errorf("a route of type %v goes nowhere: it has no gateway, no port and no mtu", c.Action)
	case len(c.Hops) > MaxHops:
		return 0, r, fmt.Errorf("%d next hops, at most %d", len(c.Hops), MaxHops)
	case c.MTU != 0 && c.MTU < least:
		return 0, r, fmt.Errorf("mtu %d, at least %d", c.MTU, least)
	}
	for i := range c.Hops {
		h, err := s.newHop(&c.Hops[i], ipv6)
		if err != nil {
			return 0, r, err
		}
		r.Hops = append(r.Hops, h)
	}
	return table, r, nil
}

func (s *Snapshot) newHop(c *RouteHop, ipv6 bool) (h fib.NextHop, err error) {
	h = fib.NextHop{Gateway: c.Gateway, Weight: c.Weight}
	ok := false
	if c.Port != "" {
		h.Port, ok = s.portIndex[c.Port]
		if !ok {
			return h, fmt.Errorf("no port is called %s", c.Port)
		}
	}
	if !c.Gateway.IsValid() {
		if !ok {
			return h, errors.New("a way out needs a gateway, a port, or both")
		}
		h.ID = hopID(s.Ports[h.Port].Name, &h)
		return h, nil
	}
	_, mine := s.Own(c.Gateway)
	switch {
	case c.Gateway.Is4() == ipv6:
		return h, fmt.Errorf("gateway %v is of the other family", c.Gateway)
	case c.Gateway.IsUnspecified() || c.Gateway.IsMulticast() || c.Gateway.IsLoopback():
		return h, fmt.Errorf("gateway %v is not the address of a neighbour", c.Gateway)
	case mine:
		return h, fmt.Errorf("gateway %v is the router itself", c.Gateway)
	case !ok:
		if h.Port, ok = s.connected(c.Gateway); !ok {
			return h, fmt.Errorf("gateway %v is in no network of a port: name its port", c.Gateway)
		}
	}
	h.ID = hopID(s.Ports[h.Port].Name, &h)
	return h, nil
}

// connected is the port with the smallest network that has the address.
func (s *Snapshot) connected(addr netip.Addr) (port uint16, ok bool) {
	longest := -1
	for i := range s.Ports {
		for _, p := range s.Ports[i].Addresses {
			if p.Contains(addr) && p.Bits() > longest {
				port, ok, longest = uint16(i), true, p.Bits()
			}
		}
	}
	return port, ok
}

// Change names the change that would make the route, of table i, what it is.
func (s *Snapshot) Change(i uint16, r *fib.Route) RouteChange {
	c := RouteChange{Op: AddRoute, Table: s.tables[i].name, Prefix: r.Prefix, TOS: r.TOS, Metric: r.Metric, Action: r.Action, MTU: r.MTU}
	for _, h := range r.Hops {
		c.Hops = append(c.Hops, RouteHop{Gateway: h.Gateway, Port: s.Ports[h.Port].Name, Weight: h.Weight})
	}
	return c
}

// Reshape gives table i array forms once its routes have become many, and takes them away when they have become few. It returns the
// snapshot that looks tables up so, which may be another one. The writer calls it.
func (s *Snapshot) Reshape(i uint16) (*Snapshot, error) {
	t := s.tables[i].routes
	switch many := t.Len() >= arrayRoutes; {
	case t.HasArrays() && t.Len() < arrayRoutes/2:
		t.Drop()
	case !t.HasArrays() && many:
		if err := t.Build(); err != nil {
			return s, err
		}
		if !s.arrays {
			next := *s
			next.arrays = true
			return &next, nil
		}
	}
	return s, nil
}
