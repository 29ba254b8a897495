package appliance

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"weir/fib"
	"weir/policy"
)

// kernelRoute is a route as the kernel has it.
type kernelRoute struct {
	kernelRouteKey
	kind uint8 // RTN_UNICAST …
	mtu  uint32
	hops []kernelHop // in the order of the route; in IPv6, where there is none, sorted
}

// kernelRouteKey is what no two routes of the kernel have in common.
type kernelRouteKey struct {
	prefix netip.Prefix
	table  uint32
	metric uint32
	tos    uint8
}

type kernelHop struct {
	gateway netip.Addr // the zero Addr: on-link
	ifindex int32
	weight  uint8 // less 1, as in struct rtnexthop
}

func (r *kernelRoute) equal(o *kernelRoute) bool {
	return r.kernelRouteKey == o.kernelRouteKey && r.kind == o.kind && r.mtu == o.mtu && slices.Equal(r.hops, o.hops)
}

func (k *kernelRouteKey) String() string {
	var b strings.Builder
	b.WriteString(k.prefix.String())
	if k.tos != 0 {
		fmt.Fprintf(&b, " tos 0x%02x", k.tos)
	}
	fmt.Fprintf(&b, " metric %d table %d", k.metric, k.table)
	return b.String()
}

// routeKinds are the kernel's words for actions.
var routeKinds = [...]uint8{
	fib.Unicast:     unix.RTN_UNICAST,
	fib.Throw:       unix.RTN_THROW,
	fib.Blackhole:   unix.RTN_BLACKHOLE,
	fib.Unreachable: unix.RTN_UNREACHABLE,
	fib.Prohibit:    unix.RTN_PROHIBIT,
}

// newKernelRoute gives the ports their netdevs; ok is false if the kernel does not have one of them.
func newKernelRoute(l *policy.LinuxRoute, ifindex []int) (r kernelRoute, ok bool) {
	r = kernelRoute{kernelRouteKey: kernelRouteKey{l.Prefix, l.Table, l.Metric, l.TOS}, kind: routeKinds[l.Action], mtu: uint32(l.MTU)}
	if len(l.Hops) > 0 {
		r.hops = make([]kernelHop, len(l.Hops))
	}
	for i := range l.Hops {
		h := &l.Hops[i]
		if ifindex[h.Port] == 0 {
			return r, false
		}
		r.hops[i] = kernelHop{gateway: h.Gateway, ifindex: int32(ifindex[h.Port])}
		if len(l.Hops) > 1 {
			r.hops[i].weight = uint8(h.Weight - 1)
		}
	}
	r.sortHops()
	return r, true
}

func (r *kernelRoute) sortHops() {
	if len(r.hops) < 2 || r.prefix.Addr().Is4() {
		return
	}
	slices.SortFunc(r.hops, func(a, b kernelHop) int {
		if a.ifindex != b.ifindex {
			return int(a.ifindex - b.ifindex)
		}
		return a.gateway.Compare(b.gateway)
	})
}

