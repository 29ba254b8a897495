package mgmt

import (
	"fmt"
	"hash/maphash"
	"math"
	"net/netip"

	"weir/fib"
	"weir/policy"
	"weir/policy/packet"
)

// Limits on routes. A route takes about 100 bytes here.
const (
	routesMax = 4 << 20 // of a configuration: the Internet four times over
	hopsMax   = policy.MaxHops
	weightMax = math.MaxUint16
)

// draftRoute is a route as somebody wrote it, in YAML or in the syntax of ip-route(8). finishRoute makes routes of it.
type draftRoute struct {
	place // of the route

	prefix    netip.Prefix // invalid: default, of the families that the rest says
	prefixAt  place
	action    fib.Action
	target    uint16
	resume    bool
	tos       uint8
	tosAt     place
	metric    uint32
	mtu       uint16
	mtuAt     place
	hops      []draftHop
	hopsReady []fib.NextHop // of a route like this one, to be shared; instead of hops
}

// draftHop is one way out; a gateway or a port is there.
type draftHop struct {
	place   // of the gateway, or of the port where there is none
	gateway netip.Addr
	port    uint16
	hasPort bool
	weight  uint16
}

// place is where something stands, and its path.
type place struct {
	at spot
	p  *path
}

// reporter takes a problem of a route.
type reporter func(at place, message string)

// finishRoute checks what the parts of a route say together, and enters it; a default route without a gateway is one
// route for each family. It returns the resolved hops, or nil if the route is refused.
func (d *decoder) finishRoute(table uint16, seen *routeSet, r *draftRoute, report reporter) []fib.NextHop {
	hops, family, ok := d.resolveHops(r, report)
	if !ok {
		return nil
	}
	if r.tos != 0 && family == 0 {
		family = packet.IPv4
	}
	switch {
	case r.tos != 0 && family == packet.IPv6:
		report(r.tosAt, "IPv6 routes have no tos, as in Linux; a rule can select by dscp")
		return nil
	case r.mtu != 0 && r.mtu < mtuMin6 && family != packet.IPv4:
		report(r.mtuAt, fmt.Sprintf("an IPv6 route's MTU is at least %d (RFC 8200)", mtuMin6))
		return nil
	}
	route := fib.Route{TOS: r.tos, Metric: r.metric, MTU: r.mtu, Action: r.action, Target: r.target, Resume: r.resume, Hops: hops}
	for _, f := range [...]uint8{packet.IPv4, packet.IPv6} {
		if family != 0 && family != f {
			continue
		}
		route.Prefix = r.prefix
		if !r.prefix.IsValid() {
			route.Prefix = defaultPrefix(f)
		}
		if d.routes >= routesMax {
			report(r.place, fmt.Sprintf("more than %d routes", routesMax))
			return nil
		}
		if first, added := seen.add(&route); !added {
			report(r.prefixAt, fmt.Sprintf("route %s is given twice; the first is at %s (two routes to a prefix need different metrics or tos)",
				describeRoute(&route), d.positionFrom(r.at, d.places.routes[table][first])))
			return nil
		}
		d.addRoute(table, route, r.at)
	}
	return hops
}