// kernelFamily is the kernel's number of an address's family.
func kernelFamily(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// append is the request to add the route, or with NLM_F_REPLACE to change it. Gateways are said to be on the link: weir
// reaches them there, whatever the kernel's rules and routes say about their addresses.
func (r *kernelRoute) append(m message, flags uint16) message {
	header := [unix.SizeofRtMsg]byte{kernelFamily(r.prefix.Addr()), uint8(r.prefix.Bits()), 0, r.tos, 0, kernelProtocol, unix.RT_SCOPE_UNIVERSE, r.kind}
	gateways := slices.ContainsFunc(r.hops, func(h kernelHop) bool { return h.gateway.IsValid() })
	if len(r.hops) > 0 && !gateways && r.prefix.Addr().Is4() {
		header[6] = unix.RT_SCOPE_LINK // so that others' gateways may be found by it
	}
	if len(r.hops) == 1 && gateways {
		binary.NativeEndian.PutUint32(header[8:], unix.RTNH_F_ONLINK)
	}
	m = m.begin(unix.RTM_NEWROUTE, flags|unix.NLM_F_CREATE, header)
	m = m.key(&r.kernelRouteKey)
	if r.mtu != 0 { // locked, since IPv6 does not heed it otherwise where it forwards
		m = m.nest(unix.RTA_METRICS, func(m message) message {
			return m.u32(unix.RTAX_MTU, r.mtu).u32(unix.RTAX_LOCK, 1<<unix.RTAX_MTU)
		})
	}
	switch len(r.hops) {
	case 0:
	case 1:
		m = m.hop(&r.hops[0]).u32(unix.RTA_OIF, uint32(r.hops[0].ifindex))
	default:
		m = m.nest(unix.RTA_MULTIPATH, func(m message) message {
			for i := range r.hops { // struct rtnexthop, and its attributes
				h, start := &r.hops[i], len(m)
				m = append(m, 0, 0, 0, h.weight)
				m = binary.NativeEndian.AppendUint32(m, uint32(h.ifindex))
				if h.gateway.IsValid() {
					m[start+2] = unix.RTNH_F_ONLINK
				}
				m = m.hop(h)
				binary.NativeEndian.PutUint16(m[start:], uint16(len(m)-start))
			}
			return m
		})
	}
	return m
}

func (m message) hop(h *kernelHop) message {
	if h.gateway.IsValid() {
		m = m.addr(unix.RTA_GATEWAY, h.gateway)
	}
	return m
}

func (m message) key(k *kernelRouteKey) message {
	m = m.addr(unix.RTA_DST, k.prefix.Addr()).u32(unix.RTA_TABLE, k.table)
	if k.metric != 0 {
		m = m.u32(unix.RTA_PRIORITY, k.metric)
	}
	return m
}

// appendRemoval is the request to remove our route of this key, whatever it is.
func (k *kernelRouteKey) appendRemoval(m message) message {
	header := [unix.SizeofRtMsg]byte{kernelFamily(k.prefix.Addr()), uint8(k.prefix.Bits()), 0, k.tos, 0, kernelProtocol, unix.RT_SCOPE_NOWHERE}
	return m.begin(unix.RTM_DELROUTE, 0, header).key(k)
}

// parseKernelRoute reads a struct rtmsg with its attributes.
func parseKernelRoute(body []byte) (r kernelRoute, protocol uint8) {
	r.table, r.tos, r.kind = uint32(body[4]), body[3], body[7]
	addr := netip.IPv6Unspecified()
	if body[0] == unix.AF_INET {
		addr = netip.IPv4Unspecified()
	}
	one := kernelHop{}
	for kind, value := range attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			addr, _ = netip.AddrFromSlice(value)
		case unix.RTA_TABLE:
			r.table = number(value)
		case unix.RTA_PRIORITY:
			r.metric = number(value)
		case unix.RTA_OIF:
			one.ifindex = int32(number(value))
		case unix.RTA_GATEWAY:
			one.gateway, _ = netip.AddrFromSlice(value)
		case unix.RTA_METRICS:
			for metric, value := range attributes(value) {
				if metric == unix.RTAX_MTU {
					r.mtu = number(value)
				}
			}
		case unix.RTA_MULTIPATH:
			r.hops = parseHops(value)
		}
	}
	r.prefix = netip.PrefixFrom(addr, int(body[1]))
	if r.kind != unix.RTN_UNICAST { // to which IPv6 gives the netdev lo
		r.hops = nil
	} else if r.hops == nil {
		r.hops = []kernelHop{one}
	}
	r.sortHops()
	return r, body[5]
}

func parseHops(b []byte) (hops []kernelHop) {
	for len(b) >= unix.SizeofRtNexthop {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtNexthop || length > len(b) {
			break
		}
		h := kernelHop{ifindex: int32(binary.NativeEndian.Uint32(b[4:])), weight: b[3]}
		for kind, value := range attributes(b[unix.SizeofRtNexthop:length]) {
			if kind == unix.RTA_GATEWAY {
				h.gateway, _ = netip.AddrFromSlice(value)
			}
		}
		hops = append(hops, h)
		b = b[min(len(b), (length+3)&^3):]
	}
	return hops
}

// dumpRoutes visits all routes of a family; of one protocol, unless that is 0, and of one table, unless that is 0.
func (s *routeSocket) dumpRoutes(family, protocol uint8, table uint32, reset func(), visit func(r *kernelRoute, protocol uint8)) error {
	header := [unix.SizeofRtMsg]byte{family, 5: protocol}
	more := func(m message) message {
		if table != 0 {
			m = m.u32(unix.RTA_TABLE, table)
		}
		return m
	}
	err := s.dump(unix.RTM_GETROUTE, header, more, reset, func(body []byte) error {
		r, of := parseKernelRoute(body)
		visit(&r, of)
		return nil
	})
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	return nil
}