func defaultPrefix(family uint8) netip.Prefix {
	if family == packet.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func describeRoute(r *fib.Route) string {
	s := r.Prefix.String()
	if r.TOS != 0 {
		s += fmt.Sprintf(" tos %#x", r.TOS)
	}
	if r.Metric != 0 {
		s += fmt.Sprintf(" metric %d", r.Metric)
	}
	return s
}

// resolveHops finds the ports of the hops, and the family of the route: 0 is both.
func (d *decoder) resolveHops(r *draftRoute, report reporter) (hops []fib.NextHop, family uint8, ok bool) {
	if r.prefix.IsValid() {
		family = familyOf(r.prefix.Addr())
	}
	if r.hopsReady != nil {
		if gateway := r.hopsReady[0].Gateway; family == 0 && gateway.IsValid() {
			family = familyOf(gateway)
		}
		return r.hopsReady, family, true
	}
	ok = true
	hops = make([]fib.NextHop, 0, len(r.hops))
	for i := range r.hops {
		h := &r.hops[i]
		if h.gateway.IsValid() {
			gatewayFamily := familyOf(h.gateway)
			if family == 0 {
				family = gatewayFamily
			}
			wrong := ""
			if gatewayFamily != family {
				wrong = fmt.Sprintf("%s gateway %s on an %s route", familyName(gatewayFamily), h.gateway, familyName(family))
			} else if !h.hasPort {
				h.port, wrong = d.portTowards("gateway", h.gateway)
			}
			if wrong == "" {
				wrong = d.checkNeighbor(h.gateway, h.port)
			}
			if wrong != "" {
				report(h.place, wrong)
				ok = false
				continue
			}
		}
		hops = append(hops, fib.NextHop{Gateway: h.gateway, Port: h.port, Weight: max(h.weight, 1)})
	}
	if len(hops) == 0 {
		hops = nil
	}
	return hops, family, ok
}

var routeKeys = section{name: "routes", keys: []string{"to", "from", "via", "port", "type", "lookup", "on-miss", "tos", "metric", "mtu"}}
var hopKeys = section{name: "via", keys: []string{"gateway", "port", "weight"}}

// decodeRoute reads a route of a table's list.
func (d *decoder) decodeRoute(table uint16, seen *routeSet, n *node, p *path) {
	errors := d.found.errors
	r := draftRoute{place: place{n.at, p}}
	given := map[string]place{}
	address, other := "to", "from"
	if d.policy.Tables[table].Key == policy.BySource {
		address, other = other, address
	}
	var portNode *node
	if !d.fields(n, p, &routeKeys, func(k key, v *node, p *path) {
		given[k.text] = place{k.at, p}
		switch k.text {
		case address:
			r.prefixAt = place{v.at, p}
			if text, ok := d.text(v, p, "a prefix or default"); ok && text != "default" {
				prefix, wrong := parsePrefix(text)
				if wrong != "" {
					d.errorf(v.at, p, "%s", withFound(wrong, v.String()))
				}
				r.prefix = prefix
			}
		case other:
			d.errorf(k.at, p, "the table is keyed by %s: its routes say %s", map[string]string{"to": "destination", "from": "source"}[address], address)
			given[address] = place{k.at, p}
		case "via":
			d.decodeVia(&r, v, p)
		case "port":
			portNode = v
		case "type":
			switch word, _ := d.word(v, p, "unicast", "blackhole", "unreachable", "prohibit", "throw"); word {
			case "blackhole":
				r.action = fib.Blackhole
			case "unreachable":
				r.action = fib.Unreachable
			case "prohibit":
				r.action = fib.Prohibit
			case "throw":
				r.action = fib.Throw
			case "unicast":
				delete(given, "type")
			}
		case "lookup":
			r.action = fib.Lookup
			r.target, _ = d.table(v, p)
		case "on-miss":
			word, _ := d.word(v, p, "return", "resume")
			r.resume = word == "resume"
		case "tos":
			r.tosAt = place{v.at, p}
			r.tos = d.routeTOS(v, p)
		case "metric":
			metric, _ := d.number(v, p, 0, math.MaxUint32)
			r.metric = uint32(metric)
		case "mtu":
			r.mtuAt = place{v.at, p}
			mtu, _ := d.number(v, p, mtuMin, mtuMax)
			r.mtu = uint16(mtu)
		}
	}) {
		return
	}
	_, hasAddress := given[address]
	d.required(n, p, address, hasAddress)
	via, hasVia := given["via"]
	port, hasPort := given["port"]
	kind, hasType := given["type"]
	lookup, hasLookup := given["lookup"]
	switch {
	case hasType && hasLookup:
		d.errorf(lookup.at, lookup.p, "a route has one of via or port, type, and lookup")
	case hasType && (hasVia || hasPort):
		d.errorf(kind.at, kind.p, "a route of this type goes nowhere: it has no via and no port")
	case hasLookup && (hasVia || hasPort):
		d.errorf(lookup.at, lookup.p, "a route has one of via or port, type, and lookup")
	case !hasType && !hasLookup && !hasVia && !hasPort:
		d.errorf(n.at, p, "route goes nowhere: it needs one of via, port, type and lookup")
	}
	if onMiss, ok := given["on-miss"]; ok && !hasLookup {
		d.errorf(onMiss.at, onMiss.p, "on-miss belongs to lookup")
	}
	if mtu, ok := given["mtu"]; ok && (hasType || hasLookup) {
		d.errorf(mtu.at, mtu.p, "mtu belongs to a route that leaves by a port")
	}
	if hasPort {
		index, ok := d.port(portNode, port.p)
		switch {
		case !ok:
		case !hasVia:
			r.hops = []draftHop{{place: place{portNode.at, port.p}, port: index, hasPort: true}}
		case len(r.hops) == 1 && r.hops[0].p == via.p: // via: ADDRESS
			r.hops[0].port, r.hops[0].hasPort = index, true
		default:
			d.errorf(port.at, port.p, "give each gateway of the list its port")
		}
	}
	if d.found.errors == errors {
		d.finishRoute(table, seen, &r, func(at place, message string) { d.errorf(at.at, at.p, "%s", message) })
	}
}

// decodeVia reads a gateway, or a list of them.
func (d *decoder) decodeVia(r *draftRoute, n *node, p *path) {
	if n.kind != sequence {
		if addr, ok := d.address(n, p); ok {
			r.hops = []draftHop{{place: place{n.at, p}, gateway: addr}}
		}
		return
	}
	if len(n.items) == 0 || len(n.items) > hopsMax {
		d.errorf(n.at, p, "a route has 1 to %d gateways, found %d", hopsMax, len(n.items))
		return
	}
	for i := range n.items {
		v, p := &n.items[i], p.at(i)
		hop := draftHop{place: place{v.at, p}}
		if v.kind == scalar {
			hop.gateway, _ = d.address(v, p)
			r.hops = append(r.hops, hop)
			continue
		}
		has := false
		if !d.fields(v, p, &hopKeys, func(k key, v *node, p *path) {
			switch k.text {
			case "gateway":
				has = true
				hop.place = place{v.at, p}
				hop.gateway, _ = d.address(v, p)
			case "port":
				has = true
				if !hop.gateway.IsValid() {
					hop.place = place{v.at, p}
				}
				hop.port, _ = d.port(v, p)
				hop.hasPort = true
			case "weight":
				weight, _ := d.number(v, p, 1, weightMax)
				hop.weight = uint16(weight)
			}
		}) {
			continue
		}
		if !has {
			d.errorf(v.at, p, "a way out needs a gateway, a port, or both")
		}
		r.hops = append(r.hops, hop)
	}
}

// routeTOS reads the TOS of a route: four bits, as in Linux (linux/in_route.h IPTOS_RT_MASK).
func (d *decoder) routeTOS(v *node, p *path) uint8 {
	tos, ok := d.number(v, p, 0, 0xff)
	if ok && (tos == 0 || tos&^0x1c != 0) {
		d.errorf(v.at, p, "expected a tos from 0x04 to 0x1c in steps of 4, found %s", v)
		return 0
	}
	return uint8(tos)
}

// routeSet finds routes of one table that have the same prefix, TOS and metric. It is an open hash of indexes into
// the table's routes, eight bytes a slot, because a Go map of a million such keys is larger than the routes.
type routeSet struct {
	d     *decoder
	table uint16
	seed  maphash.Seed // random: nobody can write a file of collisions
	slots []routeSlot  // a power of two of them, at least half of them free
	used  int
}

// routeSlot is free where next is 0.
type routeSlot struct {
	hash uint32 // so that few routes but the one sought need to be looked at
	next uint32 // index of the route, plus 1
}

type routeKey struct {
	prefix netip.Prefix
	metric uint32
	tos    uint8
}

func keyOf(r *fib.Route) routeKey { return routeKey{r.Prefix, r.Metric, r.TOS} }

// newRouteSet has the routes that the table has already.
func newRouteSet(d *decoder, table uint16) *routeSet {
	s := &routeSet{d: d, table: table, seed: maphash.MakeSeed(), slots: make([]routeSlot, 64)}
	for i := range s.routes() {
		hash := s.hash(keyOf(&s.routes()[i]))
		s.place(routeSlot{hash, uint32(i) + 1})
	}
	return s
}

func (s *routeSet) routes() []fib.Route { return s.d.policy.Tables[s.table].Routes }

// hash is 32 bits, enough to spread over the 2*routesMax slots at most.
func (s *routeSet) hash(k routeKey) uint32 { return uint32(maphash.Comparable(s.seed, k)) }

// add enters the route that is about to be appended to the table, or returns the index of the one like it.
func (s *routeSet) add(r *fib.Route) (first int, added bool) {
	k := keyOf(r)
	hash, mask := s.hash(k), uint32(len(s.slots)-1)
	for i := hash & mask; s.slots[i].next != 0; i = (i + 1) & mask {
		if slot := s.slots[i]; slot.hash == hash && keyOf(&s.routes()[slot.next-1]) == k {
			return int(slot.next - 1), false
		}
	}
	s.place(routeSlot{hash, uint32(len(s.routes())) + 1})
	return 0, true
}

// place enters a slot that is not there yet.
func (s *routeSet) place(slot routeSlot) {
	if 2*s.used >= len(s.slots) {
		old := s.slots
		s.slots, s.used = make([]routeSlot, 2*len(old)), 0
		for _, o := range old {
			if o.next != 0 {
				s.place(o)
			}
		}
	}
	mask := uint32(len(s.slots) - 1)
	i := slot.hash & mask
	for s.slots[i].next != 0 {
		i = (i + 1) & mask
	}
	s.slots[i] = slot
	s.used++
}
